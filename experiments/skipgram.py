"""Word vectors by skip-gram, as in word2vec, in steps that are a few small matrix products.

Each word of a text is predicted from each word near it: the row of the nearby word in one table
meets rows of another one, those of the nodes on the predicted word's path in a Huffman tree
(hierarchical softmax), or those of the word and of some drawn at random (negative sampling). Each
meeting is a logistic regression, whose gradient is `(label - sigmoid(score)) row`.

word2vec updates after each pair of words. Here a step takes a tile, some 14 neighbouring words of
the text and those around them, and all rows meet all rows: one matrix product gives all scores, and
two more the two gradients. How often each meeting belongs to the objective, and how often its label
is 1, are two matrices of counts; most are 0. Most of the products are for nothing, but products of
matrices are an order of magnitude faster than those of single rows, and a node that several paths
share is met once for all of them. Negative words are drawn for the tile and shared by its pairs,
with the weight that leaves the expected gradient as it is.

Summed over a tile, the updates of a row that it holds dozens of times would overshoot, where one
after another they do not (the root of the tree, a line of dashes): see `Crowds`.

References:
  Mikolov et al., `Distributed Representations of Words and Phrases and their Compositionality
  <https://arxiv.org/abs/1310.4546>`_, 2013; Ji et al., `Parallelizing Word2Vec in Shared and
  Distributed Memory <https://arxiv.org/abs/1604.04661>`_, 2016.
"""

import bisect
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# With 5 words on either side 24 places, which vector registers hold without a remainder.
TILE = 14
# Tiles whose windows and samples are made at once.
CHUNK = 256
# The largest curvature times learning rate with which a row is updated: from 2 on, a step of
# gradient descent overshoots and the next one does so further.
LARGEST_STEP = 1.0


class Tables(NamedTuple):
    """The parameters: [words, features] of nearby words, and [rows, features] of what predicts."""

    inputs: jax.Array
    outputs: jax.Array


class Text(NamedTuple):
    """Sentences one after another, with room for a window before them and a tile after.

    Attributes:
      ids: int32 [places], the words; the first one is at `window`.
      first: int32 [places], the first place of each one's sentence.
      last: int32 [places], the last place of each one's sentence.
    """

    ids: jax.Array
    first: jax.Array
    last: jax.Array

    @classmethod
    def of(cls, sentences: Sequence[np.ndarray], window: int, tile: int = TILE) -> Self:
        """The text of sentences, each the ids of its words."""
        lengths = np.asarray([len(sentence) for sentence in sentences])
        last = np.cumsum(lengths) + window - 1
        padding = (window, window + tile)
        ids = np.pad(np.concatenate(sentences), padding)
        first = np.pad(np.repeat(last - lengths + 1, lengths), padding)
        last = np.pad(np.repeat(last, lengths), padding)
        return cls(*(jnp.asarray(x, jnp.int32) for x in (ids, first, last)))


class Tile(NamedTuple):
    """Neighbouring words of a text, the centers, and the places around them.

    Attributes:
      ids: int32 [places], the word at each place; the centers are those past the first window.
      low: int32 [tile], the first place in each center's window.
      high: int32 [tile], the last one; below `low` where there is no center.
      rate: the learning rate.
    """

    ids: jax.Array
    low: jax.Array
    high: jax.Array
    rate: jax.Array

    @property
    def window(self) -> int:
        """The places before the first center."""
        return (self.ids.shape[-1] - self.low.shape[-1]) // 2

    @property
    def centers(self) -> jax.Array:
        """The words to be predicted, int32 [tile]."""
        return self.ids[..., self.window : self.ids.shape[-1] - self.window]

    def pairs(self) -> jax.Array:
        """From how many places each center is predicted, float32 [tile]."""
        return jnp.maximum(self.high - self.low, 0).astype(jnp.float32)

    def near(self) -> jax.Array:
        """Which places are in which center's window, float32 [tile, places]."""
        number = jnp.arange(self.low.shape[-1], dtype=jnp.int32)
        center = jnp.broadcast_to(number + self.window, self.low.shape)
        return inside(self.low, self.high, center, self.ids.shape[-1])


class Crowds(NamedTuple):
    """How often a tile meets each of some rows, of which some may be the same.

    Attributes:
      share: float32 [rows], the part of all meetings that are with each.
      size: float32 [rows], how many meetings all rows with the same id have together.
    """

    share: jax.Array
    size: jax.Array

    @classmethod
    def of(cls, meetings: jax.Array, size: jax.Array) -> Self:
        """From the meetings of each row, [..., rows], and what they add up to."""
        total = jnp.sum(meetings, axis=-1, keepdims=True)
        return cls(meetings / jnp.where(total > 0, total, 1.0), size)

    def mean_square(self, rows: jax.Array) -> jax.Array:
        """The squared length of the mean row over meetings."""
        return jnp.sum(jnp.square(self.share @ rows))

    def restraint(self, rate: jax.Array, mean_square: jax.Array) -> jax.Array:
        """What to multiply the meetings by of each row, given what it meets; 1 for most.

        The sum of the updates of many pairs is what they are one after another as long as it is
        small. A hundred times the update of one pair is not; one after another, they end where the
        loss is least. Logistic regression on n rows h has along their mean m a curvature of at most
        about `n |m|^2 / 4`.
        """
        return 1 / jnp.maximum(1.0, self.size * (rate / 4 * mean_square / LARGEST_STEP))


def same_id(ids: jax.Array, meetings: jax.Array) -> jax.Array:
    """The meetings of all places with the same id, for each place: both are [..., places]."""
    same = ids[..., :, None] == ids[..., None, :]
    return jnp.sum(jnp.where(same, meetings[..., None, :], 0.0), axis=-1)


class Meetings(NamedTuple):
    """The rows of the second table that a tile meets, and how.

    Attributes:
      rows: int32 [rows].
      positive: float32 [rows, places], the weight of the pairs with label 1 in each meeting.
      total: float32 [rows, places], the weight of all pairs.
      crowds: of the rows.
    """

    rows: jax.Array
    positive: jax.Array
    total: jax.Array
    crowds: Crowds


class Objective(Protocol):
    """What predicts a word: a pytree."""

    @property
    def outputs(self) -> int:
        """The rows of the second table."""

    def per_pair(self, words: jax.Array) -> jax.Array:
        """How many rows a pair meets whose predicted word is this, float32."""

    def lengths(self, words: np.ndarray) -> np.ndarray:
        """How much of a tile's `capacity` each word takes."""

    @property
    def capacity(self) -> int:
        """How much all words of a tile may take."""

    def prepare(self, key: jax.Array, tiles: Tile) -> Any:
        """What `meetings` needs beside the tile, for many tiles [tiles, ...] at once."""

    def meetings(self, tile: Tile, prepared: Any) -> Meetings:
        """The meetings of one tile."""


def inside(low: jax.Array, high: jax.Array, center: jax.Array, places: int) -> jax.Array:
    """1 where a place is in the window and is not its center, float32 [..., places]."""
    place = jnp.arange(places, dtype=jnp.int32)
    low, high, center = low[..., None], high[..., None], center[..., None]
    place = lax.expand_dims(place, range(low.ndim - 1))
    return ((low <= place) & (place <= high) & (place != center)).astype(jnp.float32)


def update(tables: Tables, tile: Tile, crowds: Crowds, meetings: Meetings) -> Tables:
    """One step of gradient descent; `crowds` are of the places."""
    inputs, outputs = _Rows(tables.inputs, tile.ids), _Rows(tables.outputs, meetings.rows)
    here, there = inputs.read(), outputs.read()
    for_here = crowds.restraint(tile.rate, meetings.crowds.mean_square(there))
    for_there = meetings.crowds.restraint(tile.rate, crowds.mean_square(here))
    # Rows of the second table first: that way round the products and the counts are fastest.
    slope = meetings.positive - meetings.total * jax.nn.sigmoid(there @ here.T)
    slope = slope * for_there[:, None] * (tile.rate * for_here)[None, :]
    return Tables(inputs.added(slope.T @ there), outputs.added(slope @ here))


class _Rows(NamedTuple):
    """Rows of a table by ids that are known to be in range, and may be repeated."""

    table: jax.Array
    ids: jax.Array

    def read(self) -> jax.Array:
        at = self.table.at[self.ids]
        return at.get(mode="promise_in_bounds", wrap_negative_indices=False)

    def added(self, values: jax.Array) -> jax.Array:
        at = self.table.at[self.ids]
        return at.add(values, mode="promise_in_bounds", wrap_negative_indices=False)


def tiles_of(
    key: jax.Array,
    text: Text,
    start: jax.Array,
    stop: jax.Array,
    rate: jax.Array,
    sizes: tuple[int, int],
) -> Tile:
    """The tiles of the words from `start` to `stop`, [tiles]; windows have random widths."""
    tile, window = sizes
    center = start[:, None] + jnp.arange(tile, dtype=jnp.int32)[None, :]
    place = start[:, None] + jnp.arange(-window, tile + window, dtype=jnp.int32)[None, :]
    # As in word2vec: each width from 1 to the window is as likely.
    reach = jax.random.randint(key, center.shape, 1, window + 1, jnp.int32)
    low = jnp.maximum(center - reach, text.first[center]) - place[:, :1]
    high = jnp.minimum(center + reach, text.last[center]) - place[:, :1]
    known = center < stop[:, None]
    return Tile(text.ids[place], jnp.where(known, low, 1), jnp.where(known, high, 0), rate)


def context_crowds(tiles: Tile, objective: Objective) -> Crowds:
    """The crowds of the places of tiles, [tiles, places]."""
    rows = objective.per_pair(tiles.centers)
    meetings = jnp.sum(rows[:, :, None] * tiles.near(), axis=1)
    return Crowds.of(meetings, same_id(tiles.ids, meetings))


@functools.partial(jax.jit, static_argnames=("window", "tile"), donate_argnames="tables")
def train(
    tables: Tables,
    key: jax.Array,
    text: Text,
    bounds: tuple[jax.Array, jax.Array],
    rates: jax.Array,
    objective: Objective,
    *,
    window: int,
    tile: int = TILE,
) -> Tables:
    """Goes through a text once, in place.

    Args:
      tables: float32; donated.
      key: for the widths of windows and for the objective.
      text: the sentences.
      bounds: int32 [chunks, CHUNK] twice, where in the text each tile starts and stops: `tiling`.
      rates: float32 [chunks, CHUNK], the learning rate of each tile.
      objective: `Paths` or `Negatives`.
      window: how far away a context word may be.
      tile: the words of a tile at the most.

    Returns:
      The tables.
    """

    def step(tables: Tables, given: tuple[Tile, Crowds, Any]) -> tuple[Tables, None]:
        tile, crowds, prepared = given
        return update(tables, tile, crowds, objective.meetings(tile, prepared)), None

    def chunk(tables: Tables, given: tuple[jax.Array, ...]) -> tuple[Tables, None]:
        key, start, stop, rate = given
        for_tiles, for_objective = jax.random.split(key)
        tiles = tiles_of(for_tiles, text, start, stop, rate, (tile, window))
        crowds = context_crowds(tiles, objective)
        prepared = objective.prepare(for_objective, tiles)
        return lax.scan(step, tables, (tiles, crowds, prepared))[0], None

    keys = jax.random.split(key, bounds[0].shape[0])
    return lax.scan(chunk, tables, (keys, *bounds, rates))[0]


def tiling(
    objective: Objective, words: np.ndarray, window: int, tile: int = TILE
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a text into tiles, each of as many words as the objective's capacity takes.

    Args:
      objective: says how much each word takes.
      words: the ids of the text's words.
      window: where the text begins.
      tile: the words of a tile at the most.

    Returns:
      int32 [chunks, CHUNK] twice: where each tile starts, and where it stops. The last ones are
      empty.
    """
    marks = cut(objective.lengths(words), objective.capacity, tile) + window
    marks = np.pad(marks, (0, -(marks.size - 1) % CHUNK), mode="edge").astype(np.int32)
    return marks[:-1].reshape(-1, CHUNK), marks[1:].reshape(-1, CHUNK)


def cut(lengths: np.ndarray, capacity: int, most: int) -> np.ndarray:
    """Where to cut a sequence so that a part has `most` elements and `capacity` length at the most.

    Raises:
      ValueError: a single element is longer than the capacity.
    """
    if lengths.max(initial=0) > capacity:
        raise ValueError(f"capacity must hold every element, got {capacity}")
    passed = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    marks = [0]
    while (place := marks[-1]) < lengths.size:
        end = min(place + most, lengths.size) + 1
        marks.append(bisect.bisect_right(passed, passed[place] + capacity, place, end) - 1)
    return np.asarray(marks)
