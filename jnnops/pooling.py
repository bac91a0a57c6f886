"""Pooling: the average or the maximum of each window of an image, a sequence or a volume.

Layout: ``data_format`` is ``"NHWC"`` (channels last, the default) or ``"NCHW"``, ``"NWC"``/``"NCW"`` in one and
``"NDHWC"``/``"NCDHW"`` in three dimensions.

Windows: ``ksize``, ``strides`` and ``dilations`` are an int, one for each spatial dimension, or one for each
dimension of the input, of which those of batch and channels must be 1.

Padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``, with the formulas of :mod:`jnnops.convolution`. Padding
never counts: an average divides by the number of real cells, and a maximum is that of real cells. A window of padding
only is an error.

A window is reduced one axis at a time, the last first. Of equal values the first along an axis is preferred, which
makes it the first in row-major order of the whole window.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_number_array, check_rank
from jnnops._window import DATA_FORMATS, Window, is_channels_last, move_channels, resolve_ints, resolve_window

__all__ = [
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

POOLED_RANKS = tuple(n + 2 for n in DATA_FORMATS)

# Up to this many cells along an axis, the window is reduced slice by slice; longer ones by doubling.
UNROLLED_CELLS = 8


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


def max_pool(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    *,
    dilations: Any = None,
) -> jax.Array:
    """The maximum of each window, over one, two or three dimensions.

    The gradient goes to the first maximum of a window in row-major order, and only there. NaN and minus infinity
    propagate; the first NaN counts as the maximum.

    Args:
        input: ``[batch, *spatial, channels]``, or ``[batch, channels, *spatial]`` as ``data_format`` says, of rank 3, 4
            or 5, floating point or integer.
        ksize: Size of the window.
        strides: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``; padding never wins.
        data_format: One of the formats of that many dimensions; channels last unless given.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        The same layout with one cell for each window, and the same dtype.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Note:
        TensorFlow drops NaN in two dimensions, gives -3.4e38 for a window of minus infinity, sends the gradient to
        every tied cell in three dimensions, and has no dilations here.

    Example:
        >>> x = jnp.array([[1.0, 3.0, 3.0, 2.0]]).reshape(1, 4, 1)
        >>> nn.max_pool(x, ksize=3, strides=1, padding="VALID").ravel().tolist()
        [3.0, 3.0]
        >>> jax.grad(lambda x: nn.max_pool(x, 3, 1, "VALID").sum())(x).ravel().tolist()
        [0.0, 2.0, 0.0, 0.0]

    References:
        ``tf.nn.max_pool``.
    """
    return _maximum("max_pool", None, input, ksize, strides, padding, data_format, dilations)


def max_pool1d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`max_pool` of sequences; its gradient goes to the first maximum.

    Args:
        input: ``[batch, width, channels]``, or ``[batch, channels, width]``, floating point or integer.
        ksize: Size of the window.
        strides: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or ``[(before, after)]``; padding never wins.
        data_format: ``"NWC"`` or ``"NCW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Example:
        >>> nn.max_pool1d(jnp.arange(4.0).reshape(1, 4, 1), 2, 2, "VALID").ravel().tolist()
        [1.0, 3.0]

    References:
        ``tf.nn.max_pool1d``.
    """
    return _maximum("max_pool1d", 1, input, ksize, strides, padding, data_format, dilations)


def max_pool2d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`max_pool` of images; its gradient goes to the first maximum in row-major order.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]``, floating point or integer.
        ksize: Size of the window: an int, two or four of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``; padding never wins.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_height, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Example:
        >>> nn.max_pool2d(jnp.arange(16.0).reshape(1, 4, 4, 1), 2, 2, "VALID").ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]

    References:
        ``tf.nn.max_pool2d``.
    """
    return _maximum("max_pool2d", 2, input, ksize, strides, padding, data_format, dilations)


def max_pool3d(
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = "NDHWC",
    *,
    dilations: Any = None,
) -> jax.Array:
    """:func:`max_pool` of volumes; its gradient goes to the first maximum in row-major order.

    Args:
        input: ``[batch, depth, height, width, channels]``, or with the channels second, floating point or integer.
        ksize: Size of the window: an int, three or five of them.
        strides: Cells from one window to the next, likewise.
        padding: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``; padding never wins.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``[batch, out_depth, out_height, out_width, channels]``, or with the channels second, in the same dtype.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, or a window has no real cell.

    Note:
        TensorFlow sends the gradient to every tied cell of a volume.

    Example:
        >>> nn.max_pool3d(jnp.arange(8.0).reshape(1, 2, 2, 2, 1), 2, 1, "VALID").item()
        7.0

    References:
        ``tf.nn.max_pool3d``.
    """
    return _maximum("max_pool3d", 3, input, ksize, strides, padding, data_format, dilations)


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
    window, channels_last = _resolve(op, spatial_rank, x, ksize, strides, padding, data_format, dilations)
    return _in_layout(functools.partial(_average_windows, window=window), x, channels_last)


def _maximum(
    op: str,
    spatial_rank: int | None,
    input: ArrayLike,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
) -> jax.Array:
    x = as_number_array(op, "input", input)
    window, channels_last = _resolve(op, spatial_rank, x, ksize, strides, padding, data_format, dilations)
    return _in_layout(functools.partial(_maximum_of_windows, window=window), x, channels_last)


def _resolve(
    op: str,
    spatial_rank: int | None,
    x: jax.Array,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
) -> tuple[Window, bool]:
    """Checks the arguments of a pooling op."""
    check_rank(op, "input", x, POOLED_RANKS if spatial_rank is None else spatial_rank + 2)
    spatial_rank = x.ndim - 2
    channels_last = is_channels_last(op, data_format, spatial_rank)
    window = resolve_window(
        op,
        input_shape=x.shape[1:-1] if channels_last else x.shape[2:],
        size=resolve_ints(op, "ksize", ksize, spatial_rank, channels_last),
        strides=strides,
        padding=padding,
        dilations=dilations,
        channels_last=channels_last,
    )
    if any(counts.size and counts.min() == 0 for counts in real_cells(window)):
        raise ValueError(
            f"{op}: `padding` must leave every window a real cell, got {window.padding} for spatial shape "
            f"{window.input_shape}, ksize {window.size} and dilations {window.dilations}"
        )
    return window, channels_last


def _in_layout(pool: Callable[[jax.Array], jax.Array], x: jax.Array, channels_last: bool) -> jax.Array:
    if channels_last:
        return pool(x)
    return move_channels(pool(move_channels(x, x.ndim - 2, to_last=True)), x.ndim - 2, to_last=False)


def real_cells(window: Window) -> list[np.ndarray]:
    """For each axis, how many cells of each window along it are not padding."""
    counts = []
    for axis, outputs in enumerate(window.output_shape):
        starts = np.arange(outputs) * window.strides[axis] - window.padding[axis][0]
        cells = starts[:, None] + np.arange(window.size[axis]) * window.dilations[axis]
        counts.append(((cells >= 0) & (cells < window.input_shape[axis])).sum(1))
    return counts


@functools.partial(jax.jit, static_argnames=("window",))
def _average_windows(x: jax.Array, window: Window) -> jax.Array:
    sums = _reduce_windows(x.astype(accumulation_dtype(x.dtype)), window, lax.add, 0)
    if not any(map(any, window.padding)):
        return (sums / math.prod(window.size)).astype(x.dtype)
    # Axis by axis, so that the constants in the program stay as small as an axis is long.
    for axis, counts in enumerate(real_cells(window)):
        shape = [counts.size if i == axis + 1 else 1 for i in range(x.ndim)]
        sums = sums / counts.reshape(shape).astype(sums.dtype)
    return sums.astype(x.dtype)


@functools.partial(jax.jit, static_argnames=("window",))
def _maximum_of_windows(x: jax.Array, window: Window) -> jax.Array:
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return _reduce_windows(x, window, _first_maximum, lowest)


@jax.custom_jvp
def _first_maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.maximum(a, b)


@_first_maximum.defjvp
def _first_maximum_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    a, b = primals
    return _first_maximum(a, b), jnp.where((a >= b) | jnp.isnan(a), *tangents)


def _reduce_windows(
    x: jax.Array, window: Window, combine: Callable[[jax.Array, jax.Array], jax.Array], neutral: float
) -> jax.Array:
    """Combines the cells of each window in row-major order; ``x`` is ``[batch, *spatial, channels]``."""
    if 0 in window.output_shape:
        return jnp.zeros((x.shape[0], *window.output_shape, x.shape[-1]), x.dtype)
    pads = [(0, 0, 0), *((before, after, 0) for before, after in window.padding), (0, 0, 0)]
    x = lax.pad(x, np.asarray(neutral, x.dtype), pads)
    for axis in reversed(range(len(window.size))):
        x = _reduce_axis(x, window, axis, combine)
    return x


def _reduce_axis(
    x: jax.Array, window: Window, axis: int, combine: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    size, stride, dilation = window.size[axis], window.strides[axis], window.dilations[axis]
    outputs = window.output_shape[axis]
    span = (outputs - 1) * stride + 1

    def taps(cells: jax.Array, offset: int) -> jax.Array:
        start = offset * dilation
        return lax.slice_in_dim(cells, start, start + span, stride, axis=axis + 1)

    if size <= UNROLLED_CELLS:
        return functools.reduce(combine, (taps(x, offset) for offset in range(size)))

    # Blocks of 1, 2, 4, ... cells, each made of two of the last; the window consists of those in the binary form of
    # its size, the longest first.
    blocks, length, parts = x, 1, []
    while length <= size:
        if size & length:
            parts.append(taps(blocks, size & ~(2 * length - 1)))
        length *= 2
        if length <= size:
            shift = length // 2 * dilation
            pairs = blocks.shape[axis + 1] - shift
            blocks = combine(
                lax.slice_in_dim(blocks, 0, pairs, axis=axis + 1),
                lax.slice_in_dim(blocks, shift, shift + pairs, axis=axis + 1),
            )
    return functools.reduce(combine, reversed(parts))
