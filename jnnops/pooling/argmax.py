"""Maximum pooling with the places of the maxima, and its inverse."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    accumulation_dtype,
    as_dtype,
    as_integer_array,
    as_number_array,
    as_static_bool,
    as_static_ints,
    check_rank,
    check_shape,
    debug_check,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import in_range, signed
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Window, WindowArguments
from jnnops._windows.layout import along, move_channels
from jnnops.pooling._arguments import POOLED_RANKS, resolve_pooling, split_channels
from jnnops.pooling._reduction import maxima_and_winners
from jnnops.pooling.maximum import join_channels, maximum_of_windows


@serializable
class MaxPoolWithArgmax(NamedTuple):
    """What :func:`max_pool_with_argmax` returns.

    Attributes:
        output: The maxima.
        argmax: The index of each in the flattened input.
    """

    output: jax.Array
    argmax: jax.Array


@answers_tensorflow_names
def max_pool_with_argmax(
    input: ArrayLike,
    ksize: Ints,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = None,
    output_dtype: DTypeLike = jnp.int32,
    include_batch_in_index: bool = False,
    *,
    dilations: Ints | None = None,
) -> MaxPoolWithArgmax:
    """:func:`max_pool` and where each maximum was found.

    Args:
        input: ``[batch, *spatial, channels]``, or ``[batch, channels, *spatial]`` as ``data_format`` says, of rank 3, 4
            or 5, floating point or integer.
        ksize: Size of the window, over the channels too as in :func:`max_pool`.
        strides: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``; padding never wins.
        data_format: One of the formats of that many dimensions; channels last unless given.
        output_dtype: Of the indices: ``int32`` or ``int64``.
        include_batch_in_index: Whether indices count the whole input, or each example anew.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        ``(output, argmax)``, both in the same layout with one cell for each window. ``argmax`` holds the index of the
        first maximum of the window in row-major order: in the flattened example, ``(y * width + x) * channels + c`` for
        an image with channels last, or with ``include_batch_in_index`` in the flattened ``input``.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point, or ``output_dtype`` none of the two.
        ValueError: If a shape, size, stride, padding or ``data_format`` does not fit, a window has no real cell, or
            ``output_dtype`` cannot hold the indices.

    Note:
        The gradient of ``output`` goes to the maxima that ``argmax`` names. NaN is the maximum of a window that has
        one. TensorFlow has this op in two dimensions and channels last only, and knows neither explicit padding nor
        dilations, and takes a window over the channels for one of size 1; of a window of minus infinity or NaN it names
        a cell that need not be in the window.

    Example:
        >>> x = jnp.array([[1.0, 3.0, 3.0, 2.0]]).reshape(1, 4, 1)
        >>> output, argmax = nn.max_pool_with_argmax(x, ksize=2, strides=2, padding="VALID")
        >>> output.ravel().tolist(), argmax.ravel().tolist()
        ([3.0, 3.0], [1, 2])

    References:
        ``tf.nn.max_pool_with_argmax``.
    """
    op = "max_pool_with_argmax"
    x = as_number_array(op, "input", input)
    arguments = WindowArguments(op, strides, padding, data_format, dilations)
    arguments, ksize, joined = split_channels(arguments, x, ksize, ranks=POOLED_RANKS)
    window, channels_last = resolve_pooling(arguments, x, ksize, ranks=POOLED_RANKS)
    include_batch_in_index = as_static_bool(op, "include_batch_in_index", include_batch_in_index)
    dtype = as_dtype(op, "output_dtype", output_dtype)
    if dtype not in (np.int32, np.int64):
        raise TypeError(f"{op}: `output_dtype` must be int32 or int64, got {dtype}")
    if jnp.dtype(output_dtype) != dtype:
        raise TypeError(f"{op}: `output_dtype` must be int32 unless jax_enable_x64 is set, got int64")
    if (x.size if include_batch_in_index else math.prod(x.shape[1:])) > jnp.iinfo(dtype).max:
        raise ValueError(f"{op}: `output_dtype` must hold the indices of input.shape = {x.shape}, got {dtype}")
    return _maxima(x, window, joined, channels_last, dtype, include_batch_in_index)


@answers_tensorflow_names
def max_unpool(
    input: ArrayLike,
    argmax: ArrayLike,
    output_shape: Sequence[int],
    include_batch_in_index: bool = False,
) -> jax.Array:
    """Puts values back to where :func:`max_pool_with_argmax` found them, and zeros elsewhere.

    Values with the same index, as of windows that overlap, are summed. So this is the transpose of picking the values
    at ``argmax``, and the gradient of either is the other.

    Args:
        input: The values, ``[batch, ...]``, floating point or integer.
        argmax: Of the same shape, the indices as :func:`max_pool_with_argmax` gives them.
        output_shape: The shape of what was pooled, ``[batch, ...]``, in the layout in which it was pooled.
        include_batch_in_index: Whether the indices count the whole output, or each example anew.

    Returns:
        ``output_shape``, with the dtype of ``input``.

    Raises:
        TypeError: If ``input`` is neither integer nor floating point, ``argmax`` not integer, or ``output_shape`` not
            static.
        ValueError: If a shape does not fit.

    Note:
        A value whose index is out of range is left out, which ``checkify`` reports. TensorFlow has no such op.

    Example:
        >>> x = jnp.array([[1.0, 3.0, 3.0, 2.0]]).reshape(1, 4, 1)
        >>> output, argmax = nn.max_pool_with_argmax(x, ksize=2, strides=2, padding="VALID")
        >>> nn.max_unpool(output, argmax, x.shape).ravel().tolist()
        [0.0, 3.0, 3.0, 0.0]

    References:
        ``torch.nn.functional.max_unpool2d``, which leaves open what becomes of repeated indices. Zeiler and Fergus,
        "Visualizing and Understanding Convolutional Networks", 2014, section 2.1.
    """
    op = "max_unpool"
    x = as_number_array(op, "input", input)
    indices = as_integer_array(op, "argmax", argmax)
    check_rank(op, "input", x, POOLED_RANKS)
    check_shape(op, "argmax", indices, x.shape, "that of input")
    include_batch_in_index = as_static_bool(op, "include_batch_in_index", include_batch_in_index)
    shape = as_static_ints(op, "output_shape", output_shape, minimum=0)
    if len(shape) != x.ndim or shape[0] != x.shape[0]:
        raise ValueError(
            f"{op}: `output_shape` must have the rank and the batch of input.shape = {x.shape}, got {shape}"
        )
    size = math.prod(shape) if include_batch_in_index else math.prod(shape[1:])
    valid = in_range(indices, size)
    requirement = f"be in [0, {size}) for output_shape {shape}"
    indices = debug_check(op, "argmax", requirement, jnp.where(valid, signed(indices), -1), valid)
    return _unpool(x, indices, shape, include_batch_in_index)


@functools.partial(jax.jit, static_argnames=("window", "joined", "channels_last", "dtype", "include_batch"))
def _maxima(
    x: jax.Array, window: Window, joined: int, channels_last: bool, dtype: Any, include_batch: bool
) -> MaxPoolWithArgmax:
    n, cells = window.rank, math.prod(x.shape[1:])
    if not channels_last:
        x = move_channels(x, n, to_last=True)
    # how far apart neighbours along each axis are in the flattened example: those of the channels come last
    shape = (*window.input_shape, x.shape[-1]) if channels_last else (x.shape[-1], *window.input_shape)
    apart = [math.prod(shape[axis + 1 :]) for axis in range(n + 1)]
    spatial, channel = (apart[:n], apart[n]) if channels_last else (apart[1:], apart[0])
    if joined > 1:
        x, window = join_channels(x, window, joined)
        spatial, channel = [*spatial, channel], channel * joined

    output = maximum_of_windows(x, window)
    taps = maxima_and_winners(lax.stop_gradient(x), window)[1].astype(dtype)

    def numbers(axis: int, values: Any) -> jax.Array:
        """Numbers that depend on the place along one axis."""
        return jnp.asarray(values, dtype).reshape(along(axis, x.ndim))

    argmax = numbers(x.ndim - 1, np.arange(x.shape[-1]) * channel)
    if include_batch:
        argmax = argmax + numbers(0, np.arange(x.shape[0]) * cells)
    for axis, dim in reversed(list(enumerate(window.dimensions))):
        tap, taps = (taps, taps) if axis == 0 else (taps % dim.taps, taps // dim.taps)
        cell = numbers(axis + 1, np.arange(dim.outputs) * dim.stride - dim.before) + tap * dim.dilation
        argmax = argmax + cell * spatial[axis]
    if joined > 1:
        output, argmax = (array.squeeze(-2) for array in (output, argmax))
    if not channels_last:
        output, argmax = (move_channels(array, n, to_last=False) for array in (output, argmax))
    return MaxPoolWithArgmax(output, argmax)


@functools.partial(jax.jit, static_argnames=("shape", "include_batch"))
def _unpool(x: jax.Array, indices: jax.Array, shape: tuple[int, ...], include_batch: bool) -> jax.Array:
    wide = accumulation_dtype(x.dtype)

    def put(size: int, x: jax.Array, indices: jax.Array) -> jax.Array:
        cells = jnp.zeros(size, wide).at[indices]
        return cells.add(x.astype(wide), mode="drop", wrap_negative_indices=False).astype(x.dtype)

    if include_batch:
        return put(math.prod(shape), x.ravel(), indices.ravel()).reshape(shape)
    examples = (array.reshape(shape[0], math.prod(array.shape[1:])) for array in (x, indices))
    return jax.vmap(functools.partial(put, math.prod(shape[1:])))(*examples).reshape(shape)
