"""Cross-entropy of a large output layer, without the logits of all classes."""

import functools
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax import lax

from softmax_variants._numerics import apart, finite_top
from softmax_variants._sharding import examples_of, over_devices
from softmax_variants._typing import Array, ArrayLike
from softmax_variants.heads._arguments import as_block_size, per_row
from softmax_variants.heads._blocks import Block, Change, Known, Layer, Layout
from softmax_variants.heads._linear_targets import (
    Inputs,
    Problem,
    answered,
    as_inputs,
    entropy_terms,
    expected,
    weighed,
)
from softmax_variants.heads._sums import Row, Sums, far_below, fold, tangent_of_sums


@overload
def linear_cross_entropy(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    softcap: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    block_size: int | None = None,
    return_log_normalizer: Literal[False] = False,
) -> Array: ...


@overload
def linear_cross_entropy(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    softcap: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    block_size: int | None = None,
    return_log_normalizer: Literal[True],
) -> tuple[Array, Array]: ...


def linear_cross_entropy(
    hidden: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    softcap: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    block_size: int | None = None,
    return_log_normalizer: bool = False,
) -> Array | tuple[Array, Array]:
    r"""Cross-entropy of softmax over an output layer whose logits never exist all at once.

    .. math:: L(h; y) = c_y \Big(\log \sum_j \exp(x_j) - x_y\Big)
              + \lambda \Big(\log \sum_j \exp(x_j)\Big)^2,
              \qquad x = W h + b

    The logits are worked out for a block of classes at a time, and again in the reverse pass. It
    is `cross_entropy_loss(hidden @ weight.T + bias, labels)` with the further options.

    Args:
      hidden: [..., features], any floating dtype.
      labels: class ids (integer dtype, [...]) or distributions (floating dtype, [..., classes],
        summing to 1 over the classes).
      weight: [classes, features], any floating dtype; a row a class, as embeddings have it.
      bias: [classes].
      where: boolean [classes], one mask for all examples; the loss is that of the kept classes. A
        table split over devices that its classes do not divide by is padded, and its padding left
        out here: whatever the padded rows hold, they get a gradient of 0.
      label_smoothing: mass moved from the label to the uniform distribution over what is kept; a
        scalar or one an example. The loss of a perfect prediction of the smoothed label is 0.
      z_loss: the factor of the squared log-normalizer that is added; a scalar or one an example.
      softcap: a positive finite scalar c; logits x become c tanh(x / c).
      class_weights: [classes], at least 0; an example's cross-entropy is multiplied by the weight
        of its label, or by the weight that its distribution expects. Smoothing and z_loss leave it
        alone.
      ignore_index: an id whose examples have loss 0 and gradient 0.
      block_size: classes that a block has; by default chosen from the shapes.
      return_log_normalizer: also return the log-normalizers, 0 for ignored examples.

    Returns:
      One loss an example, [...], at least float32; without z_loss at least 0. NaN where an id is
      out of range, infinite where the label's class has mass and is not kept. With
      `return_log_normalizer` the pair of losses and log-normalizers. All gradients are summed in at
      least float32.

    Raises:
      TypeError: a dtype that does not fit; the message names the argument.
      ValueError: a shape that does not fit, such as a transposed weight; a value out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import softmax_variants as sv
      >>> hidden, weight = jnp.ones((2, 3)), jnp.zeros((4, 3))
      >>> print(sv.linear_cross_entropy(hidden, jnp.array([1, 3]), weight))
      [1.3862944 1.3862944]

    References:
      Wijmans et al., `Cut Your Losses in Large-Vocabulary Language Models
      <https://arxiv.org/abs/2411.09009>`_, 2024; Milakov and Gimelshein, `Online normalizer
      calculation for softmax <https://arxiv.org/abs/1805.02867>`_, 2018.
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
    penalty: Array | None = None
    if not (isinstance(z_loss, float | int) and z_loss == 0):
        penalty = per_row(z_loss, "z_loss", inputs.batch)
    layout = inputs.layout(as_block_size(block_size))
    run = functools.partial(_losses, ignore_index=ignore_index, layout=layout)
    loss, log_normalizer = over_devices(run, inputs, penalty, split=examples_of(inputs.hidden))
    return (loss, log_normalizer) if return_log_normalizer else loss


@functools.partial(jax.jit, static_argnames=("ignore_index", "layout"))
def _losses(
    inputs: Inputs, penalty: Array | None, ignore_index: int | None, layout: Layout
) -> tuple[Array, Array]:
    """The losses and the log-normalizers, [...]."""
    problem = inputs.problem(ignore_index)
    smooth = problem.weighing.smoothing is not None
    top, sums = softmax_sums(problem.layer, problem.known, layout, smooth)
    penalty = None if penalty is None else inputs.of_examples(penalty)
    loss, log_normalizer = _finished(problem, penalty, top, sums, layout)
    return loss.reshape(inputs.batch), log_normalizer.reshape(inputs.batch)


def _finished(
    problem: Problem, penalty: Array | None, top: Array, sums: Sums, layout: Layout
) -> tuple[Array, Array]:
    loss = sums.conjugate - expected(problem, sums, layout)
    masses = entropy_terms(problem, layout, loss.dtype)
    if masses is not None:
        loss = loss + _entropy(*masses)
    # The true value is never below 0; rounding may be, and has a gradient all the same.
    loss = weighed(problem, loss - lax.stop_gradient(jnp.minimum(loss, 0)))
    # The largest float stands for infinity, as a constant.
    log_normalizer = jnp.where(top == jnp.finfo(top.dtype).max, jnp.inf, top) + sums.conjugate
    if penalty is not None:
        loss = loss + penalty * jnp.square(log_normalizer)
    if problem.weighing.ignored is not None:
        log_normalizer = jnp.where(problem.weighing.ignored, 0, log_normalizer)
    return answered(problem, loss), log_normalizer


class Normalizer(NamedTuple):
    """The log-normalizers of the examples in two parts, whose sum would have fewer digits.

    Attributes:
      top: the largest score, [examples].
      log_total: the log-sum-exp of the scores less the largest, [examples].
    """

    top: Array
    log_total: Array


def cross_entropy_once(
    hidden: Array, ids: Array, weight: Array, *, ignore_index: int, normalizer: Normalizer | None
) -> tuple[Array, Normalizer]:
    """`linear_cross_entropy` and its log-normalizers, which have no derivative.

    Given the log-normalizers of an earlier call it does not go through the classes again, and has
    the same derivative.
    """
    inputs = as_inputs(
        hidden,
        ids,
        weight,
        None,
        where=None,
        label_smoothing=0.0,
        softcap=None,
        class_weights=None,
        ignore_index=ignore_index,
    )
    return _losses_once(inputs, normalizer, ignore_index, inputs.layout(None))


@functools.partial(jax.jit, static_argnames=("ignore_index", "layout"))
def _losses_once(
    inputs: Inputs, normalizer: Normalizer | None, ignore_index: int, layout: Layout
) -> tuple[Array, Normalizer]:
    problem = inputs.problem(ignore_index)
    if normalizer is None:
        top, sums = softmax_sums(problem.layer, problem.known, layout, False)
    else:
        top, sums = _known_sums(problem.layer, problem.known, normalizer, layout)
    found = Normalizer(*map(lax.stop_gradient, (top, sums.conjugate)))
    return _finished(problem, None, top, sums, layout)[0], found


def _entropy(*masses: Array) -> Array:
    """`sum t log t` from masses and how many classes have each."""
    total: Array | None = None
    for mass, count in zip(masses[::2], masses[1::2], strict=True):
        term = count * jnp.where(mass == 0, 0, mass * jnp.log(jnp.where(mass == 0, 1, mass)))
        term = jnp.sum(term, axis=-1) if mass.ndim == 2 else term
        total = term if total is None else total + term
    assert total is not None
    return total


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def softmax_sums(layer: Layer, known: Known, layout: Layout, kept: bool) -> tuple[Array, Sums]:
    """The largest score of each example, and the sums; the conjugate is the log-sum-exp.

    The largest score counts as a constant: all sums are relative to it, so that the log-normalizer
    has the derivative of its second part.
    """
    dtype = layer.dtype()
    zero = jnp.zeros_like(layer.hidden, dtype, shape=layer.hidden.shape[:1])

    def step(carry: tuple[Array, Array, Array, Sums], index: Array | None) -> Any:
        best, mass, count, sums = carry
        block = Block.of(layer, known, layout, index)
        best = jnp.maximum(best, jnp.max(block.scores, axis=-1))
        top, old = finite_top(best), finite_top(carry[0])
        # The first block has nothing before it to shift.
        lower = jnp.where(carry[0] == -jnp.inf, 0, old - top)
        gap, again = block.gap(apart(top)[0]), block.gap(apart(top)[0])
        conjugate = sums.conjugate * jnp.exp(lower) + jnp.sum(jnp.exp(again), axis=-1)
        label = sums.label + lower * mass + block.on_label(gap)
        mass = mass + block.on_label(jnp.ones_like(gap))
        rest = sums.kept
        if rest is not None:
            rest = rest + lower * count + block.on_kept(gap)
            count = count + block.on_kept(jnp.ones_like(gap))
        return best, mass, count, Sums(conjugate, label, rest)

    start = (jnp.full_like(zero, -jnp.inf), zero, zero, Sums(zero, zero, zero if kept else None))
    best, _, _, (total, label, rest) = fold(step, start, layout)
    top, conjugate = finite_top(best), jnp.log(jnp.where(total == 0, 1, total))
    rest = None if rest is None else far_below(top, rest)
    return top, Sums(conjugate, far_below(top, label), rest)


def _softmax_sums_jvp(
    layout: Layout, kept: bool, primals: tuple[Layer, Known], tangents: tuple[Any, Any]
) -> tuple[tuple[Array, Sums], tuple[Array, Sums]]:
    layer, known = primals
    top, sums = softmax_sums(layer, known, layout, kept)
    row, change = Row(top, sums.conjugate), Change.of(tangents[0])
    moved = tangent_of_sums(_softmax, layer, known, row, change, layout, kept)
    return (top, sums), (jnp.zeros_like(top), moved)


softmax_sums.defjvp(_softmax_sums_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _known_sums(
    layer: Layer, known: Known, normalizer: Normalizer, layout: Layout
) -> tuple[Array, Sums]:
    """`softmax_sums` without the pass over the classes: only the label's score is missing."""
    assert known.ids is not None
    rows = layer.weight[jnp.maximum(known.ids, 0)]
    dtype = normalizer.top.dtype
    label = jnp.sum(layer.hidden.astype(dtype) * rows.astype(dtype), axis=-1) - normalizer.top
    return normalizer.top, Sums(normalizer.log_total, far_below(normalizer.top, label), None)


def _known_sums_jvp(
    layout: Layout, primals: tuple[Layer, Known, Normalizer], tangents: tuple[Any, Any, Any]
) -> tuple[tuple[Array, Sums], tuple[Array, Sums]]:
    layer, known, normalizer = primals
    row, change = Row(*normalizer), Change.of(tangents[0])
    moved = tangent_of_sums(_softmax, layer, known, row, change, layout, False)
    return _known_sums(layer, known, normalizer, layout), (jnp.zeros_like(row.top), moved)


_known_sums.defjvp(_known_sums_jvp, symbolic_zeros=True)


def _softmax(gap: Array, log_total: Array) -> Array:
    return jnp.exp(gap - log_total[:, None])
