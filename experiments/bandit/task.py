"""The testbed as the engine trains it: a model is what a policy knows of a group of problems."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from experiments.bandit.config import BanditConfig
from experiments.bandit.policies import blank
from experiments.bandit.testbed import Game, Played, take_action
from experiments.engine.rule import Rule, Stepped
from experiments.engine.task import (
    Batch,
    Direction,
    Judgement,
    Parameters,
    Settings,
    Split,
    Task,
    Values,
)
from experiments.randomness import generator

SPLITS: tuple[Split, ...] = ("validation", "test")
METRICS: dict[str, Direction] = {
    "regret": "lower",
    "reward": "higher",
    "optimal": "higher",
    "late_reward": "higher",
    "late_optimal": "higher",
}


class History(NamedTuple):
    """What happened, summed over the steps of each point of a curve.

    Each is [splits and points], the points of the validation problems first.

    Attributes:
      played: Means over the problems of a split.
      steps: How many steps these are.
    """

    played: Played
    steps: Any


class Play(NamedTuple):
    """A policy in the middle of a group of problems, of which the first half is for validation.

    Attributes:
      games: The problems; leaves lead with them.
      history: What happened so far.
    """

    games: Game
    history: History


class Bandits(Task):
    """Problems that a policy plays; `settings["family"]` is its kind, `parameter` its number.

    An example of a batch is a problem, and its row the number of the step; what is held out is read
    from the history, an example being a point of the curve.
    """

    def __init__(self, config: BanditConfig) -> None:
        self.config = config

    @property
    def metrics(self) -> Mapping[str, Direction]:
        """The regret chooses: it is the reward less what a problem has to give."""
        return METRICS

    def initial(self, seed: int, settings: Settings) -> Play:
        """Returns the problems of a seed before their first step: nothing is known of them."""
        del settings
        problems, arms = self.config.batch_size, self.config.arms
        values = generator(seed, "weights").normal(size=(problems, arms)).astype(np.float32)
        memory = jax.tree.map(
            lambda leaf: np.zeros((problems, *leaf.shape), np.float32), blank(arms)
        )
        points = np.zeros(len(SPLITS) * self.config.points, np.float32)
        return Play(Game(memory, values), History(Played(points, points, points), points))

    def batch(self, seed: int, step: int) -> Int[np.ndarray, " problems"]:
        """Returns the number of the step for every problem."""
        del seed
        return np.full(self.config.batch_size, step, np.int32)

    def examples(self, seed: int, split: Split) -> Int[np.ndarray, " points"]:
        """Returns where the history has the points of a split."""
        del seed
        points = np.arange(self.config.points, dtype=np.int32)
        return points + np.int32(SPLITS.index(split) * self.config.points)

    def act(
        self, params: Play, batch: Batch, key: PRNGKeyArray, settings: Settings, values: Values
    ) -> tuple[Play, Played]:
        """Takes one action in every problem; returns the model after it, and what happened."""
        parameter = values.get("parameter", jnp.zeros(()))
        numbers = jnp.arange(self.config.batch_size, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
        one = functools.partial(take_action, settings["family"], self.config)
        # All rows are the same: a maximum is the least that devices can ask each other for.
        step = jnp.max(batch)
        every = jax.vmap(one, in_axes=(0, 0, None, None))
        games, played = every(params.games, keys, step, parameter)
        point = jax.nn.one_hot(step // self.config.point, self.config.points)

        def added(history: Array, happened: Float[Array, " problems"]) -> Array:
            means = happened.reshape(len(SPLITS), -1).mean(axis=1)
            return history + (means[:, None] * point[None]).reshape(-1)

        happened = History(played, jnp.ones(self.config.batch_size))
        return Play(games, jax.tree.map(added, params.history, happened)), played

    def rule(self, settings: Settings) -> Rule:
        """Returns the rule by which a policy acts and learns."""
        return Acting(self, settings)

    def loss(
        self,
        params: Parameters,
        batch: Batch,
        key: PRNGKeyArray,
        settings: Settings,
        values: Values,
    ) -> Float[Array, " problems"]:
        """Returns the regret of an action in each problem."""
        regret: Array = self.act(params, batch, key, settings, values)[1].regret
        return regret

    def predict(
        self, params: Parameters, examples: Batch, settings: Settings, values: Values
    ) -> History:
        """Returns the history of a split, [points]."""
        del settings, values
        return jax.tree.map(lambda leaf: leaf[examples], params.history)

    def judge(self, outputs: Any, examples: Batch) -> Judgement:
        """Returns the metrics of all steps so far, and the curves; late is their last tenth."""
        del examples
        steps = np.asarray(outputs.steps, np.float64)
        reached = steps > 0
        sums = {n: np.asarray(v, np.float64) for n, v in outputs.played._asdict().items()}
        late = np.flatnonzero(reached)[-max(reached.sum() // 10, 1) :]
        found = {
            "regret": sums["regret"].sum(),
            "reward": sums["reward"].sum() / steps.sum(),
            "optimal": sums["optimal"].sum() / steps.sum(),
            "late_reward": sums["reward"][late].sum() / steps[late].sum(),
            "late_optimal": sums["optimal"][late].sum() / steps[late].sum(),
        }
        curves = {n: np.round(v[reached] / steps[reached], 6).tolist() for n, v in sums.items()}
        return Judgement({n: float(value) for n, value in found.items()}, {"curves": curves})


@dataclasses.dataclass(frozen=True)
class Acting(Rule):
    """A step of the testbed: one action in every problem. Nothing has a gradient here.

    Attributes:
      task: The testbed.
      settings: The variant's settings.
    """

    task: Bandits
    settings: Settings

    def begin(self, params: Parameters) -> Any:
        """Returns nothing: what a policy remembers is its model."""
        del params
        return ()

    def step(
        self,
        params: Parameters,
        memory: Any,
        batch: Batch,
        key: PRNGKeyArray,
        rate: Array,
        values: Values,
    ) -> Stepped:
        """Returns the model after an action in every problem; the loss is the mean regret."""
        del rate
        after, played = self.task.act(params, batch, key, self.settings, values)
        leaves = jax.tree.leaves((after.games, played))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
        return Stepped(after, memory, played.regret.mean(), finite)
