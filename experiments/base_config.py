"""What the configurations of all experiments share: typed, documented and checked fields."""

import dataclasses
import inspect
import json
import re
import typing
from typing import Any, ClassVar, Literal

from experiments.errors import UserError


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """A configuration: the dataclasses derived from it are checked when they are made.

    Each field is described in the docstring of its class, under `Attributes:`.
    """

    experiment: ClassVar[str]
    # Where a run is made and not what it gives: these fields may change when it goes on.
    placement: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            _check_type(name, getattr(self, name), kind)
        self.check_values()

    def check_values(self) -> None:
        """Raises a UserError where a field has the right type and a value out of range."""
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """Returns what `config.json` says besides the fields, or in their place."""
        return {}

    def expect(self, name: str, holds: bool, expected: str) -> None:
        """Raises a UserError about a field unless the condition holds."""
        if not holds:
            raise UserError(f"{name}: expected {expected}, got {getattr(self, name)!r}")


def field_types(kind: type[BaseConfig]) -> dict[str, Any]:
    """Returns the type of each field of a configuration, in the order of its definition."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def field_help(kind: type[BaseConfig]) -> dict[str, str]:
    """Returns one sentence on each field, read from the docstrings of the class and its bases."""
    sentences: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        # Python 3.13 strips the indentation of docstrings, earlier versions keep it.
        text = inspect.cleandoc(part.__doc__ or "").split("Attributes:")[-1]
        found = re.findall(r"^ {2}(\w+): (.*(?:\n {4}.*)*)", text, flags=re.MULTILINE)
        sentences |= {name: " ".join(sentence.split()) for name, sentence in found}
    return {name: sentences[name] for name in field_types(kind) if name in sentences}


def describe_type(kind: Any) -> str:
    """Returns a type in words: `an integer`, `numbers`, `one of 'adam', 'sgd'`."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if typing.get_origin(item) is Literal:
            return describe_type(item).replace("one of", "any of")
        return {int: "integers", float: "numbers", str: "names"}[item]
    return {int: "an integer", float: "a number", str: "a name"}[kind]


def _check_type(name: str, value: Any, kind: Any) -> None:
    if not _is_a(value, kind):
        many = "a tuple of " if typing.get_origin(kind) is tuple else ""
        raise UserError(f"{name}: expected {many}{describe_type(kind)}, got {value!r}")


def _is_a(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return isinstance(value, tuple) and all(_is_a(v, item) for v in value)
    if kind is str:
        return isinstance(value, str)
    # A bool is an int to Python, and never what a count or a rate should be.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (kind is float or isinstance(value, int))


def to_json(config: BaseConfig) -> dict[str, Any]:
    """Returns the config as it reads back from JSON, with the name of its experiment."""
    fields = {"experiment": config.experiment, **dataclasses.asdict(config), **config.described()}
    read_back: dict[str, Any] = json.loads(json.dumps(fields))
    return read_back


def differing_fields(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns the names of the fields in which two configs, as JSON, differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]
