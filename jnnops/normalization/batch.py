"""Normalization by moments: those of the batch, or given ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    FRACTION,
    NOT_NEGATIVE,
    accumulation_dtype,
    as_array,
    as_float_array,
    as_scalar,
    as_static_bool,
    broadcast_to_rank,
    check_broadcastable,
    check_shape,
    is_traced,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._windows.layout import is_channels_last
from jnnops.normalization._centred import normalize, unbiased_variance


@serializable
class FusedBatchNormResult(NamedTuple):
    """The result of `fused_batch_norm`."""

    y: jax.Array
    running_mean: jax.Array
    running_var: jax.Array


@answers_tensorflow_names
def fused_batch_norm(
    x: ArrayLike,
    scale: ArrayLike,
    offset: ArrayLike,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    epsilon: ArrayLike = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    exponential_avg_factor: ArrayLike = 1.0,
) -> FusedBatchNormResult:
    r"""Batch normalization of images or volumes, with the update of the running moments.

    .. math::
        y = \text{scale} \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \text{offset}

    for each channel. In training :math:`\mu` and :math:`\sigma^2` are the moments of the batch, and gradients go
    through them; the running moments are ``(1 - f) * old + f * batch`` with ``f = exponential_avg_factor``, the
    batch's variance here multiplied by :math:`n / \max(n - 1, 1)` for the :math:`n` values of a channel. With
    ``f = 1`` the old ones do not count, not even NaN. Otherwise :math:`\mu` and :math:`\sigma^2` are ``mean`` and
    ``variance``, which are returned unchanged.

    All results have their true gradients. TensorFlow's are 0 through the running moments, and for ``mean`` and
    ``variance`` outside of training. An empty batch gives running moments of NaN in training.

    Args:
        x: ``[batch, height, width, channels]`` or ``[batch, depth, height, width, channels]``, or with the channels
            second, floating point.
        scale: ``[channels]``, floating point.
        offset: ``[channels]``, floating point.
        mean: ``[channels]``, the running mean. May be None or empty if it does not count.
        variance: ``[channels]``, the running variance. May be None or empty if it does not count.
        epsilon: Added to the variance, a scalar.
        data_format: ``"NHWC"`` or ``"NCHW"``; ``"NDHWC"`` or ``"NCDHW"`` for volumes.
        is_training: Whether to normalize by the moments of the batch.
        exponential_avg_factor: The weight of the batch in the running moments, a scalar.

    Returns:
        ``FusedBatchNormResult(y, running_mean, running_var)``: ``y`` like ``x``, the running moments ``[channels]`` in
        float32 for 16-bit arguments.

    Raises:
        ValueError: If a shape or ``data_format`` is wrong, ``epsilon`` is negative, ``exponential_avg_factor`` not in
            [0, 1], or a ``mean`` or ``variance`` that counts is missing.
        TypeError: If an array is not floating point, or ``is_training`` not True or False.

    Example:
        >>> x = jnp.arange(8.0).reshape(1, 2, 2, 2)
        >>> y, running_mean, running_var = nn.fused_batch_norm(x, scale=[1.0, 1.0], offset=[0.0, 0.0])
        >>> running_mean.tolist(), np.round(running_var, 3).tolist()
        ([3.0, 4.0], [6.66..., 6.66...])

    References:
        ``tf.compat.v1.nn.fused_batch_norm``. Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network
        Training by Reducing Internal Covariate Shift", 2015.
    """
    op = "fused_batch_norm"
    x = as_float_array(op, "x", x, rank=(4, 5))
    channel_axis = x.ndim - 1 if is_channels_last(op, data_format, x.ndim - 2) else 1
    is_training = as_static_bool(op, "is_training", is_training)
    epsilon = as_scalar(op, "epsilon", epsilon, NOT_NEGATIVE)
    factor = as_scalar(op, "exponential_avg_factor", exponential_avg_factor, FRACTION)

    def per_channel(argument: str, value: ArrayLike | None) -> jax.Array:
        array = as_float_array(op, argument, value)
        check_shape(op, argument, array, x.shape[channel_axis : channel_axis + 1], "one per channel of `x`")
        return array

    def old_moment(argument: str, value: ArrayLike | None) -> jax.Array | None:
        counts = is_traced(factor) or factor != 1
        missing = value is None or as_array(op, argument, value).size == 0
        return None if missing and not counts else per_channel(argument, value)

    scale, offset = per_channel("scale", scale), per_channel("offset", offset)
    if not is_training:
        mean, variance = per_channel("mean", mean), per_channel("variance", variance)
        return _normalize_by_given_moments(x, scale, offset, mean, variance, epsilon, channel_axis)
    old_mean, old_variance = old_moment("mean", mean), old_moment("variance", variance)
    return _normalize_by_batch_moments(x, scale, offset, old_mean, old_variance, epsilon, factor, channel_axis)


@functools.partial(jax.jit, static_argnames="channel_axis")
def _normalize_by_given_moments(
    x: jax.Array,
    scale: jax.Array,
    offset: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    epsilon: ArrayLike,
    channel_axis: int,
) -> FusedBatchNormResult:
    axes = _all_but(channel_axis, x)
    wide = _wide_dtype(x, scale, offset, mean, variance)
    # Once, so that the gradients of what is used twice are added before they are rounded.
    mean, variance = mean.astype(wide), variance.astype(wide)
    y = _batch_normalization(
        x,
        lax.expand_dims(mean, axes),
        lax.expand_dims(variance, axes),
        lax.expand_dims(offset, axes),
        lax.expand_dims(scale, axes),
        epsilon,
    )
    return FusedBatchNormResult(y, mean, variance)


@functools.partial(jax.jit, static_argnames="channel_axis")
def _normalize_by_batch_moments(
    x: jax.Array,
    scale: jax.Array,
    offset: jax.Array,
    old_mean: jax.Array | None,
    old_variance: jax.Array | None,
    epsilon: ArrayLike,
    factor: ArrayLike,
    channel_axis: int,
) -> FusedBatchNormResult:
    axes = _all_but(channel_axis, x)
    wide = _wide_dtype(x, scale, offset, old_mean, old_variance)
    # Once, so that the gradients by way of `y` and of the moments are added before they are rounded.
    wide_x, f = x.astype(wide), jnp.asarray(factor, wide)
    normalized = normalize(wide_x, lax.expand_dims(scale, axes), lax.expand_dims(offset, axes), epsilon, axes)

    def update(old: jax.Array | None, batch: jax.Array) -> jax.Array:
        return batch if old is None else (1 - f) * jnp.where(f == 1, 0, old.astype(wide)) + f * batch

    mean, variance = normalized.mean.squeeze(axes), unbiased_variance(normalized, axes).squeeze(axes)
    y = normalized.values.astype(x.dtype)
    return FusedBatchNormResult(y, update(old_mean, mean), update(old_variance, variance))


def _all_but(kept: int, x: jax.Array) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis != kept)


@answers_tensorflow_names
def batch_normalization(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    offset: ArrayLike | None,
    scale: ArrayLike | None,
    variance_epsilon: ArrayLike,
) -> jax.Array:
    r"""Normalizes by moments that are given.

    .. math::
        y = \text{scale} \, \frac{x - \text{mean}}{\sqrt{\text{variance} + \epsilon}} + \text{offset}

    With moments from `moments` over the axes of batch and space (``keepdims=True`` unless the channels are last)
    this is batch normalization; over other axes, layer or instance normalization.

    Args:
        x: Any shape, floating point.
        mean: Floating point; this and the following broadcast to ``x``.
        variance: Floating point.
        offset: Floating point, or None for 0.
        scale: Floating point, or None for 1.
        variance_epsilon: Added to the variance, a scalar.

    Returns:
        The shape and dtype of ``x``; computed in the widest dtype of the arguments, at least float32.

    Raises:
        ValueError: If an argument does not broadcast to ``x``, or ``variance_epsilon`` is negative.
        TypeError: If an array is not floating point, or ``variance_epsilon`` no number.

    Example:
        >>> x = jnp.array([[1.0, 2.0], [3.0, 6.0]])
        >>> mean, variance = nn.moments(x, axes=0)
        >>> nn.batch_normalization(x, mean, variance, offset=None, scale=[1.0, 5.0], variance_epsilon=0.0).tolist()
        [[-1.0, -5.0], [1.0, 5.0]]

    References:
        ``tf.nn.batch_normalization``. Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training
        by Reducing Internal Covariate Shift", 2015, algorithm 1.
    """
    op = "batch_normalization"
    x = as_float_array(op, "x", x)

    def parameter(argument: str, value: ArrayLike | None) -> jax.Array:
        array = as_float_array(op, argument, value)
        check_broadcastable(op, argument, array, x.shape, "x")
        return broadcast_to_rank(array, x.ndim)

    return _batch_normalization(
        x,
        parameter("mean", mean),
        parameter("variance", variance),
        None if offset is None else parameter("offset", offset),
        None if scale is None else parameter("scale", scale),
        as_scalar(op, "variance_epsilon", variance_epsilon, NOT_NEGATIVE),
    )


@jax.jit
def _batch_normalization(
    x: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    offset: jax.Array | None,
    scale: jax.Array | None,
    epsilon: ArrayLike,
) -> jax.Array:
    if not x.size:  # the moments of nothing are NaN, and would make all gradients NaN
        return x
    wide = _wide_dtype(x, mean, variance, offset, scale)
    factor = lax.rsqrt(variance.astype(wide) + jnp.asarray(epsilon, wide))
    if scale is not None:
        factor = factor * scale.astype(wide)
    # Not TensorFlow's x * factor + (offset - mean * factor), which cancels where the mean is large.
    y = (x.astype(wide) - mean.astype(wide)) * factor
    if offset is not None:
        y = y + offset.astype(wide)
    return y.astype(x.dtype)


@answers_tensorflow_names
def batch_norm_with_global_normalization(
    input: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    beta: ArrayLike,
    gamma: ArrayLike,
    variance_epsilon: ArrayLike,
    scale_after_normalization: bool,
) -> jax.Array:
    r"""Normalizes images by moments that are given, an early form of :func:`batch_normalization`.

    .. math::
        y = \text{gamma} \, \frac{\text{input} - \text{mean}}{\sqrt{\text{variance} + \epsilon}} + \text{beta}

    Args:
        input: ``[batch, height, width, channels]``, floating point.
        mean: ``[channels]``, floating point.
        variance: ``[channels]``, floating point.
        beta: ``[channels]``, floating point: the offset.
        gamma: ``[channels]``, floating point: the scale.
        variance_epsilon: Added to the variance, a scalar.
        scale_after_normalization: Whether ``gamma`` counts.

    Returns:
        The shape and dtype of ``input``; computed in the widest dtype of the arguments, at least float32.

    Raises:
        ValueError: If a shape is wrong or ``variance_epsilon`` negative.
        TypeError: If an array is not floating point, or ``scale_after_normalization`` not True or False.

    Example:
        >>> x, one = jnp.full((1, 1, 1, 2), 3.0), jnp.ones(2)
        >>> nn.batch_norm_with_global_normalization(x, one, 4 * one, one, 5 * one, 0.0, True).ravel().tolist()
        [6.0, 6.0]

    References:
        ``tf.nn.batch_norm_with_global_normalization``.
    """
    op = "batch_norm_with_global_normalization"
    x = as_float_array(op, "input", input, rank=4)

    def per_channel(argument: str, value: ArrayLike) -> jax.Array:
        array = as_float_array(op, argument, value)
        check_shape(op, argument, array, x.shape[-1:], "one per channel of `input`")
        return broadcast_to_rank(array, x.ndim)

    scale = per_channel("gamma", gamma)
    counts = as_static_bool(op, "scale_after_normalization", scale_after_normalization)
    return _batch_normalization(
        x,
        per_channel("mean", mean),
        per_channel("variance", variance),
        per_channel("beta", beta),
        scale if counts else None,
        as_scalar(op, "variance_epsilon", variance_epsilon, NOT_NEGATIVE),
    )


def _wide_dtype(*arrays: jax.Array | None) -> jnp.dtype:
    """The dtype to compute in: the widest of the arguments, at least float32."""
    return jnp.result_type(*(accumulation_dtype(array.dtype) for array in arrays if array is not None))
