"""`python -m experiments bench`: the speed of the maps as ratios to `jax.nn.softmax`."""

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.bench import machine
from experiments.bench.contenders import (
    MODES,
    REFERENCE,
    Contender,
    contenders,
    prepare,
    residual_bytes,
)
from experiments.bench.torch_side import equal_threads
from experiments.errors import UserError
from experiments.measured import Record, layout, write_json_lines
from experiments.measured import machine as machine_line
from experiments.overrides import Parser
from experiments.timing import interleaved, ratios

SHAPES = ((1024, 1000), (128, 32_000), (16, 262_144))
SCALES = (1.0, 5.0)
RESIDUAL_SHAPE = (64, 1000)


def main(argv: Sequence[str]) -> int:
    """Times, prints the tables, writes the records; 1 with --check where a target is missed."""
    arguments = _parser().parse_args(argv)
    started = time.perf_counter()
    chosen = choose(contenders(with_peers=not arguments.no_peers), arguments.filter)
    if any(contender.torch for contender in chosen):
        equal_threads()
    shapes, scales = (SHAPES[1:2], SCALES[:1]) if arguments.quick else (SHAPES, SCALES)
    rounds = arguments.repeat or (5 if arguments.quick else 11)
    records = measure(chosen, shapes, scales, rounds)
    described = describe(chosen)
    print("\n\n".join([*(table(records, mode) for mode in MODES), memory_table(records)]))
    print(f"\n{machine_line(described)}")
    write_json_lines(arguments.out, [record | described for record in records])
    seconds = time.perf_counter() - started
    print(f"{len(records)} measurements in {seconds:.0f} s, written to {arguments.out}")
    return 1 if arguments.check and any(map(missed, records)) else 0


def choose(found: Sequence[Contender], filters: Sequence[str] | None) -> list[Contender]:
    """The contenders whose name contains one of the filters, and always the reference."""
    if not filters:
        return list(found)
    chosen = [c for c in found if c.name == REFERENCE or any(part in c.name for part in filters)]
    if len(chosen) == 1 and REFERENCE not in filters:
        names = ", ".join(repr(c.name) for c in found)
        raise UserError(f"no contender has {' or '.join(filters)} in its name; there are {names}")
    return chosen


def measure(
    chosen: Sequence[Contender],
    shapes: Sequence[tuple[int, int]],
    scales: Sequence[float],
    rounds: int,
) -> list[Record]:
    """One record for every contender, shape, scale and mode."""
    residuals = {c.name: _residual_ratio(c) for c in chosen}
    records: list[Record] = []
    for number, (shape, scale, mode) in enumerate(itertools.product(shapes, scales, MODES)):
        rng = np.random.default_rng(number)
        x = (rng.normal(size=shape) * scale).astype(np.float32)
        g = rng.normal(size=shape).astype(np.float32)
        prepared = {c.name: prepare(c, mode, x, g) for c in chosen}
        timings = interleaved({name: p.call for name, p in prepared.items()}, rounds, number)
        for contender in chosen:
            timing, ready = timings[contender.name], prepared[contender.name]
            relative = ratios(timing, timings[REFERENCE])
            temporary = ready.temporary_bytes
            records.append(
                {
                    "suite": "targets",
                    "reference": REFERENCE,
                    "name": contender.name,
                    "package": contender.package,
                    "alpha": contender.alpha,
                    "mode": mode,
                    "shape": dict(zip(("rows", "classes"), shape, strict=True)),
                    "dtype": str(x.dtype),
                    "scale": scale,
                    "ratio": statistics.median(relative),
                    "ratio_range": [min(relative), max(relative)],
                    "milliseconds": 1e3 * timing.median(),
                    "rounds": len(relative),
                    "target": contender.target,
                    "compile_seconds": ready.compile_seconds,
                    "temporary_per_output": None if temporary is None else temporary / x.nbytes,
                    "residuals_per_output": residuals[contender.name],
                }
            )
    return records


def _residual_ratio(contender: Contender) -> float | None:
    x = np.random.default_rng(0).normal(size=RESIDUAL_SHAPE).astype(np.float32)
    kept = residual_bytes(contender, x)
    return None if kept is None else kept / x.nbytes


def describe(chosen: Sequence[Contender]) -> Record:
    """What the figures were measured on, as every record says it."""
    packages = {contender.package for contender in chosen}
    if any(contender.torch for contender in chosen):
        packages.add("torch")
    return machine.describe(packages)


def missed(record: Record) -> bool:
    """Whether the record has a target and is above it."""
    return record["target"] is not None and not record["ratio"] <= record["target"]


def table(records: Sequence[Record], mode: str) -> str:
    """Ratios to the reference; the reference's own line gives its milliseconds."""
    own = [record for record in records if record["mode"] == mode]
    columns = list(dict.fromkeys((*record["shape"].values(), record["scale"]) for record in own))
    cells = {(r["name"], (*r["shape"].values(), r["scale"])): r for r in own}
    rows = []
    for name in dict.fromkeys(record["name"] for record in own):
        line = [cells[name, column] for column in columns]
        target = line[0]["target"]
        rows.append([name, "" if target is None else f"<= {target:g}", *map(_cell, line)])
    header = [f"{mode}: times {REFERENCE}", "target"]
    header += [f"{rows_}x{classes} *{scale:g}" for rows_, classes, scale in columns]
    misses = sum(map(missed, own))
    verdict = f"{misses} of the ratios miss their target (!)" if misses else "every target holds"
    return layout(header, rows) + f"\n{verdict}"


def _cell(record: Record) -> str:
    if record["name"] == REFERENCE:
        return f"{record['milliseconds']:.2f} ms"
    return f"{'!' if missed(record) else ''}{record['ratio']:.2f}"


def memory_table(records: Sequence[Record]) -> str:
    """Compile time, and memory in units of the output, at its largest over the inputs."""
    rows = []
    for name in dict.fromkeys(r["name"] for r in records if r["temporary_per_output"] is not None):
        own = [record for record in records if record["name"] == name]
        cells = [f"{own[0]['residuals_per_output']:.2f}"]
        for mode in MODES:
            of_mode = [record for record in own if record["mode"] == mode]
            cells.append(f"{max(r['temporary_per_output'] for r in of_mode):.2f}")
            seconds = [r["compile_seconds"] for r in of_mode if r["compile_seconds"] is not None]
            cells.append(f"{max(seconds):.2f}" if seconds else "")
        rows.append([name, *cells])
    header = ["in units of the output", "kept for backward", "temporary, forward", "compile s"]
    return layout([*header, "temporary, both", "compile s"], rows)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m experiments bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one shape and scale, fewer rounds [flag; default: no]"
    )
    parser.add_argument(
        "--filter",
        action="append",
        metavar="PART",
        help="time what has this in its name; may be repeated [a text; default: all]",
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds [an integer; default: 11, quick 5]"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="time the library alone [flag; default: no]"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 where a target is missed [flag; default: no]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/bench.jsonl"),
        metavar="FILE",
        help="JSON lines [path; default: %(default)s]",
    )
    return parser
