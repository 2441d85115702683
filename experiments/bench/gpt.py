"""Times a training step of the language model beside the same step in torch, in turns.

`python -m experiments bench gpt` prints milliseconds per step and the ratio to torch, medians over
rounds, of the small GPT of `configs/shakespeare_char.py` on random characters: forward, backward,
clipping and AdamW, as `train` runs it. Both sides begin with the same weights, and the losses
of the first steps have to agree. Both run on as many threads as the process has cores. Without
torch only this side is timed.
"""

import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments import mesh as meshes
from experiments.bench.torch_side import equal_threads
from experiments.engine.candidates import candidates
from experiments.engine.programs import compile_programs, factors_of
from experiments.engine.training import Training, models_of
from experiments.overrides import Parser
from experiments.shakespeare.config import ShakespeareConfig
from experiments.shakespeare.corpus import Corpus, Vocabulary
from experiments.shakespeare.task import LanguageModel
from experiments.timing import in_turns

VOCABULARY, TEXT = 65, 100_000
OURS, TORCH = "softmax_variants", "torch"

# Runs a block of steps and returns their losses; steps go on from where the last call ended.
Block = Callable[[], list[float]]


def main(argv: Sequence[str]) -> int:
    """Measures and prints one line for each side."""
    parser = Parser(prog="python -m experiments bench gpt", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns [an integer; default: 15]")
    given = parser.parse_args(argv)
    training = training_of(ShakespeareConfig())
    length = training.programs.block
    sides = {OURS: ours(training)}
    if importlib.util.find_spec("torch") is not None:
        sides[TORCH] = torchs(training, length)
        check_agreement({name: run() for name, run in sides.items()})
    else:
        print("torch is not installed: only this library is timed")

    def rate_of(run: Block) -> Callable[[int], float]:
        def rate(turn: int) -> float:
            del turn
            run()  # the threads of the side before may still be spinning
            began = time.perf_counter()
            run()
            return length / (time.perf_counter() - began)

        return rate

    rates = {name: rate_of(run) for name, run in sides.items()}
    records = in_turns(rates, given.rounds, lambda: None)
    found = {
        name: [1e3 / r["steps_per_second"] for r in records if r["contender"] == name]
        for name in sides
    }
    for name, milliseconds in found.items():
        line = f"{name:18} {statistics.median(milliseconds):8.1f} ms/step"
        if TORCH in found:
            ratios = [a / b for a, b in zip(milliseconds, found[TORCH], strict=True)]
            line += f"  x{statistics.median(ratios):5.2f} of {TORCH}"
        print(line)
    return 0


def check_agreement(losses: dict[str, list[float]]) -> None:
    """Raises a RuntimeError unless both sides train the same model."""
    apart = max(abs(a - b) for a, b in zip(losses[OURS], losses[TORCH], strict=True))
    if apart > 1e-3:
        raise RuntimeError(f"the losses of the first steps differ by {apart:.1e}: {losses}")
    print(f"the losses of the first {len(losses[OURS])} steps agree within {apart:.0e}")


def training_of(config: ShakespeareConfig) -> Training:
    """Returns what `train` does with softmax and cross-entropy, on random characters."""
    text = np.random.default_rng(0).integers(VOCABULARY, size=TEXT).astype(np.int32)
    tokens = tuple(chr(ord("!") + i) for i in range(VOCABULARY))
    nothing = np.zeros(0, np.int32)
    corpus = Corpus(Vocabulary(tokens, "char"), text, nothing, text[:2], 0.0, "random")
    variant = config.make_variants()[0]
    alone = dataclasses.replace(config.of_one(variant.name), seeds=1)
    task, mesh = LanguageModel(config, corpus), meshes.make_mesh()
    programs = compile_programs(task, alone, variant.settings, (), 1, alone.steps, mesh)
    models = models_of(variant, candidates(alone, variant), [0])
    return Training(task, alone, variant.settings, models, alone.steps, programs, mesh)


def ours(training: Training) -> Block:
    """Returns our block of steps."""
    blocks, length = training.run(training.begin(), 0, lambda _: None), training.programs.block

    def run() -> list[float]:
        now = next(blocks)
        first = (now.step - length) % training.chunk
        losses: list[float] = now.saved.losses[first : first + length, 0].tolist()
        return losses

    return run


def torchs(training: Training, length: int) -> Block:
    """Returns the same in torch, as nanoGPT writes it."""
    import torch

    equal_threads()
    task, steps = training.task, training.config
    assert isinstance(task, LanguageModel)
    config = task.config
    weights = torch_weights(task.initial(0, training.settings), config.layers)
    every = [weight for part in weights.values() for weight in part.values()]
    groups = [
        {"params": [p for p in every if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in every if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2))
    rates, done = (training.models.rates[0] * factors_of(steps, steps.steps)).tolist(), 0

    def run() -> list[float]:
        nonlocal done
        losses = []
        for step in range(done, done + length):
            for group in adamw.param_groups:
                group["lr"] = rates[step]
            batch = torch.from_numpy(task.batch(0, step).astype(np.int64))
            loss = torch_loss(config, weights, batch[:, :-1], batch[:, 1:])
            adamw.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(every, config.clip)
            adamw.step()
            losses.append(loss.detach())
        done += length
        return [float(loss) for loss in losses]

    return run


def torch_weights(params: Any, layers: int) -> dict[Any, dict[str, Any]]:
    """Returns our weights as torch's parameters; those of layers lie the other way round there."""
    import torch

    def weight(array: Any) -> Any:
        return torch.nn.Parameter(torch.from_numpy(np.array(array)))

    def kernel(layer: Any) -> Any:
        return weight(np.asarray(layer["kernel"]).T)

    ends = {
        "tokens": weight(params["tokens"]["embedding"]),
        "places": weight(params["positions"]["embedding"]),
        "norm": weight(params["norm"]["scale"]),
    }
    found: dict[Any, dict[str, Any]] = {"ends": ends}
    for i in range(layers):
        block = params["blocks"][i]
        found[i] = {
            "attention_norm": weight(block["attention_norm"]["scale"]),
            "joint": kernel(block["attention"]["joint"]),
            "output": kernel(block["attention"]["output"]),
            "perceptron_norm": weight(block["perceptron_norm"]["scale"]),
            "up": kernel(block["up"]),
            "down": kernel(block["down"]),
        }
    return found


def torch_loss(
    config: ShakespeareConfig, weights: dict[Any, dict[str, Any]], inputs: Any, labels: Any
) -> Any:
    """Returns the mean cross-entropy of a batch in torch."""
    from torch.nn import functional

    width, heads, ends = config.width, config.heads, weights["ends"]
    batch, size = inputs.shape

    def normal(hidden: Any, scale: Any) -> Any:
        return functional.layer_norm(hidden, (width,), scale, None, 1e-5)

    hidden = functional.embedding(inputs, ends["tokens"]) + ends["places"][:size]
    for i in range(config.layers):
        block = weights[i]
        joint = functional.linear(normal(hidden, block["attention_norm"]), block["joint"])
        query, key, value = (
            part.view(batch, size, heads, width // heads).transpose(1, 2)
            for part in joint.split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).contiguous().view(batch, size, width)
        hidden = hidden + functional.linear(mixed, block["output"])
        inner = functional.linear(normal(hidden, block["perceptron_norm"]), block["up"])
        hidden = hidden + functional.linear(functional.gelu(inner), block["down"])
    logits = functional.linear(normal(hidden, ends["norm"]), ends["tokens"])
    return functional.cross_entropy(logits.view(-1, VOCABULARY), labels.reshape(-1))
