"""The scores of one block of queries and keys, and what skips a block that nothing sees."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from softmax_variants._numerics import compute_dtype
from softmax_variants._typing import Array
from softmax_variants.attention._arguments import Visibility
from softmax_variants.attention._parts import Layout, Parts
from softmax_variants.attention._weights import Kind


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is static.

    Attributes:
      kind: the formula of the weights.
      layout: the sizes of the blocks.
      shape: that of the scores, before padding: batch, key heads, group, queries, keys.
      causal: query t sees the keys s <= t.
      window: (left, right) as in `Visibility`.
    """

    kind: Kind
    layout: Layout
    shape: tuple[int, int, int, int, int]
    causal: bool
    window: tuple[int, int] | None


class QueryInputs(NamedTuple):
    """What has a row for each query; a tangent of it has none where there is no change.

    Attributes:
      query: [batch, heads, group, queries, features].
      scale: what products are multiplied with, [..., queries, 1] up to broadcasting; so are alpha
        and the number of sinks, each of them or none.
      alpha: entmax's.
      sinks: how many further scores of 0 there are.
    """

    query: Any
    scale: Any
    alpha: Any
    sinks: Any


class KeyInputs(NamedTuple):
    """What has a row for each key: [batch, heads, 1, keys, features]."""

    key: Any
    value: Any


class Lengths(NamedTuple):
    """int32 [batch, 1, 1, 1, 1] each, or none."""

    queries: Array | None
    keys: Array | None


class Block(NamedTuple):
    """A block of queries and keys.

    Attributes:
      inputs: `QueryInputs`, `KeyInputs` and the bias or none.
      visible: which pairs take part, or none for all.
    """

    inputs: Parts
    visible: Array | None

    @classmethod
    def of(cls, plan: Plan, inputs: Parts, known: Parts, query: Array, key: Array) -> "Block":
        """The block whose first query and key have these numbers.

        `known` has the `Lengths` and the mask or none.
        """
        lengths: Lengths = known.rows
        size = inputs.rows.query.shape[3], inputs.keys.key.shape[3]
        rule = Visibility(
            None, lengths.queries, lengths.keys, plan.causal, plan.window, rank=5
        ).by_position(
            query + jnp.arange(size[0], dtype=jnp.int32), key + jnp.arange(size[1], dtype=jnp.int32)
        )
        mask = known.pairs
        if rule is not None and mask is not None:
            rule = rule & mask
        return cls(inputs, mask if rule is None else rule)

    def products(self) -> Array:
        """The products of queries and keys."""
        return pairs_of(self.inputs.rows.query, self.inputs.keys.key)

    def scores(self, products: Array) -> Array:
        """The scores, `-inf` where the pair does not take part."""
        rows, bias = self.inputs.rows, self.inputs.pairs
        scores = products * rows.scale
        if bias is not None:
            scores = scores + bias.astype(scores.dtype)
        if self.visible is not None:
            scores = jnp.where(self.visible, scores, -jnp.inf)
        return scores

    def shape(self) -> tuple[int, ...]:
        """That of the scores."""
        return (*self.inputs.rows.query.shape[:-1], self.inputs.keys.key.shape[3])

    def if_visible(self, f: Callable[..., Any], otherwise: Callable[..., Any], *args: Any) -> Any:
        """`f(*args)`, or what costs less if no pair of the block takes part."""
        if self.visible is None:
            return f(*args)
        return lax.cond(needed(self.visible), f, otherwise, *args)


@custom_vmap
def needed(parts: Array) -> Array:
    """Whether any of these is true.

    Under `vmap` it is so if it is for any member of the batch: the answer stays one, and what is
    skipped stays skipped. That costs the others time and changes no result.
    """
    return jnp.any(parts)


@needed.def_vmap
def _needed_by_any(axis_size: int, in_batched: list[bool], parts: Array) -> tuple[Array, bool]:
    del axis_size, in_batched
    return needed(parts), False


def pairs_of(queries: Array, keys: Array) -> Array:
    """`<queries, keys>` for all pairs, from [..., queries, x] and [batch, heads, 1, keys, x]."""
    a, b = wide(queries), wide(keys)
    return jnp.einsum("bhgqx,bhkx->bhgqk", a, b[:, :, 0])


def sums_of(weights: Array, keys: Array) -> Array:
    """Sums over the keys, [..., queries, x]."""
    return jnp.einsum("bhgqk,bhkx->bhgqx", weights, wide(keys)[:, :, 0])


def filled(like: Array, value: float, size: int | None = None) -> Array:
    """An array of one value that differs over the devices of a `shard_map` if `like` does.

    `size` is that of its last axis, if it is another.
    """
    shape = like.shape if size is None else (*like.shape[:-1], size)
    return jnp.full(shape, value, like.dtype) + nothing(like).astype(like.dtype)


def nothing(tree: Any) -> Array:
    """0, which depends on every array of the tree all the same, whatever they hold."""
    none = jnp.zeros((), jnp.int32)
    for leaf in jax.tree.leaves(tree):  # the compiler folds it: nothing is added up
        none = none + jnp.any(lax.stop_gradient(leaf) != leaf.dtype.type(0)).astype(jnp.int32) * 0
    return none


def wide(x: Array) -> Array:
    """In at least float32."""
    return x.astype(compute_dtype(x.dtype))
