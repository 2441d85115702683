"""Trees over the classes: Huffman's against a heap, the checks, the paths, the shapes of each."""

import heapq
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softmax_variants as sv


def walked(tree: sv.Tree) -> dict[int, list[tuple[int, bool]]]:
    """The path of each class from the root, found by going down."""
    children = np.asarray(tree.children)
    found: dict[int, list[tuple[int, bool]]] = {}
    waiting: list[tuple[int, list[tuple[int, bool]]]] = [(tree.classes if tree.nodes else 0, [])]
    while waiting:
        vertex, path = waiting.pop()
        if vertex < tree.classes:
            assert vertex not in found
            found[vertex] = path
            continue
        node = vertex - tree.classes
        waiting += [(int(children[node, side]), [*path, (node, bool(side))]) for side in (0, 1)]
    return found


def heap_cost(counts: list[int]) -> int:
    """The least weighted path length, by Huffman's own algorithm: the sum of all merged weights."""
    heap, cost = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    return cost


def fibonacci(count: int) -> list[int]:
    values = [1, 1]
    while len(values) < count:
        values.append(values[-1] + values[-2])
    return values[:count]


@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=60))
def test_huffmans_tree_is_the_shortest(counts: list[int]) -> None:
    if not any(counts):
        counts = [*counts, 1]
    lengths = sv.huffman_tree(counts).path_lengths()
    assert int(np.dot(lengths, counts)) == heap_cost(counts)
    if len(counts) > 1:
        assert np.sum(0.5**lengths) == 1
    p = np.asarray([c for c in counts if c]) / sum(counts)
    entropy, mean = -np.sum(p * np.log2(p)), np.dot(lengths, counts) / sum(counts)
    assert entropy - 1e-9 <= mean
    # Classes that do not occur take part: they are a class of probability 0 beside the rarest.
    assert mean < entropy + 1 or len(p) == 1


@pytest.mark.parametrize(
    "counts",
    [fibonacci(70), [1] * 1000, list(range(3000)), [0] * 40 + [1], [2.5, 1e-300, 1e300, 0.1]],
    ids=["fibonacci", "equal", "range", "zeros", "floats"],
)
def test_huffmans_tree_of_extreme_counts(counts: list[Any]) -> None:
    lengths = sv.huffman_tree(counts).path_lengths()
    assert np.dot(lengths.astype(float), counts) == pytest.approx(heap_cost(counts), rel=1e-12)
    assert np.sum(np.exp2(-lengths.astype(float))) == 1


def trees(classes: int, rng: np.random.Generator) -> dict[str, sv.Tree]:
    return {
        "huffman": sv.huffman_tree(rng.zipf(1.3, size=classes).clip(max=10**6)),
        "balanced": sv.balanced_tree(classes),
        "groups": sv.class_tree(rng.integers(-3, 4, size=classes) * 10),
        "clustered": sv.clustered_tree(rng.normal(size=(classes, 20)).astype(np.float32)),
        "skewed": sv.huffman_tree(2.0 ** np.arange(classes)),
    }


@pytest.mark.parametrize("classes", [1, 2, 3, 37, 150])
def test_every_class_has_one_path_and_nodes_are_numbered_by_levels(
    classes: int, rng: np.random.Generator
) -> None:
    for name, tree in trees(classes, rng).items():
        found = walked(tree)
        assert sorted(found) == list(range(classes)), name
        assert tree.classes == classes
        assert tree.depth == max(map(len, found.values()))
        assert tree.path_lengths().tolist() == [len(found[c]) for c in range(classes)]
        order = sorted((len(path[:i]), node) for path in found.values() for i, (node, _) in
                       enumerate(path))  # fmt: skip
        assert [node for _, node in order] == sorted(node for _, node in order), name
        if name in ("balanced", "clustered"):
            assert {len(path) for path in found.values()} <= {
                int(np.floor(np.log2(classes))),
                int(np.ceil(np.log2(classes))),
            }


def test_the_paths_of_labels_go_up_to_the_root_and_are_padded(rng: np.random.Generator) -> None:
    for name in ("huffman", "skewed"):
        tree = trees(150, rng)[name]
        found = walked(tree)
        nodes, right = jax.jit(lambda tree, y: tree.paths(y))(tree, jnp.arange(150))
        assert nodes.shape == right.shape == (150, tree.depth)
        for c in range(150):
            rest = tree.depth - len(found[c])
            expected = [node for node, _ in reversed(found[c])] + [149] * rest
            assert np.asarray(nodes)[c].tolist() == expected
            sides = [side for _, side in reversed(found[c])]
            assert np.asarray(right)[c, : len(sides)].tolist() == sides


@pytest.mark.parametrize(
    ("dtype", "labels"),
    [(np.int8, [-1, -128]), (np.uint8, [9, 255]), (np.int32, [9, 2**31 - 1, -(2**31)]),
     (np.uint32, [2**32 - 1, 2**31])],
)  # fmt: skip
def test_a_label_out_of_range_has_no_rows(dtype: Any, labels: list[int]) -> None:
    tree = sv.balanced_tree(9)
    nodes, _ = tree.paths(jnp.asarray(np.asarray(labels, dtype)))
    assert np.all(np.asarray(nodes) == 8)


def test_groups_are_subtrees(rng: np.random.Generator) -> None:
    """Classes of one group share a prefix of their paths that no class of another group has."""
    groups = rng.integers(0, 7, size=60)
    found = walked(sv.class_tree(groups))
    for group in range(7):
        members = np.flatnonzero(groups == group)
        paths = [found[int(c)] for c in members]
        shared = 0
        while all(len(p) > shared and p[shared] == paths[0][shared] for p in paths):
            shared += 1
        prefix = paths[0][:shared]
        inside = {c for c, p in found.items() if p[:shared] == prefix}
        assert inside == set(members.tolist())


def test_clusters_are_found_whatever_the_order_and_the_position(rng: np.random.Generator) -> None:
    """Eight far corners of 32 points each: three levels, then the corners' own subtrees."""
    corner = rng.permutation(np.repeat(np.arange(8), 32))
    bits = (corner[:, None] >> np.arange(3)) & 1
    points = bits * np.array([100.0, 50.0, 25.0]) + rng.normal(size=(256, 3))
    points = points @ np.linalg.qr(rng.normal(size=(20, 20)))[0][:3] + 1000
    tree = sv.clustered_tree(points.astype(np.float32))
    found = walked(tree)
    for c in range(8):
        prefixes = {tuple(found[int(w)][:3]) for w in np.flatnonzero(corner == c)}
        assert len(prefixes) == 1
    again = sv.clustered_tree(jnp.asarray(points, jnp.float32))
    assert np.array_equal(tree.children, again.children)


def test_the_first_split_is_along_the_greatest_variance(rng: np.random.Generator) -> None:
    """Two sides along (1, -1, 0, 0), all other directions an eighth as wide."""
    side = rng.permutation(np.repeat([-1, 1], 50))
    points = 8 * side[:, None] * np.array([1.0, -1.0, 0.0, 0.0]) + rng.uniform(-1, 1, (100, 4))
    found = walked(sv.clustered_tree(points))
    for sign in (-1, 1):
        assert len({found[int(c)][0] for c in np.flatnonzero(side == sign)}) == 1


def test_clusters_of_equal_points_keep_the_order() -> None:
    same = sv.clustered_tree(jnp.ones((37, 3), jnp.bfloat16))
    assert np.array_equal(same.children, sv.balanced_tree(37).children)


def test_children_and_parents_in_any_order_are_the_same_tree(rng: np.random.Generator) -> None:
    tree = sv.huffman_tree(rng.integers(1, 100, size=20))
    shuffle = rng.permutation(19)
    children = np.asarray(tree.children)
    moved = np.empty_like(children)
    moved[shuffle] = np.where(children >= 20, 20 + shuffle[np.maximum(children - 20, 0)], children)
    again = sv.Tree.from_children(moved)
    assert np.array_equal(again.children, children)
    assert np.array_equal(sv.Tree.breadth_first(moved), shuffle)
    assert again.levels == tree.levels
    parents, right = np.full(39, -1), np.zeros(39, bool)
    for node, pair in enumerate(moved):
        parents[pair], right[pair] = node, [False, True]
    from_parents = sv.Tree.from_parents(parents, right)
    assert np.array_equal(from_parents.children, children)
    assert np.array_equal(from_parents.parents, tree.parents)


def test_a_tree_is_a_pytree_of_two_arrays() -> None:
    tree = sv.balanced_tree(1000)
    leaves, structure = jax.tree.flatten(tree)
    assert sum(leaf.nbytes for leaf in leaves) <= 16 * 1000
    assert jax.tree.unflatten(structure, leaves).depth == 10


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "missing": (lambda: sv.Tree.from_children([[4, 3], [0, 1]]), ValueError, "class 2 is missing"),
    "repeated": (lambda: sv.Tree.from_children([[4, 1], [0, 1]]), ValueError, "class 1 is rep"),
    "cycle": (
        lambda: sv.Tree.from_children([[0, 1], [6, 2], [5, 3]]),
        ValueError,
        "children must form one tree, got a cycle",
    ),
    "node twice": (
        lambda: sv.Tree.from_children([[5, 5], [0, 1], [2, 3]]),
        ValueError,
        "children .*node 1 is repeated",
    ),
    "outside": (lambda: sv.Tree.from_children([[0, 3]]), ValueError, r"children .*\[0, 3\).*got 3"),
    "negative": (lambda: sv.Tree.from_children([[0, -1]]), ValueError, "children .*got -1"),
    "shape": (lambda: sv.Tree.from_children([0, 1]), ValueError, r"children .*\(2,\)"),
    "dtype": (lambda: sv.Tree.from_children([[0.0, 1.0]]), TypeError, "children .*float64"),
    "two roots": (
        lambda: sv.Tree.from_parents([-1, -1, -1], [False] * 3),
        ValueError,
        "parents .*exactly one root",
    ),
    "two lefts": (
        lambda: sv.Tree.from_parents([0, 0, -1], [False] * 3),
        ValueError,
        "parents .*node 0 has not",
    ),
    "even": (lambda: sv.Tree.from_parents([0, -1], [False] * 2), ValueError, r"parents .*\(2,\)"),
    "sides": (lambda: sv.Tree.from_parents([0, 0, -1], [0, 1, 0]), TypeError, "right .*int64"),
    "sides' shape": (lambda: sv.Tree.from_parents([0, 0, -1], [True]), ValueError, r"right .*\(1"),
    "negative count": (lambda: sv.huffman_tree([1, -2]), ValueError, "counts .*-2"),
    "no count": (lambda: sv.huffman_tree([0, 0]), ValueError, "counts must not all be 0"),
    "infinite": (lambda: sv.huffman_tree([1.0, np.inf]), ValueError, "counts .*inf"),
    "NaN": (lambda: sv.huffman_tree([1.0, np.nan]), ValueError, "counts .*nan"),
    "no classes": (lambda: sv.huffman_tree([]), ValueError, r"counts .*\(0,\)"),
    "complex": (lambda: sv.huffman_tree([1j, 2]), TypeError, "counts .*complex"),
    "none": (lambda: sv.balanced_tree(0), ValueError, "classes must be in .*got 0"),
    "half": (lambda: sv.balanced_tree(2.5), TypeError, "classes .*float"),  # type: ignore[arg-type] # wrong
    "too many": (lambda: sv.balanced_tree(2**31), ValueError, "classes .*2147483648"),
    "no groups": (lambda: sv.class_tree([]), ValueError, r"class_ids .*\(0,\)"),
    "groups": (lambda: sv.class_tree([0.5]), TypeError, "class_ids .*float64"),
    "points": (lambda: sv.clustered_tree(jnp.ones(3)), ValueError, r"embeddings .*\(3,\)"),
    "points' dtype": (
        lambda: sv.clustered_tree(np.ones((3, 2), int)),
        TypeError,
        "embeddings .*int64",
    ),
    "a NaN": (lambda: sv.clustered_tree(np.full((3, 2), np.nan)), ValueError, "embeddings .*NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case: str) -> None:
    build, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        build()
