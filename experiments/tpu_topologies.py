"""TPUs that need not be there: their names and memory, and devices to compile for."""

import contextlib
import importlib.util
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiments.errors import UserError, did_you_mean

# Of a TPU to which this machine has no connection. libtpu wants to know where it runs before it
# compiles; what it is told here does not decide what it compiles for.
_ABSENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # It is for one process at a time because of the devices, of which there are none.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    "TPU_LOG_DIR": "disabled",
    "JAX_PLATFORMS": "cpu",
}
INSTALL = "pip install 'softmax-variants[aot]'"


class Chip(NamedTuple):
    """One kind of TPU.

    Attributes:
      hbm: GiB of memory of a chip, as its maker says.
      usable: GiB of it that a program of one device may take, as libtpu's compiler says.
      axes: How many sizes a topology of it has.
      layouts: Some topologies of it.
      source: Where the memory is written down.
    """

    hbm: int
    usable: float
    axes: int
    layouts: tuple[str, ...]
    source: str


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8")
_DOCS = "https://cloud.google.com/tpu/docs"
CHIPS = {
    "v5e": Chip(16, 15.75, 2, _FLAT, f"{_DOCS}/v5e"),
    "v6e": Chip(32, 31.25, 2, _FLAT, f"{_DOCS}/v6e"),
    "v5p": Chip(95, 95.74, 3, _DEEP, f"{_DOCS}/v5p"),
    # To the compiler each of its two cores is a device, with half of the memory.
    "v4": Chip(32, 15.25, 3, _DEEP, f"{_DOCS}/v4"),
}
NAMES = [f"{kind}:{layout}" for kind, chip in CHIPS.items() for layout in chip.layouts]


class Topology(NamedTuple):
    """Some chips that are wired together.

    Attributes:
      name: As in `v5e:2x2`.
      chip: What is true of each.
      devices: As JAX sees them; programs can be compiled for them and not run.
    """

    name: str
    chip: Chip
    devices: list[Any]


@contextlib.contextmanager
def absent_tpu() -> Iterator[None]:
    """Lets libtpu start on a machine without a TPU; the environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in _ABSENT}
    os.environ.update(_ABSENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def expect_libtpu() -> None:
    """Raises a UserError where the compiler for TPUs is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"aot: expected the package libtpu, which compiles for TPUs, found none: {INSTALL} "
            "(it exists for Linux on x86-64)"
        )


def parse_topology(name: str) -> tuple[Chip, tuple[int, ...]]:
    """Returns the chip of a topology and its sizes; what is no topology is a UserError."""
    kind, _, layout = name.partition(":")
    known = f"one of {', '.join(CHIPS)}, a colon and the sizes, as in v5e:2x2"
    if kind not in CHIPS:
        raise UserError(f"--topology: expected {known}, got {name!r}{did_you_mean(name, NAMES)}")
    chip = CHIPS[kind]
    if not re.fullmatch(r"[1-9]\d*" + r"x[1-9]\d*" * (chip.axes - 1), layout):
        sizes = "x".join("ABC"[: chip.axes])
        raise UserError(
            f"--topology: expected sizes as in {kind}:{sizes}, got {name!r}"
            f"{did_you_mean(name, NAMES)}"
        )
    return chip, tuple(int(size) for size in layout.split("x"))


def parse_bounds(text: str) -> tuple[int, ...]:
    """Returns the sizes of the chips of one host, filled up to three."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", text):
        raise UserError(f"--chips-per-host: expected sizes as in 2x2 or 2x2x1, got {text!r}")
    sizes = [int(size) for size in text.split("x")]
    return (*sizes, *[1] * (3 - len(sizes)))


def topology_of(name: str, chips_per_host: str | None = None) -> Topology:
    """Returns the devices of a topology; needs libtpu, and starts it in `absent_tpu`.

    Args:
      name: As in `v5e:2x2`.
      chips_per_host: As in `2x2`; None is what libtpu takes, or one where a side has only one.
    """
    chip, sizes = parse_topology(name)
    expect_libtpu()
    default = (2, 2, 1)
    bounds = (
        tuple(min(*pair) for pair in itertools.zip_longest(sizes, default, fillvalue=1))
        if chips_per_host is None
        else parse_bounds(chips_per_host)
    )
    from jax.errors import JaxRuntimeError
    from jax.experimental import topologies

    with absent_tpu():
        try:
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=name, chips_per_host_bounds=bounds
            )
        except JaxRuntimeError as error:
            why = " ".join(str(error).split()).removeprefix("INVALID_ARGUMENT: ")
            raise UserError(f"--topology: libtpu has no {name!r}: {why}") from error
    return Topology(name, chip, list(found.devices))
