"""A training step of every contender of every experiment, at the sizes of their configs."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from experiments.bandit.config import BanditConfig
from experiments.bench.case import OURS, STEP, Case, Group, Wanted
from experiments.bench.suite_command import OF_STEPS
from experiments.digits.config import DigitsConfig
from experiments.engine.config import EngineConfig
from experiments.engine.step import TrainingStep, training_steps
from experiments.environment import compiler_options
from experiments.errors import UserError
from experiments.shakespeare.config import ShakespeareConfig
from experiments.vae.config import VaeConfig
from experiments.words.config import WordsConfig

CONFIGS: tuple[Callable[[], EngineConfig], ...] = (
    DigitsConfig,
    functools.partial(WordsConfig, task="ngram"),
    functools.partial(WordsConfig, task="skipgram"),
    ShakespeareConfig,
    VaeConfig,
    BanditConfig,
)
QUICK = 2


def groups(wanted: Wanted) -> list[Group]:
    """One group for each task of an experiment: its contenders, the first being the reference."""
    if wanted.dtype != OF_STEPS:
        raise UserError(
            f"--dtype: the steps of the experiments are of {OF_STEPS}, got {wanted.dtype}"
        )
    found: dict[tuple[str, int], list[TrainingStep]] = {}
    for config in (make() for make in CONFIGS):
        for step in training_steps(config):
            found.setdefault((_name(config), step.examples), []).append(step)
    return [
        Group(
            "steps",
            STEP,
            {"examples": examples},
            wanted.dtype,
            tuple(_case(name, step) for step in steps[: QUICK if wanted.quick else None]),
        )
        for (name, examples), steps in found.items()
    ]


def _name(config: EngineConfig) -> str:
    # The words have two tasks, each a config of its own.
    return f"words/{config.task}" if isinstance(config, WordsConfig) else config.experiment


def _case(name: str, step: TrainingStep) -> Case:
    (donated,) = step.donate
    return Case(
        f"{name}/{step.name}",
        OURS,
        step.function,
        step.make_arguments,
        differentiated=(),
        # A step takes its batch from a larger array, and its rows from larger tables.
        reads_all=False,
        donated=donated,
        sizes={"state": _numbers(step.arguments[donated])},
        options=compiler_options(),
    )


def _numbers(tree: Any) -> int:
    """How many numbers a state has: parameters and what the optimiser keeps, of every model."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
