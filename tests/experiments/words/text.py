"""A small text with words of Zipf's frequencies, in which a word tells the next one."""

from pathlib import Path

import numpy as np

WORDS = 60


def write_text(path: Path, words: int = 6000) -> Path:
    """Writes the text to a file, whose words are w0, w1, ...; w0 is the most frequent one."""
    rng = np.random.default_rng(0)
    ids = np.exp(rng.random(words) * np.log(WORDS)).astype(int) - 1
    # Every second word follows from the one before it.
    ids[1::2] = (3 * ids[::2] + 1) % WORDS
    path.write_text(" ".join(f"w{i}" for i in ids), encoding="utf-8")
    return path
