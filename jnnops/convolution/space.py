"""Blocks of cells moved to the batch or to the channels and back, and ops dilated by way of the batch."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import MAX_SIZE, as_array, as_static_int, as_static_ints, at_least, check_callable, check_rank
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import Ints, Padding
from jnnops._windows.geometry import explicit_padding
from jnnops._windows.layout import is_channels_last, is_channels_last_of_any_rank

Pairs = tuple[tuple[int, int], ...]


@answers_tensorflow_names
def space_to_batch(input: ArrayLike, block_shape: Ints, paddings: Sequence[Sequence[int]]) -> jax.Array:
    """Pads the spatial dimensions, cuts them into blocks and moves each cell's place in its block to the batch.

    Args:
        input: ``[batch, *spatial, ...]`` of any dtype.
        block_shape: The size of the blocks in each spatial dimension, which are those after the batch; an int for all.
        paddings: A pair ``(before, after)`` of cells of zeros for each of those dimensions. If there are none, the
            result is ``input``.

    Returns:
        ``[prod(block_shape) * batch, *((spatial + paddings) / block_shape), ...]``, the first cells of all blocks
        before the second ones.

    Raises:
        TypeError: If ``block_shape`` or ``paddings`` are no static integers.
        ValueError: If they do not fit ``input``, or the blocks do not divide the padded sizes.

    Example:
        >>> nn.space_to_batch(jnp.arange(1, 6).reshape(1, 5), [2], [[0, 1]])
        Array([[1, 3, 5],
               [2, 4, 0]], dtype=int32)

    References:
        ``tf.nn.space_to_batch``, ``tf.space_to_batch_nd``.
    """
    op = "space_to_batch"
    pads = _pairs(op, "paddings", paddings)
    block = _block_shape(op, block_shape, len(pads), "paddings")
    x = as_array(op, "input", input, rank=at_least(len(block) + 1))
    padded = [size + sum(pad) for size, pad in zip(x.shape[1:], pads, strict=False)]
    if any(size % b for size, b in zip(padded, block, strict=True)):
        raise ValueError(
            f"{op}: `block_shape` must divide the padded sizes {tuple(padded)} (input.shape = {x.shape}, paddings = "
            f"{pads}), got {block}"
        )
    return _space_to_batch(x, block, pads)


@answers_tensorflow_names
def batch_to_space(input: ArrayLike, block_shape: Ints, crops: Sequence[Sequence[int]]) -> jax.Array:
    """The inverse of ``space_to_batch``: moves places in blocks from the batch to the spatial dimensions, then crops.

    Args:
        input: ``[prod(block_shape) * batch, *spatial, ...]`` of any dtype.
        block_shape: The size of the blocks in each spatial dimension, which are those after the batch; an int for all.
        crops: A pair ``(before, after)`` of cells to cut off for each of those dimensions. If there are none, the
            result is ``input``.

    Returns:
        ``[batch, *(spatial * block_shape - crops), ...]``.

    Raises:
        TypeError: If ``block_shape`` or ``crops`` are no static integers.
        ValueError: If they do not fit ``input``, or the blocks do not divide the batch.

    Example:
        >>> nn.batch_to_space(jnp.array([[1, 3, 5], [2, 4, 0]]), [2], [[0, 1]])
        Array([[1, 2, 3, 4, 5]], dtype=int32)

    References:
        ``tf.batch_to_space``, ``tf.compat.v1.nn.batch_to_space``.
    """
    op = "batch_to_space"
    cuts = _pairs(op, "crops", crops)
    block = _block_shape(op, block_shape, len(cuts), "crops")
    x = as_array(op, "input", input, rank=at_least(len(block) + 1))
    if x.shape[0] % math.prod(block):
        raise ValueError(f"{op}: `block_shape` must divide the batch {x.shape[0]} of `input`, got {block}")
    sizes = [size * b for size, b in zip(x.shape[1:], block, strict=False)]
    if any(sum(cut) > size for cut, size in zip(cuts, sizes, strict=True)):
        raise ValueError(f"{op}: `crops` must leave something of the sizes {tuple(sizes)}, got {cuts}")
    return _batch_to_space(x, block, cuts)


@answers_tensorflow_names
def space_to_depth(input: ArrayLike, block_size: int, data_format: str = "NHWC") -> jax.Array:
    """Moves blocks of ``block_size`` x ``block_size`` cells to the channels, row by row.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]`` as ``data_format`` says, of
            any dtype.
        block_size: It divides height and width.
        data_format: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        ``[batch, height / block_size, width / block_size, block_size**2 * channels]``, or with the channels second.

    Raises:
        TypeError: If ``block_size`` is no static integer.
        ValueError: If ``input`` is not of rank 4, or ``block_size`` or ``data_format`` do not fit.

    Example:
        >>> nn.space_to_depth(jnp.arange(4).reshape(1, 2, 2, 1), 2).shape
        (1, 1, 1, 4)

    References:
        ``tf.nn.space_to_depth``.
    """
    op = "space_to_depth"
    x, block, channels_last = _depth_arguments(op, input, block_size, data_format)
    batch, height, width, channels = x.shape if channels_last else (x.shape[0], *x.shape[2:], x.shape[1])
    if height % block or width % block:
        raise ValueError(
            f"{op}: `block_size` must divide height {height} and width {width} of `input` (input.shape = {x.shape}), "
            f"got {block}"
        )
    height, width = height // block, width // block
    if channels_last:
        x = x.reshape(batch, height, block, width, block, channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height, width, block * block * channels)
    x = x.reshape(batch, channels, height, block, width, block).transpose(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, block * block * channels, height, width)


@answers_tensorflow_names
def depth_to_space(input: ArrayLike, block_size: int, data_format: str = "NHWC") -> jax.Array:
    """The inverse of ``space_to_depth``, as in sub-pixel convolution.

    Args:
        input: ``[batch, height, width, block_size**2 * channels]``, or with the channels second as ``data_format``
            says, of any dtype.
        block_size: Its square divides the channels.
        data_format: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        ``[batch, height * block_size, width * block_size, channels]``, or with the channels second.

    Raises:
        TypeError: If ``block_size`` is no static integer.
        ValueError: If ``input`` is not of rank 4, or ``block_size`` or ``data_format`` do not fit.

    Example:
        >>> nn.depth_to_space(jnp.arange(4).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
        Array([[0, 1],
               [2, 3]], dtype=int32)

    References:
        ``tf.nn.depth_to_space``. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network", 2016.
    """
    op = "depth_to_space"
    x, block, channels_last = _depth_arguments(op, input, block_size, data_format)
    batch, height, width, channels = x.shape if channels_last else (x.shape[0], *x.shape[2:], x.shape[1])
    if channels % (block * block):
        raise ValueError(
            f"{op}: `block_size` must have a square that divides the {channels} channels of `input` (input.shape = "
            f"{x.shape}), got {block}"
        )
    channels //= block * block
    if channels_last:
        x = x.reshape(batch, height, width, block, block, channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height * block, width * block, channels)
    x = x.reshape(batch, block, block, channels, height, width).transpose(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels, height * block, width * block)


@answers_tensorflow_names
def with_space_to_batch(
    input: ArrayLike,
    dilation_rate: Ints,
    padding: Padding,
    op: Callable[[jax.Array, int, Any], Any],
    filter_shape: Ints | None = None,
    spatial_dims: Ints | None = None,
    data_format: str | None = None,
) -> jax.Array:
    """Dilates any windowed ``op`` of stride 1, by applying it to ``space_to_batch`` of its input.

    ``op(x, num_spatial_dims, padding)`` gets the cells that a dilated window meets side by side, padded already, and so
    ``"VALID"``; its results go through ``batch_to_space``. Where all rates are 1 it gets ``input`` and ``padding`` as
    they are.

    Args:
        input: ``[batch, *spatial, channels]``, or with the channels second as ``data_format`` says.
        dilation_rate: One int for each spatial dimension.
        padding: ``"SAME"``, ``"VALID"``, or a pair ``(before, after)`` for each spatial or each dimension.
        op: ``op(x, num_spatial_dims, padding)`` returns an array with batch and spatial dimensions where ``x`` has
            them.
        filter_shape: The spatial sizes of the op's window, needed with ``"SAME"``; more sizes may follow.
        spatial_dims: The spatial dimensions of ``input``, in ascending order and without the batch; those after the
            batch, or after the channels with ``"NC..."``, unless given.
        data_format: ``"NC..."`` for channels second; channels last unless given.

    Returns:
        What ``op`` dilated would return.

    Raises:
        TypeError: If an option is no static integer.
        ValueError: If an option does not fit ``input``, or if ``"SAME"`` has no ``filter_shape``.

    Example:
        >>> def widest(x, num_spatial_dims, padding):
        ...     return nn.max_pool(x, 2, 1, padding)
        >>> nn.with_space_to_batch(jnp.arange(5.0).reshape(1, 5, 1), [2], "VALID", widest).ravel().tolist()
        [2.0, 3.0, 4.0]

    References:
        ``tf.nn.with_space_to_batch``.
    """
    name = "with_space_to_batch"
    x = as_array(name, "input", input, rank=at_least(2))
    check_callable(name, "op", op, "op(x, num_spatial_dims, padding)")
    rates = as_static_ints(name, "dilation_rate", dilation_rate, minimum=1)
    if not 0 < len(rates) < x.ndim or max(rates) > MAX_SIZE:
        raise ValueError(
            f"{name}: `dilation_rate` must be 1 to {x.ndim - 1} ints below 2**31 for an input of rank {x.ndim}, got "
            f"{rates}"
        )
    n, channels_last = len(rates), is_channels_last_of_any_rank(name, data_format)
    dims = _as_spatial_dims(name, spatial_dims, n, x.ndim, channels_last)
    if all(rate == 1 for rate in rates):
        return jnp.asarray(op(x, n, padding))
    pads = _base_paddings(name, padding, rates, filter_shape, channels_last)
    block, paddings, crops = [1] * dims[-1], [(0, 0)] * dims[-1], [(0, 0)] * dims[-1]
    for dim, rate, (before, after) in zip(dims, rates, pads, strict=True):
        extra = -(x.shape[dim] + before + after) % rate
        block[dim - 1], paddings[dim - 1], crops[dim - 1] = rate, (before, after + extra), (0, extra)
    y = as_array(name, "op", op(_space_to_batch(x, tuple(block), tuple(paddings)), n, "VALID"))
    check_rank(name, "op(...)", y, at_least(len(block) + 1))
    if y.shape[0] != x.shape[0] * math.prod(block):
        raise ValueError(
            f"{name}: `op` must keep the batch of {x.shape[0] * math.prod(block)} that it is given, got {y.shape[0]}"
        )
    return _batch_to_space(y, tuple(block), tuple(crops))


def _as_spatial_dims(op: str, spatial_dims: Ints | None, n: int, rank: int, channels_last: bool) -> tuple[int, ...]:
    """The ``n`` dimensions that are dilated, of an input of this rank."""
    if spatial_dims is None:
        spatial_dims = range(1, n + 1) if channels_last else range(2, n + 2)
    dims = as_static_ints(op, "spatial_dims", spatial_dims)
    if len(dims) != n or list(dims) != sorted(set(dims)) or dims[0] < 1 or dims[-1] >= rank:
        raise ValueError(
            f"{op}: `spatial_dims` must be {n} (one for each dilation_rate) ascending ints in [1, {rank}) for an "
            f"input of rank {rank}, got {dims}"
        )
    return dims


def _base_paddings(
    op: str, padding: Padding, rates: tuple[int, ...], filter_shape: Ints | None, channels_last: bool
) -> tuple[tuple[int, int], ...]:
    """What the dilated op pads, at stride 1."""
    if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
        return explicit_padding(op, padding, len(rates), channels_last)
    if padding.upper() == "VALID":
        return ((0, 0),) * len(rates)
    if filter_shape is None:
        raise ValueError(f"{op}: `filter_shape` must be given with padding 'SAME', got None")
    window = as_static_ints(op, "filter_shape", filter_shape, minimum=1)
    if not len(rates) <= len(window) <= len(rates) + 2 or max(window) > MAX_SIZE:
        raise ValueError(
            f"{op}: `filter_shape` must have a size for each of {len(rates)} dimensions, and after them at most those "
            f"of the channels, got {window}"
        )
    window = window[: len(rates)]
    totals = [(k - 1) * rate for k, rate in zip(window, rates, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


@functools.partial(jax.jit, static_argnames=("block", "pads"))
def _space_to_batch(x: jax.Array, block: tuple[int, ...], pads: Pairs) -> jax.Array:
    n = len(block)
    x = jnp.pad(x, [(0, 0), *pads, *[(0, 0)] * (x.ndim - n - 1)])
    cells = [size // b for size, b in zip(x.shape[1:], block, strict=False)]
    split = x.reshape(x.shape[0], *itertools.chain(*zip(cells, block, strict=True)), *x.shape[n + 1 :])
    order = [*range(2, 2 * n + 1, 2), 0, *range(1, 2 * n, 2), *range(2 * n + 1, split.ndim)]
    return split.transpose(order).reshape(math.prod(block) * x.shape[0], *cells, *x.shape[n + 1 :])


@functools.partial(jax.jit, static_argnames=("block", "crops"))
def _batch_to_space(x: jax.Array, block: tuple[int, ...], crops: Pairs) -> jax.Array:
    n, batch = len(block), x.shape[0] // math.prod(block)
    split = x.reshape(*block, batch, *x.shape[1:])
    places = itertools.chain(*((n + 1 + i, i) for i in range(n)))
    whole = split.transpose(n, *places, *range(2 * n + 1, split.ndim))
    sizes = [size * b for size, b in zip(x.shape[1:], block, strict=False)]
    y = whole.reshape(batch, *sizes, *x.shape[n + 1 :])
    for axis, (size, (before, after)) in enumerate(zip(sizes, crops, strict=True), 1):
        y = lax.slice_in_dim(y, before, size - after, axis=axis)
    return y


def _pairs(op: str, argument: str, value: Sequence[Sequence[int]]) -> Pairs:
    """Pairs of non-negative ints."""
    if not hasattr(value, "__len__") or isinstance(value, str):
        raise ValueError(f"{op}: `{argument}` must be pairs of ints, one for each spatial dimension, got {value!r}")
    pairs = tuple(as_static_ints(op, argument, pair, minimum=0) for pair in value)
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{op}: `{argument}` must be pairs of ints, one for each spatial dimension, got {pairs}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _block_shape(op: str, block_shape: Ints, count: int, argument: str) -> tuple[int, ...]:
    block = as_static_ints(op, "block_shape", block_shape, minimum=1)
    if not hasattr(block_shape, "__len__"):
        block *= max(count, 1)  # so that one size for no dimension is refused below
    if len(block) != count:
        raise ValueError(f"{op}: `block_shape` must have a size for each of the {count} `{argument}`, got {block}")
    return block


def _depth_arguments(op: str, input: ArrayLike, block_size: int, data_format: str) -> tuple[jax.Array, int, bool]:
    x = as_array(op, "input", input, rank=4)
    return x, as_static_int(op, "block_size", block_size, minimum=1), is_channels_last(op, data_format, 2)
