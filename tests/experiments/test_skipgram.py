"""Word vectors by skip-gram: steps against one pair after another in float64, and the benchmark."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softmax_variants as sv
from experiments import skipgram, skipgram_heads
from experiments.bench import words as bench_words
from experiments.skipgram import CHUNK, Crowds, Tables, Text, Tile
from experiments.skipgram_objectives import Negatives, Paths

CLASSES, FEATURES, WINDOW, TILE, TILES = 12, 5, 2, 6, 24
COUNTS = np.asarray([40, 30, 20, 9, 8, 7, 6, 5, 4, 3, 2, 1])
TREE = sv.huffman_tree(COUNTS)
# Long ones, short ones, one of a single word, one of a single word repeated.
SENTENCES = [
    np.asarray(sentence)
    for sentence in ([0, 1, 2, 0, 3, 11, 0, 4, 5], [6], [7, 8], [0] * 9, [9, 1, 10, 2, 1, 0, 5])
]


@pytest.fixture(params=["paths", "negatives"])
def objective(request: pytest.FixtureRequest) -> Any:
    if request.param == "negatives":
        return Negatives(sv.UnigramSampler(COUNTS), weight=3.0, shared=4)
    return Paths.of(TREE, COUNTS, shared=3, tile=TILE)


def some_tables(rng: np.random.Generator, rows: int) -> Tables:
    return Tables(
        *(jnp.asarray(rng.normal(size=(n, FEATURES)), jnp.float32) for n in (CLASSES, rows))
    )


def some_tiles(objective: Any) -> Tile:
    text = Text.of(SENTENCES, WINDOW, TILE)
    start, stop = skipgram.tiling(objective, np.concatenate(SENTENCES), WINDOW, TILE)
    first, last = (jnp.asarray(x[0, :TILES]) for x in (start, stop))
    rates = jnp.linspace(0.5, 0.1, TILES)
    return skipgram.tiles_of(jax.random.key(3), text, first, last, rates, (TILE, WINDOW))


def path_of(word: int) -> list[tuple[int, int]]:
    """The nodes and their labels, 1 for left, of a word: found by going up."""
    children = np.asarray(TREE.children).tolist()
    vertex = word
    path: list[tuple[int, int]] = []
    while True:
        found = [(n, pair.index(vertex)) for n, pair in enumerate(children) if vertex in pair]
        if not found:
            return path
        path.append((found[0][0], 1 - found[0][1]))
        vertex = CLASSES + found[0][0]


def pairs(tile: Tile) -> Iterator[tuple[int, int]]:
    """The place of each center, and a place in its window."""
    for number, (low, high) in enumerate(zip(tile.low.tolist(), tile.high.tolist(), strict=True)):
        for place in range(low, high + 1):
            if place != WINDOW + number:
                yield WINDOW + number, place


def meetings(tile: Tile, objective: Any, drawn: list[int]) -> Iterator[tuple[int, int, int, Any]]:
    """Word nearby, row of the second table, label and weight of all meetings of a tile."""
    ids = tile.ids.tolist()
    for center, place in pairs(tile):
        if isinstance(objective, Paths):
            nodes = objective.nodes.tolist()
            for node, label in path_of(ids[center]):
                yield ids[place], nodes[node], label, 1.0
        else:
            yield ids[place], ids[center], 1, 1.0
            for word in drawn:
                if word != ids[center]:
                    yield ids[place], word, 0, objective.weight / objective.shared


def by_pairs(tables: Tables, tile: Tile, objective: Any, drawn: list[int]) -> list[np.ndarray]:
    """The tables after the summed updates of all pairs, each at the old tables, in float64."""
    old = [np.asarray(table, np.float64) for table in tables]
    new = [table.copy() for table in old]
    for near, row, label, weight in meetings(tile, objective, drawn):
        probability = 1 / (1 + math.exp(-np.dot(old[0][near], old[1][row])))
        slope = float(tile.rate) * weight * (label - probability)
        new[0][near] += slope * old[1][row]
        new[1][row] += slope * old[0][near]
    return new


def test_a_step_sums_the_updates_of_all_pairs(
    objective: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipgram, "LARGEST_STEP", math.inf)
    tables, tiles = some_tables(rng, objective.outputs), some_tiles(objective)
    prepared = objective.prepare(jax.random.key(4), tiles)

    @jax.jit
    def step(tables: Tables, tile: Tile, prepared: Any) -> Tables:
        found = objective.meetings(tile, prepared)
        none = jnp.zeros(tile.ids.shape)
        return skipgram.update(tables, tile, Crowds(none, none), found)

    seen = 0
    for number in range(TILES):
        tile, given = jax.tree.map(lambda x, n=number: x[n], (tiles, prepared))
        drawn = given[0][TILE:].tolist() if isinstance(objective, Negatives) else []
        expected = by_pairs(tables, tile, objective, drawn)
        for got, want in zip(step(tables, tile, given), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=2e-6)
        seen += len(list(pairs(tile)))
    assert seen > 2 * sum(map(len, SENTENCES))


def test_windows_stay_in_their_sentence_and_have_every_width(objective: Any) -> None:
    text = [(word, n) for n, sentence in enumerate(SENTENCES) for word in sentence.tolist()]
    tiles = some_tiles(objective)
    start, stop = skipgram.tiling(objective, np.concatenate(SENTENCES), WINDOW, TILE)
    assert start[0, 0] == WINDOW
    assert stop[-1, -1] == len(text) + WINDOW
    assert np.all(start.ravel()[1:] == stop.ravel()[:-1])
    assert start.shape[1] == CHUNK
    lengths = objective.lengths(np.concatenate(SENTENCES))
    widths = set()
    for number, (begin, end) in enumerate(zip(start[0] - WINDOW, stop[0] - WINDOW, strict=True)):
        assert end - begin <= TILE
        assert lengths[begin:end].sum() <= objective.capacity
        if number >= TILES:
            assert begin == end
            continue
        tile = jax.tree.map(lambda x, n=number: x[n], tiles)
        for center, place in pairs(tile):
            one, other = text[begin + center - WINDOW], text[begin + place - WINDOW]
            assert one == (int(tile.ids[center]), other[1])
            widths.add(abs(center - place))
        assert len({center for center, _ in pairs(tile)}) <= end - begin
    assert widths == {1, 2}


def test_training_is_that_of_a_head(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipgram, "LARGEST_STEP", math.inf)
    paths = Paths.of(TREE, COUNTS, shared=3, tile=TILE)
    head = sv.HierarchicalSoftmax(tree=TREE, features=FEATURES, use_bias=False)
    start, stop = skipgram.tiling(paths, np.concatenate(SENTENCES), WINDOW, TILE)
    text, rates = Text.of(SENTENCES, WINDOW, TILE), jnp.full(start.shape, 0.1, jnp.float32)
    given = jax.random.key(5), text, (jnp.asarray(start), jnp.asarray(stop)), rates
    first = some_tables(rng, paths.outputs)
    nodes = np.asarray(paths.nodes)
    theirs = Tables(first.inputs + 0, first.outputs[nodes])
    # The limit is a constant of the program, which no other test runs on this text.
    got = skipgram.train(first, *given, paths, window=WINDOW, tile=TILE)
    expected = skipgram_heads.train(
        theirs, *given, head, table="node_weight", window=WINDOW, tile=TILE
    )
    np.testing.assert_allclose(got.inputs, expected.inputs, atol=1e-5)
    np.testing.assert_allclose(got.outputs[nodes], expected.outputs, atol=1e-5)


def test_crowds_count_meetings(objective: Any) -> None:
    tiles = some_tiles(objective)
    prepared = objective.prepare(jax.random.key(4), tiles)
    contexts = skipgram.context_crowds(tiles, objective)
    for number in range(TILES):
        tile, given, got = jax.tree.map(lambda x, n=number: x[n], (tiles, prepared, contexts))
        near, rows = crowds(tile, objective, given)
        np.testing.assert_allclose(got.size, [near[w] for w in tile.ids.tolist()], rtol=1e-5)
        found = objective.meetings(tile, given)
        met = np.any(np.asarray(found.total) > 0, axis=1)
        of_ids = isinstance(objective, Negatives)
        for place in np.flatnonzero(met).tolist():
            crowd = rows[int(found.rows[place]) if of_ids else place]
            assert float(found.crowds.size[place]) == pytest.approx(crowd, rel=1e-5)
        for part in (got, found.crowds):
            assert float(part.share.sum()) == pytest.approx(1.0 if near else 0.0, abs=1e-5)
        if not of_ids:  # negative samples that are skipped count all the same
            total = np.asarray(found.total)
            for axis, part in enumerate((got, found.crowds)):
                expected = total.sum(axis=axis) / max(total.sum(), 1)
                np.testing.assert_allclose(part.share, expected, atol=1e-6)


def test_meetings_are_restrained_where_a_step_would_overshoot() -> None:
    """One logistic regression, of n times the row h: a step ends at the least loss at the most."""
    h, n, rate = jnp.asarray([[3.0, 4.0]]), 50.0, 0.1
    crowd = Crowds(jnp.ones(1), jnp.asarray([n]))
    curvature = n * 25 / 4
    factor = float(crowd.restraint(jnp.float32(rate), crowd.mean_square(h))[0])
    assert factor * rate * curvature == pytest.approx(skipgram.LARGEST_STEP)
    assert float(crowd.restraint(jnp.float32(1e-3), crowd.mean_square(h))[0]) == 1


def crowds(tile: Tile, objective: Any, given: Any) -> tuple[Any, Any]:
    """How many meetings each word nearby has, and each row that the tile meets.

    Rows of paths are by their place among the rows. A node of a list counts for one word alone.
    """
    ids = tile.ids.tolist()
    near: Any = Counter()
    rows: Any = Counter()
    if isinstance(objective, Negatives):
        for center, place in pairs(tile):
            near[ids[place]] += 1 + objective.weight
            rows[ids[center]] += 1
            for word in given[0][TILE:].tolist():
                rows[word] += objective.weight / objective.shared
        return near, rows
    nodes = objective.nodes.tolist()
    shared = given.rows.size - objective.capacity
    words = Counter(ids[center] for center, _ in pairs(tile))
    owner = [ids[center] for center in given.center.tolist()]
    for center, place in pairs(tile):
        path = path_of(ids[center])
        near[ids[place]] += len(path)
        rows.update(nodes[node] for node, _ in path if nodes[node] < shared)
    rows.update({shared + number: words[word] for number, word in enumerate(owner)})
    return near, rows


def test_training_learns_in_place_and_survives_repetition(objective: Any) -> None:
    """Passages of three words each; after each one a single word over and over, as in "----"."""
    rng = np.random.default_rng(0)
    passages = [rng.integers(0, 3, 100) + 3 * (i % 4) for i in range(20)]
    sentences = [s for i, p in enumerate(passages) for s in (p, np.full(200, i % 3))]
    text = Text.of(sentences, WINDOW, TILE)
    start, stop = skipgram.tiling(objective, np.concatenate(sentences), WINDOW, TILE)
    bounds = jnp.asarray(start), jnp.asarray(stop)
    tables = some_tables(rng, objective.outputs)
    places = [table.unsafe_buffer_pointer() for table in tables]
    losses = [mean_loss(tables, objective, passages)]
    for key in jax.random.split(jax.random.key(0), 3):
        rates = jnp.full(start.shape, 0.1, jnp.float32)
        tables = skipgram.train(
            tables, key, text, bounds, rates, objective, window=WINDOW, tile=TILE
        )
        losses.append(mean_loss(tables, objective, passages))
    assert [table.unsafe_buffer_pointer() for table in tables] == places
    assert max(losses[1:]) < 0.8 * losses[0]


def mean_loss(tables: Tables, objective: Any, sentences: list[np.ndarray]) -> float:
    """The loss of pairs, from copies of the tables."""
    outputs = np.asarray(tables.outputs).copy()
    tree = isinstance(objective, Paths)
    trained = bench_words.Trained(
        np.asarray(tables.inputs).copy(),
        outputs[np.asarray(objective.nodes)] if tree else outputs,
        TREE if tree else None,
    )
    corpus = bench_words.Corpus([], {}, COUNTS, bench_words.pairs_of(sentences))
    return bench_words.held_out_loss(trained, corpus)


def test_a_word_that_no_tile_can_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="capacity must hold every element, got 2"):
        skipgram.cut(np.asarray([1, 3, 1]), 2, 4)


def test_pairs_held_out_are_those_of_all_windows() -> None:
    words = [3, 1, 4, 1, 5, 9, 2]
    found = Counter(map(tuple, bench_words.pairs_of([np.asarray(words), np.asarray([6])]).T))
    expected: Counter[tuple[int, ...]] = Counter()
    for i, j in itertools.permutations(range(len(words)), 2):
        distance = abs(i - j)
        weight = sum(distance <= width for width in range(1, bench_words.WINDOW + 1))
        if weight:
            expected[words[i], words[j], weight] += 1
    assert found == expected


def test_the_tree_of_another_package_is_read_from_its_paths() -> None:
    """Nodes have other numbers there, and paths begin at the root."""
    rename = np.random.default_rng(0).permutation(CLASSES - 1)
    paths = [path_of(word)[::-1] for word in range(CLASSES)]
    points = [rename[[node for node, _ in path]].astype(np.uint32) for path in paths]
    codes = [np.asarray([1 - label for _, label in path], np.uint8) for path in paths]
    tree, order = bench_words.tree_of(points, codes)
    np.testing.assert_array_equal(tree.children, TREE.children)
    np.testing.assert_array_equal(order, rename)


@pytest.mark.slow
def test_the_command_measures_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_words, "use_one_core", lambda: None)
    monkeypatch.setattr(bench_words, "FEATURES", 8)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(["one", "two", "three", "four"] * 1500))
    bench_words.main(["--data-path", str(text), "--no-peers", "--rounds", "1", "--words", "3000"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3,000 words, 4 of them")
    assert [line.split()[0] for line in lines[2:4]] == ["softmax_variants"] * 2
    for line in lines[2:4]:
        loss = float(line.split()[-1])
        assert 0.1 < loss < 4
