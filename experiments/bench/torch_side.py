"""The side of torch in a measurement: the same kind of device, and as many threads."""

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments import environment


def equal_threads() -> None:
    """Gives torch the threads that XLA uses: every core this process may run on."""
    import torch

    torch.set_num_threads(environment.describe()["cores"] or os.cpu_count() or 1)


@functools.cache
def device() -> str | None:
    """The device of torch that a comparison is fair on; None without one, or without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    return (
        str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else None
    )


def tensor(array: Any) -> Any:
    """The array as a tensor on that device."""
    import torch

    array = np.asarray(array)
    if array.dtype.kind in "iu":
        return torch.from_numpy(array.astype(np.int64)).to(device())
    # NumPy has no bfloat16 of its own that torch could read.
    return torch.from_numpy(array.astype(np.float32)).to(device(), getattr(torch, array.dtype.name))


def waited_for(call: Callable[[], Any]) -> Callable[[], None]:
    """The call, returning when its result is there."""
    import torch

    at_once = device() == "cpu"

    def wait() -> None:
        call()
        if not at_once:
            torch.accelerator.synchronize()

    return wait
