"""Mean and variance."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_static_bool, canonical_axes
from jnnops._primitives.releases import LONG_SUMS_ARE_ACCURATE
from jnnops._primitives.serialization import serializable
from jnnops._types import Axes


@serializable
class Moments(NamedTuple):
    """The result of `moments`."""

    mean: jax.Array
    variance: jax.Array


def moments(x: ArrayLike, axes: Axes, shift: ArrayLike | None = None, keepdims: bool = False) -> Moments:
    """Mean and variance over some of the axes.

    The variance is the mean of ``(x - mean) ** 2``: it divides by the number of values. Both are NaN over no values
    at all; an infinite value makes the variance NaN.

    Args:
        x: Any shape, floating point.
        axes: The axis or axes to reduce, all of them if None. For batch normalization those of batch and space,
            such as ``(0, 1, 2)``.
        shift: Not used, as in TensorFlow: the variance is always taken around the mean.
        keepdims: Whether to keep the reduced axes with size 1.

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
    axes = tuple(range(x.ndim)) if axes is None else canonical_axes("moments", "axes", axes, x.ndim)
    return _moments(x, axes, keepdims)


@functools.partial(jax.jit, static_argnames=("axes", "keepdims"))
def _moments(x: jax.Array, axes: tuple[int, ...], keepdims: bool) -> Moments:
    wide = x.astype(accumulation_dtype(x.dtype))
    mean, variance = (moment.astype(x.dtype) for moment in mean_and_variance(wide, axes))
    return Moments(mean, variance) if keepdims else Moments(mean.squeeze(axes), variance.squeeze(axes))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def mean_and_variance(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and variance in the dtype of ``x``, with the axes kept."""
    mean = jnp.mean(x, axes, keepdims=True)
    centred = x - mean
    variance = jnp.mean(jnp.square(centred), axes, keepdims=True)
    if LONG_SUMS_ARE_ACCURATE:
        return mean, variance
    # What the first mean is wrong by is known to all digits, since the centred values are small.
    error = jnp.mean(centred, axes, keepdims=True)
    return jnp.where(jnp.isfinite(error), mean + error, mean), jnp.maximum(variance - jnp.square(error), 0)


@mean_and_variance.defjvp
def _mean_and_variance_jvp(
    axes: tuple[int, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    # The variance does not change with the mean it is taken around, which saves the gradient one sum over x. (To
    # stop the gradient of that mean, as TensorFlow does, would make the second derivative wrong.)
    (x,), (dx,) = primals, tangents
    mean, variance = mean_and_variance(x, axes)
    d_mean = jnp.mean(dx, axes, keepdims=True)
    d_variance = 2 * jnp.mean((x - mean) * dx, axes, keepdims=True)
    return (mean, variance), (d_mean, d_variance)
