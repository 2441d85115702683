"""Steps per second: contenders take turns, so that a slow moment of the machine hits all."""

from collections.abc import Callable, Sequence

from experiments.digits.contenders import Contender
from experiments.digits.train import Compiled, Task, initial_state, time_chunk
from experiments.run_directory import Record


def measure(
    task: Task,
    programs: Sequence[tuple[Contender, Compiled]],
    rounds: int,
    advance: Callable[[], None],
) -> list[Record]:
    """Times one chunk of each contender in each round, from the initial weights.

    A first round warms up and is not kept; each round starts with another contender.
    """
    states = [initial_state(task, contender.program) for contender, _ in programs]
    records: list[Record] = []
    for number in range(-1, rounds):
        for turn in range(len(programs)):
            index = (turn + max(number, 0)) % len(programs)
            contender, compiled = programs[index]
            rate = time_chunk(task, contender, compiled, states[index])
            advance()
            if number >= 0:
                records.append(
                    {"kind": "speed", "contender": contender.name, "round": number}
                    | {"steps_per_second": round(rate, 3)}
                )
    return records
