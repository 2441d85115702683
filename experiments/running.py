"""Which experiment a configuration belongs to: how it is run, and how it is reported."""

from pathlib import Path

from experiments import comparison, report, tables
from experiments.bandit import comparison as bandit_comparison
from experiments.bandit import report as bandit_report
from experiments.bandit import tables as bandit_tables
from experiments.bandit.config import BanditConfig
from experiments.base_config import BaseConfig
from experiments.config import Config
from experiments.progress import Display
from experiments.run_directory import read_config
from experiments.vae import comparison as vae_comparison
from experiments.vae import report as vae_report
from experiments.vae import tables as vae_tables
from experiments.vae.config import VaeConfig
from experiments.words import comparison as words_comparison
from experiments.words import report as words_report
from experiments.words import tables as words_tables
from experiments.words.config import WordsConfig


def compare(config: BaseConfig, path: Path, display: Display, retry_failed: bool) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    match config:
        case Config():
            return comparison.compare(config, path, display, retry_failed)
        case WordsConfig():
            return words_comparison.compare(config, path, display, retry_failed)
        case BanditConfig():
            return bandit_comparison.compare(config, path, display, retry_failed)
        case VaeConfig():
            return vae_comparison.compare(config, path, display, retry_failed)
    raise NotImplementedError(f"no experiment runs a {type(config).__name__}")


def write_report(path: Path) -> list[str]:
    """Writes the report of a run; returns its tables for the terminal."""
    match config := read_config(path):
        case Config():
            results = report.write_report(path)
            shown = [tables.main_table(results)]
            return [*shown, tables.difference_table(results)] if results["comparisons"] else shown
        case WordsConfig():
            return words_tables.all_tables(words_report.write_report(path))
        case BanditConfig():
            return bandit_tables.all_tables(bandit_report.write_report(path))
        case VaeConfig():
            return vae_tables.all_tables(vae_report.write_report(path))
    raise NotImplementedError(f"no experiment reports a {type(config).__name__}")
