"""Ten output layers that predict a word near another one, by skip-gram.

Command:   python -m experiments compare configs/words_skipgram.py
Hardware:  2 cores of an AMD EPYC
Result:    not measured
"""

from experiments.words.config import WordsConfig


def get_config() -> WordsConfig:
    """Returns the config of the comparison on neighbouring words."""
    return WordsConfig(task="skipgram")
