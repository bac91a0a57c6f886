"""Pooling of integers that stand for real numbers."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Window, WindowArguments
from jnnops._windows.layout import along, in_layout
from jnnops.pooling._arguments import resolve_pooling
from jnnops.pooling._reduction import maxima, reduce_in_any_order
from jnnops.quantization._arguments import as_quantized_array, as_range
from jnnops.quantization._ranges import LONG

# A quotient of a sum below this, half a unit added, is cut off rightly in float32.
_EXACT = 2**22


@serializable
class QuantizedOutput(NamedTuple):
    """What :func:`quantized_conv2d` and the quantized pools return.

    Attributes:
        output: Integers.
        min_output: The real number that the smallest integer of their dtype stands for, float32.
        max_output: The one that the largest stands for.
    """

    output: jax.Array
    min_output: jax.Array
    max_output: jax.Array


@answers_tensorflow_names
def quantized_max_pool(
    input: ArrayLike,
    min_input: ArrayLike,
    max_input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    *,
    data_format: DataFormat = "NHWC",
) -> QuantizedOutput:
    """The maximum of each window of integers, to the bit TensorFlow's. There is no gradient.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]``, uint8, int8, uint16, int16
            or int32.
        min_input: The real number that the smallest integer of the dtype stands for, a scalar.
        max_input: The one that the largest stands for. A range that is known only at run time and has its ends in the
            wrong order becomes NaN, and ``checkify`` reports it.
        ksize: Size of the window: an int, two or four of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``; padding never wins.
        data_format: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        ``QuantizedOutput(output, min_output, max_output)``: ``[batch, out_height, out_width, channels]``, or with the
        channels second, and the range, which stays what it was.

    Raises:
        ValueError: If the range is out of order, infinite or no scalar, or a shape, size, stride, padding or
            ``data_format`` does not fit.
        TypeError: If ``input`` has none of the dtypes.

    Note:
        TensorFlow has uint8 and int8 only, and neither explicit padding nor ``data_format``.

    Example:
        >>> q = jnp.array([1, 3, 2, 0], jnp.uint8).reshape(1, 2, 2, 1)
        >>> nn.quantized_max_pool(q, 0.0, 1.0, 2, 1, "VALID").output.item()
        3

    References:
        ``tf.compat.v1.nn.quantized_max_pool``.
    """
    arguments = WindowArguments("quantized_max_pool", strides, padding, data_format)
    return _pool(arguments, input, min_input, max_input, ksize, by_maximum=True)


@answers_tensorflow_names
def quantized_avg_pool(
    input: ArrayLike,
    min_input: ArrayLike,
    max_input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    *,
    data_format: DataFormat = "NHWC",
) -> QuantizedOutput:
    """The average of the integers in each window, cut off toward 0, to the bit TensorFlow's. There is no gradient.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]``, uint8, int8, uint16, int16
            or int32.
        min_input: The real number that the smallest integer of the dtype stands for, a scalar.
        max_input: The one that the largest stands for. A range that is known only at run time and has its ends in the
            wrong order becomes NaN, and ``checkify`` reports it.
        ksize: Size of the window: an int, two or four of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``; padding does not count.
        data_format: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        ``QuantizedOutput(output, min_output, max_output)``: ``[batch, out_height, out_width, channels]``, or with the
        channels second, and the range, which stays what it was.

    Raises:
        ValueError: If the range is out of order, infinite or no scalar, or a shape, size, stride, padding or
            ``data_format`` does not fit, or a window has no real cell.
        TypeError: If ``input`` has none of the dtypes.

    Note:
        TensorFlow has uint8 and int8 only, and neither explicit padding nor ``data_format``.

    Example:
        >>> q = jnp.array([1, 3, 2, 0], jnp.uint8).reshape(1, 2, 2, 1)
        >>> nn.quantized_avg_pool(q, 0.0, 1.0, 2, 1, "VALID").output.item()
        1

    References:
        ``tf.compat.v1.nn.quantized_avg_pool``.
    """
    arguments = WindowArguments("quantized_avg_pool", strides, padding, data_format)
    return _pool(arguments, input, min_input, max_input, ksize, by_maximum=False)


def _pool(
    arguments: WindowArguments, input: ArrayLike, low: ArrayLike, high: ArrayLike, ksize: Ints, *, by_maximum: bool
) -> QuantizedOutput:
    q = as_quantized_array(arguments.op, "input", input)
    start, stop = as_range(arguments.op, "min_input", low, "max_input", high)
    window, channels_last = resolve_pooling(arguments, q, ksize, ranks=4)
    return _pooled(q, start, stop, window, channels_last, by_maximum)


@functools.partial(jax.jit, static_argnames=("window", "channels_last", "by_maximum"))
def _pooled(
    q: jax.Array, low: jax.Array, high: jax.Array, window: Window, channels_last: bool, by_maximum: bool
) -> QuantizedOutput:
    reduce = functools.partial(maxima if by_maximum else _averages, window=window)
    low, high = lax.stop_gradient((low, high))
    return QuantizedOutput(in_layout(reduce, q, window.rank, channels_last), low, high)


def _averages(q: jax.Array, window: Window) -> jax.Array:
    size = math.prod(window.size)
    largest = size * 2 ** (8 * q.dtype.itemsize)
    if largest >= 2**31:
        with jax.enable_x64(True):
            return _quotients(q.astype(LONG), window, exact_in_float=False).astype(q.dtype)
    return _quotients(q.astype(jnp.int32), window, exact_in_float=largest < _EXACT).astype(q.dtype)


def _quotients(q: jax.Array, window: Window, *, exact_in_float: bool) -> jax.Array:
    sums = reduce_in_any_order(q, window, lax.add, 0, jnp.sum)
    counts = np.asarray(1, q.dtype)
    for axis, dim in enumerate(window.dimensions, start=1):
        real = (dim.tap_cells() >= 0).sum(1).astype(q.dtype)
        counts = counts * (real.reshape(along(axis, q.ndim)) if dim.is_padded else np.asarray(dim.taps, q.dtype))
    if not exact_in_float:
        return lax.div(sums, jnp.broadcast_to(counts, sums.shape))
    # processors divide floats many at a time; half a unit is more than what the product with the inverse may be off
    halves = jnp.where(sums < 0, np.float32(-0.5), np.float32(0.5))
    return ((sums.astype(jnp.float32) + halves) * (1 / counts.astype(np.float32))).astype(q.dtype)
