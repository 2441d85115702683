"""The training steps of every experiment, compiled for TPUs that are not there."""

import dataclasses
import importlib.util

import pytest

from experiments.aot import GIB, QUICK
from experiments.aot_placing import lower, mesh_of
from experiments.bandit.config import BanditConfig
from experiments.bench.suites.steps import CONFIGS
from experiments.collectives import collectives_of, dtypes_of
from experiments.digits.config import DigitsConfig
from experiments.engine.config import EngineConfig
from experiments.engine.step import training_steps
from experiments.shakespeare.config import ShakespeareConfig
from experiments.tpu_topologies import topology_of
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig
from tests.experiments.shakespeare.tiny import write_text as write_shakespeare
from tests.experiments.words.text import write_text as write_words

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
# What `make test` compiles, for one topology. The slow tests compile everything for two.
FEW: dict[str, tuple[str, ...]] = {
    "digits": ("sparsemax",),
    "vae": ("gumbel_softmax_0.1",),
    "bandit": ("entmax15_0.1",),
    "words": ("fused",),
    "skipgram": (),
    "shakespeare": ("entmax15.fused",),
}
VOCABULARY = 60


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineConfig]:
    folder = tmp_path_factory.mktemp("texts")
    write_words(folder / "words.txt")
    text = write_shakespeare(folder / "shakespeare.txt")
    words = WordsConfig(
        data_path=(str(folder / "words.txt"),),
        vocabulary=VOCABULARY,
        passage=100,
        held_out=5,
        features=8,
        context=2,
        window=2,
        batch_size=8,
        num_sampled=10,
        negatives=5,
    )
    return {
        "digits": DigitsConfig(seeds=2, hidden=(8,), batch_size=8),
        "vae": VaeConfig(latents=2, classes=3, hidden=8, seeds=2, batch_size=8),
        "bandit": BanditConfig(seeds=2, batch_size=8),
        "words": words,
        "skipgram": dataclasses.replace(words, task="skipgram"),
        "shakespeare": ShakespeareConfig(
            data_path=(str(text),), layers=1, heads=2, width=8, context=8, batch_size=8, dropout=0.1
        ),
    }


@pytest.mark.parametrize(
    ("experiment", "topology", "few"),
    [
        *(pytest.param(name, "v5e:2x2", True, id=f"{name}-few") for name in FEW if FEW[name]),
        *(
            pytest.param(name, f"{chip}:2x2", False, marks=pytest.mark.slow, id=f"{name}-{chip}")
            for name in FEW
            for chip in ("v5e", "v6e")
        ),
    ],
)
def test_the_steps_of_an_experiment_compile_for_a_tpu(
    configs: dict[str, EngineConfig], experiment: str, topology: str, few: bool
) -> None:
    chosen = FEW[experiment]
    steps = [s for s in training_steps(configs[experiment]) if not few or s.name in chosen]
    assert len(steps) == len(chosen) if few else len(steps) > len(chosen)
    mesh = mesh_of(configs[experiment], topology_of(topology).devices)
    for step in steps:
        compiled = lower(step, mesh).compile(compiler_options=QUICK)
        text = str(compiled.as_text())
        assert "f64" not in dtypes_of(text), step.name
        assert (
            compiled.memory_analysis().temp_size_in_bytes < topology_of(topology).chip.usable * GIB
        )
        # Data-parallel steps exchange gradients, not what belongs to an example.
        gathered = [c for c in collectives_of(text) if c.kind == "all-gather"]
        if experiment in ("words", "skipgram"):
            # Rows of the tables are updated by ids: those that a batch reads come together, with
            # their gradients. Nothing that has all classes does.
            sizes = {n for c in gathered for _, shape in c.shapes for n in shape}
            assert not sizes & {VOCABULARY, VOCABULARY - 1}, step.name
        else:
            assert gathered == [], step.name
        if experiment != "bandit":
            assert "all-reduce" in {c.kind for c in collectives_of(text)}, step.name


def test_every_experiment_takes_part(configs: dict[str, EngineConfig]) -> None:
    """As the suite of benchmarks has them: one that is new has to be compiled here too."""
    compiled = {(c.experiment, getattr(c, "task", "")) for c in configs.values()}
    assert compiled == {
        (c.experiment, getattr(c, "task", "")) for c in (make() for make in CONFIGS)
    }


@pytest.mark.slow
def test_classes_may_lie_on_devices_of_their_own(configs: dict[str, EngineConfig]) -> None:
    """As in `compare` with --mesh.classes: a device then holds a part of them."""
    # So many features that no tile of a table is mostly padding.
    words = configs["words"]
    assert isinstance(words, WordsConfig)
    config = dataclasses.replace(words, variants=("full",), features=256)
    devices = topology_of("v5e:2x2").devices

    def held(config: EngineConfig) -> int:
        mesh = mesh_of(config, devices)
        (step,) = training_steps(config, mesh.shape["seeds"])
        compiled = lower(step, mesh).compile(compiler_options=QUICK)
        return int(compiled.memory_analysis().alias_size_in_bytes)

    shared = dataclasses.replace(config, mesh_seeds=1, mesh_data=2, mesh_classes=2)
    # Half of the output layer of every model.
    half = 4 * config.seeds * config.features * VOCABULARY // 2
    assert held(config) - held(shared) >= half
