"""The task that the engine trains: its images, its temperatures, and what models are judged by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.vae.config import VaeConfig
from experiments.vae.contenders import all_contenders
from experiments.vae.task import Autoencoder, Judged, Predicted, perplexity
from tests.experiments.vae.once import once

CONFIG = VaeConfig(
    latents=2, classes=3, hidden=6, steps=31, evaluations=1, batch_size=5, anneal=(2.0, 0.5)
)


def test_images_of_a_step_are_on_or_off_and_of_the_training_part() -> None:
    task = Autoencoder(CONFIG)
    first, other = task.batch(0, 30), task.batch(1, 30)
    np.testing.assert_array_equal(first.pixels, Autoencoder(CONFIG).batch(0, 30).pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert set(np.unique(first.pixels)) == {0.0, 1.0}
    assert 0.2 < first.pixels.mean() < 0.5
    trained = {image.tobytes() for image in task.examples(0, "test").trained}
    assert {image.tobytes() for image in first.pixels} <= trained
    # One test part for all seeds, which tuning sees nothing of.
    tests, chosen_on = (
        [task.examples(seed, split).held_out for seed in (0, 1)] for split in ("test", "validation")
    )
    np.testing.assert_array_equal(tests[0], tests[1])
    assert not np.array_equal(chosen_on[0], chosen_on[1])
    assert sum(map(len, (tests[0], chosen_on[0], task.examples(0, "test").trained))) == 1797


def test_all_temperatures_of_a_method_are_one_program() -> None:
    variants = [c.variant(CONFIG) for c in all_contenders(CONFIG)]
    assert len({variant.program for variant in variants}) == 9
    assert len(variants) == len({variant.name for variant in variants}) == 3 + 6 * 6
    without = dataclasses.replace(CONFIG, anneal=(), tuned_temperatures=())
    assert len(all_contenders(without)) == 3 + 6 * 4


def test_annealing_goes_from_the_first_temperature_to_the_last() -> None:
    """A step of the annealed run is one at the temperature that is due."""
    task = Autoencoder(CONFIG)
    weights, settings = task.initial(0, {}), {"method": "gumbel_softmax"}
    variants = {v.name: v for v in CONFIG.make_variants()}
    annealed = {n: jnp.float32(x) for n, x in variants["gumbel_softmax_annealed"].fixed.items()}
    loss = once(
        lambda batch, values: task.loss(weights, batch, jax.random.key(3), settings, values)
    )
    for step, due in ((0, 2.0), (10, 2.0 * 0.25 ** (1 / 3)), (30, 0.5)):
        batch = task.batch(0, step)
        fixed = {"temperature": jnp.float32(due), "cooling": jnp.float32(1.0)}
        np.testing.assert_allclose(loss(batch, annealed), loss(batch, fixed), rtol=1e-5)
    other = {"temperature": jnp.float32(1.0), "cooling": jnp.float32(1.0)}
    assert np.abs(loss(batch, other) - loss(batch, fixed)).min() > 1e-4


def test_a_model_is_judged_by_exact_means_and_by_the_codes_of_all_images() -> None:
    task = Autoencoder(CONFIG)
    weights, examples = task.initial(0, {}), task.examples(0, "test")
    predict = once(lambda examples: task.predict(weights, examples, {}, {}))
    one, other = examples.held_out[:4], examples.trained[:4]
    outputs, swapped = (predict(Judged(*pair)) for pair in ((one, other), (other, one)))
    np.testing.assert_allclose(outputs.training_elbo, swapped.elbo, rtol=1e-6)
    metrics, details = task.judge(jax.tree.map(np.asarray, outputs), examples)
    assert list(metrics) == list(task.metrics) == ["elbo", "log_likelihood", "codes"]
    assert metrics["elbo"] == pytest.approx(np.mean(outputs.elbo))
    assert metrics["log_likelihood"] == pytest.approx(np.mean(outputs.log_likelihood))
    assert details == {"training_elbo": pytest.approx(np.mean(swapped.elbo))}
    # Two images that use one code each, not the same one: two codes are in use.
    one_code, ones = jnp.eye(9)[jnp.asarray([4, 7])], jnp.ones(2)
    made = Predicted(ones, ones, one_code, ones * jnp.nan)
    found = task.judge(jax.tree.map(np.asarray, made), examples)
    assert found.metrics["codes"] == pytest.approx(2.0)
    assert found.details == {"training_elbo": None}
    assert perplexity(np.full(9, 1 / 9)) == pytest.approx(9.0)
