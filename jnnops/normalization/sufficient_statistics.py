"""Moments by way of sums, which parts of the data can be summed into one by one."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_float_arrays,
    as_static_bool,
    broadcast_to_rank,
    canonical_axes_or_all,
    check_broadcastable,
    promote,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import Axes
from jnnops.normalization.moments import Moments


@serializable
class SufficientStatistics(NamedTuple):
    """The result of `sufficient_statistics`, which are the arguments of `normalize_moments`.

    Attributes:
        counts: How many values were summed, a scalar.
        mean_ss: The sum of the values, less the shift.
        variance_ss: The sum of their squares.
        shift: What was subtracted from each value; None for nothing.
    """

    counts: jax.Array
    mean_ss: jax.Array
    variance_ss: jax.Array
    shift: jax.Array | None


@answers_tensorflow_names
def sufficient_statistics(
    x: ArrayLike, axes: Axes, shift: ArrayLike | None = None, keepdims: bool = False
) -> SufficientStatistics:
    """The sums from which :func:`normalize_moments` takes mean and variance.

    Counts and sums of parts of the data with one shift add up to those of the whole. A shift near the mean, such as the
    running mean, keeps the variance accurate: without it the digits that the squares share are lost. Where all of the
    data is at hand, :func:`moments` needs none.

    Args:
        x: Any shape, floating point.
        axes: The axis or axes to sum over, all of them if None.
        shift: What to subtract from each value, floating point; broadcasts to ``x``.
        keepdims: Whether to keep the summed axes with size 1.

    Returns:
        ``SufficientStatistics(counts, mean_ss, variance_ss, shift)`` in the dtype that ``x`` and ``shift`` promote to,
        in float32 where that has 16 bits (TensorFlow: in 16). ``shift`` keeps its shape.

    Raises:
        ValueError: If ``axes`` is out of range or names an axis twice, or ``shift`` does not fit.
        TypeError: If an array is not floating point, or ``axes`` not static integers.

    Example:
        >>> counts, mean_ss, variance_ss, shift = nn.sufficient_statistics([1.0, 2.0, 6.0], axes=0, shift=2.0)
        >>> counts.item(), mean_ss.item(), variance_ss.item(), shift.item()
        (3.0, 3.0, 17.0, 2.0)

    References:
        ``tf.nn.sufficient_statistics``.
    """
    op = "sufficient_statistics"
    keepdims = as_static_bool(op, "keepdims", keepdims)
    x = as_float_array(op, "x", x)
    axes = canonical_axes_or_all(op, "axes", axes, x.ndim)
    if shift is not None:
        x, shift = promote(x=x, shift=as_float_array(op, "shift", shift))
        check_broadcastable(op, "shift", shift, x.shape, "x")
    return _sufficient_statistics(x, shift, axes, keepdims)


@functools.partial(jax.jit, static_argnames=("axes", "keepdims"))
def _sufficient_statistics(
    x: jax.Array, shift: jax.Array | None, axes: tuple[int, ...], keepdims: bool
) -> SufficientStatistics:
    wide = accumulation_dtype(x.dtype)
    values = x.astype(wide)
    if shift is not None:
        shift = shift.astype(wide)
        values = values - broadcast_to_rank(shift, x.ndim)
    return SufficientStatistics(
        jnp.asarray(math.prod(x.shape[axis] for axis in axes), wide),
        jnp.sum(values, axes, keepdims=keepdims),
        jnp.sum(jnp.square(values), axes, keepdims=keepdims),
        shift,
    )


@answers_tensorflow_names
def normalize_moments(
    counts: ArrayLike, mean_ss: ArrayLike, variance_ss: ArrayLike, shift: ArrayLike | None
) -> Moments:
    r"""Mean and variance from what :func:`sufficient_statistics` returns.

    .. math::
        \mu = s + \frac{m}{n}, \qquad \sigma^2 = \max\Big(0, \frac{v}{n} - \Big(\frac{m}{n}\Big)^2\Big)

    for :math:`n` values whose differences to the shift :math:`s` add up to :math:`m`, and whose squares of these to
    :math:`v`. Where rounding makes the variance negative it is 0, with a gradient of 0 (TensorFlow returns the negative
    number). Both are NaN over no values.

    Args:
        counts: How many values were summed, floating point or integer; broadcasts with the following.
        mean_ss: The sum of the values, less the shift, floating point.
        variance_ss: The sum of their squares, floating point.
        shift: What was subtracted from each value, floating point; None for nothing.

    Returns:
        ``Moments(mean, variance)`` in the dtype that the arguments promote to, computed in float32 at least.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If no argument is floating point, or one no number.

    Example:
        >>> parts = [nn.sufficient_statistics(part, axes=0, shift=2.0) for part in ([1.0, 2.0], [6.0])]
        >>> (*sums, shift), (*more, _) = parts
        >>> mean, variance = nn.normalize_moments(*(a + b for a, b in zip(sums, more)), shift)
        >>> mean.item(), np.round(variance, 3).item()
        (3.0, 4.66...)

    References:
        ``tf.nn.normalize_moments``.
    """
    op = "normalize_moments"
    given = {"counts": counts, "mean_ss": mean_ss, "variance_ss": variance_ss}
    if shift is not None:
        given["shift"] = shift
    arrays = dict(zip(given, as_float_arrays(op, **given), strict=True))
    shape: tuple[int, ...] = ()
    for argument, array in arrays.items():
        try:
            shape = jnp.broadcast_shapes(shape, array.shape)
        except ValueError:
            raise ValueError(
                f"{op}: `{argument}` must broadcast with the arguments before it, got shape {array.shape} for {shape}"
            ) from None
    return _normalize_moments(*(broadcast_to_rank(array, len(shape)) for array in arrays.values()))


@jax.jit
def _normalize_moments(
    counts: jax.Array, mean_ss: jax.Array, variance_ss: jax.Array, shift: jax.Array | None = None
) -> Moments:
    wide = accumulation_dtype(counts.dtype)
    n = counts.astype(wide)
    mean = mean_ss.astype(wide) / n
    variance = variance_ss.astype(wide) / n - jnp.square(mean)
    variance = jnp.where(variance < 0, 0, variance)
    mean = mean if shift is None else mean + shift.astype(wide)
    return Moments(mean.astype(counts.dtype), variance.astype(counts.dtype))
