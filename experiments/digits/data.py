"""The digits, split the same way for every contender, and batches that depend on nothing else."""

import functools
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from experiments.errors import UserError
from experiments.randomness import generator

CLASSES = 10


class Sampling(Protocol):
    """The fields of a config that say how the digits are split and drawn."""

    @property
    def batch_size(self) -> int:
        """Images in a step."""

    @property
    def test_fraction(self) -> float:
        """Part of the images for the final figures."""

    @property
    def validation_fraction(self) -> float:
        """Part of the images for choices."""


class Parts(NamedTuple):
    """Row numbers into the data: one array for each part of a split."""

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]


def load_images() -> tuple[Float[np.ndarray, "images features"], Int[np.ndarray, " images"]]:
    """Returns the 1,797 bundled digits: 8 x 8 pixels in [0, 1], and their classes."""
    images, labels = load_digits(return_X_y=True)
    return (images / 16.0).astype(np.float32), labels.astype(np.int32)


def split(
    labels: Int[np.ndarray, " images"], config: Sampling, seed: int, test_seed: int | None = None
) -> Parts:
    """Returns a split in which each part has the classes in the proportions of the whole.

    With a seed of its own the test part is the same for every seed.
    """
    state = int(generator(seed, "split").integers(2**32))
    of_test = state if test_seed is None else int(generator(test_seed, "split").integers(2**32))
    rows = np.arange(labels.size)
    rest, test = train_test_split(
        rows, test_size=config.test_fraction, stratify=labels, random_state=of_test
    )
    share = config.validation_fraction / (1.0 - config.test_fraction)
    train, validation = train_test_split(
        rest, test_size=share, stratify=labels[rest], random_state=state
    )
    return Parts(np.sort(train), np.sort(validation), np.sort(test))


def parts_of(
    labels: Int[np.ndarray, " images"], config: Sampling, seed: int, test_seed: int | None = None
) -> Parts:
    """Returns the split of a seed; fractions and batches that do not fit are a UserError."""
    try:
        parts = split(labels, config, seed, test_seed)
    except ValueError as error:
        raise UserError(f"test_fraction, validation_fraction: no stratified split: {error}") from (
            error
        )
    if config.batch_size > parts.train.size:
        raise UserError(
            f"batch_size: expected at most the {parts.train.size} training images, "
            f"got {config.batch_size}"
        )
    return parts


def batch(config: Sampling, train_size: int, seed: int, step: int) -> Int[np.ndarray, " batch"]:
    """Returns the training rows of one step: a function of seed and step alone.

    Each epoch is one permutation of the training part; its last, incomplete batch is left out.
    """
    per_epoch = train_size // config.batch_size
    epoch, position = divmod(step, per_epoch)
    start = position * config.batch_size
    return _order(seed, epoch, train_size)[start : start + config.batch_size].astype(np.int32)


# The steps of an epoch follow each other.
@functools.lru_cache(maxsize=64)
def _order(seed: int, epoch: int, train_size: int) -> Int[np.ndarray, " train"]:
    return generator(seed, "order", epoch).permutation(train_size)
