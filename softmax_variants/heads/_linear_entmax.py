"""The loss of alpha-entmax for a large output layer, without the logits of all classes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants._validation import as_parameter, check_broadcastable
from softmax_variants.heads._arguments import as_block_size
from softmax_variants.heads._blocks import Block, Change, Known, Layer, Layout
from softmax_variants.heads._entmax_threshold import State, output, solve
from softmax_variants.heads._linear_targets import (
    Inputs,
    answered,
    as_inputs,
    entropy_terms,
    expected,
    weighed,
)
from softmax_variants.heads._sums import Row, Sums, fold, tangent_of_sums
from softmax_variants.maps._entmax import phi


def linear_entmax_loss(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    alpha: ArrayLike = 1.5,
    where: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    softcap: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    block_size: int | None = None,
) -> Array:
    r"""Loss of alpha-entmax over an output layer whose logits never exist all at once.

    .. math:: L(h; y) = c_y \Big(\langle p - e_y, x \rangle
              - \frac{\sum_j p_j^\alpha - 1}{\alpha (\alpha - 1)}\Big),
              \quad p = \mathrm{entmax}_\alpha(x), \quad x = W h + b

    The threshold of each example is found by Newton's method, whose every pass works the logits out
    again, a block of classes at a time. It is `entmax_loss(hidden @ weight.T + bias, labels)` with
    the further options.

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids (integer dtype, [...]) or distributions (floating dtype, [..., classes],
        summing to 1 over the classes).
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      alpha: in (0, infinity], a scalar or one an example, [...]; differentiable. 1 is the
        cross-entropy, 2 the sparsemax loss, infinity the perceptron's.
      where: boolean [classes], one mask for all examples; the loss is that of the kept classes.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept; a
        scalar or one an example. The loss of a perfect prediction of the smoothed label is 0.
      softcap: a positive finite scalar c; logits x become c tanh(x / c).
      class_weights: [classes], at least 0; an example's loss is multiplied by the weight of its
        label, or by the weight that its distribution expects. Smoothing leaves it alone.
      ignore_index: an id whose examples have loss 0 and gradient 0.
      block_size: classes that a block has; by default chosen from the shapes.

    Returns:
      One loss an example, [...], at least float32, at least 0; NaN where an id is out of range,
      infinite where the label's class has mass and is not kept. All gradients are summed in at
      least float32.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight; a value out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((1, 1)), jnp.array([[1.0], [0.0], [-4.0]])
      >>> print(sv.linear_entmax_loss(hidden, jnp.array([0]), weight, alpha=1.5))
      [0.06165595]

    References:
      Peters, Niculae and Martins, `Sparse Sequence-to-Sequence Models
      <https://arxiv.org/abs/1905.05702>`_, 2019; Blondel, Martins and Niculae, `Learning with
      Fenchel-Young Losses <https://arxiv.org/abs/1901.02324>`_, 2020.
    """
    inputs = as_inputs(
        hidden,
        labels,
        weight,
        bias,
        where=where,
        label_smoothing=label_smoothing,
        softcap=softcap,
        class_weights=class_weights,
        ignore_index=ignore_index,
    )
    order = as_parameter(alpha, "alpha", low=0, low_open=True)
    check_broadcastable(order.shape, inputs.batch, "alpha")
    layout = inputs.layout(as_block_size(block_size))
    run = functools.partial(_losses, ignore_index=ignore_index, layout=layout)
    loss: Array = over_devices(run, inputs, order, split=examples_of(inputs.hidden))
    return loss


@functools.partial(jax.jit, static_argnames=("ignore_index", "layout"))
def _losses(inputs: Inputs, order: Array, ignore_index: int | None, layout: Layout) -> Array:
    problem, alpha = inputs.problem(ignore_index), inputs.of_examples(order)
    smooth = problem.weighing.smoothing is not None
    _, _, sums = entmax_sums(problem.layer, alpha, problem.known, layout, smooth)
    loss = sums.conjugate - expected(problem, sums, layout)
    masses = entropy_terms(problem, layout, loss.dtype)
    if masses is not None:
        loss = loss + _entropy(alpha, *masses)
    # The true value is never below 0; rounding may be, and has a gradient all the same.
    loss = weighed(problem, loss - lax.stop_gradient(jnp.minimum(loss, 0)))
    return answered(problem, loss).reshape(inputs.batch)


def _entropy(alpha: Array, *masses: Array) -> Array:
    """`sum t log_alpha(t) / alpha` from masses and how many classes have each."""
    total = jnp.zeros_like(alpha)
    for mass, count in zip(masses[::2], masses[1::2], strict=True):
        order = alpha if mass.ndim == 1 else alpha[:, None]
        terms = count * _deformed(mass, order) / jnp.where(jnp.isinf(order), 1, order)
        total = total + (terms if mass.ndim == 1 else jnp.sum(terms, axis=-1))
    return jnp.where(jnp.isinf(alpha), 0, total)


def _deformed(p: Array, alpha: Array) -> Array:
    """`p log_alpha(p) = p (p^(alpha-1) - 1) / (alpha-1)`, regular through alpha = 1."""
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    eps = jnp.where(jnp.isinf(alpha), 1, alpha - 1)
    return p * log_p * _relative(eps * log_p)


@jax.custom_jvp
def _relative(u: Array) -> Array:
    """`expm1(u) / u`."""
    return jnp.where(u == 0, 1, jnp.expm1(u) / jnp.where(u == 0, 1, u))


@_relative.defjvp
def _relative_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (u,) = primals
    return _relative(u), -phi(u) * tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def entmax_sums(
    layer: Layer, alpha: Array, known: Known, layout: Layout, kept: bool
) -> tuple[Array, State, Sums]:
    """The largest score of each example, what its outputs follow from, and the sums."""
    top, state, sums = solve(layer, alpha, known, layout, kept)

    def step(total: Array, index: Array | None) -> Array:
        p = output(Block.of(layer, known, layout, index).gap(top), state)
        return total + jnp.sum(_deformed(p, alpha[:, None]), axis=-1)

    zero = jnp.zeros_like(top)
    # From where an output of 1 would stand: its errors are those of the sum alone.
    best = output(zero[:, None], state)[:, 0]
    log_best = jnp.log(jnp.where(best == 0, 1, best))
    eps = jnp.where(jnp.isinf(alpha), 1, alpha - 1)
    threshold = jnp.where(jnp.isinf(alpha), 0, -log_best * _relative(eps * log_best))
    rest = eps * fold(step, zero, layout) / jnp.where(jnp.isinf(alpha), 1, alpha)
    conjugate = threshold + jnp.where(jnp.isinf(alpha), 0, rest)
    return top, state, sums._replace(conjugate=conjugate)


def _entmax_sums_jvp(
    layout: Layout,
    kept: bool,
    primals: tuple[Layer, Array, Known],
    tangents: tuple[Any, Any, Any],
) -> tuple[tuple[Array, State, Sums], tuple[Array, State, Sums]]:
    (layer, alpha, known), (dlayer, dalpha, _) = primals, tangents
    top, state, sums = entmax_sums(layer, alpha, known, layout, kept)
    change, zero = Change.of(dlayer), jnp.zeros_like(top)
    moved = Sums(zero, zero, zero if kept else None)
    if jax.tree.leaves(change):
        row = Row(top, state)
        moved = tangent_of_sums(output, layer, known, row, change, layout, kept)
    fixed = isinstance(dalpha, SymbolicZero)
    if not fixed:
        slope = _alpha_slope(layer, alpha, known, top, state, layout)
        moved = moved._replace(conjugate=moved.conjugate + slope * dalpha)
    dstate = State(zero if fixed else dalpha, zero, zero, zero)
    lam = _threshold_change(layer, known, top, state, dlayer, dstate, layout)
    return (top, state, sums), (zero, dstate._replace(threshold=lam), moved)


entmax_sums.defjvp(_entmax_sums_jvp, symbolic_zeros=True)


def _alpha_slope(
    layer: Layer, alpha: Array, known: Known, top: Array, state: State, layout: Layout
) -> Array:
    """The derivative of the conjugate for alpha: by the envelope theorem the entropy's, negated."""
    order = jnp.where(jnp.isinf(alpha), 2, alpha)[:, None]

    def step(total: Array, index: Array | None) -> Array:
        p = output(Block.of(layer, known, layout, index).gap(top), state)
        log_p = jnp.log(jnp.where(p == 0, 1, p))
        u = (order - 1) * log_p
        second = p * jnp.square(log_p) * phi(u)
        return total + jnp.sum(p * log_p * _relative(u) / jnp.square(order) + second / order, -1)

    slope = fold(step, jnp.zeros_like(top), layout, again=True)
    return jnp.where(jnp.isinf(alpha), 0, slope)


def _threshold_change(
    layer: Layer, known: Known, top: Array, state: State, dlayer: Any, dstate: State, layout: Layout
) -> Array:
    """The threshold's tangent, which keeps the sum of the outputs at 1.

    Only second derivatives need it; where none is asked for the compiler leaves it out.
    """

    def mass(layer: Layer, state: State) -> Array:
        def step(total: Array, index: Array | None) -> Array:
            gap = Block.of(layer, known, layout, index).gap(top)
            return total + jnp.sum(output(gap, state), axis=-1)

        return fold(step, jnp.zeros_like(top), layout, again=True)

    zeros = jax.tree.map(jnp.zeros_like, layer)
    tangent = Layer(
        *(z if isinstance(d, SymbolicZero) else d for z, d in zip(zeros, dlayer, strict=True))
    )
    _, numerator = jax.jvp(mass, (layer, state), (tangent, dstate))
    ones = State(*(jnp.zeros_like(top),) * 4)._replace(threshold=jnp.ones_like(top))
    _, slope = jax.jvp(lambda state: mass(layer, state), (state,), (ones,))
    return jnp.where(slope == 0, 0, -numerator / jnp.where(slope == 0, 1, slope))
