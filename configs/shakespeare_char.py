"""A small GPT on characters: nanoGPT's CPU run, and attention normalisers by output losses.

Command:   python -m experiments train configs/shakespeare_char.py --data.path FILE
"""

from experiments.shakespeare.config import ShakespeareConfig


def get_config() -> ShakespeareConfig:
    """Returns the config of the small language model."""
    return ShakespeareConfig()
