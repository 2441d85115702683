"""The training of `skipgram` written with a head of the library and `rows.value_and_grad`.

Each pair is an example, a tile's pairs are a batch. It is what one writes for any model and head,
and the yardstick of what the steps made for word vectors gain.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from experiments.skipgram import TILE, Tables, Text, Tile, tiles_of
from softmax_variants import rows
from softmax_variants.heads._head import RowHead


@functools.partial(
    jax.jit, static_argnames=("table", "window", "tile"), donate_argnames=("tables",)
)
def train(
    tables: Tables,
    key: jax.Array,
    text: Text,
    bounds: tuple[jax.Array, jax.Array],
    rates: jax.Array,
    head: RowHead,
    *,
    table: str,
    window: int,
    tile: int = TILE,
) -> Tables:
    """As `skipgram.train`, with `outputs` the only table of a head, by this name."""

    def step(tables: Tables, given: tuple[jax.Array, Tile]) -> tuple[Tables, None]:
        key, words = given
        # Each center beside all places that its window may reach.
        distance = jnp.arange(-window, window + 1, dtype=jnp.int32)
        center = jnp.arange(window, window + tile, dtype=jnp.int32)[:, None]
        place = center + distance[None, :]
        inside = (words.low[:, None] <= place) & (place <= words.high[:, None])
        inside = (inside & (distance != 0)[None, :]).reshape(-1)
        near = words.ids[place].reshape(-1)
        labels = jnp.repeat(words.centers, distance.size)
        _, for_hidden, gradients = rows.value_and_grad(
            head,
            {table: tables.outputs},
            tables.inputs[near],
            labels,
            key=key,
            where=inside,
            cotangent=inside.astype(jnp.float32),
        )
        found = gradients[table]
        return Tables(
            tables.inputs.at[near].add(-words.rate * for_hidden),
            tables.outputs.at[found.ids].add(-words.rate * found.values, mode="drop"),
        ), None

    def chunk(tables: Tables, given: tuple[jax.Array, ...]) -> tuple[Tables, None]:
        key, start, stop, rate = given
        for_tiles, for_head = jax.random.split(key)
        tiles = tiles_of(for_tiles, text, start, stop, rate, (tile, window))
        keys = jax.random.split(for_head, start.shape[0])
        return lax.scan(step, tables, (keys, tiles))[0], None

    keys = jax.random.split(key, bounds[0].shape[0])
    return lax.scan(chunk, tables, (keys, *bounds, rates))[0]
