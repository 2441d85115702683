"""Random numbers by purpose: NumPy gives the same on every device."""

import numpy as np

# Independent streams of random numbers for each seed.
_STREAMS = ("split", "order", "weights", "noise", "offsets", "neighbours", "ids")


def generator(seed: int, stream: str, *place: int) -> np.random.Generator:
    """Returns the random numbers of one purpose of a seed."""
    return np.random.default_rng((seed, _STREAMS.index(stream), *place))
