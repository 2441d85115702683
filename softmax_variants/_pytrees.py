"""Registration of dataclasses as pytrees whose structures tell the classes apart.

`jax.tree_util.register_dataclass` makes structures that compare equal for different classes with
as many fields (jaxlib 0.10 and 0.12): where their hashes meet, a compiled function runs what it
traced for the other class.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax

_T = TypeVar("_T")


def register_pytree(cls: type[_T], data: Sequence[str], static: Sequence[str]) -> None:
    """Registers a class by the names of its fields; unflattening does not call the constructor."""
    keys = tuple(map(jax.tree_util.GetAttrKey, data))
    names = (*data, *static)

    def flatten(value: _T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(value, n) for n in data), tuple(getattr(value, n) for n in static)

    def with_keys(value: _T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, fixed = flatten(value)
        return tuple(zip(keys, children, strict=True)), fixed

    def unflatten(fixed: tuple[Any, ...], children: Any) -> _T:
        value = object.__new__(cls)
        for name, field in zip(names, (*children, *fixed), strict=True):
            object.__setattr__(value, name, field)
        return value

    jax.tree_util.register_pytree_with_keys(cls, with_keys, unflatten, flatten)


def pytree_dataclass(cls: type[_T]) -> type[_T]:
    """Registers a dataclass; a field with `metadata={"static": True}` is part of the structure."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # a dataclass
    static = [field.name for field in fields if field.metadata.get("static")]
    register_pytree(cls, [field.name for field in fields if field.name not in static], static)
    return cls
