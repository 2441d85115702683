"""Adaptive softmax as an output layer: its parameters, its exact evaluation and its samples."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key
from softmax_variants.heads._adaptive import Tables, adaptive_softmax_loss, as_tables, project
from softmax_variants.heads._arguments import as_rows, as_shares
from softmax_variants.heads._cutoffs import as_cutoffs, tail_widths
from softmax_variants.heads._groups import Groups, capacity_of, zipf_shares
from softmax_variants.heads._head import Params
from softmax_variants.heads._parts import drawn, largest, logits, merged


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class AdaptiveSoftmax:
    r"""An output layer that gives rare classes fewer features and less work.

    .. math:: P(y) = \mathrm{softmax}(W h + b)_{c_0 + i} \; \mathrm{softmax}(U_i P_i h)_{y - c_i},
              \qquad c_i \le y < c_{i+1}

    and `softmax(W h + b)_y` for the classes below the first cutoff. Its loss is
    `adaptive_softmax_loss`. The parameters are `head` [cutoffs[0] + tails, features],
    `projection_i` [width, features] and `tail_i` [classes of the tail, width] for each tail i, and
    `bias` [cutoffs[0] + tails] with `head_bias`.

    Args:
      features: of the hidden states.
      classes: their number; numbered by falling frequency.
      cutoffs: the first class of each tail, rising, above 0 and below `classes`; see
        `choose_cutoffs`.
      div_value: each tail has a `div_value`-th of the features of the one before it, rounded down.
      head_bias: whether the head has a bias. Tails never have one.
      tail_shares: which share of the examples each tail is expected to get, by default that of
        Zipf's law. The time depends on it, the result never does.

    Raises:
      TypeError: sizes that are not integers.
      ValueError: cutoffs that do not rise or are out of range; a tail left without a feature.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.AdaptiveSoftmax(features=8, classes=100, cutoffs=(10, 40), div_value=2.0)
      >>> params = head.init(jax.random.key(0))
      >>> print({name: x.shape for name, x in sorted(params.items()) if "tail" in name})
      {'tail_0': (30, 4), 'tail_1': (60, 2)}
      >>> log_probs = head.log_probs(params, jnp.ones((3, 8)))
      >>> print(log_probs.shape, bool(jnp.allclose(jnp.exp(log_probs).sum(-1), 1)))
      (3, 100) True

    References:
      Grave et al., `Efficient softmax approximation for GPUs
      <https://arxiv.org/abs/1609.04309>`_, 2017.
    """

    features: int
    classes: int
    cutoffs: tuple[int, ...]
    div_value: float = 4.0
    head_bias: bool = False
    tail_shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        as_count(self.features, "features")
        as_count(self.classes, "classes", low=2)
        object.__setattr__(self, "cutoffs", as_cutoffs(self.cutoffs, self.classes))
        if not self.div_value > 0:
            raise ValueError(f"div_value must be above 0, got {self.div_value:g}")
        tail_widths(self.features, len(self.cutoffs), self.div_value)
        if self.tail_shares is not None:
            shares = as_shares(self.tail_shares, len(self.cutoffs))
            object.__setattr__(self, "tail_shares", shares)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        bounds, tails = (*self.cutoffs, self.classes), len(self.cutoffs)
        shapes: dict[str, tuple[int, ...]] = {"head": (bounds[0] + tails, self.features)}
        if self.head_bias:
            shapes["bias"] = (bounds[0] + tails,)
        for i, width in enumerate(tail_widths(self.features, tails, self.div_value)):
            shapes[f"projection_{i}"] = (width, self.features)
            shapes[f"tail_{i}"] = (bounds[i + 1] - bounds[i], width)
        return shapes

    def init(self, key: Array) -> Params:
        """Initial parameters in float32: uniform, with a variance of 1/3 over the inputs."""
        return initial(as_key(key), self.shapes)

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The negative log-probability of each label; the key is not needed."""
        hidden, tables = self._tables(params, hidden)
        return adaptive_softmax_loss(
            hidden,
            labels,
            tables.weight,
            tables.bias,
            tails=tables.tails,
            where=where,
            tail_shares=self.tail_shares,
        )

    def log_prob(self, params: Params, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The log-probability of each label: the head's, and that of the label's own tail."""
        return -self.loss(params, hidden, labels)

    def log_probs(self, params: Params, hidden: ArrayLike) -> Array:
        """The log-probabilities of all classes, [..., classes]."""
        hidden, tables = self._tables(params, hidden)
        found: Array = over_devices(_log_probs, hidden, tables, split=examples_of(hidden))
        return found

    def top_k(self, params: Params, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`.

        A class of a tail is at most as probable as the whole tail: a tail that no example of the
        batch can need is not looked at.
        """
        k = as_count(k, "k", high=self.classes)
        hidden, tables = self._tables(params, hidden)
        run = functools.partial(_top_k, k=k)
        log_probs, ids = over_devices(run, hidden, tables, split=examples_of(hidden))
        return log_probs, ids

    def sample(self, params: Params, hidden: ArrayLike, key: Array) -> Array:
        """A class of each example: from the head, and where that is a tail, from within it."""
        hidden, tables = self._tables(params, hidden)
        shares = self.tail_shares or zipf_shares(self.cutoffs, self.classes)
        run = functools.partial(_sample, shares=shares)
        ids: Array = over_devices(run, hidden, tables, as_key(key), split=examples_of(hidden))
        return ids

    def _tables(self, params: Params, hidden: ArrayLike) -> tuple[Array, Tables]:
        check_shapes(params, self.shapes)
        tails = [(params[f"projection_{i}"], params[f"tail_{i}"]) for i in range(len(self.cutoffs))]
        return as_tables(hidden, params["head"], params.get("bias"), tails)


def initial(key: Array, shapes: dict[str, tuple[int, ...]]) -> Params:
    """Uniform matrices with a variance of 1/3 over the inputs, and biases of 0."""
    params = {}
    for name, part in zip(shapes, jax.random.split(key, len(shapes)), strict=True):
        shape = shapes[name]
        bound = shape[-1] ** -0.5
        params[name] = (
            jax.random.uniform(part, shape, jnp.float32, -bound, bound)
            if len(shape) == 2
            else jnp.zeros(shape, jnp.float32)
        )
    return params


def check_shapes(params: Params, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises unless the parameters are those of the layer."""
    if set(params) != set(shapes):
        raise ValueError(f"params must have {sorted(shapes)}, got {sorted(params)}")
    for name, shape in shapes.items():
        if jnp.shape(params[name]) != shape:
            raise ValueError(
                f"params[{name!r}] must have shape {shape}, got {jnp.shape(params[name])}"
            )


@jax.jit
def _log_probs(hidden: Array, tables: Tables) -> Array:
    rows, shortlist = as_rows(hidden), tables.cutoffs[0]
    head = jax.nn.log_softmax(logits(rows, tables.weight, tables.bias), axis=-1)
    parts = [head[:, :shortlist]]
    for i, (down, up) in enumerate(tables.tails):
        inner = jax.nn.log_softmax(logits(project(rows, down), up), axis=-1)
        parts.append(head[:, shortlist + i, None] + inner)
    return jnp.concatenate(parts, axis=-1).reshape(*hidden.shape[:-1], tables.cutoffs[-1])


@functools.partial(jax.jit, static_argnames=("k",))
def _top_k(hidden: Array, tables: Tables, k: int) -> tuple[Array, Array]:
    rows, cutoffs = as_rows(hidden), tables.cutoffs
    short, bias = cutoffs[0], tables.bias
    listed = largest(
        rows, tables.weight[:short], None if bias is None else bias[:short], min(k, short)
    )
    entries = logits(rows, tables.weight[short:], None if bias is None else bias[short:])
    whole = jnp.logaddexp(listed.log_normalizer, jax.nn.logsumexp(entries, axis=-1))
    entries = entries - whole[:, None]
    missing = ((0, 0), (0, k - min(k, short)))
    best = jnp.pad(listed.scores - whole[:, None], missing, constant_values=-jnp.inf)
    ids = jnp.pad(listed.ids, missing)
    for i, (down, up) in enumerate(tables.tails):

        def search(
            best: Array, ids: Array, i: int = i, down: Array = down, up: Array = up
        ) -> tuple[Array, Array]:
            found = largest(project(rows, down), up, None, min(k, up.shape[0]))
            inner = found.scores - found.log_normalizer[:, None]
            return merged(best, ids, entries[:, i, None] + inner, cutoffs[i] + found.ids)

        needed = jnp.any(entries[:, i] >= best[:, -1])
        best, ids = lax.cond(needed, search, lambda best, ids: (best, ids), best, ids)
    shape = (*hidden.shape[:-1], k)
    return best.reshape(shape), ids.reshape(shape)


@functools.partial(jax.jit, static_argnames=("shares",))
def _sample(hidden: Array, tables: Tables, key: Array, shares: tuple[float, ...]) -> Array:
    rows, cutoffs = as_rows(hidden), tables.cutoffs
    keys = jax.random.split(key, len(tables.tails) + 1)
    _, ids = drawn(keys[0], rows, tables.weight, tables.bias)
    groups = Groups.of(jnp.maximum(ids - cutoffs[0], -1), len(tables.tails))
    tail = ids >= cutoffs[0]
    found = jnp.zeros_like(ids)
    for i, (down, up) in enumerate(tables.tails):
        capacity = capacity_of(shares[i], rows.shape[0])
        data = (rows, down, up, keys[i + 1], jnp.int32(cutoffs[i]))
        found = found + groups.apply(_drawn_within, i, capacity, (), data)
    return jnp.where(tail, found, ids).reshape(hidden.shape[:-1])


def _drawn_within(
    _: Any, data: Any, examples: Array, live: Array, memo: None
) -> tuple[Array, tuple[()]]:
    """Classes of some examples from within one tail; a chunk's noise is that of its first."""
    rows, down, up, key, first = data
    if not examples.shape[0]:
        return jnp.zeros(0, jnp.int32), ()
    key = jax.random.fold_in(key, examples[0])
    return first + drawn(key, project(rows[examples], down), up)[1], ()
