"""Average pooling."""

import functools
import math
from typing import Any

import jax
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array
from jnnops._window import Window
from jnnops.pooling._windows import in_layout, real_cells, reduce_windows, resolve_pooling

__all__ = ["avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d"]


def avg_pool(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    *,
    dilations: Any = None,
) -> jax.Array:
    """The average of each window, over one, two or three dimensions.

    Args:
        input: ``[batch, *spatial, channels]``, or ``[batch, channels, *spatial]`` as ``data_format`` says, of rank 3, 4
            or 5, floating point.
        ksize: Size of the window.
        strides: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``; padding does not count.
        data_format: One of the formats of that many dimensions; channels last unless given.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        The same layout with one cell for each window, and the same dtype; 16-bit inputs are summed in float32.

    Raises:
        TypeError: If ``input`` is not floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Note:
        TensorFlow has neither explicit padding nor dilations here.

    Example:
        >>> nn.avg_pool(jnp.arange(4.0).reshape(1, 4, 1), ksize=3, strides=1, padding="SAME").ravel().tolist()
        [0.5, 1.0, 2.0, 2.5]

    References:
        ``tf.nn.avg_pool``.
    """
    return _average("avg_pool", None, input, ksize, strides, padding, data_format, dilations)


def avg_pool1d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`avg_pool` of sequences.

    Args:
        input: ``[batch, width, channels]``, or ``[batch, channels, width]``, floating point.
        ksize: Size of the window.
        strides: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or ``[(before, after)]``; padding does not count.
        data_format: ``"NWC"`` or ``"NCW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is not floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Example:
        >>> nn.avg_pool1d(jnp.arange(4.0).reshape(1, 4, 1), 2, 2, "VALID").ravel().tolist()
        [0.5, 2.5]

    References:
        ``tf.nn.avg_pool1d``.
    """
    return _average("avg_pool1d", 1, input, ksize, strides, padding, data_format, dilations)


def avg_pool2d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`avg_pool` of images.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]``, floating point.
        ksize: Size of the window: an int, two or four of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``; padding does not count.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_height, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is not floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Example:
        >>> nn.avg_pool2d(jnp.arange(4.0).reshape(1, 2, 2, 1), 2, 1, "VALID").item()
        1.5

    References:
        ``tf.nn.avg_pool2d``.
    """
    return _average("avg_pool2d", 2, input, ksize, strides, padding, data_format, dilations)


def avg_pool3d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NDHWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`avg_pool` of volumes.

    Args:
        input: ``[batch, depth, height, width, channels]``, or with the channels second, floating point.
        ksize: Size of the window: an int, three or five of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``; padding does not count.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_depth, out_height, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is not floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Example:
        >>> nn.avg_pool3d(jnp.arange(8.0).reshape(1, 2, 2, 2, 1), 2, 1, "VALID").item()
        3.5

    References:
        ``tf.nn.avg_pool3d``.
    """
    return _average("avg_pool3d", 3, input, ksize, strides, padding, data_format, dilations)


def _average(
    op: str,
    spatial_rank: int | None,
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
) -> jax.Array:
    x = as_float_array(op, "input", input)
    window, channels_last = resolve_pooling(op, spatial_rank, x, ksize, strides, padding, data_format, dilations)
    return in_layout(functools.partial(_average_windows, window=window), x, channels_last)


@functools.partial(jax.jit, static_argnames=("window",))
def _average_windows(x: jax.Array, window: Window) -> jax.Array:
    sums = reduce_windows(x.astype(accumulation_dtype(x.dtype)), window, lax.add, 0)
    if not any(map(any, window.padding)):
        return (sums / math.prod(window.size)).astype(x.dtype)
    # Axis by axis, so that the constants in the program stay as small as an axis is long.
    for axis, counts in enumerate(real_cells(window)):
        shape = [counts.size if i == axis + 1 else 1 for i in range(x.ndim)]
        sums = sums / counts.reshape(shape).astype(sums.dtype)
    return sums.astype(x.dtype)
