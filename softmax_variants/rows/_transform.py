"""What a transform of optax keeps for each row, and whether it treats each row alone."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax import lax

from softmax_variants._typing import Array
from softmax_variants.rows._ids import accumulated

State: TypeAlias = Any


class Transform(Protocol):
    """A `GradientTransformation` of optax."""

    @property
    def init(self) -> Any:
        """`init(params) -> state`."""

    @property
    def update(self) -> Any:
        """`update(updates, state, params) -> (updates, state)`."""


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """Optax's own code promotes dtypes: a caller's strictness is not for it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def initial(transform: Transform, row: Array) -> State:
    """The first state of rows, in at least float32."""
    with _lenient():
        return transform.init(row.astype(accumulated(row.dtype)))


class Split(NamedTuple):
    """A transform and which leaves of its state have a row for each row of the table."""

    transform: Transform
    by_row: tuple[bool, ...]

    def init(self, row: Array) -> State:
        """The transform's first state."""
        return initial(self.transform, row)

    def update(self, gradient: Array, state: State, row: Array) -> tuple[Array, State]:
        """The transform's update of rows of one dtype."""
        with _lenient():
            change, state = self.transform.update(gradient, state, row)
        return change.astype(row.dtype), state


def split_of(transform: Transform, table: Array) -> Split:
    """Tells the leaves of rows from those of the whole: only the former grow with the table.

    Raises:
      ValueError: a leaf that is neither a row for each row of the table nor a scalar, or that is
        a random key.
    """
    rows = table.shape[0]
    before = jax.tree_util.tree_leaves_with_path(_state_of(transform, table, rows))
    longer = jax.tree.leaves(_state_of(transform, table, rows + 1))
    by_row = []
    for (path, leaf), other in zip(before, longer, strict=True):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(
                f"transform must draw nothing, but its state{jax.tree_util.keystr(path)} is a "
                f"random key: what a row draws would depend on the other rows of its step"
            )
        if leaf.shape == other.shape == ():
            by_row.append(False)
        elif leaf.shape[:1] == (rows,) and other.shape == (rows + 1, *leaf.shape[1:]):
            by_row.append(True)
        else:
            raise ValueError(
                f"transform must be elementwise, but its state{jax.tree_util.keystr(path)} has "
                f"shape {leaf.shape} for a table of shape {table.shape}: neither a row for each "
                f"row nor a scalar"
            )
    return Split(transform, tuple(by_row))


def _state_of(transform: Transform, table: Array, rows: int) -> State:
    shape = jax.ShapeDtypeStruct((rows, *table.shape[1:]), table.dtype)
    return jax.eval_shape(lambda row: initial(transform, row), shape)


def check_rows_are_independent(split: Split, table: Array) -> None:
    """Runs the transform on two rows, and raises where the second's gradient changes the first."""
    dtype = accumulated(table.dtype)

    def outcome(row: Array, gradients: Array, factor: Array) -> list[Array]:
        """What becomes of the first row, the second's gradients being multiplied."""
        state, kept = split.init(row), []
        both = jnp.stack([jnp.ones_like(factor), factor]).reshape(2, *(1,) * (row.ndim - 1))
        for gradient in gradients:
            update, state = split.update(gradient * both, state, row)
            row = row + update
            kept.append(update[0])
        leaves = jax.tree.leaves(state)
        return kept + [x[0] for x, own in zip(leaves, split.by_row, strict=True) if own]

    def outcomes(row: Array, gradients: Array) -> list[Array]:
        factors = jnp.asarray([1, 1e3, jnp.nan], dtype)
        return lax.map(lambda factor: outcome(row, gradients, factor), factors)

    for first, *others in tried(outcomes, *trial(table)):
        if not all(np.array_equal(first, other, equal_nan=True) for other in others):
            raise ValueError(
                "transform must be elementwise, but in a trial the gradient of one row changed the "
                "update of another; for the global norm clip beforehand, with "
                "rows.clip_by_global_norm"
            )


def trial(table: Array) -> tuple[np.ndarray, np.ndarray]:
    """Two rows such as the table's, and three gradients of them."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(4, 2, *table.shape[1:])).astype(accumulated(table.dtype))
    return numbers[0], numbers[1:]


def tried(function: Callable[..., list[Array]], *arguments: np.ndarray) -> list[np.ndarray]:
    """The function's results as numbers, under an outer trace too.

    There are none if it closes over traced values, such as a learning rate: it cannot be run then.
    """
    program = jax.make_jaxpr(function)(*arguments)
    if any(isinstance(constant, jax.core.Tracer) for constant in program.consts):
        return []
    with jax.ensure_compile_time_eval():
        done = jax.jit(jax.extend.core.jaxpr_as_fun(program))(*arguments)
        return [np.asarray(x) for x in done]


def updated(split: Split, gradient: Array, state: State, row: Array) -> tuple[Array, State]:
    """The rows after a step, in their own dtype, and the state."""
    wide = row.astype(gradient.dtype)
    change, new = split.update(gradient, state, wide)
    new = jax.tree.map(lambda x, old: jnp.asarray(x).astype(old.dtype), new, state)
    return (wide + change).astype(row.dtype), new


def updated_by_row(split: Split, gradient: Array, state: State, row: Array) -> tuple[Array, State]:
    """The same where each row has scalars of its own, all leaves with an axis of rows."""

    def one(gradient: Array, state: State, row: Array) -> tuple[Array, State]:
        leaves, tree = flattened(state)
        leaves = [x[None] if own else x for x, own in zip(leaves, split.by_row, strict=True)]
        row, state = updated(split, gradient[None], tree.unflatten(leaves), row[None])
        leaves = jax.tree.leaves(state)
        leaves = [x[0] if own else x for x, own in zip(leaves, split.by_row, strict=True)]
        return row[0], tree.unflatten(leaves)

    return jax.vmap(one)(gradient, state, row)


def flattened(tree: Any) -> tuple[list[Array], Any]:
    """The leaves of a tree and its structure."""
    leaves, structure = jax.tree.flatten(tree)
    return leaves, structure
