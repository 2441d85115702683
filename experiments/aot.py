"""The command `aot`: training steps compiled for a TPU that is not there, and what they need.

The compiler is the one that a TPU machine has: a program that compiles here compiles there, and the
memory is that of the program itself. Nothing is run, and no time is measured but that of compiling.
"""

import dataclasses
import importlib.metadata
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax.errors import JaxRuntimeError
from jax.sharding import Mesh

from experiments import mesh as meshes
from experiments.aot_placing import lower, mesh_of, others_bytes
from experiments.collectives import collectives_of, dtypes_of, totals
from experiments.engine.config import EngineConfig
from experiments.engine.step import TrainingStep, training_steps
from experiments.errors import UserError, did_you_mean
from experiments.measured import Record, layout, write_json_lines
from experiments.overrides import Parser, add_overrides
from experiments.tpu_topologies import CHIPS, Topology, expect_libtpu, parse_topology, topology_of

GIB, MIB = 2**30, 2**20
# XLA's EFFORT_O0: a tenth of the time for a large model, and a program that takes more memory.
QUICK: dict[str, Any] = {"optimization_level": 9}
_EXHAUSTED = re.compile(r"RESOURCE_EXHAUSTED: (?P<why>[^\n]*)")
_NEEDED = re.compile(r"\((?P<needed>[\d.]+)(?P<unit>[KMGT]?)\) exceeds")
_UNITS = {"": 1, "K": 2**10, "M": MIB, "G": GIB, "T": 2**40}


def parser(kind: type[EngineConfig]) -> ArgumentParser:
    """Returns the parser of the command for the configs of an experiment."""
    found = Parser(
        prog="python -m experiments aot",
        description="Compiles one training step of each contender for a TPU that need not be "
        "there, and prints its memory, arithmetic and communication for one device. The batch is "
        "split over all devices and everything else lies whole on each, unless a mesh is given.",
        epilog=f"These are the flags of the {kind.experiment}' configs; name a config of another "
        "experiment before --help to see its own.",
    )
    found.add_argument("config", type=Path, help="a Python file with a function get_config()")
    kinds = ", ".join(CHIPS)
    found.add_argument(
        "--topology",
        default="v5e:2x2",
        metavar="NAME",
        help=f"the kind of TPU ({kinds}) and its chips [a name; default: v5e:2x2]",
    )
    found.add_argument(
        "--chips-per-host",
        metavar="SIZES",
        help="the chips of one machine, as in 2x2 [sizes; default: 2x2, 1 where a side has one]",
    )
    found.add_argument(
        "--filter",
        default="",
        metavar="TEXT",
        help="compile what has this in its name [a text; default: all]",
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="let the compiler optimise as little as it can: a larger model takes it minutes, and "
        "a tenth of them with this, for a program that takes more memory [flag; default: no]",
    )
    found.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON lines [path; default: runs/aot.jsonl]"
    )
    add_overrides(found, kind)
    return found


def run(config: EngineConfig, arguments: Namespace) -> int:
    """Compiles, prints and writes; returns 1 where a step is refused, and not for its memory."""
    parse_topology(arguments.topology)
    expect_libtpu()
    topology = topology_of(arguments.topology, arguments.chips_per_host)
    given = any(name in vars(arguments) for name in config.placement)
    mesh = mesh_of(config, topology.devices, given)
    steps = _chosen(training_steps(config, mesh.shape[meshes.SEEDS]), arguments.filter)
    from experiments.progress import Display

    display, records = Display(), []
    with display.stage(f"compiling for {topology.name}", len(steps), "programs"):
        for step in steps:
            display.start(step.name)
            records.append(compile_step(step, topology, arguments.quick, mesh))
            display.finish(step.name, records[-1], _shown(records[-1]))
            display.advance(1)
    print(table(topology, records, arguments.quick))
    print(f"The mesh: {meshes.describe(mesh)}.")
    out = arguments.out or Path("runs") / "aot.jsonl"
    write_json_lines(out, [_machine(config, topology), *records])
    print(f"wrote {out}")
    return int(any(record["status"] == "failed" for record in records))


def compile_step(
    step: TrainingStep, topology: Topology, quick: bool = False, mesh: Mesh | None = None
) -> Record:
    """Compiles a step for a topology, and returns what it needs of one device.

    Args:
      step: The step.
      topology: The devices.
      quick: Whether the compiler takes the least effort.
      mesh: How they are used; without one they share the examples.
    """
    mesh = meshes.make_mesh(data=0, devices=topology.devices) if mesh is None else mesh
    lowered = lower(step, mesh)
    record: Record = {
        "kind": "aot",
        "name": step.name,
        "topology": topology.name,
        "devices": len(topology.devices),
        "mesh": dict(mesh.shape),
        "examples": step.examples,
        "models": step.models,
        "models_kept": step.kept,
        "batches_kept": step.block,
        "others_bytes": others_bytes(step, mesh),
        "quick": quick,
        "usable_bytes": int(topology.chip.usable * GIB),
    }
    began = time.perf_counter()
    try:
        compiled = lowered.compile(compiler_options=QUICK if quick else None)
    except JaxRuntimeError as error:
        found = _refused(str(error))
    else:
        found = described(compiled)
    return {**_in_a_run({**record, **found}), "compile_seconds": time.perf_counter() - began}


def _in_a_run(record: Record) -> Record:
    """Adds what a run keeps besides to the memory of its program: all of it has to fit."""
    if record.get("total_bytes") is None:
        return record
    total, usable = record["total_bytes"] + record["others_bytes"], record["usable_bytes"]
    found = {**record, "total_bytes": total}
    if not record["fits"] or total <= usable:
        return found
    why = "the program fits, but not with the states and batches that a run keeps besides"
    return {**found, "fits": False, "why": why}


def described(compiled: Any) -> Record:
    """Returns what a compiled program needs and does on one device."""
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    sizes = {
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "aliased_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
    }
    total = sum(sizes.values()) - 2 * sizes["aliased_bytes"]
    return {
        "status": "compiled",
        "why": "",
        "fits": True,
        **sizes,
        "total_bytes": total,
        "flops": cost.get("flops"),
        "bytes_accessed": cost.get("bytes accessed"),
        "collectives": totals(collectives_of(text)),
        "dtypes": sorted(dtypes_of(text)),
    }


def _refused(message: str) -> Record:
    """Returns the record of a program that the compiler refuses: for its memory, or as a failure.

    The compiler counts arguments, results and temporaries against the memory of the chip.
    """
    exhausted = _EXHAUSTED.search(message)
    if exhausted is None or "HBM" not in exhausted["why"].upper():
        return {"status": "failed", "why": " ".join(message.split())[:500], "fits": None}
    needed = _NEEDED.search(exhausted["why"])
    total = int(float(needed["needed"]) * _UNITS[needed["unit"]]) if needed else None
    return {
        "status": "too large",
        "why": exhausted["why"],
        "fits": False,
        "total_bytes": total,
    }


def table(topology: Topology, records: Sequence[Record], quick: bool = False) -> str:
    """Returns the table that the command prints."""
    chip, count = topology.chip, len(topology.devices)
    header = [
        *("", "arguments", "results", "temporary", "others", "total MiB", "of HBM", "fits"),
        *("MFLOP", "MB moved", "collectives", "KiB sent", "compile s"),
    ]
    notes = [
        f"One training step on {topology.name}, {count} device{'s' * (count > 1)}; every figure is "
        "for one of them. Results that take the place of",
        f"arguments count once in the total. A chip has {chip.hbm} GiB ({chip.source}); the "
        f"compiler gives a device {chip.usable:g}.",
        "MFLOP and MB moved are XLA's estimates; it counts the body of a loop once. Nothing was "
        "run.",
        _about_a_run(records),
        *(["Compiled with --quick: without it a program takes less memory."] if quick else []),
    ]
    bad = [f"!! {r['name']} ({r['status']}): {r['why'][:200]}" for r in records if r["why"]]
    return "\n".join([layout(header, [_row(r) for r in records]), *notes, *bad])


def _about_a_run(records: Sequence[Record]) -> str:
    """Says how much more a run holds than its program."""

    def number(field: str) -> str:
        return " or ".join(map(str, sorted({record[field] for record in records})))

    return (
        f"Models of a program: {number('models')}; a run keeps {number('models_kept')}, in "
        f"training or in tuning, and the batches of {number('batches_kept')} steps. What they take "
        "besides it stands\nunder others, and in the total."
    )


def _row(record: Record) -> list[str]:
    total, usable = record.get("total_bytes"), record["usable_bytes"]
    share = "–" if total is None else f"{100 * total / usable:.1f}%"
    fits = {True: "yes", False: "NO", None: "–"}[record["fits"]]
    name = record["name"] + (" !!" if record["why"] else "")
    others = f"{record['others_bytes'] / MIB:,.1f}"
    if record["status"] != "compiled":
        shown = "–" if total is None else f"{total / MIB:,.1f}"
        seconds = f"{record['compile_seconds']:.1f}"
        return [name, "–", "–", "–", others, shown, share, fits, "–", "–", "–", "–", seconds]
    sent = record["collectives"].values()
    return [
        name,
        *(f"{record[f'{part}_bytes'] / MIB:,.1f}" for part in ("argument", "output", "temporary")),
        others,
        f"{total / MIB:,.1f}" if total is not None else "–",
        share,
        fits,
        f"{record['flops'] / 1e6:,.1f}",
        f"{record['bytes_accessed'] / 1e6:,.1f}",
        str(sum(kind["count"] for kind in sent)),
        f"{sum(kind['bytes'] for kind in sent) / 2**10:,.1f}",
        f"{record['compile_seconds']:.1f}",
    ]


def _shown(record: Record) -> str:
    if record["status"] != "compiled":
        return str(record["status"])
    return f"{record['total_bytes'] / MIB:,.1f} MiB"


def _chosen(steps: list[TrainingStep], text: str) -> list[TrainingStep]:
    chosen = [step for step in steps if text in step.name]
    if not chosen:
        names = [step.name for step in steps]
        raise UserError(
            f"--filter: expected a part of one of {', '.join(names)}; got {text!r}"
            f"{did_you_mean(text, names)}"
        )
    return chosen


def _machine(config: EngineConfig, topology: Topology) -> Record:
    from experiments import environment

    return {
        "kind": "environment",
        **environment.describe(),
        "libtpu": importlib.metadata.version("libtpu"),
        "topology": topology.name,
        "device_compiled_for": topology.devices[0].device_kind,
        "experiment": config.experiment,
        "config": dataclasses.asdict(config),
    }
