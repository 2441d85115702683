"""The configuration of a comparison: a frozen dataclass, checked when it is made."""

import dataclasses
import importlib.util
import json
import math
import re
import sys
import traceback
import types
import typing
from pathlib import Path
from typing import Any, Literal

from experiments.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Config:
    """What one comparison does; two runs with equal configs give equal results.

    Attributes:
      variants: The contenders to train, by the names that `list` prints; empty means every one.
        softmax always takes part, because all differences are taken to it.
      temperatures: Temperatures at which softmax is trained, besides 1.
      bases: Bases at which softmax is trained, besides e.
      seeds: How many independent repetitions; each has its own split, initial weights and order.
      first_seed: The seed of the first repetition; the others follow it.
      hidden: Sizes of the hidden layers; empty means multinomial logistic regression.
      steps: Optimiser steps for every model.
      batch_size: Examples in a step.
      evaluations: How often a model is evaluated during training, evenly spaced.
      optimizer: The optimiser, with optax's defaults apart from the learning rate.
      schedule: How the learning rate changes over the steps.
      learning_rates: The rates that every contender may choose from, on its validation part.
      test_fraction: Part of the data that is only used for the final figures.
      validation_fraction: Part of the data that chooses the learning rate.
      smoothing: s in -log((1 - s) p_y + s / n), which keeps the NLL of a zero finite.
      confidence: Level of all intervals.
      speed_rounds: Interleaved rounds in which the steps per second are timed.
    """

    variants: tuple[str, ...] = ()
    temperatures: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    bases: tuple[float, ...] = (0.5, 2.0, 10.0)
    seeds: int = 10
    first_seed: int = 0
    hidden: tuple[int, ...] = (64,)
    steps: int = 400
    batch_size: int = 64
    evaluations: int = 10
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "cosine"
    learning_rates: tuple[float, ...] = (0.001, 0.003, 0.01)
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    smoothing: float = 0.01
    confidence: float = 0.95
    speed_rounds: int = 7

    def __post_init__(self) -> None:
        for name, kind in field_types().items():
            _check_type(name, getattr(self, name), kind)
        _check_values(self)

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return self.steps // self.evaluations


def field_types() -> dict[str, Any]:
    """Returns the type of each field of Config, in the order of its definition."""
    hints = typing.get_type_hints(Config)
    return {field.name: hints[field.name] for field in dataclasses.fields(Config)}


def field_help() -> dict[str, str]:
    """Returns one sentence on each field, read from the docstring of Config."""
    text = (Config.__doc__ or "").split("Attributes:")[-1]
    found = re.findall(r"^ {6}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(sentence.split()) for name, sentence in found}


def describe_type(kind: Any) -> str:
    """Returns a type in words: `an integer`, `numbers`, `one of 'adam', 'sgd'`."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return {int: "integers", float: "numbers", str: "names"}[typing.get_args(kind)[0]]
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


def _check_values(config: Config) -> None:
    def check(name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UserError(f"{name}: expected {expected}, got {getattr(config, name)!r}")

    check("seeds", config.seeds >= 2, "at least 2 (an interval needs two repetitions)")
    check("first_seed", config.first_seed >= 0, "0 or more")
    check("hidden", all(size >= 1 for size in config.hidden), "sizes of 1 or more")
    check("steps", config.steps >= 1, "1 or more")
    check("batch_size", config.batch_size >= 1, "1 or more")
    check("evaluations", 1 <= config.evaluations <= config.steps, f"1 to steps ({config.steps})")
    if config.steps % config.evaluations:
        raise UserError(
            f"evaluations: expected a divisor of steps ({config.steps}), got {config.evaluations}"
        )
    rates = config.learning_rates
    good = len(rates) > 0 and all(0 < rate < math.inf for rate in rates)
    check("learning_rates", good and len(set(rates)) == len(rates), "different positive numbers")
    check("test_fraction", 0 < config.test_fraction < 1, "between 0 and 1")
    check("validation_fraction", 0 < config.validation_fraction < 1, "between 0 and 1")
    held_out = config.test_fraction + config.validation_fraction
    check("validation_fraction", held_out < 0.95, f"less than {0.95 - config.test_fraction:.2f}")
    check("smoothing", 0 < config.smoothing < 1, "between 0 and 1")
    check("confidence", 0 < config.confidence < 1, "between 0 and 1")
    check("speed_rounds", config.speed_rounds >= 1, "1 or more")
    for name in ("temperatures", "bases"):
        values = getattr(config, name)
        good = all(0 < value < math.inf for value in values) and len(set(values)) == len(values)
        check(name, good, "different positive numbers")


def to_json(config: Config) -> dict[str, Any]:
    """Returns the config as it reads back from JSON: tuples become lists."""
    read_back: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return read_back


def from_json(fields: dict[str, Any]) -> Config:
    """Returns the config that `to_json` wrote; a field that it does not know is a UserError."""
    kinds = field_types()
    for name in fields:
        if name not in kinds:
            raise UserError(f"config.json has an unknown field {name!r}{did_you_mean(name, kinds)}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Config(**values)


def differing_fields(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns the names of the fields in which two configs, as JSON, differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def load_config(path: Path) -> Config:
    """Imports a configuration file and returns what its `get_config()` returns."""
    if not path.is_file():
        near = [str(p) for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        hint = did_you_mean(str(path), near) or (f"; there are: {', '.join(near)}" if near else "")
        raise UserError(f"no config file {str(path)!r}{hint}")
    try:
        config = _import_file(path).get_config()
    except Exception as error:
        raise UserError(f"{path}: {_explain(error, path)}") from error
    if not isinstance(config, Config):
        raise UserError(f"{path}: get_config() has to return a Config, got {type(config).__name__}")
    return config


def _import_file(path: Path) -> types.ModuleType:
    name = f"experiments_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError("expected a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _explain(error: Exception, path: Path) -> str:
    """Says in one line what went wrong in a configuration file, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).name == path.name and f.lineno]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    where = f"line {line}: " if line else ""
    if isinstance(error, UserError):
        return f"{where}{error}"
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if isinstance(error, TypeError) and unknown:
        name = unknown[1]
        return f"{where}Config has no field {name!r}{did_you_mean(name, field_types())}"
    if isinstance(error, AttributeError) and "get_config" in str(error):
        return "expected a function get_config(), found none"
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{where}{type(error).__name__}: {message}"
