"""Times blockwise attention beside the plain form, which writes all scores down.

`python -m experiments bench flash` times the gradient for queries, keys and values of every
contender in turns, in one process, without and with the causal rule. It prints each time also as a
ratio to the plain softmax and to the plain form with the same alpha, that of the causal ones also
to the same contender with all keys, and the temporary memory of each program. By default: 4,096
positions, 4 heads of 64 features, batch 1.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import softmax_variants as sv
from experiments import environment
from experiments.bench.programs import blocking, compiled
from experiments.measured import Record, layout, machine, write_json_lines
from experiments.overrides import Parser
from experiments.timing import Timing, ratios, rounds_of_one

SHAPE = (1, 4096, 4, 64)
# What the contenders have to reach at that shape: ratios to the plain softmax.
TARGETS = {1.0: 1.1, 1.5: 2.0}
MEMORY_TARGET = 0.1
SOFTMAX = "plain, softmax"

Attention = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to compute attention.

    Attributes:
      name: as printed.
      alpha: entmax's.
      causal: whether a query sees the keys up to its own position only.
      plain: whether all scores are written down.
      run: the function of queries, keys and values, [batch, length, heads, features].
    """

    name: str
    alpha: float
    causal: bool
    plain: bool
    run: Attention

    @property
    def key(self) -> tuple[str, bool]:
        """What tells it from the others."""
        return self.name, self.causal


Key = tuple[str, bool]


def plain(
    query: jax.Array, key: jax.Array, value: jax.Array, *, alpha: float, causal: bool
) -> jax.Array:
    """Attention from one array of all scores."""
    scores = jnp.einsum("bthd,bshd->bhts", query, key) / query.shape[-1] ** 0.5
    length = query.shape[1]
    seen = jnp.tril(jnp.ones((1, 1, length, length), bool)) if causal else None
    if alpha == 1:
        weights = jax.nn.softmax(scores, axis=-1, where=seen)
    else:
        weights = sv.entmax(scores, where=seen, alpha=alpha)
    return jnp.einsum("bhts,bshd->bthd", weights, value)


def contenders(heads: int) -> list[Contender]:
    """The plain forms, ours with a number for alpha, and ours with one alpha for each head."""
    found = []
    for causal in (False, True):
        ours = functools.partial(sv.flash_attention, is_causal=causal)
        for name, alpha in ((SOFTMAX, 1.0), ("plain, entmax 1.5", 1.5)):
            run = functools.partial(plain, alpha=alpha, causal=causal)
            found.append(Contender(name, alpha, causal, True, run))
        for alpha in (1.0, 1.5, 2.0):
            run = functools.partial(ours, alpha=alpha)
            found.append(Contender(f"flash, alpha {alpha:g}", alpha, causal, False, run))
        run = functools.partial(ours, alpha=jnp.full((heads, 1, 1), 1.5))
        found.append(Contender("flash, alpha 1.5 as an array", 1.5, causal, False, run))
    return found


def measure(
    chosen: Sequence[Contender], arrays: Sequence[jax.Array], rounds: int
) -> tuple[dict[Key, list[Timing]], dict[Key, Record]]:
    """Timings in turns, and what the compiler says of each program."""
    query, key, value, weight = arrays
    programs: dict[str, Callable[[], None]] = {}
    made: dict[Key, Record] = {}

    def loss(q: jax.Array, k: jax.Array, v: jax.Array, run: Attention) -> jax.Array:
        return jnp.vdot(run(q, k, v), weight)

    for contender in chosen:
        gradient = jax.grad(functools.partial(loss, run=contender.run), argnums=(0, 1, 2))
        program = compiled(gradient, query, key, value)
        made[contender.key] = {
            "compile_seconds": program.compile_seconds,
            "temporary_bytes": program.temporary_bytes,
        }
        programs[str(contender.key)] = blocking(program.run, query, key, value)
    turns = rounds_of_one(programs, rounds)
    return {c.key: [turn[str(c.key)] for turn in turns] for c in chosen}, made


def records_of(
    chosen: Sequence[Contender],
    timings: Mapping[Key, Sequence[Timing]],
    made: Mapping[Key, Record],
    *,
    targets: bool,
) -> list[Record]:
    """One record a contender, with its ratios to others in the same rounds."""
    found = []
    for contender in chosen:
        name, causal = contender.key
        plains = [c for c in chosen if c.plain and c.causal == causal]
        same = [c.key for c in plains if c.alpha == contender.alpha]
        own, softmax = timings[contender.key], (SOFTMAX, causal)
        aimed = targets and not (contender.plain or causal)
        memory = made[contender.key]["temporary_bytes"] / made[softmax]["temporary_bytes"]
        found.append(
            {
                "name": name,
                "alpha": contender.alpha,
                "causal": causal,
                "milliseconds": 1e3 * statistics.median(t.median() for t in own),
                "to_plain_softmax": _ratio(own, timings[softmax]),
                "to_plain_same_alpha": _ratio(own, timings[same[0]]) if same else None,
                "to_all_keys": _ratio(own, timings[name, False]) if causal else None,
                "memory_to_plain_softmax": memory,
                "target": TARGETS.get(contender.alpha) if aimed else None,
                **made[contender.key],
            }
        )
    return found


def _ratio(ours: Sequence[Timing], theirs: Sequence[Timing]) -> float:
    return statistics.median(r for a, b in zip(ours, theirs, strict=True) for r in ratios(a, b))


def missed(record: Record) -> bool:
    """Whether the record has a target and misses it, in time or in memory."""
    if record["target"] is None:
        return False
    slow = record["to_plain_softmax"] > record["target"]
    return slow or record["memory_to_plain_softmax"] > MEMORY_TARGET


def table(records: Sequence[Record]) -> str:
    """Times, ratios and memory of the contenders."""

    def ratio(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    rows = [
        [
            r["name"],
            f"{r['milliseconds']:.0f}",
            f"{'!' if missed(r) else ''}{r['to_plain_softmax']:.2f}",
            ratio(r["to_plain_same_alpha"]),
            ratio(r["to_all_keys"]),
            "" if r["target"] is None else f"<= {r['target']:g}",
            f"{r['temporary_bytes'] / 1e6:.0f}",
            f"1/{1 / r['memory_to_plain_softmax']:.1f}",
            "" if r["compile_seconds"] is None else f"{r['compile_seconds']:.1f}",
        ]
        for r in records
    ]
    rule = "causal" if records[0]["causal"] else "all keys"
    ratios_to = ["to softmax", "to same alpha", "to all keys"]
    return layout([rule, "ms", *ratios_to, "target", "MB", "of plain", "compile s"], rows)


def main(argv: Sequence[str]) -> int:
    """Measures all contenders, prints the tables and writes the records."""
    parser = Parser(prog="python -m experiments bench flash", description=__doc__)
    parser.add_argument(
        "--length", type=int, default=SHAPE[1], help="positions [an integer; default: %(default)s]"
    )
    parser.add_argument(
        "--heads", type=int, default=SHAPE[2], help="heads [an integer; default: %(default)s]"
    )
    parser.add_argument(
        "--features",
        type=int,
        default=SHAPE[3],
        help="features of a head [an integer; default: %(default)s]",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=7,
        help="turns of each contender [an integer; default: %(default)s]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/bench-flash.jsonl"),
        metavar="FILE",
        help="JSON lines [path; default: %(default)s]",
    )
    given = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    shape = (1, given.length, given.heads, given.features)
    arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(4)]
    described = environment.describe()
    print(machine(described), flush=True)
    chosen = contenders(given.heads)
    timings, made = measure(chosen, arrays, given.rounds)
    records = records_of(chosen, timings, made, targets=shape == SHAPE)
    for causal in (False, True):
        print(table([r for r in records if r["causal"] == causal]), flush=True)
    names = ("versions", "revision", "dirty", "device", "processor", "cores", "system")
    about = {name: described[name] for name in names}
    write_json_lines(given.out, [record | about | {"shape": shape} for record in records])
    return int(any(map(missed, records)))
