"""`python -m experiments accuracy`: the errors of the maps and losses beside their targets."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import accuracy_losses, accuracy_maps, environment, peers
from experiments.accuracy_cases import ALPHAS, FULL, QUICK
from experiments.measured import Record, layout, machine, write_json_lines
from experiments.overrides import Parser

LIBRARY = accuracy_maps.LIBRARY
KINDS = ("forward", "alpha", "low", "hessian", "tails", "loss", "normmax")


class Quantity(NamedTuple):
    """One line of the table: the largest `field` of the records that it is about."""

    label: str
    target: float | None
    kind: str
    field: str
    holds: Callable[[Record], bool] = lambda record: True


def _low(dtype: str) -> Callable[[Record], bool]:
    return lambda record: record["dtype"] == dtype


QUANTITIES = (
    Quantity(
        "absolute error, alpha in [1, 3]", 3e-7, "forward", "error", lambda r: r["alpha"] <= 3
    ),
    Quantity("absolute error, alpha = 4", 2e-6, "forward", "error", lambda r: r["alpha"] == 4),
    Quantity("|sum - 1|", 5e-7, "forward", "sum_error"),
    Quantity("d/d alpha, alpha in [1, 2]", 2e-6, "alpha", "error"),
    Quantity("bfloat16 forward, ulps", 1, "low", "forward_ulps", _low("bfloat16")),
    Quantity("float16 forward, ulps", 1, "low", "forward_ulps", _low("float16")),
    Quantity("bfloat16 gradient >= 2^-14, ulps", 1, "low", "gradient_ulps_above", _low("bfloat16")),
    Quantity("float16 gradient >= 2^-14, ulps", 1, "low", "gradient_ulps_above", _low("float16")),
    Quantity("  all of it, bfloat16", None, "low", "gradient_ulps", _low("bfloat16")),
    Quantity("  all of it, float16", None, "low", "gradient_ulps", _low("float16")),
    Quantity("Hessian with zeros, relative", 1e-5, "hessian", "error"),
    Quantity("tail draws off, standard deviations", 3, "tails", "error"),
    Quantity("loss error / (1 + max x - x_y)", 6e-7, "loss", "error"),
    Quantity("loss below zero", 0, "loss", "below_zero"),
    Quantity("loss past the margin", 0, "loss", "past_margin"),
    Quantity("loss gradient - (map - target)", 0, "loss", "gradient_error"),
)


def main(argv: Sequence[str]) -> int:
    """Measures, prints the tables, writes the records; 1 with --check where a target is missed."""
    arguments = _parser().parse_args(argv)
    started = time.perf_counter()
    others = [] if arguments.no_peers else peers.installed()
    described = environment.describe()
    described["versions"] |= peers.versions(others)
    records = measure(arguments.only or KINDS, others, arguments.quick, arguments.seed)
    for table in filter(None, (summary(records), error_by_alpha(records))):
        print(table, end="\n\n")
    print(machine(described))
    seconds = time.perf_counter() - started
    write_json_lines(arguments.out, [{"kind": "environment", **described}, *records])
    print(f"{len(records)} measurements in {seconds:.0f} s, written to {arguments.out}")
    return 1 if arguments.check and missed(records) else 0


def measure(
    kinds: Sequence[str], others: list[peers.Peer], quick: bool = False, seed: int = 0
) -> list[Record]:
    """All records of the kinds that are asked for."""
    grid = (QUICK if quick else FULL)._replace(seed=seed)
    sources: dict[str, Callable[[], Iterator[Record]]] = {
        "forward": lambda: accuracy_maps.forward(grid, others),
        "alpha": lambda: accuracy_maps.alpha_derivatives(grid, others),
        "low": lambda: accuracy_maps.low_precision(grid),
        "hessian": lambda: accuracy_maps.hessians(grid, others),
        "tails": lambda: accuracy_maps.tails(quick),
        "loss": lambda: accuracy_losses.losses(grid, others),
        "normmax": lambda: accuracy_losses.normmax_losses(grid),
    }
    records: list[Record] = []
    for kind in kinds:
        started = time.perf_counter()
        found = list(sources[kind]())
        seconds = time.perf_counter() - started
        print(f"{kind}: {len(found)} measurements, {seconds:.0f} s", file=sys.stderr, flush=True)
        records += found
    return records


def worst(records: Sequence[Record], quantity: Quantity, subject: str) -> Record | None:
    """The record with the largest value of a quantity, NaN being larger than all; None without."""
    about = [
        record
        for record in records
        if record["kind"] == quantity.kind
        and record["subject"] == subject
        and quantity.field in record
        and quantity.holds(record)
    ]
    key = quantity.field
    return max(about, key=lambda r: math.inf if math.isnan(r[key]) else r[key], default=None)


def missed(records: Sequence[Record]) -> list[str]:
    """The quantities in which the library misses its target."""
    found = [(quantity, worst(records, quantity, LIBRARY)) for quantity in QUANTITIES]
    return [q.label for q, record in found if record is not None and not _holds(q, record)]


def _holds(quantity: Quantity, record: Record) -> bool:
    return quantity.target is None or record[quantity.field] <= quantity.target


def summary(records: Sequence[Record]) -> str:
    """The table: target, the library's worst case and where it is, and the peers' worst cases."""
    others = sorted({record["subject"] for record in records} - {LIBRARY})
    rows = []
    for quantity in QUANTITIES:
        record = worst(records, quantity, LIBRARY)
        if record is None:
            continue
        target = "" if quantity.target is None else f"{quantity.target:.0e}"
        verdict = "" if quantity.target is None else "ok" if _holds(quantity, record) else "MISSED"
        cells = [_figure(worst(records, quantity, other), quantity.field) for other in others]
        worst_cell = _figure(record, quantity.field)
        rows.append([quantity.label, target, worst_cell, verdict, *cells, _place(record)])
    header = ["largest of", "target", LIBRARY, "", *others, "the library's worst case"]
    return layout(header, rows)


def error_by_alpha(records: Sequence[Record]) -> str:
    """The largest absolute error of every function at every alpha."""
    forward = [record for record in records if record["kind"] == "forward"]
    names = sorted({(r["subject"] != LIBRARY, r["subject"], r["function"]) for r in forward})
    rows = []
    for _, subject, function in names:
        own = [r for r in forward if (r["subject"], r["function"]) == (subject, function)]
        cells = [[r for r in own if r["alpha"] == alpha] for alpha in ALPHAS]
        quantity = Quantity("", None, "forward", "error")
        rows.append(
            [function, *(_figure(worst(cell, quantity, subject), "error") for cell in cells)]
        )
    return layout(["absolute error at alpha =", *(f"{a:g}" for a in ALPHAS)], rows) if rows else ""


def _figure(record: Record | None, field: str) -> str:
    return "-" if record is None else f"{record[field]:.1e}"


def _place(record: Record) -> str:
    names = ("alpha", "n", "scale", "offset")
    return " ".join([record["function"], *(f"{k}={record[k]:g}" for k in names if k in record)])


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m experiments accuracy", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer cases, none of 100,000 classes [flag; default: no]",
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="measure the library alone [flag; default: no]"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=KINDS,
        help=f"may be repeated [any of {', '.join(map(repr, KINDS))}; default: all]",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another draw of inputs [an integer; default: %(default)s]",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 where a target is missed [flag; default: no]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/accuracy.jsonl"),
        metavar="FILE",
        help="JSON lines [path; default: %(default)s]",
    )
    return parser
