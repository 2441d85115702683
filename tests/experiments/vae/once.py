"""Programs that a test runs once."""

from collections.abc import Callable
from typing import Any

import jax

from experiments.environment import compiler_options


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles with the least effort: compiling is most of what such a program takes."""
    return jax.jit(function, compiler_options=compiler_options(0))
