"""Output layers: from hidden states to losses, log-probabilities and samples."""

from typing import Any

import jax
from flax import linen as nn

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike
from softmax_variants.linen._streams import next_key


class OutputLayer(nn.Module):
    """Any output layer of the library, with its parameters.

    The head's samplers and trees are variables of the collection `tables`, so that a compiled step
    takes them as arguments and a checkpoint keeps them. A head whose loss is random, and `sample`,
    take keys of the stream `sample`.

    Attributes:
      head: any `Head`, such as `FullSoftmax(classes, features)`.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> from softmax_variants.linen import OutputLayer
      >>> layer, hidden = OutputLayer(sv.FullSoftmax(classes=10, features=4)), jnp.zeros((2, 4))
      >>> variables = layer.init(jax.random.key(0), hidden, jnp.array([3, 7]))
      >>> print(layer.apply(variables, hidden, jnp.array([3, 7])))
      [2.3025851 2.3025851]
      >>> print(layer.apply(variables, hidden, method="log_probs").shape)
      (2, 10)
    """

    head: Any  # a Head; Linen reads annotations at run time, and a protocol is no help to it

    def setup(self) -> None:
        """Declares the parameters and the tables."""
        self.arrays = self.param("head", self.head.init)
        leaves, structure = jax.tree.flatten(self.head)
        tables = [
            self.variable("tables", f"table_{i}", lambda leaf=leaf: leaf)
            for i, leaf in enumerate(leaves)
        ]
        self.layer = jax.tree.unflatten(structure, [table.value for table in tables])

    def __call__(
        self, hidden: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
    ) -> Array:
        """The training objective of each example, [...]; 0 where `where` is False."""
        key = None
        if shared.takes_a_key(self.head):
            key = next_key(self, f"the loss of {type(self.head).__name__}")
        return self.layer.loss(self.arrays, hidden, labels, key=key, where=where)

    def log_prob(self, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The exact log-probability of each label, [...]."""
        return self.layer.log_prob(self.arrays, hidden, labels)

    def log_probs(self, hidden: ArrayLike) -> Array:
        """The exact log-probabilities of all classes, [..., classes]."""
        return self.layer.log_probs(self.arrays, hidden)

    def top_k(self, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`, both [..., k]."""
        return self.layer.top_k(self.arrays, hidden, k)

    def sample(self, hidden: ArrayLike) -> Array:
        """A class of each example, drawn from the exact distribution."""
        return self.layer.sample(self.arrays, hidden, next_key(self, "sampling"))


class MixtureOfSoftmaxes(nn.Module):
    r"""An output layer that mixes several softmaxes over the same classes.

    .. math::
      p = \sum_k \pi_k \, \mathrm{softmax}(W \tanh(U_k h + c_k) + b), \qquad
      \pi = \mathrm{softmax}(V h)

    Attributes:
      features: the size of the hidden states.
      classes: how many classes there are.
      components: how many softmaxes are mixed.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from softmax_variants.linen import MixtureOfSoftmaxes
      >>> layer, hidden = MixtureOfSoftmaxes(4, 10, 3), jnp.ones((2, 4))
      >>> print(layer.init_with_output(jax.random.key(0), hidden)[0].sum(-1))
      [1. 1.]

    References:
      Yang, Dai, Salakhutdinov and Cohen, `Breaking the Softmax Bottleneck
      <https://arxiv.org/abs/1711.03953>`_, 2018.
    """

    features: int
    classes: int
    components: int

    def setup(self) -> None:
        """Declares the parameters."""
        self.arrays = self.param(
            "mixture", shared.initial_mixture, self.features, self.classes, self.components
        )

    def __call__(self, hidden: ArrayLike) -> Array:
        """The probabilities of all classes, [..., classes]."""
        return shared.mixture(self.arrays, hidden)

    def log_probs(self, hidden: ArrayLike) -> Array:
        """Their logarithms, also of what is too small to be told from 0: for the loss."""
        return shared.log_mixture(self.arrays, hidden)
