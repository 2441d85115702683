"""Times programs that take turns, so that a slow moment of the machine hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# A measurement lasts at least this long: shorter programs run several times in it.
SLICE_SECONDS = 0.004
# A program is measured in fewer rounds where all of them would take longer than this.
BUDGET_SECONDS = 0.8


class Timing(NamedTuple):
    """Seconds of one call in each round that the program took part in, and the rounds' numbers."""

    seconds: list[float]
    rounds: list[int]

    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return statistics.median(self.seconds)


def interleaved(
    programs: Mapping[str, Callable[[], None]],
    rounds: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times every program once a round, in an order drawn anew for each round.

    A program has to block until its result is there. It is called beforehand, which shows how long
    it takes: a program too slow for the budget takes part in the first rounds only, and one whose
    very first call exceeds it is not called again; that call is then all there is of it.
    """
    timings = {name: Timing([], []) for name in programs}
    calls, turns = {}, {}
    for name, program in programs.items():
        first = _seconds(program, 1, clock)  # also allocates, so a fast program is called again
        if first > BUDGET_SECONDS:
            timings[name].seconds.append(first)
            timings[name].rounds.append(0)
            calls[name], turns[name] = 1, 0
            continue
        once = max(_seconds(program, 1, clock), 1e-9)
        calls[name] = max(1, math.ceil(SLICE_SECONDS / once))
        turns[name] = min(rounds, max(1, int(BUDGET_SECONDS / (once * calls[name]))))
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        for name in rng.permutation([name for name in programs if number < turns[name]]):
            timings[name].seconds.append(_seconds(programs[name], calls[name], clock))
            timings[name].rounds.append(number)
    return timings


def _seconds(program: Callable[[], None], calls: int, clock: Callable[[], float]) -> float:
    """Seconds of one call, the mean over a number of calls."""
    started = clock()
    for _ in range(calls):
        program()
    return (clock() - started) / calls


def ratios(timing: Timing, reference: Timing) -> list[float]:
    """The program's time over the reference's in every round that both took part in."""
    known = dict(zip(reference.rounds, reference.seconds, strict=True))
    return [
        seconds / known[number]
        for number, seconds in zip(timing.rounds, timing.seconds, strict=True)
        if number in known
    ]


def rounds_of_one(
    programs: Mapping[str, Callable[[], None]], rounds: int
) -> list[dict[str, Timing]]:
    """Rounds of one call each, for programs too slow for the budget of `interleaved`."""
    return [interleaved(programs, 1, seed=seed) for seed in range(rounds)]


def median_of(rounds: Sequence[Mapping[str, Timing]], name: str) -> float:
    """The median of a program over several rounds, in seconds."""
    return statistics.median(timing[name].median() for timing in rounds)


def ratio_of(rounds: Sequence[Mapping[str, Timing]], name: str, reference: str) -> float:
    """The median of its ratios to another one, each of the same round."""
    return statistics.median(r for t in rounds for r in ratios(t[name], t[reference]))


def in_turns(
    rates: Mapping[str, Callable[[int], float]], rounds: int, advance: Callable[[], None]
) -> list[dict[str, Any]]:
    """Measures each contender's steps per second once a round; each round begins with another.

    `rates[name](round)` runs some steps and returns their rate. Returns records of a run.
    """
    names = list(rates)
    found: list[dict[str, Any]] = []
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            rate = rates[name](turn)
            advance()
            record = {"kind": "speed", "contender": name, "round": turn}
            found.append({**record, "steps_per_second": round(rate, 4)})
    return found
