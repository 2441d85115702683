"""The losses of classification: one value an example, the gradient `map - target`."""

from softmax_variants._typing import Array, ArrayLike, Axis
from softmax_variants._validation import as_parameter
from softmax_variants.losses._alpha_relu import AlphaReluParameters, alpha_relu_loss_rows
from softmax_variants.losses._fenchel_young import fenchel_young_rows
from softmax_variants.losses._geometry import GINI, SHANNON, ClosedTsallis, norm, tsallis
from softmax_variants.losses._targets import per_example

_ENTMAX15 = ClosedTsallis(1.5)


def cross_entropy_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Cross-entropy of softmax: the multinomial logistic loss.

    .. math:: L(x; y) = \log \sum_j \exp(x_j) - x_y

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: shapes that do not fit, smoothing outside [0, 1], a wrong axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.cross_entropy_loss(jnp.array([[0.0, 0.0]]), jnp.array([1])))
      [0.6931472]

    References:
      Cox, `The Regression Analysis of Binary Sequences
      <https://doi.org/10.1111/j.2517-6161.1958.tb00292.x>`_, 1958.
    """
    return per_example(
        fenchel_young_rows,
        logits,
        labels,
        axis,
        where,
        parameters=SHANNON,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def sparsemax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Loss of sparsemax: 0 once the label leads every other class by 1.

    .. math:: L(x; y) = \tfrac12 \sum_{j \in S} (x_j^2 - \tau^2) + \tfrac12 - x_y,\quad
              S = \{j : \mathrm{sparsemax}(x)_j > 0\}

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: shapes that do not fit, smoothing outside [0, 1], a wrong axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.sparsemax_loss(jnp.array([[0.0, 0.5], [2.0, 0.0]]), jnp.array([0, 0])))
      [0.5625 0.    ]

    References:
      Martins and Astudillo, `From Softmax to Sparsemax <https://arxiv.org/abs/1602.02068>`_, 2016.
    """
    return per_example(
        fenchel_young_rows,
        logits,
        labels,
        axis,
        where,
        parameters=GINI,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def entmax15_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Loss of entmax15: 0 once the label leads every other class by 2.

    .. math:: L(x; y) = \langle p - e_y, x \rangle - \tfrac43 \Big(\sum_j p_j^{3/2} - 1\Big),\quad
              p = \mathrm{entmax}_{1.5}(x)

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: shapes that do not fit, smoothing outside [0, 1], a wrong axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.entmax15_loss(jnp.array([[1.0, 0.0, -4.0]]), jnp.array([0])))
      [0.06165589]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019.
    """
    return per_example(
        fenchel_young_rows,
        logits,
        labels,
        axis,
        where,
        parameters=_ENTMAX15,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def entmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.5,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Loss of alpha-entmax: 0 once the label leads every other class by 1 / (alpha - 1).

    .. math:: L(x; y) = \langle p - e_y, x \rangle
              - \frac{\sum_j p_j^\alpha - 1}{\alpha (\alpha - 1)},
              \quad p = \mathrm{entmax}_\alpha(x)

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      alpha: in (0, infinity], a scalar or an array with size 1 on `axis`; differentiable. 1 is the
        cross-entropy, 2 the sparsemax loss, infinity the perceptron's.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: alpha not positive, shapes that do not fit, smoothing outside [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.entmax_loss(jnp.array([[1.0, 0.0, -4.0]]), jnp.array([0]), alpha=1.5))
      [0.06165593]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019.
    """
    return per_example(
        fenchel_young_rows,
        logits,
        labels,
        axis,
        where,
        parameters=tsallis(alpha),
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def normmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 2.0,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Loss of normmax, whose regulariser is the alpha-norm.

    .. math:: L(x; y) = \langle p - e_y, x \rangle - \|p\|_\alpha + 1,
              \quad p = \mathrm{normmax}_\alpha(x)

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      alpha: in (1, infinity], a scalar or an array with size 1 on `axis`; differentiable.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: alpha not above 1, shapes that do not fit, smoothing outside [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.normmax_loss(jnp.array([[0.0, 0.0]]), jnp.array([0])))
      [0.29289323]

    References:
      Blondel, Martins and Niculae, `Learning with Fenchel-Young Losses
      <https://arxiv.org/abs/1901.02324>`_, 2020.
    """
    return per_example(
        fenchel_young_rows,
        logits,
        labels,
        axis,
        where,
        parameters=norm(alpha),
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def alpha_relu_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.5,
    tau: ArrayLike = 0.0,
    label_smoothing: ArrayLike = 0.0,
    ignore_index: int | None = None,
) -> Array:
    r"""Loss of alpha-ReLU: a Fenchel-Young loss over vectors that need not sum to 1.

    .. math:: L(x; y) = \frac1\alpha \sum_j [u_j]_+^{\alpha / (\alpha - 1)}
              + \frac{1}{\alpha (\alpha - 1)} - \frac{u_y}{\alpha - 1},
              \quad u = (\alpha - 1) x - \tau

    Args:
      logits: scores of any shape; any real dtype, computed in at least float32.
      labels: class ids (integer dtype, the logits' shape without `axis`) or distributions
        (floating dtype, the logits' shape, summing to 1 over `axis`).
      axis: class axis or axes.
      where: boolean mask that broadcasts to `logits`; the loss is that of the kept classes alone.
      alpha: above 1, a scalar or an array with size 1 on `axis`; differentiable.
      tau: the fixed threshold, like alpha; differentiable.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept.
      ignore_index: an id whose examples have loss 0 and gradient 0.

    Returns:
      One loss an example, at least float32, at least 0; NaN where an id is out of range, infinite
      where the label's class is masked.

    Raises:
      TypeError: labels neither integer nor floating, complex logits, a mask that is not boolean.
      ValueError: alpha not above 1, shapes that do not fit, smoothing outside [0, 1], a wrong axis.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> print(sv.alpha_relu_loss(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([0, 0])))
      [0.        1.3333334]

    References:
      Tezekbayev, Nikoulina, Galle and Assylbekov, `Speeding Up Entmax
      <https://arxiv.org/abs/2111.06832>`_, 2022.
    """
    alpha = as_parameter(alpha, "alpha", low=1, low_open=True, high_open=True)
    tau = as_parameter(tau, "tau")
    return per_example(
        alpha_relu_loss_rows,
        logits,
        labels,
        axis,
        where,
        parameters=AlphaReluParameters(alpha, tau),
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
