"""All of the library, with its gradients, compiled for TPUs that are not there."""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from experiments.aot import GIB, QUICK, lower
from experiments.bandit.config import BanditConfig
from experiments.collectives import collectives_of, dtypes_of
from experiments.digits.config import DigitsConfig
from experiments.engine.config import EngineConfig
from experiments.engine.step import training_steps
from experiments.shakespeare.config import ShakespeareConfig
from experiments.tpu_topologies import topology_of
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig
from softmax_variants.variants import VARIANTS, Variant
from tests.experiments.shakespeare.tiny import write_text as write_shakespeare
from tests.experiments.words.text import write_text as write_words

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
# What `make test` compiles, for one topology: one of each way to compute. The slow tests compile
# everything for two.
FEW: dict[str, tuple[str, ...]] = {
    "maps": ("softmax", "sparsemax", "entmax", "normmax", "fusedmax", "gumbel_softmax"),
    "losses": ("softmax", "entmax15"),
    "fused": ("cross-entropy", "entmax"),
    "heads": ("sampled", "huffman", "adaptive"),
    "attention": ("entmax15", "flash 1.5"),
    "digits": ("sparsemax",),
    "vae": ("gumbel_softmax_0.1",),
    "bandit": ("entmax15_0.1",),
    "words": ("fused",),
    "shakespeare": ("entmax15.fused",),
}
how_much = pytest.mark.parametrize(
    ("topology", "few"),
    [
        pytest.param("v5e:2x2", True, id="few"),
        pytest.param("v5e:2x2", False, marks=pytest.mark.slow, id="v5e"),
        pytest.param("v6e:2x2", False, marks=pytest.mark.slow, id="v6e"),
    ],
)
ROWS, CLASSES, FEATURES = 16, 40, 8
VOCABULARY = 60
COUNTS = 60 // np.arange(1, CLASSES + 1) + 1


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def integers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


KEY = jax.eval_shape(lambda: jax.random.key(0))
LOGITS, LABELS, HIDDEN = floats(ROWS, CLASSES), integers(ROWS), floats(ROWS, FEATURES)
TABLE = floats(CLASSES, FEATURES)


def weighted(values: jax.Array) -> jax.Array:
    """A number that no map makes constant."""
    return jnp.sum(jnp.sin(jnp.arange(values.size, dtype=jnp.float32)) * values.ravel())


def map_program(variant: Variant) -> Callable[..., Any]:
    def program(key: jax.Array, logits: jax.Array) -> Any:
        keys = (key,) if variant.stochastic else ()

        def of(logits: jax.Array, parameters: Any) -> jax.Array:
            return weighted(variant.map(*keys, logits, -1, None, **variant.static, **parameters))

        parameters = {name: jnp.asarray(v) for name, v in variant.parameters.items()}
        return jax.value_and_grad(of, argnums=(0, 1))(logits, parameters)

    return program


def loss_program(variant: Variant) -> Callable[..., Any]:
    assert variant.loss is not None
    of_row = functools.partial(variant.loss, **variant.parameters)

    def program(logits: jax.Array, labels: jax.Array) -> Any:
        return jax.value_and_grad(lambda logits: weighted(of_row(logits, labels)))(logits)

    return program


def fused_program(loss: Callable[..., jax.Array], **keywords: Any) -> Callable[..., Any]:
    def program(hidden: jax.Array, labels: jax.Array, table: jax.Array) -> Any:
        def of(hidden: jax.Array, table: jax.Array) -> jax.Array:
            return weighted(loss(hidden, labels, table, **keywords))

        return jax.value_and_grad(of, argnums=(0, 1))(hidden, table)

    return program


def head_program(head: Any) -> Callable[..., Any]:
    def program(key: jax.Array, hidden: jax.Array, labels: jax.Array) -> Any:
        def of(params: Any, hidden: jax.Array) -> jax.Array:
            return weighted(head.loss(params, hidden, labels, key=key))

        params = head.init(key)
        return jax.value_and_grad(of, argnums=(0, 1))(params, hidden), head.log_prob(
            params, hidden, labels
        )

    return program


def attention_program(attend: Callable[..., jax.Array]) -> Callable[..., Any]:
    def program(query: jax.Array, key: jax.Array, value: jax.Array) -> Any:
        def of(*given: jax.Array) -> jax.Array:
            return weighted(attend(*given, is_causal=True))

        return jax.value_and_grad(of, argnums=(0, 1, 2))(query, key, value)

    return program


def heads() -> dict[str, Any]:
    sampler = sv.UnigramSampler(COUNTS)
    sizes = (CLASSES, FEATURES)
    drawn: dict[str, Any] = {"sampler": sampler, "num_sampled": 8}
    return {
        "full": sv.FullSoftmax(*sizes),
        "entmax": sv.LinearEntmax(*sizes),
        "sampled": sv.SampledSoftmax(*sizes, **drawn),
        "nce": sv.NCE(*sizes, **drawn),
        "negative": sv.NegativeSampling(*sizes, **drawn),
        "importance": sv.ImportanceSampled(*sizes, **drawn),
        "in batch": sv.InBatchSoftmax(*sizes, sampler=sampler),
        "huffman": sv.HierarchicalSoftmax(tree=sv.huffman_tree(COUNTS), features=FEATURES),
        "balanced": sv.HierarchicalSoftmax(tree=sv.balanced_tree(CLASSES), features=FEATURES),
        "adaptive": sv.AdaptiveSoftmax(FEATURES, CLASSES, (8, 20), div_value=2.0),
        "differentiated": sv.DifferentiatedSoftmax(FEATURES, CLASSES, (8, 20), (4, 2, 2)),
    }


def groups() -> dict[str, tuple[Mapping[str, Callable[..., Any]], tuple[Any, ...]]]:
    """The programs of the library by what they are given: one compilation for each group."""
    normalizers: dict[str, Callable[..., Any]] = {
        "softmax": sv.softmax,
        "sparsemax": sv.sparsemax,
        "entmax15": sv.entmax15,
        "softmax_n": functools.partial(sv.softmax_n, n=1.0),
        "softpick": sv.softpick,
    }
    attention = {
        name: functools.partial(sv.dot_product_attention, normalizer=normalizer)
        for name, normalizer in normalizers.items()
    }
    attention |= {
        f"flash {alpha}": functools.partial(sv.flash_attention, alpha=alpha, block_size=8)
        for alpha in (1.0, 1.5)
    }
    qkv = (floats(2, 16, 2, 8), floats(2, 16, 2, 8), floats(2, 16, 2, 8))
    rows = VARIANTS.values()
    return {
        "maps": ({row.name: map_program(row) for row in rows}, (KEY, LOGITS)),
        "losses": (
            {row.name: loss_program(row) for row in rows if row.loss is not None},
            (LOGITS, LABELS),
        ),
        "fused": (
            {
                "cross-entropy": fused_program(sv.linear_cross_entropy, block_size=16),
                "entmax": fused_program(sv.linear_entmax_loss, block_size=16),
                "in batch": fused_program(
                    sv.in_batch_softmax_loss, log_prob=np.full(ROWS, -3.0, np.float32)
                ),
            },
            (HIDDEN, LABELS, TABLE),
        ),
        "heads": (
            {name: head_program(head) for name, head in heads().items()},
            (KEY, HIDDEN, LABELS),
        ),
        "attention": ({n: attention_program(attend) for n, attend in attention.items()}, qkv),
    }


@how_much
@pytest.mark.parametrize("group", ["maps", "losses", "fused", "heads", "attention"])
def test_the_library_compiles_for_a_tpu(topology: str, few: bool, group: str) -> None:
    programs, given = groups()[group]
    programs = {name: programs[name] for name in FEW[group]} if few else programs
    one = jax.sharding.SingleDeviceSharding(topology_of(topology).devices[0])

    def every(*given: Any) -> Any:
        return {name: program(*given) for name, program in programs.items()}

    compiled = jax.jit(every, in_shardings=one).lower(*given).compile(compiler_options=QUICK)
    text = str(compiled.as_text())
    assert "f64" not in dtypes_of(text)
    assert collectives_of(text) == []


def test_every_head_takes_part() -> None:
    """A head that is new has to be compiled here too."""
    exported = {
        name
        for name in dir(sv)
        if hasattr(getattr(sv, name), "loss") and isinstance(getattr(sv, name), type)
        # The protocol is none itself.
        if name != "Head"
    }
    assert exported == {type(head).__name__ for head in heads().values()}


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineConfig]:
    folder = tmp_path_factory.mktemp("texts")
    write_words(folder / "words.txt")
    text = write_shakespeare(folder / "shakespeare.txt")
    return {
        "digits": DigitsConfig(seeds=2, hidden=(8,), batch_size=8),
        "vae": VaeConfig(latents=2, classes=3, hidden=8, seeds=2, batch_size=8),
        "bandit": BanditConfig(seeds=2, batch_size=8),
        "words": WordsConfig(
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
        ),
        "shakespeare": ShakespeareConfig(
            data_path=(str(text),), layers=1, heads=2, width=8, context=8, batch_size=8, dropout=0.1
        ),
    }


@how_much
@pytest.mark.parametrize("experiment", ["digits", "vae", "bandit", "words", "shakespeare"])
def test_the_steps_of_an_experiment_compile_for_a_tpu(
    configs: dict[str, EngineConfig], topology: str, few: bool, experiment: str
) -> None:
    chosen = FEW[experiment]
    steps = [s for s in training_steps(configs[experiment]) if not few or s.name in chosen]
    assert len(steps) == len(chosen) if few else len(steps) > len(chosen)
    for step in steps:
        compiled = lower(step, topology_of(topology).devices).compile(compiler_options=QUICK)
        text = str(compiled.as_text())
        assert "f64" not in dtypes_of(text), step.name
        assert (
            compiled.memory_analysis().temp_size_in_bytes < topology_of(topology).chip.usable * GIB
        )
        # Data-parallel steps exchange gradients, not what belongs to an example.
        gathered = [c for c in collectives_of(text) if c.kind == "all-gather"]
        if experiment == "words":
            # Rows of the tables are updated by ids: those that a batch reads come together, with
            # their gradients. Nothing that has all classes does.
            sizes = {n for c in gathered for _, shape in c.shapes for n in shape}
            assert not sizes & {VOCABULARY, VOCABULARY - 1}, step.name
        else:
            assert gathered == [], step.name
        if experiment != "bandit":
            assert "all-reduce" in {c.kind for c in collectives_of(text)}, step.name
