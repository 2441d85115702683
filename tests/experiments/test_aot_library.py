"""All of the library, with its gradients, compiled for a TPU that is not there."""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from experiments.aot import QUICK
from experiments.collectives import collectives_of, dtypes_of
from experiments.tpu_topologies import topology_of
from softmax_variants.variants import VARIANTS, Variant

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
# What `make test` compiles, for one topology: one of each way to compute. The slow tests compile
# everything for two.
FEW: dict[str, tuple[str, ...]] = {
    "maps": ("softmax", "sparsemax", "entmax", "normmax", "fusedmax", "gumbel_softmax"),
    "losses": ("cross_entropy_loss", "entmax15_loss"),
    "fused": ("linear_cross_entropy", "linear_entmax_loss"),
    "heads": ("sampled", "huffman", "adaptive"),
    "evaluation": (),
    "attention": ("dot_product_attention, entmax15", "flash_attention, 1.5"),
}
GEOMETRIES = {
    "SHANNON": sv.SHANNON,
    "GINI": sv.GINI,
    "tsallis": sv.tsallis(1.5),
    "norm": sv.norm(2.0),
}
# What a head of this name computes too.
OF_HEADS = {
    "adaptive_softmax_loss": "AdaptiveSoftmax",
    "differentiated_softmax_loss": "DifferentiatedSoftmax",
    "hierarchical_log_probs": "HierarchicalSoftmax",
    "hierarchical_sample": "HierarchicalSoftmax",
    "hierarchical_softmax_loss": "HierarchicalSoftmax",
    "hierarchical_top_k": "HierarchicalSoftmax",
    "importance_sampled_loss": "ImportanceSampled",
    "nce_loss": "NCE",
    "negative_sampling_loss": "NegativeSampling",
    "sampled_softmax_loss": "SampledSoftmax",
}
# What is made on the host before there is a program, or is a report on one.
ON_THE_HOST = {
    *("balanced_tree", "bias_report", "choose_cutoffs", "class_tree", "clustered_tree"),
    *("huffman_tree", "target_partitions"),
}
ROWS, CLASSES, FEATURES = 16, 40, 8
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


def more_maps() -> dict[str, Callable[..., Any]]:
    """The maps that are no rows of the table: what they take or give is something else."""

    def mixed(logits: jax.Array) -> jax.Array:
        parts = logits.reshape(2, ROWS // 2, CLASSES)
        return sv.mixture_of_softmaxes(parts, mixture_logits=parts[..., 0], mixture_axis=0)

    def density(logits: jax.Array) -> jax.Array:
        return sv.concrete_log_prob(sv.log_softmax(logits), logits[::-1], temperature=0.5)

    def joined(logits: jax.Array) -> jax.Array:
        return sv.straight_through(sv.hardmax(logits), sv.softmax(logits))

    def of(function: Callable[..., jax.Array]) -> Callable[..., Any]:
        def program(key: jax.Array, logits: jax.Array) -> Any:
            return jax.value_and_grad(lambda logits: weighted(function(logits)))(logits)

        return program

    # What draws classes has no gradient.
    draws: dict[str, Callable[..., Any]] = {
        "categorical": sv.categorical,
        "gumbel_max": sv.gumbel_max,
        "gumbel_top_k": functools.partial(sv.gumbel_top_k, k=3),
    }
    differentiable = {
        "concrete_log_prob": density,
        "log_softmax": sv.log_softmax,
        "mixture_of_softmaxes": mixed,
        "straight_through": joined,
    }
    return {**draws, **{name: of(function) for name, function in differentiable.items()}}


def losses() -> dict[str, Callable[..., Any]]:
    every: dict[str, Callable[..., Any]] = {
        row.loss.__name__: functools.partial(row.loss, **row.parameters)
        for row in VARIANTS.values()
        if row.loss is not None
    }
    return every | {
        f"fenchel_young_loss, {name}": functools.partial(sv.fenchel_young_loss, geometry=geometry)
        for name, geometry in GEOMETRIES.items()
    }


def loss_program(of_row: Callable[..., jax.Array]) -> Callable[..., Any]:
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


def evaluation_program(head: Any) -> Callable[..., Any]:
    def program(key: jax.Array, hidden: jax.Array, labels: jax.Array) -> Any:
        params = head.init(key)
        return (
            head.log_probs(params, hidden),
            head.top_k(params, hidden, 3),
            head.sample(params, hidden, key),
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


def attentions() -> dict[str, Callable[..., jax.Array]]:
    """Every map as a normaliser, as the suite of benchmarks has them, and attention in blocks."""

    def in_parts(query: jax.Array, key: jax.Array, value: jax.Array, **keywords: Any) -> jax.Array:
        halves = [
            sv.attention_state(query, key[:, half], value[:, half])
            for half in (slice(0, 8), slice(8, 16))
        ]
        return sv.attention_output(functools.reduce(sv.merge_attention_states, halves))

    def scaled(query: jax.Array, key: jax.Array, value: jax.Array, **keywords: Any) -> jax.Array:
        counts = sv.visible_counts(query.shape[1], key.shape[1], is_causal=True)
        size = query.shape[-1]
        scale = sv.scalable_softmax_scale(counts, head_size=size)
        scale += sv.asentmax_scale(counts, gamma=0.5, head_size=size)
        return sv.dot_product_attention(query, key, value, scale=scale, **keywords)

    found: dict[str, Callable[..., jax.Array]] = {
        "attention_state + merge_attention_states + attention_output": in_parts,
        "visible_counts + scalable_softmax_scale + asentmax_scale": scaled,
    }
    for name, variant in VARIANTS.items():
        # Scores have a sign, which sum_normalize does not take.
        if not variant.nonnegative_input:
            keywords: dict[str, Any] = {"rng": jax.random.key(0)} if variant.stochastic else {}
            found[f"dot_product_attention, {name}"] = functools.partial(
                sv.dot_product_attention, normalizer=variant, **keywords
            )
    for alpha in (1.0, 1.5):
        found[f"flash_attention, {alpha}"] = functools.partial(
            sv.flash_attention, alpha=alpha, block_size=8
        )
    return found


def groups() -> dict[str, tuple[Mapping[str, Callable[..., Any]], tuple[Any, ...]]]:
    """The programs of the library by what they are given: one compilation for each group."""
    given = (KEY, HIDDEN, LABELS)
    qkv = (floats(2, 16, 2, 8), floats(2, 16, 2, 8), floats(2, 16, 2, 8))
    every_map = {row.name: map_program(row) for row in VARIANTS.values()} | more_maps()
    target_sampled = fused_program(
        sv.target_sampled_softmax_loss, subset=jnp.arange(0, CLASSES, 2, dtype=jnp.int32)
    )
    return {
        "maps": (every_map, (KEY, LOGITS)),
        "losses": ({n: loss_program(loss) for n, loss in losses().items()}, (LOGITS, LABELS)),
        "fused": (
            {
                "linear_cross_entropy": fused_program(sv.linear_cross_entropy, block_size=16),
                "linear_entmax_loss": fused_program(sv.linear_entmax_loss, block_size=16),
                "in_batch_softmax_loss": fused_program(
                    sv.in_batch_softmax_loss, log_prob=np.full(ROWS, -3.0, np.float32)
                ),
                "target_sampled_softmax_loss": target_sampled,
            },
            (HIDDEN, LABELS, TABLE),
        ),
        "heads": ({name: head_program(head) for name, head in heads().items()}, given),
        "evaluation": ({name: evaluation_program(head) for name, head in heads().items()}, given),
        "attention": ({n: attention_program(attend) for n, attend in attentions().items()}, qkv),
    }


@pytest.mark.parametrize(
    ("group", "topology", "few"),
    [
        *(pytest.param(group, "v5e:2x2", True, id=f"{group}-few") for group in FEW if FEW[group]),
        *(
            pytest.param(group, f"{chip}:2x2", False, marks=pytest.mark.slow, id=f"{group}-{chip}")
            for group in FEW
            for chip in ("v5e", "v6e")
        ),
    ],
)
def test_the_library_compiles_for_a_tpu(group: str, topology: str, few: bool) -> None:
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


def public(package: str) -> set[str]:
    """What a part of the library offers, its types left out."""
    return {
        name
        for name, value in vars(sv).items()
        if not isinstance(value, type)
        and getattr(value, "__module__", "").startswith(f"softmax_variants.{package}.")
    }


def functions(group: str) -> set[str]:
    return {name for key in groups()[group][0] for name in key.split(",")[0].split(" + ")}


def test_every_map_and_loss_takes_part() -> None:
    """One that is new has to be compiled here too."""
    assert set(FEW) == set(groups())
    assert public("maps") == functions("maps")
    assert public("losses") == functions("losses") | set(GEOMETRIES)
    fused = functions("fused")
    assert public("heads") == fused | set(OF_HEADS) | ON_THE_HOST
    assert set(OF_HEADS.values()) <= {type(head).__name__ for head in heads().values()}


def test_every_map_is_a_normaliser_of_attention() -> None:
    assert public("attention") == functions("attention")
    normalisers = {key.split(", ")[1] for key in attentions() if key.startswith("dot_product")}
    assert normalisers == set(VARIANTS) - {"sum_normalize"}
