"""Which measurements of a run still stand: those that a variant trained since then is not in."""

from collections.abc import Sequence
from typing import Any

from experiments.blocks import is_missing, outcome
from experiments.engine.config import EngineConfig
from experiments.engine.task import Variant
from experiments.run_directory import RunDirectory

SPEED = "speed"


def is_timed(run: RunDirectory[Any], variants: Sequence[Variant]) -> bool:
    """Says whether the steps of all of these variants were timed together."""
    timed = {record["contender"] for record in run.blocks.get(SPEED, ())}
    return all(variant.name in timed for variant in variants)


def measured_of(run: RunDirectory[Any], config: EngineConfig) -> list[str]:
    """Returns the variants that have not failed, which an extra measurement is of."""
    names = [variant.name for variant in config.chosen_variants()]
    return [name for name in names if outcome(run, name) not in (None, "failed")]


def is_wanted(run: RunDirectory[Any], block: str, config: EngineConfig, retry_failed: bool) -> bool:
    """Says whether an extra measurement is missing, or is of fewer variants than there are now."""
    if is_missing(run, block, retry_failed):
        return True
    ending = run.blocks[block][-1]
    return ending["status"] != "failed" and ending["of"] != measured_of(run, config)
