"""Vectors of words from the words around them, counted in the training part."""

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from experiments.words.corpus import Corpus

_DISTANCES = (-2, -1, 1, 2)
_NEIGHBOURS = 2000
_FEATURES = 32


def neighbour_vectors(corpus: Corpus) -> Float[np.ndarray, "classes features"]:
    """Returns a vector for each word, so that words with similar neighbours are close.

    The counts of the 2,000 most frequent words at each of four places around a word become positive
    pointwise mutual information, and these the first singular vectors. No model is needed.
    """
    classes = len(corpus.words)
    known = min(_NEIGHBOURS, classes)
    position, start, end = corpus.parts["training"]
    tables = []
    for distance in _DISTANCES:
        inside = (position + distance >= start) & (position + distance < end)
        here = position[inside]
        row, column = corpus.ids[here], corpus.ids[here + distance]
        kept = column < known
        ones = np.ones(int(kept.sum()), np.float32)
        table = sparse.coo_array((ones, (row[kept], column[kept])), shape=(classes, known))
        tables.append(_positive_information(table.tocsr()))
    features = min(_FEATURES, known - 1)
    left, strength, _ = randomized_svd(
        sparse.csr_matrix(sparse.hstack(tables)), features, n_iter=2, random_state=0
    )
    vectors: np.ndarray = left * np.sqrt(strength)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-6)).astype(np.float32)


def _positive_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Returns max(log(n_ij n / (n_i n_j)), 0), in which every n_j has a little more."""
    table = counts.tocoo()
    rows = np.asarray(counts.sum(axis=1)).reshape(-1)
    columns = np.asarray(counts.sum(axis=0)).reshape(-1) + 100.0
    row, column = table.coords
    information = np.log(table.data * columns.sum() / ((rows[row] + 5.0) * columns[column]))
    data = np.maximum(information, 0.0).astype(np.float32)
    return sparse.csr_array(sparse.coo_array((data, (row, column)), shape=counts.shape))
