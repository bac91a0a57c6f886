"""Average pooling."""

import functools
import math
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.operation import linear_pair, merging_into
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Dimension, Window, WindowArguments
from jnnops._windows.layout import along, in_layout
from jnnops._windows.taps import sum_over_outputs
from jnnops.pooling._arguments import POOLED_RANKS, resolve_pooling
from jnnops.pooling._reduction import UNROLLED_CELLS, padded_along, reduce_cells, reduce_in_any_order


@answers_tensorflow_names
def avg_pool(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = None,
    *,
    dilations: Ints | None = None,
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
        ``tf.nn.avg_pool``; ``tf.compat.v1.nn.avg_pool_v2`` is the same function.
    """
    arguments = WindowArguments("avg_pool", strides, padding, data_format, dilations)
    return average(arguments, input, ksize, POOLED_RANKS)


avg_pool_v2 = avg_pool


@answers_tensorflow_names
def avg_pool1d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("avg_pool1d", strides, padding, data_format, dilations)
    return average(arguments, input, ksize, 3)


@answers_tensorflow_names
def avg_pool2d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("avg_pool2d", strides, padding, data_format, dilations)
    return average(arguments, input, ksize, 4)


@answers_tensorflow_names
def avg_pool3d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NDHWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("avg_pool3d", strides, padding, data_format, dilations)
    return average(arguments, input, ksize, 5)


def average(arguments: WindowArguments, input: ArrayLike, ksize: Ints, ranks: int | Collection[int]) -> jax.Array:
    """What all these ops do, under the name that the arguments give."""
    x = as_float_array(arguments.op, "input", input)
    window, channels_last = resolve_pooling(arguments, x, ksize, ranks=ranks)
    return in_layout(functools.partial(average_of_windows, window=window), x, window.rank, channels_last)


@functools.partial(jax.jit, static_argnames=("window",))
def average_of_windows(x: jax.Array, window: Window) -> jax.Array:
    """The average of the real cells of each window."""
    sums = _sum_windows(x.astype(accumulation_dtype(x.dtype)), window=window)
    if not window.is_padded:
        return (sums / math.prod(window.size)).astype(x.dtype)
    # a factor for each axis, so that the constants in the program stay as small as an axis is long
    counts = jnp.ones((), sums.dtype)
    for axis, dim in enumerate(window.dimensions, start=1):
        counts = counts * (dim.tap_cells() >= 0).sum(1).reshape(along(axis, x.ndim)).astype(sums.dtype)
    return (sums / counts).astype(x.dtype)


def _sum_in_windows(x: jax.Array, *, window: Window) -> jax.Array:
    return reduce_in_any_order(x, window, lax.add, 0, jnp.sum)


def _spread_to_cells(y: jax.Array, *, window: Window) -> jax.Array:
    """The transpose: for each cell the sum over the windows that it lies in.

    Its figures are under "Pooling" in docs/lowerings.rst; JAX's own transpose takes up to twice as long.
    """
    if 0 in window.output_shape:
        return jnp.zeros_like(y, shape=(y.shape[0], *window.input_shape, y.shape[-1]))
    for axis in range(window.rank):
        y = lax.optimization_barrier(_spread_along(y, window, axis))
    return y


def _spread_along(y: jax.Array, window: Window, axis: int) -> jax.Array:
    dim = window.dimensions[axis]
    if dim.taps <= UNROLLED_CELLS:
        return sum_over_outputs(lambda _, y: y, _along(window, axis), y, fills=[0])
    if dim.outputs == 1 or dim.stride > dim.reach:  # windows that are apart
        return _repeat_in_windows(y, dim, axis)
    # with as many gaps between the outputs as the stride leaves
    gaps = [(0, 0, 0)] * y.ndim
    gaps[axis + 1] = (*dim.transposed_padding, dim.stride - 1)
    y = lax.optimization_barrier(lax.pad(y, np.asarray(0, y.dtype), gaps))
    return reduce_cells(y, axis, dim._replace(outputs=dim.cells, stride=1), lax.add)


def _repeat_in_windows(y: jax.Array, dim: Dimension, axis: int) -> jax.Array:
    """Along one axis, each output in every cell of its window, and zeros between the windows."""
    step, gaps = max(dim.stride, dim.reach + 1), [(0, 0, 0)] * y.ndim
    y = jnp.repeat(jnp.expand_dims(y, axis + 2), dim.taps, axis=axis + 2)
    gaps.insert(axis + 2, (0, step - dim.reach - 1, dim.dilation - 1))
    y = lax.pad(y, np.asarray(0, y.dtype), gaps)
    y = y.reshape(*y.shape[: axis + 1], dim.outputs * step, *y.shape[axis + 3 :])
    return padded_along(y, axis, dim.before, dim.before + dim.cells, 0)


def _along(window: Window, axis: int) -> Window:
    """The window along one axis, where those before it have their cells already and those behind their outputs."""

    def other(at: int, dim: Dimension) -> Dimension:
        size = dim.cells if at < axis else dim.outputs
        return Dimension(size, size, taps=1, stride=1, dilation=1, before=0, after=0)

    return Window(tuple(dim if at == axis else other(at, dim) for at, dim in enumerate(window.dimensions)))


_sum_windows, _ = linear_pair(_sum_in_windows, _spread_to_cells, merging_into(0))
