"""Types shared by the whole package."""

from collections.abc import Sequence

from jax import Array
from jax.typing import ArrayLike, DTypeLike

Axis = int | Sequence[int]

__all__ = ["Array", "ArrayLike", "Axis", "DTypeLike"]
