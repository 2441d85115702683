"""Times training steps that touch few rows of a table, beside dense steps.

`python -m experiments bench rows` prints, for a sampled and a hierarchical softmax over tables of
several sizes, the time of a step, its ratio to the smallest table's, the temporary memory of its
program and whether the buffers stayed where they were; then the dense step of `jax.grad` and
`optax.adam`; and then what an update alone costs inside of `lax.scan`, as in training word vectors.
All programs of a part are measured in the same process in turns, and the ratios are those of the
same rounds.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import softmax_variants as sv
from experiments.bench.programs import compiled
from experiments.overrides import Parser
from experiments.timing import interleaved, median_of, ratio_of, ratios, rounds_of_one
from softmax_variants import rows
from softmax_variants.heads._head import Params

EXAMPLES, FEATURES, SAMPLES, ROUNDS, STEPS = 256, 64, 512, 15, 20
SIZES = (10_000, 100_000, 1_000_000)
WORD_FEATURES, WORDS, WORD_STEPS = 100, 100_000, 64


def sampled(classes: int) -> sv.SampledSoftmax:
    """Softmax over the label and classes drawn for the whole batch."""
    sampler = sv.LogUniformSampler(classes)
    return sv.SampledSoftmax(classes, FEATURES, sampler=sampler, num_sampled=SAMPLES)


def hierarchical(classes: int) -> sv.HierarchicalSoftmax:
    """Decisions along the label's path, whose rows are read one by one."""
    counts = 1 / np.arange(1, classes + 1)
    return sv.HierarchicalSoftmax(tree=sv.huffman_tree(counts), features=FEATURES)


class Measured(NamedTuple):
    """A step that is run over and over, and what its program needs."""

    run: Callable[[], None]
    temporary: int
    in_place: Callable[[], bool]


def examples(classes: int) -> tuple[jax.Array, jax.Array]:
    """Hidden states, and labels as frequent as words are."""
    rng = np.random.default_rng(1)
    hidden = jnp.asarray(rng.normal(size=(EXAMPLES, FEATURES)), jnp.float32)
    return hidden, zipf(rng, (EXAMPLES,), classes)


def zipf(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> jax.Array:
    """Ids whose probability falls as 1 / rank."""
    return jnp.asarray(np.exp(rng.random(shape) * np.log(classes)) - 1, jnp.int32)


def repeated(
    step: Callable[..., tuple[Any, Any, jax.Array]], head: Any, optimizer: Any, classes: int
) -> Measured:
    """The compiled step, whose tables and state are replaced by each run."""
    tables, key = head.init(jax.random.key(1)), jax.random.key(0)
    held = [tables, optimizer.init(tables)]
    # A head's tree or sampler is an argument: it would else be a constant of the program.
    fixed = (head, *examples(classes), key)
    program = compiled(step, *held, *fixed, donate=(0, 1))
    places = _places(tables)

    def run() -> None:
        *held[:], losses = program.run(*held, *fixed)
        jax.block_until_ready((held, losses))

    def in_place() -> bool:
        return _places(held[0]) == places

    return Measured(run, program.temporary_bytes, in_place)


def _places(tables: Params) -> list[int]:
    return [table.unsafe_buffer_pointer() for table in jax.tree.leaves(tables)]


def of_rows(head: Any, optimizer: Any, classes: int) -> Measured:
    """A step that touches the rows it reads."""

    def step(tables: Any, state: Any, head: Any, hidden: Any, labels: Any, key: Any) -> Any:
        losses, to_body, gradients = rows.value_and_grad(head, tables, hidden, labels, key=key)
        tables, state = optimizer.update(tables, state, gradients)
        return tables, state, (losses, to_body)

    return repeated(step, head, optimizer, classes)


def dense(transform: Any, classes: int) -> Measured:
    """The same step by `jax.grad` of the tables."""

    def step(tables: Any, state: Any, head: Any, hidden: Any, labels: Any, key: Any) -> Any:
        def mean(tables: Params, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
            losses = head.loss(tables, hidden, labels, key=key)
            return losses.mean(), losses

        gradients, losses = jax.grad(mean, argnums=(0, 1), has_aux=True)(tables, hidden)
        updates, state = transform.update(gradients[0], state, tables)
        return optax.apply_updates(tables, updates), state, (losses, gradients[1])

    return repeated(step, sampled(classes), transform, classes)


OPTIMIZERS: dict[str, Any] = {
    "rows.sgd": rows.sgd(0.1),
    "rows.lazy(adagrad)": rows.lazy(optax.adagrad(0.1)),
    "rows.lazy(adam)": rows.lazy(optax.adam(1e-3)),
}


def measured_steps() -> None:
    """Prints a line for each optimizer and size of the tables."""
    steps: dict[str, Measured] = {}
    for size in SIZES:
        head = sampled(size)
        for name, optimizer in OPTIMIZERS.items():
            steps[f"sampled, {name} {size}"] = of_rows(head, optimizer, size)
        steps[f"tree, rows.sgd {size}"] = of_rows(hierarchical(size), OPTIMIZERS["rows.sgd"], size)
    steps[f"jax.grad + adam {SIZES[-1]}"] = dense(optax.adam(1e-3), SIZES[-1])
    for step in steps.values():
        step.run()
    runs = {name: step.run for name, step in steps.items()}
    slow = f"jax.grad + adam {SIZES[-1]}"
    few = {name: run for name, run in runs.items() if name != slow}
    # The dense step leaves no cache warm for the step after it. In a training loop a step follows
    # another of its kind: so it does here, and rounds of one call give the dense step several.
    rounds = [interleaved(few, ROUNDS)]
    beside = {n: repeatedly(r, 1 if n == slow else STEPS) for n, r in runs.items() if _last(n)}
    apart = rounds_of_one(beside, ROUNDS)
    print(f"a step of a head: D={FEATURES}, B={EXAMPLES}, {SAMPLES} samples, V=")
    for name, step in steps.items():
        smallest = f"{name.rsplit(' ', 1)[0]} {SIZES[0]}"
        seconds = median_of(rounds if name in few else apart, name)
        text = f"{name:36} {seconds * 1e3:9.3f} ms"
        if smallest in steps:
            text += f"  x{ratio_of(rounds, name, smallest):5.2f} of V={SIZES[0]}"
            text += (
                f"  dense/this {ratio_of(apart, slow, name) * STEPS:7.1f}"
                if _last(name)
                else " " * 20
            )
        text += f"  {step.temporary / 1e6:7.2f} MB  {'in place' if step.in_place() else 'COPIED'}"
        print(text, flush=True)


def repeatedly(run: Callable[[], None], times: int) -> Callable[[], None]:
    """Runs that follow one another."""

    def every() -> None:
        for _ in range(times):
            run()

    return every


def _last(name: str) -> bool:
    return name.endswith(f" {SIZES[-1]}")


class Scattered(NamedTuple):
    """What an update costs at the least: adding at addresses, with no checks of ids."""

    def init(self, table: jax.Array) -> tuple[()]:
        """No state."""
        return ()

    def update(self, table: Any, state: Any, ids: Any, values: Any) -> tuple[jax.Array, tuple[()]]:
        """A table with the gradients taken off."""
        return table.at[ids].add(-0.1 * values), state


def scanned(optimizer: Any, batch: int) -> Callable[[], None]:
    """Updates of a table of word vectors, one after the other."""
    rng = np.random.default_rng(2)
    ids = zipf(rng, (WORD_STEPS, batch), WORDS)
    values = jnp.asarray(rng.normal(size=(batch, WORD_FEATURES)) * 1e-3, jnp.float32)

    def every(table: Any, state: Any) -> Any:
        def step(carry: Any, which: jax.Array) -> tuple[Any, None]:
            return optimizer.update(*carry, which, values), None

        return lax.scan(step, (table, state), ids)[0]

    table = jnp.zeros((WORDS, WORD_FEATURES))
    held = [table, optimizer.init(table)]
    program = compiled(every, *held, donate=(0, 1)).run

    def run() -> None:
        held[:] = jax.block_until_ready(program(*held))

    return run


def measured_updates() -> None:
    """Prints what an update costs in a loop over small batches."""
    contenders = {
        "table.at[ids].add": Scattered(),
        "rows.sgd": rows.sgd(0.1),
        "rows.lazy(sgd)": rows.lazy(optax.sgd(0.1)),
        "rows.lazy(adagrad)": rows.lazy(optax.adagrad(0.1)),
        "rows.lazy(adam)": rows.lazy(optax.adam(1e-3)),
    }
    print(f"an update in lax.scan: D={WORD_FEATURES}, V={WORDS}, Zipf ids, B=")
    for batch in (64, 256, 1024):
        programs = {name: scanned(each, batch) for name, each in contenders.items()}
        timings = interleaved(programs, ROUNDS)
        for name, timing in timings.items():
            ratio = statistics.median(ratios(timing, timings["table.at[ids].add"]))
            seconds = timing.median() / WORD_STEPS
            print(f"{batch:5} {name:22} {seconds * 1e6:8.1f} us  x{ratio:5.2f}", flush=True)


def main(argv: Sequence[str]) -> int:
    """Measures both parts."""
    Parser(prog="python -m experiments bench rows", description=__doc__).parse_args(argv)
    measured_steps()
    measured_updates()
    return 0
