"""A text that a tiny model learns by heart, and the config of that model."""

from pathlib import Path

from experiments.shakespeare.config import ShakespeareConfig

LINE = "abcdefgh ijk\n"
# What is overridden for every tiny model, as flags of the command line.
FLAGS = (
    *("--layers", "1", "--heads", "2", "--width", "16", "--context", "8", "--batch-size", "4"),
    *("--steps", "60", "--warmup", "5", "--evaluations", "3", "--sample-tokens", "20"),
)
CONFIG = ShakespeareConfig(
    layers=1,
    heads=2,
    width=16,
    context=8,
    batch_size=4,
    steps=60,
    warmup=5,
    evaluations=3,
    tuning_steps=6,
    sample_tokens=20,
)


def write_text(path: Path, lines: int = 60) -> Path:
    path.write_text(LINE * lines, encoding="utf-8")
    return path
