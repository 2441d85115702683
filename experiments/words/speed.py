"""Steps per second: heads take turns, so that a slow moment of the machine hits all."""

import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from experiments.run_directory import Record
from experiments.words.config import TaskName, WordsConfig
from experiments.words.train import Batches, Programs, initial_state


def measure(
    programs: Mapping[str, Programs],
    config: WordsConfig,
    task: TaskName,
    batches: Callable[[Programs, int], Batches],
    advance: Callable[[], None],
) -> list[Record]:
    """Times one block of steps of each head in each round, from its first weights.

    `batches` gives the same for every head in one round.

    A first round warms up and is not kept; each round starts with another head.
    """
    names, rounds = list(programs), config.speed_rounds
    found: list[Record] = []
    for turn in range(-1, rounds):
        for place in range(len(names)):
            name = names[(place + max(turn, 0)) % len(names)]
            seconds = _seconds(programs[name], config, task, batches(programs[name], turn + 1))
            advance()
            if turn >= 0:
                rate = programs[name].block / seconds
                found.append({"kind": "speed", "contender": name, "round": turn})
                found[-1]["steps_per_second"] = round(rate, 4)
    return found


def _seconds(programs: Programs, config: WordsConfig, task: TaskName, batches: Batches) -> float:
    state = initial_state(programs, config, task, config.first_seed)
    jax.block_until_ready((state, batches))
    began = time.perf_counter()
    jax.block_until_ready(programs.steps(programs.head, state, batches, jnp.float32(0.01)))
    return time.perf_counter() - began
