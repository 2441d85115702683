"""What the layers for Flax NNX and for Linen have in common: parameters and what they mean."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

import jax
import jax.numpy as jnp

from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_count, as_key, as_parameter
from softmax_variants.attention._arguments import Arguments, as_arguments
from softmax_variants.attention._dot_product import dot_product_attention, takes_key
from softmax_variants.attention._flash import flash_attention
from softmax_variants.attention._position_scale import (
    asentmax_scale,
    scalable_softmax_scale,
    visible_counts,
)
from softmax_variants.maps._hardmax import hardmax
from softmax_variants.maps._mixture_of_softmaxes import mixture_of_softmaxes
from softmax_variants.maps._softmax import log_softmax, softmax
from softmax_variants.maps._straight_through import straight_through
from softmax_variants.variants import VARIANTS

Params = dict[str, Array]
PositionScale = Literal["ssmax", "asentmax"]
Schedule = Callable[[Array], ArrayLike]

STREAM = "sample"
_GAMMA_LIMIT = 3.0
# What says which query sees which key, and what Flax passes besides.
_RULE = ("is_causal", "query_seq_lengths", "key_value_seq_lengths", "local_window_size")
_FLAXS = {
    *("rng", "dropout_rng", "dropout_rate", "broadcast_dropout", "deterministic"),
    *("dtype", "precision", "module", "force_fp32_for_softmax"),
    *("qk_attn_weights_einsum", "attn_weights_value_einsum"),
}
_ALPHAS = {VARIANTS["entmax15"]: 1.5, VARIANTS["entmax"]: 1.5, VARIANTS["sparsemax"]: 2.0}


def no_stream(who: str) -> NoReturn:
    """Says which random stream is missing."""
    raise ValueError(
        f"rngs must have the stream {STREAM!r}, as {who} is random: such as rngs={{'sample': "
        f"jax.random.key(0)}} for Linen, nnx.Rngs(0, sample=1) for NNX"
    )


def raw_of_interval(value: ArrayLike, name: str, low: float, high: float) -> Array:
    """The real number that `in_interval` takes to `value`."""
    ends = as_parameter(low, "low"), as_parameter(high, "high")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be finite and below high, got {ends[0]} and {ends[1]}")
    as_parameter(value, name, low=low, high=high, low_open=True, high_open=True)
    share = (jnp.asarray(value, jnp.float32) - low) / (high - low)
    return jnp.log(share) - jnp.log1p(-share)


def in_interval(raw: Array, low: float, high: float) -> Array:
    """`low + (high - low) sigmoid(raw)`: between the two whatever a step makes of the parameter."""
    return low + (high - low) * jax.nn.sigmoid(raw)


def raw_of_positive(value: ArrayLike, name: str) -> Array:
    """The logarithm of a positive number."""
    as_parameter(value, name, low=0, low_open=True, high_open=True)
    return jnp.log(jnp.asarray(value, jnp.float32))


def normalizer_of(normalizer: str | Callable[..., Any]) -> Callable[..., Any]:
    """A map by its name in the table, or as it is."""
    if not isinstance(normalizer, str):
        if not callable(normalizer):
            raise TypeError(f"normalizer must be a name or a map, got {type(normalizer).__name__}")
        return normalizer
    if normalizer not in VARIANTS:
        raise ValueError(f"normalizer must be one of {', '.join(VARIANTS)}, got {normalizer!r}")
    # Softmax itself, for which sinks are learned.
    return softmax if normalizer == "softmax" else VARIANTS[normalizer]


def check_attention(
    normalizer: Callable[..., Any], sinks: float | None, flash: bool, *, learns_alpha: bool
) -> None:
    """Sinks, any real number of them, and blocks of keys are not there for every normalizer."""
    if flash and not learns_alpha and _fixed_alpha(normalizer) is None:
        names = ", ".join(repr(variant.name) for variant in _ALPHAS)
        raise ValueError(
            f"flash must be False with a normalizer other than 'softmax', {names} or Entmax"
        )
    if sinks is not None and not flash and normalizer is not softmax:
        raise ValueError(
            "sinks must be None with a normalizer other than 'softmax', unless flash=True"
        )


def _fixed_alpha(normalizer: Callable[..., Any]) -> float | None:
    """The alpha of a normalizer that is an entmax."""
    if normalizer is softmax:
        return 1.0
    found = [alpha for variant, alpha in _ALPHAS.items() if normalizer in (variant, variant.map)]
    return found[0] if found else None


def rows_of(values: Sequence[float], shape: Sequence[int]) -> Array:
    """The numbers, repeated in the leading dimensions."""
    return jnp.broadcast_to(jnp.asarray(values, jnp.float32), (*shape, len(values)))


def temperature_at(temperature: float | Schedule, step: ArrayLike | None) -> ArrayLike:
    """A temperature, or what its schedule says at a step."""
    return temperature(jnp.asarray(step)) if callable(temperature) else temperature


def is_random(normalizer: str | Callable[..., Any]) -> bool:
    """Whether a normalizer takes a key."""
    return takes_key(normalizer_of(normalizer))


def noiseless_gumbel(
    logits: ArrayLike, axis: Axis, where: ArrayLike | None, temperature: ArrayLike, hard: bool
) -> Array:
    """What `gumbel_softmax` gives without the noise."""
    soft = softmax(logits, axis, where, temperature=temperature)
    return straight_through(hardmax(logits, axis, where), soft) if hard else soft


def initial_mixture(key: Array, features: int, classes: int, components: int) -> Params:
    """The parameters of a mixture of softmaxes over hidden states."""
    as_count(features, "features")
    as_count(classes, "classes")
    as_count(components, "components")
    shapes = {
        "latent_weight": (components, features, features),
        "latent_bias": (components, features),
        "prior_weight": (components, features),
        "weight": (classes, features),
        "bias": (classes,),
    }
    params = {}
    for (name, shape), part in zip(shapes.items(), jax.random.split(as_key(key), 5), strict=True):
        if name.endswith("bias"):
            params[name] = jnp.zeros(shape, jnp.float32)
        else:
            params[name] = jax.random.normal(part, shape, jnp.float32) / math.sqrt(features)
    return params


def mixture_scores(params: Mapping[str, Array], hidden: ArrayLike) -> tuple[Array, Array]:
    """The scores of the components, [..., components, classes], and of the mixture."""
    hidden = jnp.asarray(hidden)
    features = params["weight"].shape[1]
    if hidden.ndim == 0 or hidden.shape[-1] != features:
        raise ValueError(f"hidden must have shape (..., {features}), got {hidden.shape}")
    own = {name: value.astype(hidden.dtype) for name, value in params.items()}
    lead = (1,) * (hidden.ndim - 1)
    latent = jnp.einsum("...f,kgf->...kg", hidden, own["latent_weight"])
    latent = jnp.tanh(latent + own["latent_bias"].reshape(*lead, *own["latent_bias"].shape))
    scores = jnp.einsum("...kf,cf->...kc", latent, own["weight"])
    prior = jnp.einsum("...f,kf->...k", hidden, own["prior_weight"])
    return scores + own["bias"].reshape(*lead, 1, -1), prior


def mixture(params: Mapping[str, Array], hidden: ArrayLike) -> Array:
    """The probabilities of the mixture."""
    scores, prior = mixture_scores(params, hidden)
    return mixture_of_softmaxes(scores, mixture_logits=prior)


def log_mixture(params: Mapping[str, Array], hidden: ArrayLike) -> Array:
    """The logarithm of `mixture`, also of what is too small to be told from 0."""
    scores, prior = mixture_scores(params, hidden)
    return jax.nn.logsumexp(log_softmax(prior)[..., None] + log_softmax(scores), axis=-2)


def initial_attention(
    heads: int, sinks: float | None, position_scale: PositionScale | None
) -> Params:
    """The parameters of an attention, one of each a head: [N, 1, 1]."""
    ones = jnp.ones((as_count(heads, "num_heads"), 1, 1), jnp.float32)
    params = {}
    if sinks is not None:
        params["log_sinks"] = raw_of_positive(sinks, "sinks") * ones
    match position_scale:
        case None:
            pass
        case "ssmax":
            params["s"] = ones
        case "asentmax":
            params |= {"delta": ones, "raw_beta": 0 * ones, "raw_gamma": 0 * ones}
        case _:
            raise ValueError(
                f"position_scale must be 'ssmax', 'asentmax' or None, got {position_scale!r}"
            )
    return params


def attend(
    params: Mapping[str, Array],
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    normalizer: Callable[..., Any],
    flash: bool = False,
    alpha: Array | None = None,
    **keywords: Any,
) -> Array:
    """Attention with the sinks and the scales that the parameters say, at once or in blocks.

    `alpha` is that of a normalizer which learns it, for the blocks.
    """
    rule = {name: keywords.pop(name) for name in _RULE if name in keywords}
    arguments = as_arguments(query, key, value, bias, mask, dtype=keywords.get("dtype"), **rule)
    keywords["n"] = None if "log_sinks" not in params else jnp.exp(params["log_sinks"])
    keywords["scale"] = _position_scale(params, arguments, rule)
    if not flash:
        return dot_product_attention(
            query, key, value, bias, mask, normalizer=normalizer, **rule, **keywords
        )
    order = _fixed_alpha(normalizer) if alpha is None else alpha
    assert order is not None  # checked where the layer is made
    query, key, value = arguments.query, arguments.key, arguments.value
    own = _for_blocks(keywords)
    return flash_attention(query, key, value, bias, mask, alpha=order, **rule, **own)


def _for_blocks(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of Flax's keywords for `flash_attention`.

    Blocks have no dropout, no weights to show, and products of their own.
    """
    if keywords.get("dropout_rate", 0) > 0 and not keywords.get("deterministic", False):
        raise ValueError("dropout_rate must be 0, or the call deterministic, with flash=True")
    for name in ("module", "precision", "qk_attn_weights_einsum", "attn_weights_value_einsum"):
        if keywords.get(name) is not None:
            raise ValueError(f"{name} must be None with flash=True, got {keywords[name]!r:.80}")
    return {name: value for name, value in keywords.items() if name not in _FLAXS}


def _position_scale(
    params: Mapping[str, Array], arguments: Arguments, rule: Mapping[str, Any]
) -> Array | None:
    """The scale of the scores by the number of keys that a query sees, if it has parameters."""
    if "s" not in params and "delta" not in params:
        return None
    queries, _, size = arguments.query.shape[-3:]
    counts = visible_counts(queries, arguments.key.shape[-3], arguments.visibility.mask, **rule)
    if "s" in params:
        return scalable_softmax_scale(counts, params["s"], head_size=size)
    beta = jax.nn.softplus(params["raw_beta"])
    gamma = _GAMMA_LIMIT * jnp.tanh(params["raw_gamma"])
    return asentmax_scale(counts, params["delta"], beta, gamma, head_size=size)


def takes_a_key(head: Any) -> bool:
    """Whether the loss of an output layer draws something."""
    return bool(getattr(head, "stochastic", False))
