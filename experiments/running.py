"""Which experiment a configuration belongs to: how it is run, and how it is reported.

What an experiment imports is imported in its own case: Flax and Orbax take seconds, which the
other experiments should not wait for.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments import distributed
from experiments.base_config import BaseConfig
from experiments.engine.config import EngineConfig
from experiments.errors import UserError
from experiments.progress import Display
from experiments.run_directory import read_config
from experiments.shakespeare.config import SampleConfig, ShakespeareConfig


def compare(config: BaseConfig, path: Path, display: Display, retry_failed: bool) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    match config:
        case EngineConfig():
            from experiments.engine import comparison as engine

            return engine.compare(config.with_reference(), path, display, retry_failed)
    raise NotImplementedError(f"no experiment runs a {type(config).__name__}")


def write_report(path: Path) -> list[str]:
    """Writes the report of a run, in one process; returns its tables for the terminal."""
    return distributed.on_writer(lambda: _write_report(path))


def _write_report(path: Path) -> list[str]:
    match config := read_config(path):
        case EngineConfig():
            from experiments.engine import report as engine_report

            return engine_report.write_report(path)
    raise NotImplementedError(f"no experiment reports a {type(config).__name__}")


def write_event_files(path: Path) -> Path:
    """Writes event files for TensorBoard from the records of a run; returns their directory."""
    match config := read_config(path):
        case EngineConfig():
            from experiments.engine import event_files

            return event_files.write_event_files(path)
    raise UserError(f"--tensorboard: {path} is a run on {config.experiment}, expected the engine's")


def train(config: BaseConfig, path: Path, display: Display) -> tuple[bool, list[str]]:
    """Trains one model as far as it is not; returns whether anything was done, and tables."""
    match config:
        case EngineConfig():
            from experiments.engine import comparison as engine

            trained = engine.train(config, path, display)
            return trained, write_report(path)
    raise UserError(f"train: {config.experiment} has no single model to train; use `compare`")


def sample(path: Path, request: SampleConfig) -> Iterator[str]:
    """Yields a prompt and the text that a run of `train` continues it with, in pieces."""
    match config := read_config(path):
        case ShakespeareConfig():
            from experiments.shakespeare import writing

            return writing.sample(path, config, request)
    raise UserError(f"{path} is a run on {config.experiment}, expected one of a language model")
