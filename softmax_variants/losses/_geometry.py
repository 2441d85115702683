"""Entropies that generate a map and its Fenchel-Young loss.

A geometry is a convex function `Omega` on the simplex (a negative entropy). Its map is the
maximiser of `<p, x> - Omega(p)`, its conjugate `Omega*` the maximum, and its loss
`Omega*(x) + Omega(t) - <x, t>`. Each one here is a pytree whose leaves are its real parameters.
"""

import abc
import dataclasses

import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import row_max, shift, staged_sum
from softmax_variants._pytrees import pytree_dataclass
from softmax_variants._threshold import less_one
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_parameter
from softmax_variants.losses._deformed_log import mean_slope, negated_log
from softmax_variants.maps._entmax import entmax15_rows, entmax_rows, phi
from softmax_variants.maps._normmax import normmax_rows
from softmax_variants.maps._softmax import plain_softmax_rows
from softmax_variants.maps._sparsemax import sparsemax_rows


class Geometry(abc.ABC):
    """What a Fenchel-Young loss needs of its entropy; all arguments are rows."""

    @abc.abstractmethod
    def solve(self, x: Array) -> tuple[Array, Array, Array]:
        """The map's output, and the conjugate less the row's maximum, `Omega*(x) - max(x)`.

        The latter is a sum of two numbers, which the loss rounds once, with what else it adds.
        """

    @abc.abstractmethod
    def entropy(self, p: Array) -> Array:
        """`Omega(p)`, 0 at the vertices of the simplex."""

    @abc.abstractmethod
    def entropy_gradient(self, p: Array) -> Array:
        """The gradient of `Omega`."""

    def entropy_tangent(self, tangents: "Geometry", p: Array) -> Array | None:
        """The change of `Omega(p)` with the parameters, `None` where there are none."""
        del tangents, p
        return None


def _xlogx(p: Array) -> Array:
    return jnp.where(p == 0, 0, p * jnp.log(jnp.where(p == 0, 1, p)))


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Shannon(Geometry):
    """Shannon's entropy: softmax and cross-entropy."""

    def solve(self, x: Array) -> tuple[Array, Array, Array]:
        """Softmax and the log-sum-exp."""
        total = staged_sum(jnp.exp(shift(x)))
        log_total = jnp.log(jnp.where(total == 0, 1, total))
        return plain_softmax_rows(x), log_total, jnp.zeros_like(log_total)

    def entropy(self, p: Array) -> Array:
        """`sum p log p`."""
        return staged_sum(_xlogx(p))

    def entropy_gradient(self, p: Array) -> Array:
        """`log p`, less a constant that a target of mass 1 does not feel."""
        return jnp.log(p)


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class ClosedTsallis(Geometry):
    """Tsallis' entropy of order 2 (sparsemax) or 1.5 (entmax15), by powers without logarithms."""

    order: float = dataclasses.field(metadata={"static": True})

    def _power(self, p: Array) -> Array:
        if self.order == 2:
            return p
        return jnp.where(p == 0, 0, jnp.sqrt(jnp.where(p == 0, 1, p)))

    def solve(self, x: Array) -> tuple[Array, Array, Array]:
        """The map, and the conjugate from its largest output."""
        p = sparsemax_rows(x) if self.order == 2 else entmax15_rows(x)
        power = self._power(p)
        best = row_max(power)
        threshold = jnp.where(best == 0, 0, (1 - best) / (self.order - 1))
        return p, threshold, -staged_sum(p * (1 - power)) / self.order

    def entropy(self, p: Array) -> Array:
        """`sum p (p^(order-1) - 1) / (order (order-1))`."""
        return staged_sum(p * (self._power(p) - 1)) / (self.order * (self.order - 1))

    def entropy_gradient(self, p: Array) -> Array:
        """`p^(order-1) / (order-1)`, less a constant."""
        return self._power(p) / (self.order - 1)


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Tsallis(Geometry):
    """Tsallis' entropy of order alpha: entmax. `alpha` is [..., 1] against the rows."""

    alpha: Array

    def solve(self, x: Array) -> tuple[Array, Array, Array]:
        """Entmax, and the conjugate `<p, x> - Omega(p)`, in which errors of p cancel.

        The entropies of all classes are taken relative to the largest output's, which is worked
        out to more digits than the dtype has.
        """
        p = entmax_rows(x, self.alpha)
        off, hard = p == 0, jnp.isinf(self.alpha)
        eps = self._divisor()
        best = row_max(p)
        best = jnp.where(best == 0, 1, best)
        threshold, rest = negated_log(best, eps)
        ratio = jnp.log(jnp.where(off, 1, p / best))
        relative = (1 - eps * threshold) * ratio * mean_slope(eps * ratio)
        relative = staged_sum(p * (jnp.where(off, 0, shift(x)) - relative / self.alpha))
        relative = relative + (rest - threshold * (eps / self.alpha))
        return p, jnp.where(hard, 0, threshold), jnp.where(hard, 0, relative)

    def entropy(self, p: Array) -> Array:
        """`sum p log_alpha(p) / alpha`, which is `(sum p^alpha - 1) / (alpha (alpha-1))`."""
        value = staged_sum(p * self._log(p)) / self.alpha
        return jnp.where(jnp.isinf(self.alpha), 0, value)

    def entropy_gradient(self, p: Array) -> Array:
        """`log_alpha(p)`, less a constant."""
        eps = self._divisor()
        at_zero = jnp.where(eps < 0, -jnp.inf, -1 / eps)
        return jnp.where(jnp.isinf(self.alpha), 0, jnp.where(p == 0, at_zero, self._log(p)))

    def entropy_tangent(self, tangents: "Geometry", p: Array) -> Array | None:
        """`d Omega / d alpha`, regular through alpha = 1."""
        assert isinstance(tangents, Tsallis)
        if isinstance(tangents.alpha, SymbolicZero):
            return None
        alpha = self.alpha
        log_p = jnp.log(jnp.where(p == 0, 1, p))
        first = staged_sum(p * self._log(p)) / jnp.square(alpha)
        second = staged_sum(p * jnp.square(log_p) * phi(self._eps() * log_p)) / alpha
        return jnp.where(jnp.isinf(alpha), 0, -(first + second)) * tangents.alpha

    def _divisor(self) -> Array:
        """`alpha - 1`, never 0 and finite: a number to divide by, without a derivative at 1."""
        return less_one(jnp.where(jnp.isinf(self.alpha), 2, self.alpha))

    def _eps(self) -> Array:
        """`alpha - 1`, finite, which alpha moves at exactly 1 as elsewhere."""
        return jnp.where(jnp.isinf(self.alpha), 1, self.alpha - 1)

    def _log(self, p: Array) -> Array:
        """`log_alpha(p) = (p^(alpha-1) - 1) / (alpha-1)`, 0 where p is 0.

        A product, which has a derivative at alpha 1 as elsewhere.
        """
        log_p = jnp.log(jnp.where(p == 0, 1, p))
        exponent = jnp.maximum(self._eps() * log_p, -(2.0**100))  # from there on all the same
        return log_p * mean_slope(exponent)


SHANNON: Geometry = Shannon()
"""Shannon's entropy, the geometry of softmax: `sum p log p`."""

GINI: Geometry = ClosedTsallis(2.0)
"""The Gini entropy, the geometry of sparsemax: `(sum p^2 - 1) / 2`."""


def tsallis(alpha: ArrayLike) -> Geometry:
    r"""Tsallis' entropy of order alpha, the geometry of entmax.

    .. math:: \Omega(p) = \frac{\sum_i p_i^\alpha - 1}{\alpha (\alpha - 1)}

    Args:
      alpha: in (0, infinity], a scalar or an array with size 1 on the class axis.

    Returns:
      A geometry for `fenchel_young_loss`.

    Raises:
      ValueError: alpha not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> x = jnp.array([1.0, 0.0, -4.0])
      >>> print(sv.fenchel_young_loss(x, jnp.array(0), geometry=sv.tsallis(1.5)))
      0.06165593

    References:
      Blondel, Martins and Niculae, `Learning with Fenchel-Young Losses
      <https://arxiv.org/abs/1901.02324>`_, 2020.
    """
    return Tsallis(as_parameter(alpha, "alpha", low=0, low_open=True))


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class Norm(Geometry):
    """The alpha-norm less 1: normmax. `alpha` is [..., 1] against the rows."""

    alpha: Array

    def solve(self, x: Array) -> tuple[Array, Array, Array]:
        """Normmax, and the conjugate at it."""
        p = normmax_rows(x, self.alpha)
        scores = jnp.where(p == 0, 0, p * shift(x))
        return p, staged_sum(scores), -self.entropy(p)

    def entropy(self, p: Array) -> Array:
        """`||p||_alpha - 1`."""
        best, _, total = self._moments(p)
        return jnp.where(best == 0, 0, best * self._root(total) - 1)

    def entropy_gradient(self, p: Array) -> Array:
        """`(p / ||p||_alpha)^(alpha-1)`."""
        best, log_ratio, total = self._moments(p)
        del best
        eps = self._order() - 1
        power = jnp.where(p == 0, 0, jnp.exp(eps * log_ratio) / total ** (eps / self._order()))
        return jnp.where(jnp.isinf(self.alpha), jnp.where(log_ratio == 0, 1 / total, 0), power)

    def entropy_tangent(self, tangents: "Geometry", p: Array) -> Array | None:
        """`d Omega / d alpha`."""
        assert isinstance(tangents, Norm)
        if isinstance(tangents.alpha, SymbolicZero):
            return None
        best, log_ratio, total = self._moments(p)
        order = self._order()
        weighted = staged_sum(jnp.where(p == 0, 0, jnp.exp(order * log_ratio) * log_ratio))
        slope = weighted / (order * total) - jnp.log(total) / jnp.square(order)
        norm = best * self._root(total)
        return jnp.where(jnp.isinf(self.alpha), 0, norm * slope) * tangents.alpha

    def _order(self) -> Array:
        return jnp.where(jnp.isinf(self.alpha), 2, self.alpha)

    def _root(self, total: Array) -> Array:
        """The norm of `p / max(p)`: `total^(1/alpha)`, 1 for the maximum norm."""
        return jnp.where(jnp.isinf(self.alpha), 1, total ** (1 / self._order()))

    def _moments(self, p: Array) -> tuple[Array, Array, Array]:
        """`max p`, `log(p / max p)` and `sum (p / max p)^alpha`."""
        best = row_max(p)
        off = (p == 0) | (best == 0)
        log_ratio = jnp.log(jnp.where(off, 1, p / jnp.where(best == 0, 1, best)))
        total = staged_sum(jnp.where(off, 0, jnp.exp(self._order() * log_ratio)))
        ties = staged_sum(((log_ratio == 0) & ~off).astype(p.dtype))
        total = jnp.where(jnp.isinf(self.alpha), ties, total)
        return best, log_ratio, jnp.where(total == 0, 1, total)


def norm(alpha: ArrayLike) -> Geometry:
    r"""The alpha-norm, the geometry of normmax.

    .. math:: \Omega(p) = \|p\|_\alpha - 1

    Args:
      alpha: in (1, infinity], a scalar or an array with size 1 on the class axis.

    Returns:
      A geometry for `fenchel_young_loss`.

    Raises:
      ValueError: alpha not above 1.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.fenchel_young_loss(jnp.zeros(2), jnp.array(0), geometry=sv.norm(2.0)))
      0.29289323

    References:
      Blondel, Martins and Niculae, `Learning with Fenchel-Young Losses
      <https://arxiv.org/abs/1901.02324>`_, 2020.
    """
    return Norm(as_parameter(alpha, "alpha", low=1, low_open=True))
