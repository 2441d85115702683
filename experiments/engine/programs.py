"""The compiled programs of a variant: a block of steps for many models at once, and a prediction.

All arrays of a state lead with the models, which are split over the axis "seeds" of the mesh; the
examples of a batch are split over "data". Nothing else is said about devices: one device, several,
and several processes run the same program.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from experiments import mesh as meshes
from experiments.compiling import block_of
from experiments.engine.config import EngineConfig
from experiments.engine.rule import Rule, rule_of
from experiments.engine.task import Batch, Settings, Split, Task, Values
from experiments.environment import compiler_options

NEVER = -1
# Names and shapes of values, for one model.
Shapes = Sequence[tuple[str, tuple[int, ...]]]


class State(NamedTuple):
    """All that a step changes; leaves lead with [models].

    Attributes:
      params: The weights.
      memory: What the rule of the steps remembers, such as an optimiser's moments.
      lost: The first step whose loss, gradient or new weights were not finite, or `NEVER`.
    """

    params: Any
    memory: Any
    lost: Any


class Models(NamedTuple):
    """Which models are trained at once: one seed, rate and set of values for each."""

    seeds: np.ndarray
    rates: np.ndarray
    values: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled programs of a variant for a number of models.

    Attributes:
      steps: `(state, batches, numbers, factors, seeds, rates, values) -> (state, losses)`, losses
        [block, models]; the state that is given is used up.
      predict: `(params, examples, values) -> outputs`, for all models.
      begin: `params -> state`, the state before the first step.
      learned: `params -> {name: [models]}`.
      shardings: Where a state lies on the mesh.
      block: Steps of one call.
      parameters: How many numbers a model has.
      flops: Floating-point operations of one step of one model; None where XLA does not say.
      temporary: Bytes of a step besides its arguments, for all models.
      seconds: What compiling took.
    """

    steps: Callable[..., tuple[State, Array]]
    predict: Callable[..., Any]
    begin: Callable[..., State]
    learned: Callable[..., dict[str, Array]]
    shardings: State
    block: int
    parameters: int
    flops: float | None
    temporary: int
    seconds: float


def factors_of(config: EngineConfig, steps: int) -> np.ndarray:
    """Returns the factor on the learning rate at each of so many steps."""
    number = np.arange(steps)
    # Fewer steps, as tuning may have, warm up for the same share of them.
    warmup = config.warmup * steps // config.steps
    along = (number - warmup) / (steps - warmup)
    fall = 0.5 * (1.0 + np.cos(np.pi * along))
    last = config.final_rate
    falling = last + (1.0 - last) * fall if config.schedule == "cosine" else 1.0
    rising = (number + 1) / (warmup + 1)
    return np.where(number < warmup, rising, falling).astype(np.float32)


def block_size(config: EngineConfig, steps: int) -> int:
    """Returns how many of so many steps one call of a program takes."""
    return block_of(max(steps // config.evaluations, 1))


def step_function(
    task: Task, config: EngineConfig, settings: Settings
) -> Callable[..., tuple[State, Array]]:
    """Returns one step of all models: `(state, batch, number, factor, seeds, rates, values)`."""
    rule = rule_of(task, config, settings)

    def one_model(
        number: Array, state: State, batch: Batch, seed: Array, rate: Array, values: Values
    ) -> tuple[State, Array]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        after = rule.step(state.params, state.memory, batch, key, rate, values)
        first = (state.lost == NEVER) & ~after.finite
        lost = jnp.where(first, number, state.lost)
        return State(after.params, after.memory, lost), after.loss

    def all_models(
        state: State,
        batch: Batch,
        number: Array,
        factor: Array,
        seeds: Array,
        rates: Array,
        values: Values,
    ) -> tuple[State, Array]:
        one = functools.partial(one_model, number)
        return over_models(one, state, batch, seeds, factor * rates, values)

    return all_models


def compile_programs(
    task: Task,
    config: EngineConfig,
    settings: Settings,
    shapes: Shapes,
    models: int,
    steps: int,
    mesh: Mesh,
) -> Programs:
    """Compiles the programs of a variant ahead of time.

    Args:
      task: The task.
      config: The config.
      settings: The variant's settings.
      shapes: The names and shapes of the variant's values, for one model.
      models: How many models there are.
      steps: How many steps they are trained.
      mesh: What they are trained on.
    """
    began = time.perf_counter()
    block = block_size(config, steps)
    groups = groups_of(config, models, mesh)
    step = step_function(task, config, settings)
    state, shardings = state_shapes(task, config, settings, models, mesh)
    batch = jax.tree.map(np.asarray, task.batch(config.first_seed, 0))
    batches = _leading(batch, (block, models), meshes.batch_sharding(mesh))
    numbers = _vector(block, jnp.int32, meshes.replicated(mesh))
    factors = _vector(block, jnp.float32, meshes.replicated(mesh))
    seeds, rates, values = _of_models(shapes, models, mesh)

    whole = meshes.replicated(mesh)
    many = _many_steps(step, models, groups, mesh.shape[meshes.SEEDS])
    compiled = (
        jax.jit(many, donate_argnums=0, out_shardings=(shardings, whole))
        .lower(state, batches, numbers, factors, seeds, rates, values)
        .compile(compiler_options=compiler_options())
    )
    memory: Any = compiled.memory_analysis()
    one = state.params
    return Programs(
        steps=compiled,
        predict=_predict(task, settings, models, groups, mesh.shape[meshes.SEEDS]),
        begin=_begin(rule_of(task, config, settings), shardings),
        learned=jax.jit(jax.vmap(functools.partial(task.learned, settings=settings))),
        shardings=shardings,
        block=block,
        parameters=sum(leaf.size // models for leaf in jax.tree.leaves(one)),
        flops=_flops(step, state, batch, models, shapes),
        temporary=int(memory.temp_size_in_bytes),
        seconds=time.perf_counter() - began,
    )


def _many_steps(
    step: Callable[..., tuple[State, Array]], models: int, groups: int, devices: int
) -> Callable[..., tuple[State, Array]]:
    """Returns a block of steps: `(state, batches, numbers, factors, seeds, rates, values)`."""

    def many(
        state: State,
        batches: Batch,
        numbers: Array,
        factors: Array,
        seeds: Array,
        rates: Array,
        values: Values,
    ) -> tuple[State, Array]:
        def some(of_models: tuple[State, Batch, Array, Array, Values]) -> tuple[State, Array]:
            state, batches, *rest = of_models

            def body(state: State, inputs: tuple[Batch, Array, Array]) -> tuple[State, Array]:
                return step(state, *inputs, *rest)

            of_steps = _swapped(batches)
            state, losses = jax.lax.scan(body, state, (of_steps, numbers, factors))
            return state, losses.T

        given = (state, _swapped(batches), seeds, rates, values)
        state, losses = in_groups(some, given, models, groups, devices)
        return state, losses.T

    return many


def _swapped(batches: Batch) -> Batch:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), batches)


def groups_of(config: EngineConfig, models: int, mesh: Mesh) -> int:
    """Returns how many groups of models are trained one after the other; even ones, on a mesh."""
    on_a_device = models // mesh.shape[meshes.SEEDS]
    most = min(config.models_at_once or on_a_device, on_a_device)
    return on_a_device // max(n for n in range(1, most + 1) if on_a_device % n == 0)


def in_groups(
    function: Callable[[Any], Any], given: Any, models: int, groups: int, devices: int
) -> Any:
    """Returns `function` of all models, worked out for one group of them after another.

    Args:
      function: From arrays that lead with some models to arrays that do.
      given: Arrays that lead with all models.
      models: How many there are.
      groups: How many groups; each has as many models of every device.
      devices: Over how many devices the models are split.
    """
    if groups == 1:
        return function(given)
    size = models // groups // devices

    def divided(leaf: Array) -> Array:
        parts = leaf.reshape(devices, groups, size, *leaf.shape[1:])
        return jnp.swapaxes(parts, 0, 1).reshape(groups, devices * size, *leaf.shape[1:])

    def whole(leaf: Array) -> Array:
        parts = leaf.reshape(groups, devices, size, *leaf.shape[2:])
        return jnp.swapaxes(parts, 0, 1).reshape(models, *leaf.shape[2:])

    return jax.tree.map(whole, jax.lax.map(function, jax.tree.map(divided, given)))


def over_models(function: Callable[..., Any], *given: Any) -> Any:
    """Returns `function` of every model, whose arrays lead with the models."""
    if jax.tree.leaves(given)[0].shape[0] > 1:
        return jax.vmap(function)(*given)
    # XLA's products of matrices are slower with an axis of one model than without it.
    found = function(*jax.tree.map(lambda leaf: leaf[0], given))
    return jax.tree.map(lambda leaf: leaf[None], found)


def first_state(rule: Rule, params: Any) -> State:
    """Returns the state before the first step, from the weights of all models."""
    models = jax.tree.leaves(params)[0].shape[0]
    return State(params, jax.vmap(rule.begin)(params), jnp.full(models, NEVER, jnp.int32))


def examples_of(task: Task, models: Models, split: Split) -> list[Batch]:
    """Returns the held-out examples of each model."""
    of_seed = {seed: task.examples(int(seed), split) for seed in dict.fromkeys(models.seeds)}
    return [of_seed[seed] for seed in models.seeds]


def stack(trees: Sequence[Any]) -> Any:
    """Returns trees of arrays as one, with a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _predict(
    task: Task, settings: Settings, models: int, groups: int, devices: int
) -> Callable[..., Any]:
    def one_model(params: Any, examples: Batch, values: Values) -> Any:
        return task.predict(params, examples, settings, values)

    def all_models(*given: Any) -> Any:
        return in_groups(lambda some: over_models(one_model, *some), given, models, groups, devices)

    return jax.jit(all_models, compiler_options=compiler_options())


def _begin(rule: Rule, shardings: State) -> Callable[..., State]:
    return jax.jit(functools.partial(first_state, rule), out_shardings=shardings)


def state_shapes(
    task: Task, config: EngineConfig, settings: Settings, models: int, mesh: Mesh
) -> tuple[State, State]:
    """Returns the shapes of a state, and where it lies."""
    one = jax.tree.map(np.asarray, task.initial(config.first_seed, settings))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((models, *x.shape), x.dtype), one)
    rule = rule_of(task, config, settings)
    memory = jax.eval_shape(jax.vmap(rule.begin), shapes)
    of_params = meshes.model_shardings(mesh, task.partition(one))
    of_models = meshes.sharding(mesh, meshes.SEEDS)
    of_memory = rule.placed(memory, of_params, of_models)
    shardings = State(of_params, of_memory, of_models)
    state = State(shapes, memory, jax.ShapeDtypeStruct((models,), jnp.int32))
    placed = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        state,
        shardings,
    )
    return placed, shardings


def _leading(batch: Batch, sizes: tuple[int, ...], where: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*sizes, *leaf.shape), leaf.dtype, sharding=where), batch
    )


def _vector(size: int, dtype: Any, where: Any) -> Any:
    return jax.ShapeDtypeStruct((size,), dtype, sharding=where)


def _of_models(shapes: Shapes, models: int, mesh: Mesh | None) -> tuple[Any, Any, dict[str, Any]]:
    where = None if mesh is None else meshes.sharding(mesh, meshes.SEEDS)
    values = {
        name: jax.ShapeDtypeStruct((models, *shape), jnp.float32, sharding=where)
        for name, shape in shapes
    }
    return _vector(models, jnp.int32, where), _vector(models, jnp.float32, where), values


def _flops(
    step: Callable[..., Any], state: Any, batch: Batch, models: int, shapes: Shapes
) -> float | None:
    """Returns the operations of one step of one model, as XLA counts them before optimising."""
    bare = functools.partial(jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    batches = _leading(batch, (models,), None)
    number, factor = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.float32)
    of_models = _of_models(shapes, models, None)
    lowered = jax.jit(step).lower(bare(state), batches, number, factor, *of_models)
    found: Any = lowered.cost_analysis()
    flops = found.get("flops") if found else None
    return None if flops is None else float(flops) / models
