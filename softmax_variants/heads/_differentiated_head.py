"""Differentiated softmax as an output layer: its parameters, evaluation and samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key
from softmax_variants.heads._adaptive_head import check_shapes, initial
from softmax_variants.heads._arguments import as_rows
from softmax_variants.heads._cutoffs import as_cutoffs
from softmax_variants.heads._differentiated import Tables, as_tables, differentiated_softmax_loss
from softmax_variants.heads._head import Params
from softmax_variants.heads._parts import drawn, largest, logits, merged


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class DifferentiatedSoftmax:
    r"""An output layer of one softmax whose classes see different numbers of features.

    .. math:: P(y) \propto \exp(w_y \cdot h_k + b_y), \qquad c_k \le y < c_{k+1}

    with h = [h_1, ..., h_K], or h_k = P_k h where it is `projected`. Its loss is
    `differentiated_softmax_loss`. The parameters are `weight_i` [classes of the part, width] for
    each part i, `bias` [classes] and, where it is projected, `projection_i` [width, features].

    Args:
      features: of the hidden states.
      classes: their number.
      cutoffs: the first class of each part after the first, rising, above 0 and below `classes`.
      widths: how many features each part sees, one number more than cutoffs; they sum to `features`
        unless it is projected.
      projected: whether each part has a projection of its own (D-softmax*).

    Raises:
      TypeError: sizes that are not integers.
      ValueError: cutoffs that do not rise or are out of range; widths that do not fit.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.DifferentiatedSoftmax(features=8, classes=100, cutoffs=(10,), widths=(6, 2))
      >>> params = head.init(jax.random.key(0))
      >>> print({name: x.shape for name, x in sorted(params.items())})
      {'bias': (100,), 'weight_0': (10, 6), 'weight_1': (90, 2)}
      >>> log_probs, ids = head.top_k(params, jnp.ones((3, 8)), 5)
      >>> print(log_probs.shape, ids.shape)
      (3, 5) (3, 5)

    References:
      Chen, Grangier and Auli, `Strategies for Training Large Vocabulary Neural Language Models
      <https://arxiv.org/abs/1512.04906>`_, 2016.
    """

    features: int
    classes: int
    cutoffs: tuple[int, ...]
    widths: tuple[int, ...]
    projected: bool = False

    def __post_init__(self) -> None:
        as_count(self.features, "features")
        as_count(self.classes, "classes", low=2)
        object.__setattr__(self, "cutoffs", as_cutoffs(self.cutoffs, self.classes))
        widths = tuple(as_count(w, f"widths[{i}]") for i, w in enumerate(self.widths))
        if len(widths) != len(self.cutoffs) + 1:
            raise ValueError(
                f"widths must have {len(self.cutoffs) + 1} numbers, one a part, got {widths}"
            )
        if not self.projected and sum(widths) != self.features:
            raise ValueError(f"widths must sum to the {self.features} features, got {widths}")
        object.__setattr__(self, "widths", widths)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        bounds = (0, *self.cutoffs, self.classes)
        shapes: dict[str, tuple[int, ...]] = {}
        for i, width in enumerate(self.widths):
            shapes[f"weight_{i}"] = (bounds[i + 1] - bounds[i], width)
            if self.projected:
                shapes[f"projection_{i}"] = (width, self.features)
        shapes["bias"] = (self.classes,)
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
        return differentiated_softmax_loss(
            hidden,
            labels,
            tables.weights,
            tables.bias,
            projections=tables.projections,
            where=where,
        )

    def log_prob(self, params: Params, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The log-probability of each label."""
        return -self.loss(params, hidden, labels)

    def log_probs(self, params: Params, hidden: ArrayLike) -> Array:
        """The log-probabilities of all classes, [..., classes]."""
        hidden, tables = self._tables(params, hidden)
        found: Array = over_devices(_log_probs, hidden, tables, split=examples_of(hidden))
        return found

    def top_k(self, params: Params, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`."""
        k = as_count(k, "k", high=self.classes)
        hidden, tables = self._tables(params, hidden)
        run = functools.partial(_top_k, k=k)
        log_probs, ids = over_devices(run, hidden, tables, split=examples_of(hidden))
        return log_probs, ids

    def sample(self, params: Params, hidden: ArrayLike, key: Array) -> Array:
        """A class of each example: the largest score with Gumbel noise over all parts."""
        hidden, tables = self._tables(params, hidden)
        ids: Array = over_devices(_sample, hidden, tables, as_key(key), split=examples_of(hidden))
        return ids

    def _tables(self, params: Params, hidden: ArrayLike) -> tuple[Array, Tables]:
        check_shapes(params, self.shapes)
        parts = range(len(self.widths))
        weights = [params[f"weight_{i}"] for i in parts]
        projections = [params[f"projection_{i}"] for i in parts] if self.projected else None
        return as_tables(hidden, weights, params["bias"], projections)


@jax.jit
def _log_probs(hidden: Array, tables: Tables) -> Array:
    rows, classes = as_rows(hidden), tables.bounds[-1]
    scores = jnp.concatenate([logits(*part) for part in tables.parts(rows)], axis=-1)
    return jax.nn.log_softmax(scores, axis=-1).reshape(*hidden.shape[:-1], classes)


@functools.partial(jax.jit, static_argnames=("k",))
def _top_k(hidden: Array, tables: Tables, k: int) -> tuple[Array, Array]:
    rows = as_rows(hidden)
    best, ids, normalizers = None, None, []
    for part, first in zip(tables.parts(rows), tables.bounds[:-1], strict=True):
        found = largest(*part, min(k, part.weight.shape[0]))
        normalizers.append(found.log_normalizer)
        if best is None or ids is None:
            missing = ((0, 0), (0, k - found.ids.shape[1]))
            best = jnp.pad(found.scores, missing, constant_values=-jnp.inf)
            ids = jnp.pad(found.ids, missing)
        else:
            best, ids = merged(best, ids, found.scores, first + found.ids)
    assert best is not None
    assert ids is not None
    whole = jax.nn.logsumexp(jnp.stack(normalizers, axis=-1), axis=-1)
    shape = (*hidden.shape[:-1], k)
    return (best - whole[:, None]).reshape(shape), ids.reshape(shape)


@jax.jit
def _sample(hidden: Array, tables: Tables, key: Array) -> Array:
    rows = as_rows(hidden)
    best, ids = jnp.full(rows.shape[0], -jnp.inf, jnp.float32), jnp.zeros(rows.shape[0], jnp.int32)
    keys = jax.random.split(key, len(tables.weights))
    for i, part in enumerate(tables.parts(rows)):
        new, found = drawn(keys[i], *part)
        better = new > best
        best = jnp.where(better, new, best.astype(new.dtype))
        ids = jnp.where(better, found + tables.bounds[i], ids)
    return ids.reshape(hidden.shape[:-1])
