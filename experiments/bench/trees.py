"""Times the building of the trees of a hierarchical softmax.

`python -m experiments bench trees` prints, for each kind of tree over a million classes, the median
of the seconds that building it takes, and the length of its paths. `--classes` takes another
number.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

import softmax_variants as sv
from experiments.overrides import Parser

CLASSES, FEATURES, ROUNDS = 1_000_000, 64, 3


def builders(classes: int) -> dict[str, Callable[[], sv.Tree]]:
    """Every kind of tree, from inputs as they are met: frequencies of words, groups, vectors."""
    rng = np.random.default_rng(0)
    counts = np.ceil(1e8 / np.arange(1, classes + 1))
    groups = rng.integers(0, max(1, int(classes**0.5)), size=classes)
    embeddings = rng.normal(size=(classes, FEATURES)).astype(np.float32)
    return {
        "huffman_tree": lambda: sv.huffman_tree(counts),
        "balanced_tree": lambda: sv.balanced_tree(classes),
        "class_tree": lambda: sv.class_tree(groups),
        f"clustered_tree, {FEATURES} features": lambda: sv.clustered_tree(embeddings),
    }


def main(argv: Sequence[str]) -> int:
    """Builds every tree in turns and prints one line for each."""
    parser = Parser(prog="python -m experiments bench trees", description=__doc__)
    parser.add_argument(
        "--classes",
        type=int,
        default=CLASSES,
        help="classes of each tree [an integer; default: %(default)s]",
    )
    classes = parser.parse_args(argv).classes
    seconds: dict[str, list[float]] = {}
    depths: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, build in builders(classes).items():
            started = time.perf_counter()
            tree = build()
            seconds.setdefault(name, []).append(time.perf_counter() - started)
            depths[name] = tree.depth
    for name, times in seconds.items():
        print(f"{name:28} {statistics.median(times):8.3f} s  paths up to {depths[name]}")
    return 0
