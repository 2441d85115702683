"""Fenchel-Young losses: convex, non-negative, and with the gradient `map - target`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from softmax_variants._numerics import masked, shift, staged_sum
from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants.losses._geometry import Geometry
from softmax_variants.losses._targets import Target, expected_score, per_example


def fenchel_young_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    geometry: Geometry,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Fenchel-Young loss of the map that a geometry generates.

    .. math:: L(x; t) = \Omega^*(x) + \Omega(t) - \langle x, t \rangle, \qquad
              \nabla_x L = \arg\max_{p \in \Delta} \langle p, x \rangle - \Omega(p) - t

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      targets: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      geometry: `SHANNON`, `GINI`, `tsallis(alpha)` or `norm(alpha)`.
      label_smoothing: mass moved from the target to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the target's class is masked.

    Raises:
      TypeError: targets neither integer nor floating, complex logits, a mask that is not boolean,
        a geometry that is none.
      ValueError: shapes that do not fit, smoothing outside [0, 1], an axis out of bounds.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> x = jnp.array([[1.0, 0.5, -1.0]])
      >>> print(sv.fenchel_young_loss(x, jnp.array([0]), geometry=sv.GINI))
      [0.0625]

    References:
      Blondel, Martins and Niculae, `Learning with Fenchel-Young Losses
      <https://arxiv.org/abs/1901.02324>`_, 2020.
    """
    if not isinstance(geometry, Geometry):
        raise TypeError(f"geometry must be SHANNON, GINI, tsallis(alpha), ..., got {geometry!r}")
    return per_example(
        fenchel_young_rows,
        logits,
        targets,
        axis,
        where,
        name="targets",
        parameters=geometry,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


@jax.custom_jvp
def fenchel_young_rows(x: Array, target: Target, geometry: Geometry) -> Array:
    """The loss of each row, `[..., 1]`."""
    return _loss_and_output(x, target, geometry)[0]


def _loss_and_output(x: Array, target: Target, geometry: Geometry) -> tuple[Array, Array]:
    p, conjugate, rest = geometry.solve(x)
    t = target.dense(x)
    # The smaller numbers first: their sum is rounded less, and the loss itself then once.
    loss = conjugate + (rest - expected_score(t, shift(x)))
    if not target.is_vertex():
        loss = loss + geometry.entropy(t)
    # The true value is never below 0; rounding may be.
    return jnp.where(loss < 0, 0, loss), p


def _fenchel_young_jvp(
    primals: tuple[Array, Target, Geometry], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    (x, target, geometry), (dx, dtarget, dgeometry) = primals, tangents
    loss = fenchel_young_rows(x, target, geometry)
    p = geometry.solve(x)[0]
    t = target.dense(x)
    tangent = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        tangent = tangent + staged_sum(jnp.where(masked(x), 0, (p - t) * dx))
    dt = target.tangent(dtarget, x)
    if dt is not None:
        out = masked(x)
        # Selected away in both factors: in reverse one of them meets the other's zero cotangent.
        slope = jnp.where(out, 0, geometry.entropy_gradient(t) - shift(x))
        tangent = tangent + staged_sum(slope * jnp.where(out, 0, dt))
    # By the envelope theorem a parameter moves the conjugate as it moves the entropy of the output.
    at_output = geometry.entropy_tangent(dgeometry, p)
    if at_output is not None:
        tangent = tangent - at_output
        at_target = None if target.is_vertex() else geometry.entropy_tangent(dgeometry, t)
        if at_target is not None:
            tangent = tangent + at_target
    return loss, tangent


fenchel_young_rows.defjvp(_fenchel_young_jvp, symbolic_zeros=True)
