"""`python -m experiments bench SUITE`: measures a suite, prints it, and writes its JSON lines."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.overrides import Parser

# Its programs have a dtype of their own.
STEPS, OF_STEPS = "steps", "float32"
SUITES = {
    "maps": "every map",
    "losses": "every loss on logits",
    "heads": "every output layer",
    "attention": "attention with every map, and blockwise",
    STEPS: "a training step of every experiment",
}
ALL = "all"
DTYPES = ("float32", "bfloat16", "float16")
ROUNDS, QUICK_ROUNDS = 11, 5


def main(suite: str, argv: Sequence[str]) -> int:
    """Measures what is wanted; the file has what was measured until a Ctrl-C or SIGTERM."""
    given = parser(suite).parse_args(argv)
    path = given.out or Path("runs") / f"bench-{suite}.jsonl"
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    # jax takes seconds to import, which a mistyped flag should not have to wait for.
    from experiments.bench.case import Wanted
    from experiments.bench.run_suites import run

    wanted = Wanted(given.dtype, given.quick, not given.no_peers)
    return run(chosen(suite, wanted.dtype), wanted, given.filter, rounds, path, given.resume)


def chosen(suite: str, dtype: str) -> list[str]:
    """The suites of a name; all of them are those that the dtype allows."""
    if suite != ALL:
        return [suite]
    if dtype == OF_STEPS:
        return list(SUITES)
    print(f"{STEPS} is left out: it is of {OF_STEPS}, not {dtype}", file=sys.stderr)
    return [name for name in SUITES if name != STEPS]


def parser(suite: str) -> argparse.ArgumentParser:
    """The flags of all suites."""
    of = SUITES.get(suite, "all suites: maps, losses, heads, attention, steps")
    made = Parser(
        prog=f"python -m experiments bench {suite}",
        description=f"Measures {of}, forward and forward + backward, on the device that is there.",
    )
    add = made.add_argument
    add(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help=f"of the inputs [one of {', '.join(map(repr, DTYPES))}; default: {DTYPES[0]}]",
    )
    add("--quick", action="store_true", help="small shapes, fewer rounds [flag; default: no]")
    add(
        "--filter",
        action="append",
        metavar="PART",
        help="measure what has this in its name; may be repeated [a text; default: all]",
    )
    add(
        "--rounds",
        type=_count,
        metavar="INT",
        help=f"turns of each program [an integer; default: {ROUNDS}, quick {QUICK_ROUNDS}]",
    )
    add("--no-peers", action="store_true", help="leave other packages out [flag; default: no]")
    add(
        "--resume",
        action="store_true",
        help="keep what an interrupted run left in FILE, measure the rest [flag; default: no]",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"JSON lines [path; default: runs/bench-{suite}.jsonl]",
    )
    return made


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)
