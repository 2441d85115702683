"""Steps per second: heads take turns, so that a slow moment of the machine hits all."""

import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from experiments.run_directory import Record
from experiments.timing import in_turns
from experiments.words.train import Batches, Programs, State


def measure(
    programs: Mapping[str, Programs],
    rounds: int,
    states: Callable[[Programs], State],
    batches: Callable[[Programs, int], Batches],
    advance: Callable[[], None],
) -> list[Record]:
    """Times one block of steps of each head in each round, from the same state in all rounds.

    `batches` gives the same for every head in one round. Each round starts with another head.
    """

    def rate_of(of: Programs) -> Callable[[int], float]:
        return lambda turn: of.block / _seconds(of, states(of), batches(of, turn))

    rates = {name: rate_of(of) for name, of in programs.items()}
    return in_turns(rates, rounds, advance)


def _seconds(programs: Programs, state: State, batches: Batches) -> float:
    # The first steps meet the tables of a new state for the first time, which training does once.
    state, _ = programs.steps(programs.head, state, batches, jnp.float32(0.01))
    jax.block_until_ready((state, batches))
    began = time.perf_counter()
    after = jax.block_until_ready(programs.steps(programs.head, state, batches, jnp.float32(0.01)))
    seconds = time.perf_counter() - began
    # Giving large tables back to the system takes longer than a step: not before the clock stops.
    del after
    return seconds
