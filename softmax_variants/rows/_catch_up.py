"""Takes rows through the steps that they missed, with gradients of zero, as a dense step would."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from softmax_variants._typing import Array
from softmax_variants.rows._ids import accumulated
from softmax_variants.rows._transform import Split, State, flattened, trial, tried, updated_by_row


def caught_up(
    split: Split, state: State, rows: Array, missed: Array, max_replay: int | None
) -> tuple[Array, State]:
    """The rows and their states after the steps that each missed."""
    zero = jnp.zeros(rows.shape, accumulated(rows.dtype))
    replayed = missed if max_replay is None else jnp.minimum(missed, max_replay)

    def step(carry: tuple[Array, Array, State]) -> tuple[Array, Array, State]:
        left, rows, state = carry
        new = updated_by_row(split, zero, state, rows)
        rows, state = jax.tree.map(lambda x, old: _where(left > 0, x, old), new, (rows, state))
        return left - 1, rows, state

    def unfinished(carry: tuple[Array, Array, State]) -> Array:
        return jnp.any(carry[0] > 0)

    _, rows, state = lax.while_loop(unfinished, step, (replayed, rows, state))
    if max_replay is not None:
        state = _skipped(split, state, rows, missed - replayed)
    return rows, state


def _where(kept: Array, new: Array, old: Array) -> Array:
    return jnp.where(kept.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def _skipped(split: Split, state: State, rows: Array, missed: Array) -> State:
    """The state after further steps with gradients of zero, in closed form.

    In such a step a leaf of rows is multiplied by a factor, which is its derivative, a count goes
    up by one, and other scalars stay.
    """
    zero = jnp.zeros(rows.shape, accumulated(rows.dtype))
    leaves, tree = flattened(state)

    def step(of_rows: list[Array]) -> tuple[list[Array], list[Array]]:
        every = iter(of_rows)
        pairs = zip(leaves, split.by_row, strict=True)
        start = tree.unflatten([next(every) if own else x for x, own in pairs])
        new = jax.tree.leaves(updated_by_row(split, zero, start, rows)[1])
        return [x for x, own in zip(new, split.by_row, strict=True) if own], new

    of_rows = [x for x, own in zip(leaves, split.by_row, strict=True) if own]
    ones = [jnp.ones_like(x) for x in of_rows]
    _, factors, new = jax.jvp(step, (of_rows,), (ones,), has_aux=True)
    factor = iter(factors)
    skipped = []
    for leaf, after, own in zip(leaves, new, split.by_row, strict=True):
        if own:
            times = missed.reshape(-1, *(1,) * (leaf.ndim - 1)).astype(leaf.dtype)
            skipped.append(leaf * next(factor) ** times)
        elif jnp.issubdtype(leaf.dtype, jnp.integer):
            skipped.append(leaf + missed.astype(leaf.dtype) * (after - leaf))
        else:
            skipped.append(leaf)
    return tree.unflatten(skipped)


def check_decays(split: Split, table: Array) -> None:
    """Raises unless skipping steps gives the state that taking them one by one gives."""

    def both(row: Array, gradients: Array) -> list[Array]:
        leaves, tree = flattened(split.init(row))
        pairs = zip(leaves, split.by_row, strict=True)
        state = tree.unflatten([x if own else jnp.broadcast_to(x, 2) for x, own in pairs])
        for gradient in gradients:
            row, state = updated_by_row(split, gradient, state, row)
        missed = jnp.asarray([3, 1], jnp.int32)
        _, taken = caught_up(split, state, row, missed, None)
        return jax.tree.leaves(taken) + jax.tree.leaves(_skipped(split, state, row, missed))

    found = tried(both, *trial(table))
    half = len(found) // 2
    for taken, skipped in zip(found[:half], found[half:], strict=True):
        if not np.allclose(taken, skipped, rtol=1e-4, atol=1e-6):
            raise ValueError(
                "max_replay needs a transform whose state is multiplied by a factor in each step "
                "with a gradient of zero; without max_replay all missed steps are taken"
            )
