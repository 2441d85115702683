"""Output layers: from hidden states to losses, log-probabilities and samples."""

from flax import nnx

from softmax_variants import _modules as shared
from softmax_variants._typing import Array, ArrayLike
from softmax_variants.heads._head import Head
from softmax_variants.nnx._streams import Streams, next_key


class OutputLayer(nnx.Module):
    """Any output layer of the library, with its parameters.

    The head's samplers and trees are data of the module: `nnx.split` hands them out with the state,
    so that a compiled step takes them as arguments and a checkpoint keeps them.

    Args:
      head: any `Head`, such as `FullSoftmax(classes, features)`.
      rngs: with the stream `params`, and `sample` for a head whose loss is random.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import softmax_variants as sv
      >>> from softmax_variants.nnx import OutputLayer
      >>> layer = OutputLayer(sv.FullSoftmax(classes=10, features=4), rngs=nnx.Rngs(0))
      >>> print(layer(jnp.zeros((2, 4)), jnp.array([3, 7])))
      [2.3025851 2.3025851]
    """

    def __init__(self, head: Head, *, rngs: nnx.Rngs) -> None:
        self.head = nnx.data(head)
        first = head.init(rngs.params())
        self.params = nnx.data({name: nnx.Param(value) for name, value in first.items()})
        self.rngs = nnx.data(None)
        if shared.STREAM in rngs or "default" in rngs:
            self.rngs = rngs[shared.STREAM].fork()

    @property
    def arrays(self) -> shared.Params:
        """The parameters as the functions of the head take them."""
        return {name: param[...] for name, param in self.params.items()}

    def __call__(
        self,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        where: ArrayLike | None = None,
        rngs: Streams | None = None,
    ) -> Array:
        """The training objective of each example, [...]; 0 where `where` is False."""
        key = None
        if shared.takes_a_key(self.head):
            key = self._key(rngs, f"the loss of {type(self.head).__name__}")
        return self.head.loss(self.arrays, hidden, labels, key=key, where=where)

    def log_prob(self, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The exact log-probability of each label, [...]."""
        return self.head.log_prob(self.arrays, hidden, labels)

    def log_probs(self, hidden: ArrayLike) -> Array:
        """The exact log-probabilities of all classes, [..., classes]."""
        return self.head.log_probs(self.arrays, hidden)

    def top_k(self, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first: `(log_probs, ids)`, both [..., k]."""
        return self.head.top_k(self.arrays, hidden, k)

    def sample(self, hidden: ArrayLike, *, rngs: Streams | None = None) -> Array:
        """A class of each example, drawn from the exact distribution."""
        return self.head.sample(self.arrays, hidden, self._key(rngs, "sampling"))

    def _key(self, rngs: Streams | None, who: str) -> Array:
        return next_key(rngs, self.rngs, who)


class MixtureOfSoftmaxes(nnx.Module):
    r"""An output layer that mixes several softmaxes over the same classes.

    .. math::
      p = \sum_k \pi_k \, \mathrm{softmax}(W \tanh(U_k h + c_k) + b), \qquad
      \pi = \mathrm{softmax}(V h)

    Args:
      features: the size of the hidden states.
      classes: how many classes there are.
      components: how many softmaxes are mixed.
      rngs: with the stream `params`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from softmax_variants.nnx import MixtureOfSoftmaxes
      >>> layer = MixtureOfSoftmaxes(4, 10, 3, rngs=nnx.Rngs(0))
      >>> print(layer(jnp.ones((2, 4))).sum(-1))
      [1. 1.]

    References:
      Yang, Dai, Salakhutdinov and Cohen, `Breaking the Softmax Bottleneck
      <https://arxiv.org/abs/1711.03953>`_, 2018.
    """

    def __init__(self, features: int, classes: int, components: int, *, rngs: nnx.Rngs) -> None:
        first = shared.initial_mixture(rngs.params(), features, classes, components)
        self.params = nnx.data({name: nnx.Param(value) for name, value in first.items()})

    @property
    def arrays(self) -> shared.Params:
        """The parameters as plain arrays."""
        return {name: param[...] for name, param in self.params.items()}

    def __call__(self, hidden: ArrayLike) -> Array:
        """The probabilities of all classes, [..., classes]."""
        return shared.mixture(self.arrays, hidden)

    def log_probs(self, hidden: ArrayLike) -> Array:
        """Their logarithms, also of what is too small to be told from 0: for the loss."""
        return shared.log_mixture(self.arrays, hidden)
