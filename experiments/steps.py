"""One training step of every experiment, as the experiment itself runs it.

What measures or compiles steps apart from training takes them from here. Each experiment gives its
own in its module `step`, those of the engine together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.base_config import BaseConfig
from experiments.engine.config import EngineConfig


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """One step of one contender.

    Attributes:
      name: What the experiment calls its contender, or what several have in common.
      function: Returns a tuple, which begins with what replaces the donated argument.
      arguments: The shapes and dtypes of its arguments.
      make_arguments: Makes the arguments of a first step; donated ones serve once.
      donate: The numbers of the arguments whose memory the step may use again.
      examples: How many examples a step takes, for all models that it trains.
      batch: The numbers of the arguments whose leaves lead with the axis of the examples.
    """

    name: str
    function: Callable[..., tuple[Any, ...]]
    arguments: tuple[Any, ...]
    make_arguments: Callable[[], tuple[Any, ...]]
    donate: tuple[int, ...]
    examples: int
    batch: tuple[int, ...]


def training_steps(config: BaseConfig) -> list[TrainingStep]:
    """Returns one step of every contender that a config names.

    Contenders that differ in numbers alone, such as a temperature, have one step together.
    """
    match config:
        case EngineConfig():
            from experiments.engine import step as engine

            return engine.training_steps(config)
    raise NotImplementedError(f"no experiment has a step of a {type(config).__name__}")
