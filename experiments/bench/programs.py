"""Compiled programs, and what making them showed."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
    """A compiled program.

    Attributes:
      run: the program itself, of arrays.
      lower_seconds: tracing and lowering.
      compile_seconds: what XLA took; None where a compilation cache may have answered in its place.
      argument_bytes: what goes in.
      output_bytes: what comes out.
      temporary_bytes: what it needs besides.
      compiled_peak_bytes: what it holds while it runs: the three together, without what its outputs
        share with its arguments; known without a run, and on devices that count nothing.
      flops: as counted in the lowered program; None if it loops, as a loop is counted once only.
    """

    run: Callable[..., Any]
    lower_seconds: float
    compile_seconds: float | None
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    compiled_peak_bytes: int
    flops: float | None


def compiled(
    function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = (), **options: Any
) -> Program:
    """Compiles a function for arguments like these, arrays or shapes; `options` are XLA's."""
    jitted = jax.jit(function, donate_argnums=donate)
    began = time.perf_counter()
    lowered = jitted.lower(*arguments)
    between = time.perf_counter()
    program = lowered.compile(compiler_options=options or None)
    ended = time.perf_counter()
    memory: Any = program.memory_analysis()
    if memory is None:
        raise NotImplementedError("this device does not say what memory a program needs")
    return Program(
        run=program,
        lower_seconds=between - began,
        compile_seconds=None if has_cache() else ended - between,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        compiled_peak_bytes=_held(memory),
        flops=None if "stablehlo.while" in lowered.as_text() else _flops(lowered),
    )


def _held(memory: Any) -> int:
    """Bytes of a running program. XLA's own `peak_memory_in_bytes` has no temporaries on a CPU."""
    outside = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return int(outside - memory.alias_size_in_bytes + memory.temp_size_in_bytes)


def has_cache() -> bool:
    """Whether compiled programs may come from a cache, so that compiling cannot be timed."""
    config: Any = jax.config
    return bool(config.jax_compilation_cache_dir and config.jax_enable_compilation_cache)


def blocking(program: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    """A call that returns when the results are there."""

    def call() -> None:
        jax.block_until_ready(program(*arguments))

    return call


def _flops(lowered: jax.stages.Lowered) -> float | None:
    analysis: Any = lowered.cost_analysis()
    return None if analysis is None else analysis.get("flops")
