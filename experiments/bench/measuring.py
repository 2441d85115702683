"""Measures the programs of a group: made one after the other, then run in turns."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from experiments.bench import torch_side
from experiments.bench.case import BOTH, OURS, Case, Group, normal, value_and_gradient
from experiments.bench.machine import memory_in_use
from experiments.bench.programs import Program, blocking, compiled
from experiments.bench.roofs import Roofs
from experiments.measured import Record
from experiments.progress import Display
from experiments.timing import Timing, interleaved, ratios

# A program whose first call takes longer than this is not called again: it is all there is of it.
SLOW_SECONDS = 5.0
# What making a program showed of its memory.
_OF_PROGRAM = ("argument_bytes", "output_bytes", "temporary_bytes", "compiled_peak_bytes")
# What a device says that cannot run a program, as when its memory is too small for it.
FAILURES: tuple[type[Exception], ...] = (jax.errors.JaxRuntimeError, NotImplementedError)


class Ready(NamedTuple):
    """A program with its arguments on the device.

    Attributes:
      call: runs it and waits for its result.
      first_seconds: what the first call took.
      program: what making it showed; None for torch.
      peak_bytes: the most memory its first call had in use at once, arguments included; None where
        the device does not count it, or where an earlier program had needed more.
    """

    call: Callable[[], None]
    first_seconds: float
    program: Program | None
    peak_bytes: int | None


def measure(group: Group, rounds: int, seed: int, roofs: Roofs, display: Display) -> list[Record]:
    """One record for each program of the group; one that fails is recorded with its error."""
    ready: dict[str, Ready] = {}
    failed: dict[str, str] = {}
    for case in group.cases:
        display.start(case.name)
        try:
            ready[case.name] = prepare(case, group.mode)
        except Exception as error:
            # A peer may fail in its own ways, as optax's projection does in half precision. What
            # fails in this library is an error, unless the device is the reason.
            if case.package == OURS and not isinstance(error, FAILURES):
                raise
            failed[case.name] = _one_line(error)
            display.note(f"{group.label}: {case.name} failed: {failed[case.name]}")
        display.advance(1)
    again = {name: each.call for name, each in ready.items() if each.first_seconds < SLOW_SECONDS}
    timings = interleaved(again, rounds, seed) | {
        name: Timing([each.first_seconds], [0]) for name, each in ready.items() if name not in again
    }
    reference = group.cases[0].name
    return [
        _about(group, case)
        | {"reference": reference, "error": failed.get(case.name)}
        | (
            _figures(case, group.mode, ready[case.name], timings[case.name], roofs)
            | _relative(timings[case.name], timings.get(reference))
            if case.name in ready
            else {}
        )
        for case in group.cases
    ]


def prepare(case: Case, mode: str) -> Ready:
    """Compiles a program, puts its arguments on the device and calls it once."""
    function, arguments = case.function, case.arguments()
    if case.torch:
        call = (_torch_both if mode == BOTH else _torch_forward)(case, arguments)
        return Ready(call, _seconds(call), None, None)
    if mode == BOTH:
        result = jax.eval_shape(function, *arguments)
        function = value_and_gradient(function, case.differentiated)
        arguments = (*arguments, normal(3, result.shape, str(result.dtype)))
    donate = () if case.donated is None else (case.donated,)
    program = compiled(function, *arguments, donate=donate, **case.options)
    call = (
        blocking(program.run, *arguments)
        if case.donated is None
        else _renewing(program.run, list(arguments), case.donated)
    )
    before = memory_in_use()
    first = _seconds(call)
    return Ready(call, first, program, _peak(before, program.argument_bytes))


def _renewing(program: Callable[..., Any], held: list[Any], donated: int) -> Callable[[], None]:
    """Calls that go on from each other."""

    def call() -> None:
        result = jax.block_until_ready(program(*held))
        held[donated] = result[0]

    return call


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _peak(before: tuple[int, int] | None, argument_bytes: int) -> int | None:
    """The most memory since then, if the mark of the process rose; below it nothing can be told."""
    after = memory_in_use()
    if before is None or after is None or after[1] <= before[1]:
        return None
    return after[1] - before[0] + argument_bytes


def _torch_forward(case: Case, arguments: tuple[Any, ...]) -> Callable[[], None]:
    import torch

    tensors = [torch_side.tensor(x) for x in arguments]

    def forward() -> Any:
        with torch.no_grad():
            return case.function(*tensors)

    return torch_side.waited_for(forward)


def _torch_both(case: Case, arguments: tuple[Any, ...]) -> Callable[[], None]:
    import torch

    tensors = [torch_side.tensor(x) for x in arguments]
    leaves = [tensors[i].requires_grad_() for i in case.differentiated]
    with torch.no_grad():
        weights = torch.randn_like(case.function(*tensors))

    def both() -> Any:
        return torch.autograd.grad((case.function(*tensors) * weights).sum(), leaves)

    return torch_side.waited_for(both)


def _about(group: Group, case: Case) -> Record:
    """What is measured."""
    return {
        "suite": group.suite,
        "name": case.name,
        "package": case.package,
        "mode": group.mode,
        "shape": {**group.shape, **case.sizes},
        "dtype": group.dtype,
    }


def _figures(case: Case, mode: str, ready: Ready, timing: Timing, roofs: Roofs) -> Record:
    """Times, memory, and the shares of what the device does at best."""
    seconds, program = timing.median(), ready.program
    figures: Record = {
        "milliseconds": _digits(1e3 * seconds),
        "milliseconds_range": [_digits(1e3 * end(timing.seconds)) for end in (min, max)],
        "rounds": len(timing.seconds),
        "lower_seconds": None,
        "compile_seconds": None,
        "argument_bytes": None,
        "output_bytes": None,
        "temporary_bytes": None,
        "compiled_peak_bytes": None,
        "peak_bytes": ready.peak_bytes,
        "flops": None,
        "copy_share": None,
        "matrix_share": None,
    }
    flops = None if case.flops is None else case.flops * (3 if mode == BOTH else 1)
    if program is not None:
        for name in _OF_PROGRAM:
            figures[name] = getattr(program, name)
        figures["lower_seconds"] = _digits(program.lower_seconds)
        if program.compile_seconds is not None:
            figures["compile_seconds"] = _digits(program.compile_seconds)
        if case.reads_all:
            moved = program.argument_bytes + program.output_bytes
            figures["copy_share"] = _digits(moved / seconds / roofs.copy_bytes_per_second)
        flops = program.flops if flops is None else flops
    if flops is not None:
        figures["flops"] = flops
        figures["matrix_share"] = _digits(flops / seconds / roofs.matrix_flops_per_second)
    return figures


def _relative(timing: Timing, reference: Timing | None) -> Record:
    """Ratios to the reference in the same rounds."""
    found = [] if reference is None else ratios(timing, reference)
    if not found:
        return {"ratio": None, "ratio_range": None}
    ends = [_digits(min(found)), _digits(max(found))]
    return {"ratio": _digits(statistics.median(found)), "ratio_range": ends}


def _digits(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
