"""How one step changes the weights of one model: along a gradient, or as a task says itself."""

import abc
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from experiments.engine.config import EngineConfig
from experiments.engine.task import Batch, Parameters, Settings, Task, Values


class Stepped(NamedTuple):
    """What a step leads to.

    Attributes:
      params: The new weights.
      memory: What the rule remembers from step to step.
      loss: The mean loss of the batch, before the step.
      finite: Whether everything that the step computed is.
    """

    params: Parameters
    memory: Any
    loss: Array
    finite: Array


class Rule(abc.ABC):
    """How a step changes one model; the engine trains many of them by `jax.vmap`."""

    @abc.abstractmethod
    def begin(self, params: Parameters) -> Any:
        """Returns what there is to remember before the first step."""

    @abc.abstractmethod
    def step(
        self,
        params: Parameters,
        memory: Any,
        batch: Batch,
        key: PRNGKeyArray,
        rate: Array,
        values: Values,
    ) -> Stepped:
        """Returns the model after a step at this learning rate, which is traced."""

    def placed(self, memory: Any, of_params: Any, of_models: Any) -> Any:
        """Returns where the memory of all models lies on the mesh.

        Args:
          memory: Its shapes; leaves lead with the models.
          of_params: Where the weights lie.
          of_models: Where an array lies of which a device holds its own models, whole.
        """
        del of_params
        return jax.tree.map(lambda _: of_models, memory)


@dataclasses.dataclass(frozen=True)
class Gradient(Rule):
    """A step along the gradient of the mean of the task's losses, by an optimiser of optax.

    Attributes:
      task: The task.
      config: Names the optimiser.
      settings: The variant's settings.
    """

    task: Task
    config: EngineConfig
    settings: Settings

    @functools.cached_property
    def transform(self) -> optax.GradientTransformation:
        """The optimiser for a learning rate of 1: the rate is traced, and applied outside."""
        return optimizer(self.config)

    def begin(self, params: Parameters) -> Any:
        """Returns the optimiser's state."""
        return self.transform.init(params)

    def step(
        self,
        params: Parameters,
        memory: Any,
        batch: Batch,
        key: PRNGKeyArray,
        rate: Array,
        values: Values,
    ) -> Stepped:
        """Returns the model after a step; a loss, gradient or weight may make it not finite."""

        def mean_loss(params: Any) -> Array:
            return jnp.mean(self.task.loss(params, batch, key, self.settings, values))

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        # optax raises a float to an integer power, which strict promotion does not let it.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = self.transform.update(gradient, memory, params)
        params = jax.tree.map(lambda w, u: w + (rate * u).astype(w.dtype), params, updates)
        # Of a gradient that is not finite no weight is: what takes long to read is read once.
        finite = [jnp.isfinite(x).all() for x in jax.tree.leaves((loss, params))]
        return Stepped(params, memory, loss, jnp.stack(finite).all())

    def placed(self, memory: Any, of_params: Any, of_models: Any) -> Any:
        """What the optimiser keeps of a weight lies where the weight does."""
        return optax.tree_utils.tree_map_params(
            self.transform,
            lambda _, where: where,
            memory,
            of_params,
            transform_non_params=lambda _: of_models,
        )


def rule_of(task: Task, config: EngineConfig, settings: Settings) -> Rule:
    """Returns the task's own rule, or the gradient's."""
    return task.rule(settings) or Gradient(task, config, settings)


def optimizer(config: EngineConfig) -> optax.GradientTransformation:
    """Returns the optimiser of a config for a learning rate of 1; adamw decays matrices only."""
    match config.optimizer:
        case "adam":
            found = optax.adam(1.0, b1=config.beta1, b2=config.beta2)
        case "adamw":
            found = optax.adamw(
                1.0,
                b1=config.beta1,
                b2=config.beta2,
                weight_decay=config.weight_decay,
                mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params),
            )
        case "adagrad":
            found = optax.adagrad(1.0)
        case "sgd":
            found = optax.sgd(1.0, momentum=0.9)
    return optax.chain(optax.clip_by_global_norm(config.clip), found) if config.clip else found
