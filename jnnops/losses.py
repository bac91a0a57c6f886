"""Losses that are no cross entropies, and how losses of examples become one number."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_axis_names,
    as_float_array,
    as_float_arrays,
    as_number_array,
    as_static_bool,
    as_static_int,
    at_least,
    canonical_axis,
    check_shape,
)
from jnnops._isotonic import decreasing_segments, segment_means
from jnnops._primitives.serialization import serializable
from jnnops._types import AxisNames


def l2_loss(t: ArrayLike) -> jax.Array:
    r"""Half of the squared Euclidean norm, :math:`\frac12 \sum t^2`, whose gradient is ``t``.

    Args:
        t: Any shape, floating point.

    Returns:
        A scalar of the dtype of ``t``, summed in float32 at least.

    Raises:
        TypeError: If ``t`` is not floating point.

    Example:
        >>> nn.l2_loss([3.0, 4.0]).item()
        12.5

    References:
        ``tf.nn.l2_loss``.
    """
    return _l2_loss(as_float_array("l2_loss", "t", t))


@jax.jit
def _l2_loss(t: jax.Array) -> jax.Array:
    return (jnp.sum(jnp.square(t.astype(accumulation_dtype(t.dtype)))) / 2).astype(t.dtype)


def log_poisson_loss(targets: ArrayLike, log_input: ArrayLike, compute_full_loss: bool = False) -> jax.Array:
    r"""The negative logarithm of the likelihood of counts under Poisson distributions of means ``exp(log_input)``.

    .. math::
        \exp(\text{log\_input}) - \text{targets} \cdot \text{log\_input}
        \;[+ \text{targets} \log \text{targets} - \text{targets} + \tfrac12 \log(2 \pi\, \text{targets})]

    The part in brackets is Stirling's approximation of ``log(targets!)``, which ``compute_full_loss`` adds for targets
    outside [0, 1]. A target of 0 at a mean of 0, ``log_input`` minus infinity, is certain: its loss is 0, where
    TensorFlow has NaN, and at an infinite mean it is infinite.

    Args:
        targets: Any shape, floating point: the counts.
        log_input: The same shape: the logarithms of the means.
        compute_full_loss: Whether to add the part that does not depend on ``log_input``.

    Returns:
        The loss of each element, in that shape and the dtype that ``jax.numpy`` promotes both to. For a target below 0
        the full loss is NaN.

    Raises:
        TypeError: If an argument is not floating point, or ``compute_full_loss`` not True or False.
        ValueError: If the shapes differ.

    Example:
        >>> nn.log_poisson_loss([0.0, 2.0], [0.0, 0.0]).tolist()
        [1.0, 1.0]

    References:
        ``tf.nn.log_poisson_loss``.
    """
    op = "log_poisson_loss"
    compute_full_loss = as_static_bool(op, "compute_full_loss", compute_full_loss)
    targets, log_input = as_float_arrays(op, targets=targets, log_input=log_input)
    check_shape(op, "log_input", log_input, targets.shape, "that of `targets`")
    return _log_poisson_loss(targets, log_input, compute_full_loss)


@functools.partial(jax.jit, static_argnames="full")
def _log_poisson_loss(targets: jax.Array, log_input: jax.Array, full: bool) -> jax.Array:
    wide = accumulation_dtype(targets.dtype)
    counts, logs = targets.astype(wide), log_input.astype(wide)
    # 0 times minus infinity is 0 here, in the loss and in its gradient, and the exponential outweighs all counts.
    is_certain = ((counts == 0) & (logs == -jnp.inf)) | (logs == jnp.inf)
    loss = jnp.exp(logs) - counts * jnp.where(is_certain, 0, logs)
    if full:
        is_small = (counts >= 0) & (counts <= 1)
        many = jnp.where(is_small, 2, counts)
        log_many = jnp.log(many)
        # Where the mean is near the count most of the sum cancels, so that is done before anything is rounded.
        surplus = logs - log_many
        is_near = ~is_small & (jnp.abs(surplus) < 1)
        near = jnp.where(is_near, surplus, 0)
        main = jnp.where(is_near, many * (jnp.expm1(near) - near), loss + (many * log_many - many))
        loss = jnp.where(is_small, loss, main + jnp.log(2 * jnp.pi * many) / 2)
    return loss.astype(targets.dtype)


def compute_average_loss(
    per_example_loss: ArrayLike,
    sample_weight: ArrayLike | None = None,
    global_batch_size: int | None = None,
    *,
    axis_name: AxisNames = None,
) -> jax.Array:
    """The sum of the losses of all examples, divided by their number.

    Where a mapped axis splits the batch, each part is divided by the size of the whole batch, so that the sum over the
    parts is the average of all.

    Args:
        per_example_loss: ``[batch, ...]``, floating point or integer. All of an example's numbers are summed.
        sample_weight: Multiplies the losses: a number, or an array that broadcasts to them; one of a rank less has a
            weight for each example, or for each row of its losses.
        global_batch_size: The number of examples, at least 0: that of ``per_example_loss``, times the size of
            ``axis_name``, unless given.
        axis_name: The mapped axis (of ``shard_map`` or ``vmap``) or axes that split the batch.

    Returns:
        A scalar of the dtype of ``per_example_loss``, float32 for integers; 0 for an empty batch.

    Raises:
        ValueError: If ``per_example_loss`` is a scalar, ``sample_weight`` does not broadcast to it, or
            ``global_batch_size`` is negative.
        TypeError: If an argument is no number, or ``global_batch_size`` not a static integer.

    Example:
        >>> nn.compute_average_loss([1.0, 3.0], sample_weight=[1.0, 0.5]).item()
        1.25

    References:
        ``tf.nn.compute_average_loss``, where ``axis_name`` is the distribution strategy's.
    """
    op = "compute_average_loss"
    losses = as_number_array(op, "per_example_loss", per_example_loss, rank=at_least(1))
    weights = None
    if sample_weight is not None:
        weights = as_number_array(op, "sample_weight", sample_weight)
        if weights.ndim - losses.ndim == 1 and weights.shape[-1] == 1:
            weights = weights.squeeze(-1)
        elif losses.ndim - weights.ndim == 1 and weights.ndim:
            weights = weights[..., None]
        fits = jnp.broadcast_shapes(weights.shape, losses.shape) if _broadcast(weights, losses) else None
        if fits != losses.shape or weights.ndim not in (0, losses.ndim):
            raise ValueError(
                f"{op}: `sample_weight` must broadcast to `per_example_loss` of shape {losses.shape}, with or without "
                f"its last dimension, got shape {jnp.shape(sample_weight)}"
            )
    if global_batch_size is not None:
        global_batch_size = as_static_int(op, "global_batch_size", global_batch_size, minimum=0)
    return _average(losses, weights, global_batch_size, as_axis_names(axis_name))


def _broadcast(weights: jax.Array, losses: jax.Array) -> bool:
    pairs = zip(reversed(weights.shape), reversed(losses.shape), strict=False)
    return all(size in (1, other) for size, other in pairs)


@functools.partial(jax.jit, static_argnames=("size", "axis_name"))
def _average(losses: jax.Array, weights: jax.Array | None, size: int | None, axis_name: AxisNames) -> jax.Array:
    dtype = losses.dtype if jnp.issubdtype(losses.dtype, jnp.floating) else jnp.dtype(jnp.float32)
    wide = accumulation_dtype(dtype)
    weighted = losses.astype(wide)
    if weights is not None:
        weighted = weighted * weights.astype(wide).reshape(weights.shape or (1,) * losses.ndim)
    total = losses.shape[0] if size is None else size
    if size is None and axis_name is not None:
        total *= lax.psum(1, axis_name)
    return (jnp.sum(weighted) / max(total, 1) * min(total, 1)).astype(dtype)


def scale_regularization_loss(regularization_loss: ArrayLike, *, axis_name: AxisNames = None) -> jax.Array:
    """The sum of a regularization loss, divided by how many devices compute it.

    Each device adds the same loss to that of its part of the batch, so that the sum over the devices has it once.

    Args:
        regularization_loss: Any shape, floating point.
        axis_name: The mapped axis (of ``shard_map`` or ``vmap``) or axes over which losses are summed; nothing is
            divided unless given.

    Returns:
        A scalar of the same dtype.

    Raises:
        TypeError: If ``regularization_loss`` is not floating point.

    Example:
        >>> nn.scale_regularization_loss([1.0, 2.0]).item()
        3.0

    References:
        ``tf.nn.scale_regularization_loss``, where ``axis_name`` is the distribution strategy's.
    """
    loss = as_float_array("scale_regularization_loss", "regularization_loss", regularization_loss)
    devices = 1 if axis_name is None else lax.psum(1, as_axis_names(axis_name))
    return _sum_over(loss, devices)


@functools.partial(jax.jit, static_argnames="devices")
def _sum_over(loss: jax.Array, devices: int) -> jax.Array:
    return (jnp.sum(loss.astype(accumulation_dtype(loss.dtype))) / devices).astype(loss.dtype)


@serializable
class IsotonicRegression(NamedTuple):
    """What :func:`isotonic_regression` returns.

    Attributes:
        output: The fit.
        segments: The number of the segment of each value, int32.
    """

    output: jax.Array
    segments: jax.Array


def isotonic_regression(inputs: ArrayLike, decreasing: bool = True, axis: int = -1) -> IsotonicRegression:
    r"""The monotone sequence that is nearest to a sequence, by the sum of squares.

    .. math::
        \arg\min_{y_1 \ge y_2 \ge \dots \ge y_n} \sum_i (x_i - y_i)^2

    It is made of segments, each the mean of the numbers there. Segments of equal means are not joined. The gradient
    averages what comes back over each segment; where it changes its segments the fit has a kink, and there the gradient
    is that of the segments found. Numbers that are too small to change the sum of the row in twice the precision of its
    dtype, 14 digits for float32, may share a segment.

    A row with a number that is not finite is NaN as a whole, where TensorFlow fits what is left and right of a NaN.

    Args:
        inputs: Rank 1 or more, floating point or integer.
        decreasing: Whether the fit decreases; otherwise it increases.
        axis: The axis of a sequence.

    Returns:
        ``IsotonicRegression(output, segments)``, both of the shape of ``inputs``: the fit, in the dtype of ``inputs``,
        or for integers float32 of 8 and 16 bits and the widest floating point dtype that is enabled of more; and
        which segment each number belongs to, int32, counted from 0.

    Raises:
        ValueError: If ``axis`` is out of range.
        TypeError: If ``inputs`` is neither floating point nor integer, or an option not static.

    Example:
        >>> nn.isotonic_regression([3.0, 1.0, 2.0]).output.tolist()
        [3.0, 1.5, 1.5]

    References:
        ``tf.nn.isotonic_regression``. Spouge et al., "Least Squares Isotonic Regression in Two Dimensions", 2003.
    """
    op = "isotonic_regression"
    x = as_number_array(op, "inputs", inputs, rank=at_least(1))
    along = canonical_axis(op, "axis", axis, x.ndim)
    return _isotonic_regression(x, as_static_bool(op, "decreasing", decreasing), along)


@functools.partial(jax.jit, static_argnames=("decreasing", "axis"))
def _isotonic_regression(x: jax.Array, decreasing: bool, axis: int) -> IsotonicRegression:
    dtype = x.dtype
    if jnp.issubdtype(dtype, jnp.integer):
        dtype = jnp.dtype(jnp.float32) if dtype.itemsize < 4 else jax.dtypes.canonicalize_dtype(jnp.float64)
    if not x.size:
        return IsotonicRegression(x.astype(dtype), jnp.zeros(x.shape, jnp.int32))
    rows = jnp.moveaxis(x.astype(accumulation_dtype(dtype)), axis, -1)
    flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    given = lax.stop_gradient(flat)
    segments = decreasing_segments(given if decreasing else -given)
    fits = (segment_means(flat, segments).astype(dtype), segments)
    return IsotonicRegression(*(jnp.moveaxis(part.reshape(rows.shape), -1, axis) for part in fits))
