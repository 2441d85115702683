"""What the fused losses of an output layer share besides the sums: targets and weights."""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp

from softmax_variants._sharding import device_count
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_parameter, equals_id
from softmax_variants.heads._arguments import (
    as_floating,
    as_hidden,
    as_kept,
    as_rows,
    as_targets,
    per_row,
)
from softmax_variants.heads._blocks import Known, Layer, Layout, dtype_of
from softmax_variants.heads._spoiling import spoiled
from softmax_variants.heads._sums import Sums

# Where no mesh says how many devices there are, a split class axis stays split over so many.
_DEVICES = (64, 32, 16, 8)


class Weighing(NamedTuple):
    """What turns sums into losses, besides the layer; one number an example, or none.

    Attributes:
      smoothing: [examples] mass of the uniform distribution.
      class_weights: [classes].
      ignored: which examples have loss 0, [examples].
      valid: which labels are classes, [examples].
    """

    smoothing: Array | None
    class_weights: Array | None
    ignored: Array | None
    valid: Array | None


class Problem(NamedTuple):
    """All examples on one axis."""

    layer: Layer
    known: Known
    weighing: Weighing


class Inputs(NamedTuple):
    """The arguments of a loss after all checks, still in their own shapes.

    Attributes:
      hidden: [..., features].
      labels: class ids [...] or distributions [..., classes].
      weight: [classes, features].
      bias: [classes], or none.
      kept: which classes take part, [classes], or none.
      smoothing: broadcasts to [...], or none.
      softcap: a scalar, or none.
      class_weights: [classes], or none.
    """

    hidden: Array
    labels: Array
    weight: Array
    bias: Array | None
    kept: Array | None
    smoothing: Array | None
    softcap: Array | None
    class_weights: Array | None

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape of the examples."""
        return self.hidden.shape[:-1]

    def of_examples(self, value: Array) -> Array:
        """A parameter in the dtype of the sums, one number an example, [examples]."""
        wide = value.astype(dtype_of(self.hidden, self.weight))
        return jnp.broadcast_to(wide, self.batch).reshape(-1)

    def layout(self, block_size: int | None) -> Layout:
        """Blocks that are split over the devices as the class axis is.

        Distributions are read faster in neighbouring classes: they are, where there is no mesh.
        """
        of = functools.partial(Layout.of, self.weight.shape[0], math.prod(self.batch), block_size)
        devices = device_count()
        if devices is not None:
            return of(devices)
        if jnp.issubdtype(self.labels.dtype, jnp.floating):
            return of(1)
        if block_size is not None:
            most = _DEVICES[0]
            return of(math.gcd(block_size, most) if block_size < most else most)
        # Where nothing is left over the program has one block, not two.
        return min(map(of, _DEVICES), key=lambda layout: layout.rest > 0)

    def problem(self, ignore_index: int | None) -> Problem:
        """The same with all examples on one axis."""
        examples, classes = math.prod(self.batch), self.weight.shape[0]
        rows = as_rows(self.hidden)
        smoothing = None if self.smoothing is None else self.of_examples(self.smoothing)
        if jnp.issubdtype(self.labels.dtype, jnp.floating):
            labels = self.labels.reshape(examples, classes)
            layer = Layer(rows, self.weight, self.bias, self.softcap, labels)
            weighing = Weighing(smoothing, self.class_weights, None, None)
            return Problem(layer, Known(None, self.kept), weighing)
        ids = self.labels.reshape(examples)
        valid = ids >= 0
        if classes <= int(jnp.iinfo(ids.dtype).max):
            valid = valid & (ids < classes)
        ignored = None
        if ignore_index is not None:
            ignored = equals_id(ids, ignore_index)
            # Selected away before and after: whatever an ignored example holds, it has no gradient.
            rows = jnp.where(ignored[:, None], 0, rows)
            valid = valid | ignored
            ids = jnp.where(ignored, 0, ids)
        ids = jnp.where(valid, ids.astype(jnp.int32), -1)
        layer = Layer(rows, self.weight, self.bias, self.softcap, None)
        weighing = Weighing(smoothing, self.class_weights, ignored, valid)
        return Problem(layer, Known(ids, self.kept), weighing)


def as_inputs(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    *,
    where: ArrayLike | None,
    label_smoothing: ArrayLike,
    softcap: ArrayLike | None,
    class_weights: ArrayLike | None,
    ignore_index: int | None,
) -> Inputs:
    """The arguments after all checks."""
    hidden, weight = as_hidden(hidden, weight)
    batch, classes = hidden.shape[:-1], weight.shape[0]
    labels = as_targets(labels, batch, classes, ignore_index)
    kept = as_kept(where, classes)
    bias = None if bias is None else as_floating(bias, "bias", (classes,))
    cap = None
    if softcap is not None:
        cap = as_parameter(softcap, "softcap", low=0, low_open=True, high_open=True)
        if cap.ndim:
            raise ValueError(f"softcap must be a scalar, got shape {cap.shape}")
    if class_weights is not None:
        class_weights = as_floating(class_weights, "class_weights", (classes,))
        as_parameter(class_weights, "class_weights", low=0)
        class_weights = jnp.where(class_weights >= 0, class_weights, jnp.nan)
    smoothing: Array | None = None
    # Only a literal 0 skips the smoothing, which it then leaves as it is to the last bit.
    if not (isinstance(label_smoothing, float | int) and label_smoothing == 0):
        smoothing = per_row(label_smoothing, "label_smoothing", batch, high=1)
    return Inputs(hidden, labels, weight, bias, kept, smoothing, cap, class_weights)


def class_count(known: Known, layout: Layout, dtype: jnp.dtype) -> Array:
    """How many classes take part, at least 1."""
    if known.kept is None:
        return jnp.asarray(layout.classes, dtype)
    return jnp.maximum(jnp.sum(known.kept, dtype=jnp.int32), 1).astype(dtype)


def expected(problem: Problem, sums: Sums, layout: Layout) -> Array:
    """The score that the smoothed target expects, relative to the largest."""
    smoothing = problem.weighing.smoothing
    if smoothing is None:
        return sums.label
    assert sums.kept is not None
    mean = sums.kept / class_count(problem.known, layout, sums.label.dtype)
    # What has no mass counts nothing, however far below it is.
    label = jnp.where((smoothing == 1) & jnp.isneginf(sums.label), 0, sums.label)
    mean = jnp.where((smoothing == 0) & jnp.isneginf(mean), 0, mean)
    return (1 - smoothing) * label + smoothing * mean


def weighed(problem: Problem, loss: Array) -> Array:
    """The losses times the weights of their labels' classes; NaN and 0 where the label says so."""
    weighing, ids = problem.weighing, problem.known.ids
    if weighing.class_weights is not None:
        weights = weighing.class_weights.astype(loss.dtype)
        if ids is not None:
            loss = loss * jnp.take(weights, jnp.maximum(ids, 0), axis=0)
        else:
            assert problem.layer.labels is not None
            loss = loss * jnp.matmul(problem.layer.labels.astype(loss.dtype), weights)
    return loss


def answered(problem: Problem, value: Array) -> Array:
    """NaN where the label is no class, 0 where the example is ignored."""
    weighing = problem.weighing
    if weighing.valid is not None:
        value = spoiled(value, weighing.valid)
    if weighing.ignored is not None:
        value = jnp.where(weighing.ignored, 0, value)
    return value


def entropy_terms(problem: Problem, layout: Layout, dtype: jnp.dtype) -> tuple[Array, ...] | None:
    """The smoothed target's masses and how many classes have each, `(mass, count, ...)`.

    For ids there are two: the label's own and that of every other class that takes part; for
    distributions one, [examples, classes], each once. None where the target is one class.
    """
    smoothing, known = problem.weighing.smoothing, problem.known
    if known.ids is None:
        labels = problem.layer.labels
        assert labels is not None
        t = labels.astype(dtype)
        if smoothing is not None:
            kept = jnp.ones(layout.classes, bool) if known.kept is None else known.kept
            uniform = kept.astype(dtype) / class_count(known, layout, dtype)
            t = (1 - smoothing)[:, None] * t + smoothing[:, None] * uniform[None, :]
        return t, jnp.ones((), dtype)
    if smoothing is None:
        return None
    total = class_count(known, layout, dtype)
    inside = jnp.ones_like(smoothing)
    if known.kept is not None:
        inside = jnp.take(known.kept, jnp.maximum(known.ids, 0), axis=0).astype(dtype)
    share = smoothing / total
    return 1 - smoothing + share * inside, jnp.ones((), dtype), share, total - inside
