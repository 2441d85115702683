"""Configurations from files: Python files with `get_config()`, and the config.json of a run."""

import importlib.util
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from experiments.bandit.config import BanditConfig
from experiments.base_config import field_types
from experiments.digits.config import DigitsConfig
from experiments.engine.config import EngineConfig
from experiments.errors import UserError, did_you_mean
from experiments.shakespeare.config import ShakespeareConfig
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig

EXPERIMENTS: dict[str, type[EngineConfig]] = {
    kind.experiment: kind
    for kind in (DigitsConfig, WordsConfig, BanditConfig, VaeConfig, ShakespeareConfig)
}


def from_json(fields: dict[str, Any]) -> EngineConfig:
    """Returns the config that `to_json` wrote; a field that it does not know is a UserError."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    name = values.pop("experiment", DigitsConfig.experiment)
    if values.pop("engine", False):
        # What a report reads besides the fields.
        for described in ("training", "metrics", "about"):
            values.pop(described, None)
        if name not in EXPERIMENTS:
            # An experiment of one's own: only its file knows its other fields.
            known: dict[str, Any] = {k: values[k] for k in field_types(EngineConfig) if k in values}
            return EngineConfig(**known)
    if name not in EXPERIMENTS:
        raise UserError(f"config.json has an unknown experiment {name!r}")
    kinds = field_types(EXPERIMENTS[name])
    for field in values:
        if field not in kinds:
            raise UserError(
                f"config.json has an unknown field {field!r}{did_you_mean(field, kinds)}"
            )
    return EXPERIMENTS[name](**values)


def load_config(path: Path) -> EngineConfig:
    """Imports a configuration file and returns what its `get_config()` returns."""
    if not path.is_file():
        near = [str(p) for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        hint = did_you_mean(str(path), near) or (f"; there are: {', '.join(near)}" if near else "")
        raise UserError(f"no config file {str(path)!r}{hint}")
    try:
        config = _import_file(path).get_config()
    except Exception as error:
        raise UserError(f"{path}: {_explain(error, path)}") from error
    if not isinstance(config, EngineConfig):
        known = " or a ".join(kind.__name__ for kind in EXPERIMENTS.values())
        raise UserError(
            f"{path}: get_config() has to return a {known}, got {type(config).__name__}"
        )
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
    unknown = re.search(r"(\w+)\.__init__\(\).*unexpected keyword argument '(\w+)'", str(error))
    named = [k for k in EXPERIMENTS.values() if unknown and k.__name__ == unknown[1]]
    if isinstance(error, TypeError) and unknown and named:
        name, hint = unknown[2], did_you_mean(unknown[2], field_types(named[0]))
        return f"{where}{unknown[1]} has no field {name!r}{hint}"
    if isinstance(error, AttributeError) and "get_config" in str(error):
        return "expected a function get_config(), found none"
    message = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{where}{type(error).__name__}: {message}"
