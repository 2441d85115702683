"""Takes rows through the steps that they missed, with gradients of zero, as a dense step would."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from softmax_variants._typing import Array
from softmax_variants.rows._ids import accumulated
from softmax_variants.rows._transform import Split, State, flattened, trial, tried, updated_by_row


class Held(NamedTuple):
    """Rows of a table, their states, and how many steps each has been taken through."""

    rows: Array
    state: State
    steps: Array


def caught_up(split: Split, held: Held, now: Array, max_replay: int | None) -> Held:
    """The rows after the steps that each missed, of which the last was number `now`.

    The counts that come back are all `now`, and are counted all the same: what is written to the
    table of counts then depends on what was read from it, without which that table is copied.
    """
    zero = jnp.zeros(held.rows.shape, accumulated(held.rows.dtype))
    until = jnp.broadcast_to(now, held.steps.shape)
    if max_replay is not None:
        until = jnp.minimum(until, held.steps + max_replay)

    def step(held: Held) -> Held:
        rows, state = updated_by_row(split, zero, held.state, held.rows)
        new = Held(rows, state, held.steps + 1)
        return jax.tree.map(lambda x, old: _where(held.steps < until, x, old), new, held)

    held = lax.while_loop(lambda held: jnp.any(held.steps < until), step, held)
    if max_replay is not None:
        skipped = now - held.steps
        state = _skipped(split, held.state, held.rows, skipped)
        held = Held(held.rows, state, held.steps + skipped)
    return held


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
        steps, now = jnp.asarray([0, 2], jnp.int32), jnp.asarray(3, jnp.int32)
        taken = caught_up(split, Held(row, state, steps), now, None).state
        return jax.tree.leaves(taken) + jax.tree.leaves(_skipped(split, state, row, now - steps))

    found = tried(both, *trial(table))
    half = len(found) // 2
    for taken, skipped in zip(found[:half], found[half:], strict=True):
        if not np.allclose(taken, skipped, rtol=1e-4, atol=1e-6):
            raise ValueError(
                "max_replay needs a transform whose state is multiplied by a factor in each step "
                "with a gradient of zero; without max_replay all missed steps are taken"
            )
