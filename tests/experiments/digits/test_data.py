"""Splits are stratified and paired; batches depend on seed and step alone."""

import dataclasses

import numpy as np
import pytest

from experiments.digits import data
from experiments.digits.config import DigitsConfig

CONFIG = DigitsConfig(seeds=3, steps=40, evaluations=4)


def test_parts_cover_all_images_once_with_the_classes_in_proportion() -> None:
    images, labels = data.load_images()
    assert images.shape == (1797, 64)
    assert images.min() == 0.0
    assert images.max() == 1.0
    whole = np.bincount(labels) / labels.size
    for seed in range(3):
        parts = data.split(labels, CONFIG, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(labels.size))
        assert parts.test.size == pytest.approx(0.2 * labels.size, abs=1)
        assert parts.validation.size == pytest.approx(0.2 * labels.size, abs=1)
        for rows in parts:
            share = np.bincount(labels[rows], minlength=10) / rows.size
            np.testing.assert_allclose(share, whole, atol=0.005)


def test_split_depends_on_the_seed_and_not_on_how_many_there_are() -> None:
    _, labels = data.load_images()
    few, many = (data.split(labels, c, 2) for c in (CONFIG, dataclasses.replace(CONFIG, seeds=4)))
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(few.test, data.split(labels, CONFIG, 1).test)


def test_with_a_seed_of_its_own_the_test_part_is_the_same_for_all() -> None:
    _, labels = data.load_images()
    one, other = (data.split(labels, CONFIG, seed, test_seed=0) for seed in (1, 2))
    np.testing.assert_array_equal(one.test, other.test)
    assert not np.array_equal(one.validation, other.validation)
    for parts in (one, other):
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(labels.size))


def test_batch_is_a_function_of_seed_and_step() -> None:
    size = 1000
    longer = dataclasses.replace(CONFIG, steps=80, first_seed=1)
    rows = {step: data.batch(CONFIG, size, 1, step) for step in (39, 0, 17)}
    for step, found in rows.items():
        assert found.shape == (64,)
        np.testing.assert_array_equal(data.batch(longer, size, 1, step), found)
    assert not np.array_equal(rows[0], data.batch(CONFIG, size, 2, 0))


def test_epoch_shows_each_image_at_most_once_and_epochs_differ() -> None:
    size, per_epoch = 1000, 1000 // 64
    rows = [data.batch(CONFIG, size, 0, step) for step in range(2 * per_epoch)]
    first, second = np.concatenate(rows[:per_epoch]), np.concatenate(rows[per_epoch:])
    assert np.unique(first).size == first.size == per_epoch * 64
    assert not np.array_equal(first, second)
