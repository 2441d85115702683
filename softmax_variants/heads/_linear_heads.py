"""Heads of one linear layer whose loss reads all classes, and what all linear heads share."""

import dataclasses

import jax
import jax.numpy as jnp

from softmax_variants._pytrees import register_pytree
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_count, as_key, as_mask, as_parameter
from softmax_variants.heads import _evaluation as evaluation
from softmax_variants.heads._arguments import as_floating
from softmax_variants.heads._head import Params
from softmax_variants.heads._linear import linear_cross_entropy
from softmax_variants.heads._linear_entmax import linear_entmax_loss


@dataclasses.dataclass(frozen=True, eq=False)
class LinearHead:
    """A layer `weight [classes, features]`, `bias [classes]`: its parameters and its evaluation."""

    classes: int
    features: int
    use_bias: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        as_count(self.classes, "classes", high=2**31 - 2)
        as_count(self.features, "features")
        if not isinstance(self.use_bias, bool):
            raise TypeError(f"use_bias must be a bool, got {type(self.use_bias).__name__}")

    def init(self, key: Array) -> Params:
        """Initial parameters in float32.

        The weight is normal with standard deviation `1 / sqrt(features)`, so that hidden states
        of unit variance give scores of unit variance; the bias is 0.
        """
        shape = (self.classes, self.features)
        weight = jax.random.normal(as_key(key), shape, jnp.float32) / self.features**0.5
        if not self.use_bias:
            return {"weight": weight}
        return {"weight": weight, "bias": jnp.full(self.classes, self._first_bias(), jnp.float32)}

    def log_prob(self, params: Params, hidden: ArrayLike, labels: ArrayLike) -> Array:
        """The exact log-probability of each label; NaN where the label is no class."""
        weight, bias = self._scorer(params)
        return evaluation.log_prob(hidden, labels, weight, bias, self._alpha())

    def log_probs(self, params: Params, hidden: ArrayLike) -> Array:
        """The exact log-probabilities of all classes, [..., classes]."""
        weight, bias = self._scorer(params)
        return evaluation.log_probs(hidden, weight, bias, self._alpha())

    def top_k(self, params: Params, hidden: ArrayLike, k: int) -> tuple[Array, Array]:
        """The k most probable classes, best first, `(log_probs, ids)`; of equals the lowest id."""
        weight, bias = self._scorer(params)
        return evaluation.top_k(hidden, weight, bias, k, self._alpha())

    def sample(self, params: Params, hidden: ArrayLike, key: Array) -> Array:
        """A class of each example from the exact distribution; -1 where a score is NaN."""
        weight, bias = self._scorer(params)
        return evaluation.sample(key, hidden, weight, bias, self._alpha())

    def _layer(self, params: Params) -> tuple[Array, Array | None]:
        """The parameters, checked."""
        weight = as_floating(params["weight"], "weight", (self.classes, self.features))
        if not self.use_bias:
            return weight, None
        return weight, as_floating(params["bias"], "bias", (self.classes,))

    def _scorer(self, params: Params) -> tuple[Array, Array | None]:
        """The weight and the bias of the scores that evaluation normalizes."""
        return self._layer(params)

    def _alpha(self) -> float | None:
        """The alpha of entmax, none for softmax."""
        return None

    def _first_bias(self) -> float:
        return 0.0


def shown_only(
    hidden: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Hidden states and labels that are harmless where `where` is False, and `where` itself."""
    hidden, labels = jnp.asarray(hidden), jnp.asarray(labels)
    mask = as_mask(where, hidden.shape[:-1])
    if mask is None:
        return hidden, labels, None
    mask = jnp.broadcast_to(mask, hidden.shape[:-1])
    if labels.shape == mask.shape:
        labels = jnp.where(mask, labels, 0)
    return jnp.where(mask[..., None], hidden, 0), labels, mask


@dataclasses.dataclass(frozen=True)
class FullSoftmax(LinearHead):
    r"""Softmax over all classes, trained with the exact cross-entropy.

    .. math:: L = \log \sum_j e^{x_j} - x_y, \qquad x = W h + b

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      use_bias: whether there is a bias.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.FullSoftmax(classes=10, features=4)
      >>> params, hidden = head.init(jax.random.key(0)), jnp.zeros((2, 4))
      >>> print(head.loss(params, hidden, jnp.array([3, 7])))
      [2.3025851 2.3025851]
    """

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The cross-entropy of each example."""
        del key
        hidden, labels, mask = shown_only(hidden, labels, where)
        loss = linear_cross_entropy(hidden, labels, *self._layer(params))
        return loss if mask is None else jnp.where(mask, loss, 0)


@dataclasses.dataclass(frozen=True)
class LinearEntmax(LinearHead):
    r"""Alpha-entmax over all classes, trained with its Fenchel-Young loss.

    .. math:: p = \mathrm{entmax}_\alpha(W h + b)

    Classes outside the support have probability 0: their log-probability is `-inf`.

    Args:
      classes: how many classes there are.
      features: the size of the hidden states.
      alpha: entmax's, in (0, infinity]; static.
      use_bias: whether there is a bias.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> head = sv.LinearEntmax(classes=3, features=1, alpha=2.0)
      >>> params = {"weight": jnp.array([[1.0], [0.5], [-1.0]]), "bias": jnp.zeros(3)}
      >>> print(jnp.exp(head.log_probs(params, jnp.ones((1, 1)))))
      [[0.75 0.25 0.  ]]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019.
    """

    alpha: float = dataclasses.field(default=1.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, float | int):
            raise TypeError(f"alpha must be a Python number, got {type(self.alpha).__name__}")
        as_parameter(self.alpha, "alpha", low=0, low_open=True)

    def loss(
        self,
        params: Params,
        hidden: ArrayLike,
        labels: ArrayLike,
        *,
        key: Array | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The entmax loss of each example."""
        del key
        hidden, labels, mask = shown_only(hidden, labels, where)
        loss = linear_entmax_loss(hidden, labels, *self._layer(params), alpha=self.alpha)
        return loss if mask is None else jnp.where(mask, loss, 0)

    def _alpha(self) -> float | None:
        return float(self.alpha)


_STATIC = ["classes", "features", "use_bias"]
register_pytree(FullSoftmax, data=[], static=_STATIC)
register_pytree(LinearEntmax, data=[], static=[*_STATIC, "alpha"])
