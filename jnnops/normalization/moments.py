"""Mean and variance."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_axis_names,
    as_float_array,
    as_number_array,
    as_static_bool,
    canonical_axes_or_all,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import Axes, AxisNames
from jnnops.normalization._centred import centre


@serializable
class Moments(NamedTuple):
    """The result of `moments` and of `weighted_moments`."""

    mean: jax.Array
    variance: jax.Array


@answers_tensorflow_names
def moments(
    x: ArrayLike, axes: Axes, shift: ArrayLike | None = None, keepdims: bool = False, *, axis_name: AxisNames = None
) -> Moments:
    """Mean and variance over some of the axes.

    The variance is the mean of ``(x - mean) ** 2``: it divides by the number of values. Both are NaN over no values
    at all; an infinite value makes the variance NaN.

    Args:
        x: Any shape, floating point.
        axes: The axis or axes to reduce, all of them if None. For batch normalization those of batch and space,
            such as ``(0, 1, 2)``.
        shift: Not used, as in TensorFlow: the variance is always taken around the mean.
        keepdims: Whether to keep the reduced axes with size 1.
        axis_name: The mapped axis (of ``shard_map`` or ``vmap``) or axes over which ``x`` is split, whose moments are
            then those of the whole.

    Returns:
        ``Moments(mean, variance)``, each in the dtype of ``x``.

    Raises:
        ValueError: If ``axes`` is out of range or names an axis twice.
        TypeError: If ``x`` is not floating point or ``axes`` are not static integers.

    Example:
        >>> mean, variance = nn.moments([[1.0, 2.0], [3.0, 6.0]], axes=0)
        >>> mean.tolist(), variance.tolist()
        ([2.0, 4.0], [1.0, 4.0])

    References:
        ``tf.nn.moments``.
    """
    del shift
    x = as_float_array("moments", "x", x)
    keepdims = as_static_bool("moments", "keepdims", keepdims)
    return _moments(x, None, canonical_axes_or_all("moments", "axes", axes, x.ndim), keepdims, as_axis_names(axis_name))


@answers_tensorflow_names
def weighted_moments(
    x: ArrayLike,
    axes: Axes,
    frequency_weights: ArrayLike,
    keepdims: bool = False,
    *,
    axis_name: AxisNames = None,
) -> Moments:
    r"""Mean and variance over some of the axes, of values that count more than once or in part.

    .. math::
        \mu = \frac{\sum_i w_i x_i}{\sum_i w_i}, \qquad \sigma^2 = \frac{\sum_i w_i (x_i - \mu)^2}{\sum_i w_i}

    Both are 0, with a gradient of 0, where the weights add up to 0 or there are no values. A weight of 0 does not hide
    a value that is infinite or NaN.

    Args:
        x: Any shape, floating point.
        axes: The axis or axes to reduce, all of them if None: axes of what ``x`` and the weights broadcast to.
        frequency_weights: How often each value counts, floating point or integer, not negative; broadcasts with ``x``.
            Computed in the dtype of ``x``, in float32 where that has 16 bits.
        keepdims: Whether to keep the reduced axes with size 1.
        axis_name: As in :func:`moments`.

    Returns:
        ``Moments(mean, variance)``, each in the dtype of ``x``.

    Raises:
        ValueError: If the shapes do not fit, or ``axes`` is out of range or names an axis twice.
        TypeError: If ``x`` is not floating point, the weights are no numbers, or ``axes`` not static integers.

    Example:
        >>> mean, variance = nn.weighted_moments([1.0, 2.0, 6.0], axes=0, frequency_weights=[3, 0, 1])
        >>> mean.item(), variance.item()
        (2.25, 4.6875)

    References:
        ``tf.nn.weighted_moments``.
    """
    op = "weighted_moments"
    x = as_float_array(op, "x", x)
    weights = as_number_array(op, "frequency_weights", frequency_weights)
    keepdims = as_static_bool(op, "keepdims", keepdims)
    try:
        shape = jnp.broadcast_shapes(x.shape, weights.shape)
    except ValueError:
        given = f"shape {weights.shape} for x.shape = {x.shape}"
        raise ValueError(f"{op}: `frequency_weights` must broadcast with `x`, got {given}") from None
    return _moments(
        jnp.broadcast_to(x, shape),
        weights,
        canonical_axes_or_all(op, "axes", axes, len(shape)),
        keepdims,
        as_axis_names(axis_name),
    )


@functools.partial(jax.jit, static_argnames=("axes", "keepdims", "axis_name"))
def _moments(
    x: jax.Array, weights: jax.Array | None, axes: tuple[int, ...], keepdims: bool, axis_name: AxisNames
) -> Moments:
    wide = accumulation_dtype(x.dtype)
    if weights is not None:
        weights = jnp.broadcast_to(weights.astype(wide), x.shape)
    _, mean, variance = centre(x.astype(wide), weights, axes, axis_name)
    mean, variance = mean.astype(x.dtype), variance.astype(x.dtype)
    return Moments(mean, variance) if keepdims else Moments(mean.squeeze(axes), variance.squeeze(axes))
