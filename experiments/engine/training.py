"""Training of many models at once: blocks of steps, evaluations, and a state that can be saved."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import distributed
from experiments import mesh as meshes
from experiments.engine.candidates import Candidate
from experiments.engine.config import EngineConfig
from experiments.engine.programs import Models, Programs, State, examples_of, factors_of, stack
from experiments.engine.task import Judgement, Settings, Split, Task, Variant


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      state: The state.
      losses: Those of the steps since the last evaluation [chunk, models].
      seconds: What all steps took, in whatever processes.
    """

    state: State
    losses: Any
    seconds: Any


class Progress(NamedTuple):
    """Where training is after a block of steps.

    Attributes:
      step: Steps that are done.
      saved: What a checkpoint of it holds.
      train_loss: Mean losses of the chunk [models] at the end of a chunk, None within it.
      seconds: What the steps took so far, evaluations left out.
    """

    step: int
    saved: Saved
    train_loss: np.ndarray | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Training:
    """One variant, trained as some models for some steps.

    Attributes:
      task: The task.
      config: The config.
      settings: The variant's settings.
      models: Which models.
      steps: How many steps.
      programs: The compiled programs.
      mesh: What they run on.
    """

    task: Task
    config: EngineConfig
    settings: Settings
    models: Models
    steps: int
    programs: Programs
    mesh: Mesh

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return chunk_of(self.config, self.steps)

    def first_weights(self) -> Any:
        """Returns the first weights of all models, on the host."""
        of_seed = {
            seed: jax.tree.map(np.asarray, self.task.initial(int(seed), self.settings))
            for seed in dict.fromkeys(self.models.seeds)
        }
        return stack([of_seed[seed] for seed in self.models.seeds])

    def begin(self) -> Saved:
        """Returns what there is before the first step."""
        params = meshes.place(self.first_weights(), self.programs.shardings.params)
        losses = np.zeros((self.chunk, len(self.models.seeds)), np.float32)
        return Saved(self.programs.begin(params), losses, np.zeros(1))

    def run(self, saved: Saved, first: int, advance: Callable[[int], None]) -> Iterator[Progress]:
        """Trains from step `first` on, and yields after each block; uses up the states it takes."""
        block, state = self.programs.block, saved.state
        factors = factors_of(self.config, self.steps)
        seeds, rates, values = self._of_models()
        # A copy, for what was read from a checkpoint may not be written to.
        losses, seconds = np.array(saved.losses), float(saved.seconds[0])
        for step in range(first, self.steps, block):
            began = time.perf_counter()
            number = np.arange(step, step + block, dtype=np.int32)
            place = meshes.replicated(self.mesh)
            inputs = meshes.place((number, factors[number]), place)
            batches = self._batches(step, block)
            state, found = self.programs.steps(state, batches, *inputs, seeds, rates, values)
            within = step % self.chunk
            losses[within : within + block] = np.asarray(found)
            seconds += time.perf_counter() - began
            advance(block)
            done = step + block
            mean = losses.mean(axis=0) if done % self.chunk == 0 else None
            now = Saved(state, losses.copy(), np.asarray([seconds]))
            yield Progress(done, now, mean, seconds)

    def judge(self, params: Any, split: Split) -> list[Judgement]:
        """Returns how good each model is on held-out examples."""
        examples = examples_of(self.task, self.models, split)
        where = meshes.sharding(self.mesh, meshes.SEEDS)
        placed = meshes.place(stack(examples), where)
        outputs = meshes.fetch(self.programs.predict(params, placed, self._of_models()[2]))

        def judged() -> list[Judgement]:
            return [
                self.task.judge(jax.tree.map(lambda leaf, m=m: leaf[m], outputs), examples[m])
                for m in range(len(examples))
            ]

        return distributed.agreed(judged)

    def learned(self, params: Any) -> list[dict[str, Any]]:
        """Returns what each model learned besides its weights: numbers, or lists of them."""
        found = meshes.fetch(self.programs.learned(params))
        count = len(self.models.seeds)
        return [{n: np.asarray(v[m]).tolist() for n, v in found.items()} for m in range(count)]

    def shown(self, params: Any) -> dict[str, Any]:
        """Returns what a report shows of the first model."""
        whole = meshes.fetch(params), self.models.values
        first, values = jax.tree.map(lambda leaf: leaf[0], whole)
        return distributed.agreed(lambda: self.task.shown(first, self.settings, values))

    def moved(self, params: Any) -> bool:
        """Says whether training moved any weight."""
        pairs = zip(
            jax.tree.leaves(meshes.fetch(params)),
            jax.tree.leaves(self.first_weights()),
            strict=True,
        )
        return any(not np.array_equal(a, b) for a, b in pairs)

    def _of_models(self) -> Any:
        whole = (self.models.seeds, self.models.rates, self.models.values)
        return meshes.place(whole, meshes.sharding(self.mesh, meshes.SEEDS))

    def _batches(self, step: int, block: int) -> Any:
        """Returns the batches of some steps [block, models, examples, ...] on the mesh.

        A process makes the batches of its own models, and keeps the rows of its own devices.
        """
        leading = (block, len(self.models.seeds), self.config.batch_size)
        where = meshes.batch_sharding(self.mesh)
        steps, models, rows = meshes.part_of(where, leading)
        seeds = self.models.seeds[models]
        of_seed = {
            seed: stack(
                [
                    jax.tree.map(lambda leaf: leaf[rows], self.task.batch(int(seed), step + n))
                    for n in range(block)[steps]
                ]
            )
            for seed in dict.fromkeys(seeds)
        }
        found = jax.tree.map(
            lambda *leaves: np.stack(leaves, axis=1), *[of_seed[seed] for seed in seeds]
        )
        return meshes.place_part(found, leading, where)


def chunk_of(config: EngineConfig, steps: int) -> int:
    """Returns the steps between two evaluations where there are so many steps."""
    return max(steps // config.evaluations, 1)


def models_of(variant: Variant, chosen: Sequence[Candidate], seeds: Sequence[int]) -> Models:
    """Returns one model for each candidate and seed; candidates vary slowest."""
    pairs = [(candidate, seed) for candidate in chosen for seed in seeds]
    names = sorted({*variant.fixed, *variant.tuned})
    values = {
        name: np.asarray(
            [{**variant.fixed, **candidate.tuned}[name] for candidate, _ in pairs], np.float32
        )
        for name in names
    }
    return Models(
        seeds=np.asarray([seed for _, seed in pairs], np.int32),
        rates=np.asarray([candidate.learning_rate for candidate, _ in pairs], np.float32),
        values=values,
    )
