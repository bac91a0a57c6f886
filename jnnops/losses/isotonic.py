"""Monotone regression."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_number_array, as_static_bool, at_least, canonical_axis
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.losses._segments import decreasing_segments, segment_means


@serializable
class IsotonicRegression(NamedTuple):
    """What :func:`isotonic_regression` returns.

    Attributes:
        output: The fit.
        segments: The number of the segment of each value, int32.
    """

    output: jax.Array
    segments: jax.Array


@answers_tensorflow_names
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
