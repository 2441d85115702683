"""How many steps a second each variant takes, in rounds in which all of them take turns."""

from collections.abc import Callable, Mapping

from experiments.engine.training import Training


def rates_of(trainings: Mapping[str, Training]) -> dict[str, Callable[[int], float]]:
    """Returns for each variant what times a block of its steps, from its first weights."""
    return {name: _rate(training) for name, training in trainings.items()}


def _rate(training: Training) -> Callable[[int], float]:
    block = training.programs.block

    def rate(_: int) -> float:
        # The first block brings the data and the weights into the caches.
        seconds = [0.0]
        blocks = training.run(training.begin(), 0, lambda _: None)
        seconds += [now.seconds for _, now in zip(range(0, 2 * block, block), blocks, strict=False)]
        return block / (seconds[-1] - seconds[-2])

    return rate
