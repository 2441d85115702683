"""Times the training of word vectors on one core, beside gensim's.

`python -m experiments bench words` trains skip-gram vectors, of 100 features, from windows of up to
5 words, with hierarchical softmax and with 5 negative samples, on passages of a text: the files of
the standard library, or those given. Where gensim is installed it trains on the same passages, with
the same settings, in turns. A run starts from lists of words and a vocabulary, and ends with the
vectors; compilation comes before. The words per second are those of the text, as gensim counts
them, by the processor's time, which does not depend on what else the machine is doing, and by the
clock. Then the loss on passages held out, of both: a step is fast for nothing if it learns less.
"""

import dataclasses
import functools
import importlib.util
import itertools
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments import skipgram, skipgram_heads
from experiments.overrides import Parser
from experiments.skipgram import Text
from experiments.skipgram_objectives import Negatives, Paths
from experiments.texts import text_files

FEATURES, WINDOW, NEGATIVES, MIN_COUNT = 100, 5, 5, 5
RATE, LAST_RATE = 0.025, 0.0001
PASSAGE, HELD_OUT = 1000, 20
# Pairs held out that are looked at in one call.
_PAIRS = 4096
OBJECTIVES = ("hierarchical softmax", f"{NEGATIVES} negatives")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Passages of words to train on, the vocabulary, and pairs of words that are held out.

    Attributes:
      passages: lists of words.
      ids: the id of each word of the vocabulary, by falling count.
      counts: how often each occurs, int64 [classes].
      pairs: int32 [3, pairs], predicted words, words near them, and in how many of the widths of
        windows each pair is.
    """

    passages: list[list[str]]
    ids: dict[str, int]
    counts: np.ndarray
    pairs: np.ndarray

    @functools.cached_property
    def size(self) -> int:
        """The words of the passages."""
        return sum(map(len, self.passages))

    @classmethod
    def of(cls, documents: Sequence[Sequence[str]], size: int) -> "Corpus":
        """Passages of documents in random order, about `size` words of them for training."""
        passages = [
            list(document[begin : begin + PASSAGE])
            for document in documents
            for begin in range(0, len(document), PASSAGE)
        ]
        order = np.random.default_rng(0).permutation(len(passages))
        chosen = [passages[i] for i in order]
        total = np.cumsum([len(passage) for passage in chosen])
        stop = int(np.searchsorted(total, min(size, total[-1] * (HELD_OUT - 1) / HELD_OUT)))
        trained = chosen[: stop + 1]
        counted = Counter(itertools.chain.from_iterable(trained))
        known = [(word, n) for word, n in counted.most_common() if n >= MIN_COUNT]
        ids = {word: number for number, (word, _) in enumerate(known)}
        held = numbered(chosen[stop + 1 :][: max(1, len(trained) // (HELD_OUT - 1))], ids)
        return cls(trained, ids, np.asarray([n for _, n in known]), pairs_of(held))


def numbered(passages: Sequence[Sequence[str]], ids: dict[str, int]) -> list[np.ndarray]:
    """The passages without the words that are not in the vocabulary, as ids."""
    found = [map(ids.get, passage) for passage in passages]
    return [np.asarray([i for i in numbers if i is not None], np.int32) for numbers in found]


def pairs_of(passages: Sequence[np.ndarray]) -> np.ndarray:
    """All pairs of words in a window, and in how many of the windows' widths each is."""
    found = [np.zeros((3, 0), np.int32)]
    for passage, distance in itertools.product(passages, range(1, WINDOW + 1)):
        left, right = passage[:-distance], passage[distance:]
        weight = np.full(left.shape, WINDOW + 1 - distance)
        found += [np.stack([left, right, weight]), np.stack([right, left, weight])]
    return np.concatenate(found, axis=1).astype(np.int32)


def first_inputs(classes: int) -> np.ndarray:
    """Rows of word vectors before training, as word2vec has them."""
    rng = np.random.default_rng(0)
    return (rng.random((classes, FEATURES), np.float32) * 2 - 1) / FEATURES


class Trained(NamedTuple):
    """What a run gives: both tables, and the tree that goes with the second one, if any."""

    inputs: Any
    outputs: Any
    tree: sv.Tree | None


Run = Callable[[], Trained]


def ours(corpus: Corpus, name: str, epochs: int, with_heads: bool = False) -> Run:
    """Returns what trains with `skipgram`, or by heads; what the counts decide is made here."""
    tree = sv.huffman_tree(corpus.counts) if name == OBJECTIVES[0] else None
    if tree is not None:
        objective: Any = Paths.of(tree, corpus.counts)
    else:
        objective = Negatives(sv.UnigramSampler(corpus.counts), weight=float(NEGATIVES))

    train = functools.partial(skipgram.train, objective=objective, window=WINDOW)
    if with_heads:
        train = functools.partial(skipgram_heads.train, **head_of(corpus, tree), window=WINDOW)

    def run() -> Trained:
        passages = numbered(corpus.passages, corpus.ids)
        start, stop = skipgram.tiling(objective, np.concatenate(passages), WINDOW)
        text = Text.of(passages, WINDOW)
        tables = skipgram.Tables(
            jnp.asarray(first_inputs(len(corpus.ids))),
            jnp.zeros((objective.outputs, FEATURES), jnp.float32),
        )
        bounds = jnp.asarray(start), jnp.asarray(stop)
        part = (start - WINDOW) / (int(stop[-1, -1]) - WINDOW)
        for epoch, key in enumerate(jax.random.split(jax.random.key(0), epochs)):
            rate = RATE - (RATE - LAST_RATE) * (epoch + part) / epochs
            rates = jnp.asarray(rate, jnp.float32)
            tables = train(tables, key, text, bounds, rates)
        inputs, outputs = jax.block_until_ready(tables)
        return Trained(
            inputs, outputs if tree is None or with_heads else outputs[objective.nodes], tree
        )

    return run


def head_of(corpus: Corpus, tree: sv.Tree | None) -> dict[str, Any]:
    """The library's head for an objective, and the name of its table."""
    if tree is not None:
        hierarchical = sv.HierarchicalSoftmax(tree=tree, features=FEATURES, use_bias=False)
        return {"head": hierarchical, "table": "node_weight"}
    sampling = sv.NegativeSampling(
        classes=len(corpus.ids),
        features=FEATURES,
        sampler=sv.UnigramSampler(corpus.counts),
        num_sampled=NEGATIVES,
        use_bias=False,
    )
    return {"head": sampling, "table": "weight"}


def gensim(corpus: Corpus, name: str, epochs: int) -> Run:
    """Returns what trains with gensim; its vocabulary is made here."""
    from gensim.models import word2vec

    if word2vec.FAST_VERSION < 0:
        raise RuntimeError("gensim's compiled functions are missing: its time would mean nothing")
    tree = name == OBJECTIVES[0]
    model = word2vec.Word2Vec(
        vector_size=FEATURES,
        window=WINDOW,
        sg=1,
        hs=int(tree),
        negative=0 if tree else NEGATIVES,
        sample=0,
        min_count=MIN_COUNT,
        alpha=RATE,
        min_alpha=LAST_RATE,
        workers=1,
        seed=0,
    )
    model.build_vocab(corpus.passages)
    # Equal counts have no order of their own: its ids are not ours.
    theirs = np.asarray([model.wv.key_to_index[word] for word in corpus.ids])
    model.wv.vectors[theirs] = first_inputs(len(corpus.ids))

    def run() -> Trained:
        model.train(corpus.passages, total_examples=len(corpus.passages), epochs=epochs)
        if not tree:
            return Trained(model.wv.vectors[theirs], model.syn1neg[theirs], None)
        its_tree, order = tree_of(
            [model.wv.get_vecattr(word, "point") for word in corpus.ids],
            [model.wv.get_vecattr(word, "code") for word in corpus.ids],
        )
        return Trained(model.wv.vectors[theirs], model.syn1[order], its_tree)

    return run


def tree_of(
    points: Sequence[np.ndarray], codes: Sequence[np.ndarray]
) -> tuple[sv.Tree, np.ndarray]:
    """The tree of paths from the root, nodes and bits, and the node at each row of the tree."""
    classes = len(points)
    children = np.zeros((classes - 1, 2), np.int64)
    for word, (nodes, bits) in enumerate(zip(points, codes, strict=True)):
        children[nodes, bits] = [*(classes + nodes[1:].astype(np.int64)), word]
    return sv.Tree.from_children(children), sv.Tree.breadth_first(children)


def held_out_loss(trained: Trained, corpus: Corpus) -> float:
    """The mean objective of a pair: exact for a tree, with the same few words for negatives."""
    word, near, weight = corpus.pairs
    sampler = sv.UnigramSampler(corpus.counts)
    drawn = np.asarray(sampler.draw(jax.random.key(1), word.size * NEGATIVES))
    drawn = drawn.reshape(-1, NEGATIVES)
    tables = Trained(jnp.asarray(trained.inputs), jnp.asarray(trained.outputs), trained.tree)
    loss = jax.jit(negatives_loss if trained.tree is None else tree_loss)
    total = 0.0
    for begin in range(0, word.size, _PAIRS):
        # The last part begins anew, so that all have one shape; what it repeats has no weight.
        number = np.arange(begin, begin + _PAIRS)
        part = number % word.size
        values = loss(tables, near[part], word[part], drawn[part])
        counted = np.where(number < word.size, weight[part], 0)
        total += float(np.dot(np.asarray(values, np.float64), counted))
    return total / float(weight.sum())


def tree_loss(trained: Trained, near: jax.Array, word: jax.Array, drawn: jax.Array) -> jax.Array:
    """The negative log-probability of each word."""
    del drawn
    assert trained.tree is not None
    return sv.hierarchical_softmax_loss(
        trained.inputs[near], word, trained.outputs, tree=trained.tree
    )


def negatives_loss(
    trained: Trained, near: jax.Array, word: jax.Array, drawn: jax.Array
) -> jax.Array:
    """The logistic losses of each word and of the words drawn, its own not counted."""
    state = trained.inputs[near]
    scores = jnp.sum(state * trained.outputs[word], axis=1)
    others = jnp.sum(state[:, None, :] * trained.outputs[drawn], axis=2)
    losses = jnp.where(drawn == word[:, None], 0.0, jax.nn.softplus(others))
    return jax.nn.softplus(-scores) + jnp.sum(losses, axis=1)


class Speed(NamedTuple):
    """Words per second of each round, by the processor's time and by the clock."""

    processor: list[float]
    clock: list[float]


def measured(
    trainers: dict[str, Callable[[], Run]], corpus: Corpus, epochs: int, rounds: int
) -> tuple[dict[str, Speed], dict[str, float]]:
    """Trains in turns, in an order drawn anew for each round; then the losses held out."""
    speeds = {name: Speed([], []) for name in trainers}
    losses = {}
    rng = np.random.default_rng(0)
    for turn in range(-1, rounds):  # the first one compiles, and is not timed
        for name in rng.permutation(list(trainers)):
            run = trainers[name]()
            processor, clock = time.process_time(), time.perf_counter()
            trained = run()
            processor, clock = time.process_time() - processor, time.perf_counter() - clock
            if turn < 0:
                losses[name] = held_out_loss(trained, corpus)
                continue
            speeds[name].processor.append(epochs * corpus.size / processor)
            speeds[name].clock.append(epochs * corpus.size / clock)
    return speeds, losses


def use_one_core() -> None:
    """Confines this process, with the threads that it has and will have, to one core."""
    if not hasattr(os, "sched_setaffinity"):
        print("this system cannot confine a process to one core: expect more than one at work")
        return
    core = max(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def table(speeds: dict[str, Speed], losses: dict[str, float]) -> str:
    """A line for each trainer, the ratios to the other one's in the same rounds."""
    lines = [f"{'':38}{'words/s':>10}{'ratio':>7}{'by the clock':>15}{'ratio':>7}{'loss':>9}"]
    for name, speed in speeds.items():
        other = speeds.get(name.replace("softmax_variants", "gensim"))
        line = f"{name:38}"
        for mine, width in ((speed.processor, 10), (speed.clock, 15)):
            theirs = getattr(other, "processor" if mine is speed.processor else "clock", mine)
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            line += f"{statistics.median(mine):>{width},.0f}"
            line += f"{ratio:7.2f}" if other not in (None, speed) else " " * 7
        lines.append(line + f"{losses[name]:9.4f}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Measures both objectives and prints a line for each trainer."""
    given = _parser().parse_args(argv)
    use_one_core()
    texts = [
        path.read_text(encoding="utf-8", errors="replace") for path in text_files(given.data_path)
    ]
    corpus = Corpus.of([re.findall(r"\w+", text) for text in texts], given.words)
    with_gensim = not given.no_peers and importlib.util.find_spec("gensim") is not None
    trainers: dict[str, Callable[[], Run]] = {}
    for name in OBJECTIVES:
        trainers[f"softmax_variants {name}"] = functools.partial(ours, corpus, name, given.epochs)
        if given.heads:
            trainers[f"heads {name}"] = functools.partial(
                ours, corpus, name, given.epochs, with_heads=True
            )
        if with_gensim:
            trainers[f"gensim {name}"] = functools.partial(gensim, corpus, name, given.epochs)
    print(
        f"{corpus.size:,} words, {len(corpus.ids):,} of them different and at least {MIN_COUNT} "
        f"times there; {given.epochs} x, {given.rounds} rounds, load {os.getloadavg()[0]:.1f}"
    )
    speeds, losses = measured(trainers, corpus, given.epochs, given.rounds)
    print(table(speeds, losses))
    if not with_gensim:
        print("gensim is not installed, or was left out: pip install gensim")
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m experiments bench words", description=__doc__)
    parser.add_argument(
        "--data-path",
        nargs="*",
        default=[],
        metavar="FILE",
        help="texts to read [names; default: none, the standard library's sources]",
    )
    parser.add_argument(
        "--words",
        type=int,
        default=1_000_000,
        help="words to train on [an integer; default: %(default)s]",
    )
    parser.add_argument(
        "--epochs", type=int, default=1, help="passes over them [an integer; default: %(default)s]"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="timed runs of each trainer [an integer; default: %(default)s]",
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="leave gensim out [flag; default: no]"
    )
    parser.add_argument(
        "--heads",
        action="store_true",
        help="train by the library's heads as well, which is slower [flag; default: no]",
    )
    return parser
