"""The larger GPT on characters: nanoGPT's GPU run, whose published validation loss is 1.4697.

Command:   python -m experiments train configs/shakespeare_char_gpu.py --data.path FILE
Hardware:  one GPU; a step of 16,384 tokens and 10.7 million weights takes about a TFLOP
Result:    not measured here
"""

from experiments.shakespeare.config import ShakespeareConfig


def get_config() -> ShakespeareConfig:
    """Returns the config of the larger language model."""
    return ShakespeareConfig(
        layers=6,
        heads=6,
        width=384,
        context=256,
        dropout=0.2,
        first_weights="nanogpt",
        batch_size=64,
        train_steps=5000,
        train_evaluations=20,
        steps=1000,
        warmup=20,
    )
