"""Training many models at once is training each of them alone, step by step, with optax."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import softmax_variants as sv
from experiments.engine.candidates import Candidate, best, candidates, is_tuned
from experiments.engine.checks import check_task
from experiments.engine.config import EngineConfig
from experiments.engine.programs import NEVER, compile_programs, factors_of
from experiments.engine.task import Judgement, Range, Variant, first_metric
from experiments.engine.told import steps_of
from experiments.engine.training import Training, models_of
from experiments.errors import UserError
from experiments.mesh import make_mesh
from tests.experiments.engine.tiny import SOFTMAX, Linear

CONFIG = EngineConfig(steps=6, evaluations=2, batch_size=8, seeds=2, warmup=2, clip=0.5)


def trained(
    config: EngineConfig, task: Linear, variant: Variant, chosen: list[Candidate]
) -> tuple[Training, Any]:
    """All progress of a training of the candidates with the config's seeds."""
    models = models_of(variant, chosen, range(config.first_seed, config.first_seed + config.seeds))
    mesh = make_mesh(devices=jax.devices()[:1])
    count, shapes = len(models.seeds), variant.program[1]
    programs = compile_programs(task, config, variant.settings, shapes, count, config.steps, mesh)
    training = Training(task, config, variant.settings, models, config.steps, programs, mesh)
    found = []
    for progress in training.run(training.begin(), 0, lambda _: None):
        found.append(progress._replace(saved=jax.tree.map(np.array, progress.saved)))
    return training, found


def by_hand(
    config: EngineConfig, task: Linear, seed: int, rate: float, alpha: float | None
) -> tuple[np.ndarray, list[float]]:
    """The weights and losses of one model, trained by optax in a loop."""
    along = np.clip((np.arange(config.steps) - 2) / (config.steps - 2), 0, 1)
    factors = np.where(
        np.arange(config.steps) < 2, [1 / 3, 2 / 3, 0, 0, 0, 0], 0.5 + 0.5 * np.cos(np.pi * along)
    )
    rates = jnp.asarray(rate * factors, jnp.float32)
    transform = optax.chain(
        optax.clip_by_global_norm(config.clip), optax.adam(lambda count: rates[count])
    )
    params = task.initial(seed, {})
    state, losses = transform.init(params), []

    def mean_loss(params: Any, inputs: Any, labels: Any) -> Any:
        scores = inputs @ params["weight"]
        if alpha is None:
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1))
        return jnp.mean(sv.entmax_loss(scores, labels, alpha=alpha))

    for step in range(config.steps):
        loss, gradient = jax.value_and_grad(mean_loss)(params, *task.batch(seed, step))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(loss))
    return np.asarray(params["weight"]), losses


@pytest.mark.parametrize("alphas", [None, (1.2, 1.8)])
def test_each_model_is_trained_as_if_alone(alphas: tuple[float, float] | None) -> None:
    task = Linear()
    if alphas is None:
        variant = SOFTMAX
        tuned: list[dict[str, float]] = [{}, {}]
    else:
        settings = {"map": sv.entmax, "loss": sv.entmax_loss}
        variant = Variant("entmax", settings, tuned={"alpha": Range(1.0, 2.0, "linear")})
        tuned = [{"alpha": alpha} for alpha in alphas]
    chosen = [Candidate(rate, one) for rate, one in zip((0.05, 0.2), tuned, strict=True)]
    training, found = trained(CONFIG, task, variant, chosen)
    assert list(training.models.seeds) == [0, 1, 0, 1]
    assert [p.train_loss is None for p in found] == [False, False]
    for model, (candidate, seed) in enumerate((c, s) for c in chosen for s in (0, 1)):
        weight, losses = by_hand(
            CONFIG, task, seed, candidate.learning_rate, candidate.tuned.get("alpha")
        )
        np.testing.assert_allclose(found[-1].saved.state.params["weight"][model], weight, atol=2e-6)
        for half, progress in enumerate(found):
            mean = np.mean(losses[3 * half : 3 * half + 3])
            assert progress.train_loss is not None
            assert progress.train_loss[model] == pytest.approx(mean, abs=1e-6)


def test_a_step_that_is_not_finite_is_found_and_the_others_go_on() -> None:
    task = Linear(bad_step=4)
    _, found = trained(CONFIG, task, SOFTMAX, [Candidate(0.1, {})])
    assert (found[0].saved.state.lost == NEVER).all()
    assert (found[1].saved.state.lost == 4).all()
    good = dataclasses.replace(CONFIG, steps=3, evaluations=1)
    _, whole = trained(good, Linear(), SOFTMAX, [Candidate(0.1, {})])
    assert (whole[0].saved.state.lost == NEVER).all()


def test_going_on_from_what_was_saved_is_exact() -> None:
    task = Linear()
    training, found = trained(CONFIG, task, SOFTMAX, [Candidate(0.1, {})])
    (rest,) = training.run(jax.tree.map(jnp.array, found[0].saved), 3, lambda _: None)
    # All but the seconds, which no two runs share.
    before, after = found[1].saved[:2], rest.saved[:2]
    for leaf, again in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(leaf, np.asarray(again))


class Wide(Linear):
    """As many features as make the products dear."""

    def initial(self, seed: int, settings: Any) -> Any:
        return {"weight": np.zeros((256, 3), np.float32)}

    def scores(self, params: Any, inputs: Any) -> Any:
        return jnp.sin(inputs @ jnp.ones((2, 256))) @ params["weight"]


def test_flops_are_those_of_one_step_of_one_model() -> None:
    config = dataclasses.replace(CONFIG, batch_size=64, clip=0.0)
    training, _ = trained(config, Wide(batch_size=64), SOFTMAX, [Candidate(0.1, {})])
    # Forward 64 x 2 by 2 x 256 and 64 x 256 by 256 x 3, and the gradient of the last.
    products = 2 * 64 * (2 * 256 + 2 * 256 * 3)
    flops = training.programs.flops
    assert flops is not None
    assert products <= flops <= 1.3 * products
    assert training.programs.parameters == 768


def test_judgement_is_of_the_models_own_examples() -> None:
    task = Linear()
    training, found = trained(CONFIG, task, SOFTMAX, [Candidate(0.1, {})])
    params = found[-1].saved.state.params
    for model, one in enumerate(training.judge(jax.tree.map(jnp.asarray, params), "test")):
        inputs, labels = task.examples(model, "test")
        scores = inputs @ params["weight"][model]
        outputs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        brier = ((outputs - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
        assert one.metrics["brier"] == pytest.approx(brier, abs=1e-6)
        assert sum(one.details["bins"]["count"]) == 24


def test_every_variant_has_the_same_candidates_of_the_learning_rate() -> None:
    config = dataclasses.replace(CONFIG, trials=5)
    alpha = {"alpha": Range(1.0, 2.0, "linear"), "temperature": Range(0.1, 10.0)}
    tuned = Variant("entmax", {}, tuned=alpha)
    plain, more = candidates(config, SOFTMAX), candidates(config, tuned)
    rates = [1e-3, 10**-2.75, 10**-2.5, 10**-2.25, 1e-2]
    assert [c.learning_rate for c in plain] == pytest.approx(rates)
    assert [c.learning_rate for c in more] == pytest.approx(rates)
    assert [c.tuned["alpha"] for c in more] == [1.5, 1.25, 1.75, 1.125, 1.625]
    exponents = [np.log10(c.tuned["temperature"]) for c in more]
    assert exponents == pytest.approx([-1 / 3, 1 / 3, -7 / 9, -1 / 9, 5 / 9])
    (middle,) = candidates(dataclasses.replace(config, trials=1), tuned)
    assert middle.learning_rate == pytest.approx(10**-2.5)
    assert middle.tuned == pytest.approx({"alpha": 1.5, "temperature": 1.0})


def test_a_variant_with_nothing_to_choose_is_not_tuned() -> None:
    fixed = dataclasses.replace(CONFIG, trials=5, learning_rate_low=0.5, learning_rate_high=0.5)
    tuned = Variant("entmax", {}, tuned={"alpha": Range(1.0, 2.0, "linear")})
    assert candidates(fixed, SOFTMAX) == [Candidate(0.5, {})]
    assert [c.tuned["alpha"] for c in candidates(fixed, tuned)] == [1.5, 1.25, 1.75, 1.125, 1.625]
    assert [is_tuned(fixed, v) for v in (SOFTMAX, tuned)] == [False, True]
    assert [steps_of(fixed, v) for v in (SOFTMAX, tuned)] == [fixed.steps, 2 * fixed.steps]
    assert is_tuned(dataclasses.replace(CONFIG, trials=5), SOFTMAX)
    assert not is_tuned(dataclasses.replace(fixed, trials=1), tuned)


def test_the_best_candidate_has_the_best_mean_and_no_seed_that_is_not_finite() -> None:
    task = Linear()
    assert first_metric(task) == ("brier", "lower")

    def judged(*values: float) -> list[Judgement]:
        return [Judgement({"brier": value}, {}) for value in values]

    assert best(task, judged(0.3, 0.5, 0.1, 0.6, 0.9, 0.2), 2) == 1
    assert best(task, judged(float("nan"), 0.0, 0.4, 0.4), 2) == 1
    assert best(task, judged(float("nan"), 0.0, float("inf"), 0.4), 2) is None


def test_the_schedule_ends_where_the_steps_do() -> None:
    config = EngineConfig(steps=8, evaluations=1, warmup=2)
    factors = factors_of(config, 8)
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factors[5] == pytest.approx(0.5)
    assert (np.diff(factors[2:]) < 0).all()
    constant = dataclasses.replace(config, schedule="constant")
    assert factors_of(constant, 8)[2:] == pytest.approx(1.0)


def test_batches_of_other_sizes_are_named() -> None:
    with pytest.raises(UserError, match=r"Linear.batch: expected .*batch_size \(8\).*\(5, 2\)"):
        check_task(Linear(batch_size=5), CONFIG)
