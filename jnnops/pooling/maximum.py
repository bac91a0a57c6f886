"""Maximum pooling."""

import functools
import math
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_number_array
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.operation import differentiable, merging_into
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Dimension, Window, WindowArguments
from jnnops._windows.layout import in_layout
from jnnops._windows.taps import UNROLLED_TAPS
from jnnops._windows.winners import of_winners, take_winners, windows_are_apart
from jnnops.pooling._arguments import POOLED_RANKS, resolve_pooling, split_channels
from jnnops.pooling._reduction import lowest, maxima, maxima_and_winners, reduce_in_order


@answers_tensorflow_names
def max_pool(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = None,
    *,
    dilations: Ints | None = None,
) -> jax.Array:
    """The maximum of each window, over one, two or three dimensions.

    The gradient goes to the first maximum of a window in row-major order, and only there. NaN and minus infinity
    propagate; the first NaN counts as the maximum.

    Args:
        input: ``[batch, *spatial, channels]``, or ``[batch, channels, *spatial]`` as ``data_format`` says, of rank 3, 4
            or 5, floating point or integer.
        ksize: Size of the window. With one for each dimension of the input, a window may have several channels:
            ``[1, 1, 1, 2]``, with the same ``strides``, takes the maximum of each pair of neighbours.
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
        every tied cell in three dimensions, and has no dilations here. It takes windows of channels in one and two
        dimensions only, without other cells or strides, and without a gradient.

    Example:
        >>> x = jnp.array([[1.0, 3.0, 3.0, 2.0]]).reshape(1, 4, 1)
        >>> nn.max_pool(x, ksize=3, strides=1, padding="VALID").ravel().tolist()
        [3.0, 3.0]
        >>> jax.grad(lambda x: nn.max_pool(x, 3, 1, "VALID").sum())(x).ravel().tolist()
        [0.0, 2.0, 0.0, 0.0]

    References:
        ``tf.nn.max_pool``; ``tf.compat.v1.nn.max_pool_v2`` is the same function.
    """
    arguments = WindowArguments("max_pool", strides, padding, data_format, dilations)
    return maximum(arguments, input, ksize, POOLED_RANKS)


max_pool_v2 = max_pool


@answers_tensorflow_names
def max_pool1d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("max_pool1d", strides, padding, data_format, dilations)
    return maximum(arguments, input, ksize, 3)


@answers_tensorflow_names
def max_pool2d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("max_pool2d", strides, padding, data_format, dilations)
    return maximum(arguments, input, ksize, 4)


@answers_tensorflow_names
def max_pool3d(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NDHWC",
    *,
    dilations: Ints | None = None,
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
    arguments = WindowArguments("max_pool3d", strides, padding, data_format, dilations)
    return maximum(arguments, input, ksize, 5)


def maximum(arguments: WindowArguments, input: ArrayLike, ksize: Ints, ranks: int | Collection[int]) -> jax.Array:
    """What all these ops do, under the name that the arguments give."""
    x = as_number_array(arguments.op, "input", input)
    arguments, ksize, joined = split_channels(arguments, x, ksize, ranks=ranks)
    window, channels_last = resolve_pooling(arguments, x, ksize, ranks=ranks)
    compute = functools.partial(_maximum_of_channels, joined=joined) if joined > 1 else maximum_of_windows
    return in_layout(functools.partial(compute, window=window), x, window.rank, channels_last)


@functools.partial(jax.jit, static_argnames=("window", "joined"))
def _maximum_of_channels(x: jax.Array, window: Window, joined: int) -> jax.Array:
    """The maximum of windows that each have so many neighbouring channels."""
    return maximum_of_windows(*join_channels(x, window, joined)).squeeze(-2)


def join_channels(x: jax.Array, window: Window, joined: int) -> tuple[jax.Array, Window]:
    """So many neighbouring channels as one more spatial dimension, of which each window has all cells."""
    groups = x.reshape(*x.shape[:-1], x.shape[-1] // joined, joined)
    channels = Dimension(cells=joined, outputs=1, taps=joined, stride=1, dilation=1, before=0, after=0)
    return jnp.swapaxes(groups, -1, -2), Window((*window.dimensions, channels))


@functools.partial(jax.jit, static_argnames=("window",))
def maximum_of_windows(x: jax.Array, window: Window) -> jax.Array:
    """The maximum of each window; the gradient goes to the first one in row-major order."""
    has_winners = math.prod(window.size) <= UNROLLED_TAPS or windows_are_apart(window)
    if jnp.issubdtype(x.dtype, jnp.floating) and has_winners:
        return _maximum_with_winners(x, window=window)
    return _maximum_by_halves(x, window)


def _window_maximum(x: jax.Array, *, window: Window) -> jax.Array:
    return maxima(x, window)


def _window_maximum_jvp(primals: Any, tangents: Any, *, window: Window) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    values, winners = maxima_and_winners(lax.stop_gradient(x), window)
    # what the derivative needs is the winners only, a byte each
    winners = lax.optimization_barrier(winners)
    return of_winners(values, x, winners, window=window), take_winners(tangent, winners, window=window)


_maximum_with_winners = differentiable(_window_maximum, _window_maximum_jvp, merging_into(0))


def _maximum_by_halves(x: jax.Array, window: Window) -> jax.Array:
    """Of windows with more cells, or integers: chooses from two parts again and again."""
    if not any(before for before, _ in window.padding):
        return reduce_in_order(x, window, lambda a, b: _first_maximum(a, b, np.True_), lowest(x.dtype))

    def combine(a: Any, b: Any) -> Any:
        (values, is_real), (others, others_real) = a, b
        # padding does not win against a cell of the image that is minus infinity too
        return _first_maximum(values, others, is_real | ~others_real), is_real | others_real

    real = jnp.ones((1, *window.input_shape, 1), bool)
    return reduce_in_order((x, real), window, combine, (lowest(x.dtype), False))[0]


def _first_maximum(a: jax.Array, b: jax.Array, a_may_tie: Any) -> jax.Array:
    """The maximum, as a choice, whose derivative goes to the one that is chosen."""
    return jnp.where(((a >= b) | (a != a)) & ((a != b) | a_may_tie), a, b)
