"""The steps that are measured and compiled elsewhere are those that training runs."""

from typing import Any

import chex
import jax
import numpy as np
import pytest

from experiments.bandit.config import BanditConfig
from experiments.digits.config import DigitsConfig
from experiments.engine.candidates import candidates
from experiments.engine.config import EngineConfig
from experiments.engine.programs import compile_programs
from experiments.engine.step import TrainingStep, training_steps
from experiments.engine.training import Training, models_of
from experiments.mesh import make_mesh

pytestmark = pytest.mark.slow

DIGITS = DigitsConfig(
    variants=("softmax", "sparsemax"), seeds=2, hidden=(5,), steps=1, evaluations=1, batch_size=6
)
BANDIT = BanditConfig(
    variants=("epsilon_0.1", "softmax_0.5"),
    seeds=2,
    batch_size=6,
    arms=3,
    steps=10,
    evaluations=10,
    points=10,
    drift=0.1,
)


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def run(step: TrainingStep) -> tuple[Any, ...]:
    """The result of a first step, after what has to hold of every step."""
    arguments = step.make_arguments()
    assert shapes(arguments) == shapes(step.arguments)
    result = jax.jit(step.function)(*arguments)
    (donated,) = step.donate
    assert shapes(result[0]) == shapes(step.arguments[donated])
    for number in step.batch:
        for leaf in jax.tree.leaves(step.arguments[number]):
            assert leaf.shape[0] == 6, "not the axis of the examples"
    return result


def named(config: EngineConfig, *names: str) -> list[TrainingStep]:
    steps = training_steps(config)
    assert [step.name for step in steps] == list(names)
    return steps


@pytest.mark.parametrize("config", [DIGITS, BANDIT], ids=lambda config: str(config.experiment))
def test_a_step_of_the_engine_is_the_first_of_training(config: EngineConfig) -> None:
    _, step = named(config, *config.variants)
    state, losses = run(step)
    assert step.examples == 6 * 2
    task, variant = config.make_task(), config.chosen_variants()[1]
    models = models_of(variant, candidates(config, variant)[:1], range(2))
    mesh = make_mesh()
    _, shapes = variant.program
    programs = compile_programs(task, config, variant.settings, shapes, 2, config.steps, mesh)
    training = Training(task, config, variant.settings, models, config.steps, programs, mesh)
    progress = next(iter(training.run(training.begin(), 0, lambda count: None)))
    assert progress.step == 1
    chex.assert_trees_all_close(state, progress.saved.state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses, progress.saved.losses[0], rtol=1e-5)
