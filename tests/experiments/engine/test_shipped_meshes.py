"""The experiments of this package give on several devices what they give on one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from experiments.bandit.config import BanditConfig
from experiments.digits.config import DigitsConfig
from experiments.engine import comparison
from experiments.engine.config import EngineConfig
from experiments.engine.placement import mesh_of
from experiments.progress import Display
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig
from tests.experiments.engine.same_run import assert_same, measured
from tests.experiments.shakespeare import tiny as shakespeare
from tests.experiments.words.text import WORDS, write_text

pytestmark = pytest.mark.slow

# What all have; each has a variant without chance, and one that draws in every step.
SHARED: dict[str, Any] = {
    "seeds": 2,
    "steps": 20,
    "evaluations": 2,
    "batch_size": 8,
    "trials": 1,
    "tuning_steps": 0,
    "warmup": 0,
    "speed_rounds": 0,
    "checkpoint_seconds": 1000.0,
    "mesh_seeds": 1,
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineConfig]:
    folder = tmp_path_factory.mktemp("texts")
    words = write_text(folder / "words.txt")
    characters = shakespeare.write_text(folder / "shakespeare.txt")
    found: dict[str, EngineConfig] = {
        "digits": DigitsConfig(variants=("sparsemax", "gumbel_softmax"), hidden=(8,)),
        "words": WordsConfig(
            variants=("full", "sampled"),
            data_path=(str(words),),
            vocabulary=WORDS,
            passage=100,
            held_out=5,
            features=8,
            context=2,
            num_sampled=10,
            validation_words=256,
            test_words=300,
            scaling=(),
        ),
        "vae": VaeConfig(
            variants=("exact", "gumbel_softmax_1"), latents=2, classes=3, hidden=8, probes=()
        ),
        "bandit": BanditConfig(variants=("epsilon_0.1", "sparsemax_0.5"), points=10),
        "shakespeare": dataclasses.replace(
            shakespeare.CONFIG,
            variants=("softmax.cross_entropy", "entmax15.entmax15"),
            data_path=(str(characters),),
            dropout=0.1,
        ),
    }
    return {name: dataclasses.replace(config, **SHARED) for name, config in found.items()}


@pytest.mark.parametrize("experiment", ["digits", "words", "vae", "bandit", "shakespeare"])
def test_two_devices_that_share_the_examples_give_what_one_gives(
    configs: dict[str, EngineConfig], experiment: str, tmp_path: Path
) -> None:
    one, two = configs[experiment], dataclasses.replace(configs[experiment], mesh_data=2)
    assert mesh_of(two, two.make_task(), two.make_variants()).shape["data"] == 2
    for name, config in (("one", one), ("two", two)):
        assert comparison.compare(config, tmp_path / name, Display())
    expected = measured(tmp_path / "one")
    # Two models of two variants, two evaluations and a test; training changes them.
    assert len(expected) == 2 * 2 * 3
    for variant in one.variants:
        assert expected[variant, 0, 10] != pytest.approx(expected[variant, 0, 20], rel=1e-3)
    assert_same(measured(tmp_path / "two"), expected, absolute=0.0)
