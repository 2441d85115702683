"""The NLL by the frequency of the word that is predicted."""

import numpy as np
from jaxtyping import Float, Int

from experiments.run_directory import Record
from experiments.statistics import finite
from experiments.words.corpus import Corpus

# The first rank past each bucket; the last bucket has all that is left.
_RANKS = (10, 100, 1_000, 10_000)
OTHERS = "other words"


def buckets(corpus: Corpus) -> list[tuple[str, Int[np.ndarray, " classes"]]]:
    """Returns a name and the ids of each bucket: words by their rank in frequency.

    The mark that stands for all words outside of the vocabulary is a bucket of its own.
    """
    ranked = np.delete(np.arange(len(corpus.words)), corpus.others)
    ends = [rank for rank in _RANKS if rank < ranked.size] + [ranked.size]
    starts = [0, *ends[:-1]]
    named = [
        (f"{low + 1:,}–{high:,}", ranked[low:high]) for low, high in zip(starts, ends, strict=True)
    ]
    return [*named, (OTHERS, np.asarray([corpus.others]))]


def by_bucket(
    corpus: Corpus, losses: Float[np.ndarray, " words"], labels: Int[np.ndarray, " words"]
) -> Record:
    """Returns how many of the predicted words are in each bucket, and their mean NLL."""
    found: Record = {}
    for name, ids in buckets(corpus):
        inside = losses[np.isin(labels, ids)]
        mean = finite(inside.mean()) if inside.size else None
        found[name] = {"words": int(inside.size), "nll": mean}
    return found
