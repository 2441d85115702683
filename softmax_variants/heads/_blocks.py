"""Logits of an output layer, a block of classes at a time.

`Layer` holds what the logits are made of and `Layout` says which classes a block has. A block's
logits exist while the block is worked on, in the forward pass and in the reverse pass alike.
"""

import dataclasses
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
    """Which classes a block has: every `count`-th class, or neighbours.

    A class axis split over devices stays split within a block of every k-th class. It needs blocks
    of one size; neighbours do not, the last block being what is left over.
    """

    classes: int
    block: int
    strided: bool

    @classmethod
    def of(cls, classes: int, examples: int, block: int | None, strided: bool) -> "Layout":
        if block is not None:
            block = min(block, classes)
            return cls(classes, block, strided and classes % block == 0)
        target = max(_BLOCK_LOGITS // max(examples, 1), _SMALLEST_BLOCK)
        if classes <= target:
            return cls(classes, classes, strided)
        if strided:
            # Of the sizes near the target the one that most numbers of devices divide.
            sizes = [b for b in range(target // 2, 2 * target) if classes % b == 0]
            if sizes:
                best = max(sizes, key=lambda b: (min(b & -b, 64), -abs(b - target)))
                return cls(classes, best, True)
        return cls(classes, target, False)

    @property
    def count(self) -> int:
        """How many blocks have the full size."""
        return self.classes // self.block

    @property
    def rest(self) -> int:
        """How many classes are left over."""
        return self.classes - self.count * self.block

    def take(self, array: Array, index: Array | None, axis: int = 0) -> Array:
        """The block's part of an array with all classes on `axis`; no index for what is left."""
        if index is None:
            return lax.slice_in_dim(array, self.classes - self.rest, self.classes, axis=axis)
        if self.strided:
            return lax.dynamic_index_in_dim(self._split(array, axis), index, axis + 1, False)
        return lax.dynamic_slice_in_dim(array, index * self.block, self.block, axis)

    def put(self, array: Array, part: Array, index: Array | None, axis: int = 0) -> Array:
        """The inverse of `take`."""
        if index is not None and self.strided:
            split = lax.dynamic_update_index_in_dim(
                self._split(array, axis), jnp.expand_dims(part, axis + 1), index, axis + 1
            )
            return split.reshape(array.shape)
        start = self.classes - self.rest if index is None else index * self.block
        return lax.dynamic_update_slice_in_dim(array, part, start, axis)

    def ids(self, index: Array | None) -> Array:
        """The classes of the block."""
        if index is None:
            return jnp.arange(self.classes - self.rest, self.classes, dtype=jnp.int32)
        steps = jnp.arange(self.block, dtype=jnp.int32)
        return index + self.count * steps if self.strided else index * self.block + steps

    def _split(self, array: Array, axis: int) -> Array:
        shape = (*array.shape[:axis], self.block, self.count, *array.shape[axis + 1 :])
        return array.reshape(shape)


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
            hit = layout.ids(index)[None, :] == known.ids[:, None]
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
