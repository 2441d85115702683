"""Logits of an output layer, a block of classes at a time.

`Layer` holds what the logits are made of and `Layout` says which classes a block has. A block's
logits exist while the block is worked on, in the forward pass and in the reverse pass alike.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array

# Logits of a block. Measured on a CPU, 1024 examples of 256 features and 50,257 classes: between
# 1,024 and 4,096 classes a block the time of a gradient differs by less than its noise, and from
# 4,096 on the memory by more than the block.
_BLOCK_LOGITS = 1 << 21
# Below this a product of matrices is slow; a block is then still smaller than the hidden states
# of the usual sizes, however many examples there are.
_SMALLEST_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which classes a block has: the same number of neighbours of each of so many equal parts.

    A class axis that is split over devices, whole parts each, stays split within a block: every
    device works on its own classes. The last block is what is left over of each part.

    Attributes:
      classes: how many classes there are.
      parts: how many parts; one has the blocks follow each other in the order of the classes.
      width: how many classes of each part a block has.
    """

    classes: int
    parts: int
    width: int

    @classmethod
    @functools.cache
    def of(cls, classes: int, examples: int, block: int | None, devices: int) -> "Layout":
        """Blocks for a class axis that as many devices have, or any number that divides theirs."""
        parts = math.gcd(classes, devices)
        each = classes // parts
        if block is not None:
            return cls(classes, parts, min(max(block // parts, 1), each))
        target = max(_BLOCK_LOGITS // max(examples, 1), _SMALLEST_BLOCK)
        width = max(target // parts, 1)
        if each <= width:
            return cls(classes, parts, each)
        if devices > 1:
            # Where nothing is left over the program has one block, not two.
            sizes = [w for w in range(max(width // 2, 1), 2 * width) if each % w == 0]
            width = min(sizes, key=lambda w: abs(w - width), default=width)
        return cls(classes, parts, width)

    @property
    def block(self) -> int:
        """How many classes a block of the full size has."""
        return self.parts * self.width

    @property
    def count(self) -> int:
        """How many blocks have the full size."""
        return self._each // self.width

    @property
    def rest(self) -> int:
        """How many classes are left over."""
        return self.classes - self.count * self.block

    def take(self, array: Array, index: Array | None, axis: int = 0) -> Array:
        """The block's part of an array with all classes on `axis`; no index for what is left."""
        start, width = self._within(index)
        part = lax.dynamic_slice_in_dim(self._split(array, axis), start, width, axis + 1)
        return part.reshape(*array.shape[:axis], self.parts * width, *array.shape[axis + 1 :])

    def put(self, array: Array, part: Array, index: Array | None, axis: int = 0) -> Array:
        """The inverse of `take`."""
        start, width = self._within(index)
        new = part.reshape(*array.shape[:axis], self.parts, width, *array.shape[axis + 1 :])
        split = lax.dynamic_update_slice_in_dim(self._split(array, axis), new, start, axis + 1)
        return split.reshape(array.shape)

    def ids(self, index: Array | None) -> Array:
        """The classes of the block."""
        start, width = self._within(index)
        first = self._each * jnp.arange(self.parts, dtype=jnp.int32) + start
        return (first[:, None] + jnp.arange(width, dtype=jnp.int32)[None, :]).reshape(-1)

    def places(self, ids: Array, index: Array | None) -> Array:
        """Where in the block a class is, -1 where it is not.

        Looking for the place among the first numbers costs less than for the class among `ids`.
        """
        start, width = self._within(index)
        part, own = ids // self._each, ids % self._each - start
        return jnp.where((own >= 0) & (own < width) & (ids >= 0), part * width + own, -1)

    @property
    def _each(self) -> int:
        """How many classes a part has."""
        return self.classes // self.parts

    def _within(self, index: Array | None) -> tuple[Array | int, int]:
        """Where the block begins in each part, and how many classes of it it has."""
        if index is None:
            return self.count * self.width, self._each - self.count * self.width
        return index * self.width, self.width

    def _split(self, array: Array, axis: int) -> Array:
        return array.reshape(*array.shape[:axis], self.parts, self._each, *array.shape[axis + 1 :])


class Layer(NamedTuple):
    """What the logits are made of, and with them the targets; all of it differentiable.

    Attributes:
      hidden: [examples, features].
      weight: [classes, features].
      bias: [classes], or none.
      softcap: a scalar, or none.
      labels: distributions [examples, classes], or none.
    """

    hidden: Array
    weight: Array
    bias: Array | None
    softcap: Array | None
    labels: Array | None

    def dtype(self) -> jnp.dtype:
        """The dtype of logits and of sums."""
        return dtype_of(self.hidden, self.weight)

    def at(self, layout: Layout, index: Array | None) -> "Layer":
        """The part of it that a block has."""
        return Layer(
            self.hidden,
            layout.take(self.weight, index),
            None if self.bias is None else layout.take(self.bias, index),
            self.softcap,
            None if self.labels is None else layout.take(self.labels, index, axis=1),
        )


class Change(NamedTuple):
    """A tangent or a cotangent of a `Layer`, none where it has none."""

    hidden: Array | None
    weight: Array | None
    bias: Array | None
    softcap: Array | None
    labels: Array | None

    @classmethod
    def of(cls, tangents: Any) -> "Change":
        """From the tangents of a layer, where a rule takes symbolic zeros."""
        return cls(*(None if isinstance(x, SymbolicZero) else x for x in tangents))

    def at(self, layout: Layout, index: Array | None) -> "Change":
        """The part of it that a block has."""
        return self._replace(
            weight=None if self.weight is None else layout.take(self.weight, index),
            bias=None if self.bias is None else layout.take(self.bias, index),
            labels=None if self.labels is None else layout.take(self.labels, index, axis=1),
        )


class Known(NamedTuple):
    """What has no derivative.

    Attributes:
      ids: the classes of the examples, [examples]; -1 where the label is no class. Or none.
      kept: which classes take part, [classes]. Or none.
    """

    ids: Array | None
    kept: Array | None


class Block(NamedTuple):
    """A block's logits and what they are worked out from.

    Attributes:
      scores: [examples, block]; `-inf` where the class does not take part.
      raw: the scores over the softcap, before its tanh; none without one.
      hit: whether the class is the label's, [examples, block]; none for distributions.
      layer: the block's part of the layer, the rows of classes that do not take part being 0.
      kept: which of the block's classes take part, or none.
    """

    scores: Array
    raw: Array | None
    hit: Array | None
    layer: Layer
    kept: Array | None

    @classmethod
    def of(cls, layer: Layer, known: Known, layout: Layout, index: Array | None) -> "Block":
        dtype, part = layer.dtype(), layer.at(layout, index)
        kept = None if known.kept is None else layout.take(known.kept, index)
        if kept is not None:
            # Whatever a class that is left out holds, it meets nothing.
            part = part._replace(weight=jnp.where(kept[:, None], part.weight, 0))
            if part.bias is not None:
                part = part._replace(bias=jnp.where(kept, part.bias, 0))
        scores = product(part.hidden, part.weight, (1, 1), dtype)
        if part.bias is not None:
            scores = scores + part.bias.astype(dtype)[None, :]
        raw = None
        if part.softcap is not None:
            cap = part.softcap.astype(dtype)
            raw = scores / cap
            scores = cap * jnp.tanh(raw)
        if kept is not None:
            # A minimum, unlike a select, joins the sums over the block.
            ceiling = jnp.where(kept, jnp.inf, -jnp.inf).astype(dtype)
            scores = jnp.minimum(scores, ceiling[None, :])
        hit = None
        if known.ids is not None:
            place = jnp.arange(scores.shape[1], dtype=jnp.int32)
            hit = place[None, :] == layout.places(known.ids, index)[:, None]
        return cls(scores, raw, hit, part, kept)

    def gap(self, top: Array) -> Array:
        """`scores - top`, at most 0; `top` is finite.

        Above 0 are a score of infinity, and the largest score where a fused multiply-add rounds it
        otherwise than it was rounded for `top`. Only the first has no derivative.
        """
        gap = jnp.minimum(self.scores - top[:, None], jnp.ones_like(top)[:, None])
        return gap - lax.stop_gradient(jnp.maximum(gap, 0))

    def on_label(self, values: Array) -> Array:
        """`<t, values>` of each example; a class without mass counts nothing, whatever it is."""
        if self.hit is not None:
            return jnp.sum(jnp.where(self.hit, values, 0), axis=-1)
        assert self.layer.labels is not None
        t = self.layer.labels.astype(values.dtype)
        return jnp.sum(jnp.where(t == 0, 0, t * values), axis=-1)

    def on_kept(self, values: Array) -> Array:
        """The sum over the classes that take part."""
        if self.kept is not None:
            values = jnp.where(self.kept[None, :], values, 0)
        return jnp.sum(values, axis=-1)

    def moved(self, change: Change) -> Array:
        """The change of the scores with the layer, in those classes that take part."""
        dtype, here = self.scores.dtype, self.layer
        moved = jnp.zeros_like(self.scores)
        if change.hidden is not None:
            moved = moved + product(change.hidden, here.weight, (1, 1), dtype)
        if change.weight is not None:
            moved = moved + product(here.hidden, change.weight, (1, 1), dtype)
        if change.bias is not None:
            moved = moved + change.bias.astype(dtype)[None, :]
        if self.raw is not None:
            moved = moved * self._slope()
            if change.softcap is not None:
                moved = moved + self._softcap_slope() * change.softcap.astype(dtype)
        return moved if self.kept is None else jnp.where(self.kept[None, :], moved, 0)

    def pulled(self, weights: Array, wanted: Change) -> Change:
        """The transpose of `moved`: what the scores' cotangent gives each part of the layer."""
        dtype, here = self.scores.dtype, self.layer
        if self.kept is not None:
            weights = jnp.where(self.kept[None, :], weights, 0)
        inner = weights if self.raw is None else weights * self._slope()
        return Change(
            None if wanted.hidden is None else product(inner, here.weight, (1, 0), dtype),
            None if wanted.weight is None else product(inner, here.hidden, (0, 0), dtype),
            None if wanted.bias is None else jnp.sum(inner, axis=0),
            None if wanted.softcap is None else jnp.sum(weights * self._softcap_slope()),
            None,
        )

    def _slope(self) -> Array:
        """The derivative of `cap * tanh(u / cap)` for u."""
        assert self.raw is not None
        return 1 - jnp.square(jnp.tanh(self.raw))

    def _softcap_slope(self) -> Array:
        """The derivative of `cap * tanh(u / cap)` for the cap."""
        assert self.raw is not None
        return jnp.tanh(self.raw) - self.raw * self._slope()


def dtype_of(hidden: Array, weight: Array) -> jnp.dtype:
    """The dtype of logits and of sums: at least float32, and that of the wider one."""
    wide = (compute_dtype(hidden.dtype), compute_dtype(weight.dtype))
    return jnp.dtype(max(wide, key=lambda dtype: jnp.dtype(dtype).itemsize))


def product(a: Array, b: Array, axes: tuple[int, int], dtype: jnp.dtype) -> Array:
    """The product of two matrices over an axis of each, summed in `dtype`.

    Factors of two dtypes are widened to it: neither loses the digits that the other has not.
    """
    both = a.dtype if a.dtype == b.dtype else dtype
    return lax.dot_general(
        a.astype(both),
        b.astype(both),
        (((axes[0],), (axes[1],)), ((), ())),
        preferred_element_type=dtype,
    )
