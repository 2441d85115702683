"""Ten output layers that predict words of Python's standard library."""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on words."""
    return WordsConfig()
