"""Ten output layers that predict the next word of Python's standard library.

Command:   python -m experiments compare configs/words.py
Hardware:  2 cores of an AMD EPYC
Result:    not measured
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on the next word."""
    return WordsConfig()
