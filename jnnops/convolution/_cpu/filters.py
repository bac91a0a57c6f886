"""Filter gradients without groups, as convolutions in which batch and channels change places."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.varying import zeros_varying_like
from jnnops._windows.geometry import Dimension, Window
from jnnops._windows.layout import pad_cells
from jnnops.convolution._cpu import pointwise, rows_of_taps
from jnnops.convolution._cpu.canonical import canonical, merge_depth

# Of what one step of a filter gradient reads: a step's arrays and its patches of them stay in the cache. Between a
# quarter and four times of it, times differ by a fifth (two cores with AVX-512, jaxlib 0.10.2).
CHUNK_BYTES = 3 << 19


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The transpose of a convolution without groups in its filters."""
    if window.rank == 1:
        return jnp.moveaxis(_behind_channels(x, y, window, precision), 0, 1)
    if pointwise.fits(window):
        return pointwise.filter_gradient(x, y, window, precision)
    if rows_of_taps.fits(window, x.shape[-1]):
        return rows_of_taps.filter_gradient(x, y, window, precision)
    if window.rank == 2:
        return _by_rows(x, y, window, precision)
    # the windows' depth becomes channels of whichever has less
    dim, flat = window.dimensions[0], window.after_first()
    in_channels, out_channels = x.shape[-1], y.shape[-1]
    if dim.stride > 1 or in_channels <= out_channels:
        images = merge_depth(x, dim.taps, dim.stride, dim.dilation, (dim.before, dim.after))
        w = filter_gradient(images, y.reshape(-1, *y.shape[2:]), flat, precision)
        return jnp.moveaxis(w.reshape(*flat.size, dim.taps, in_channels, out_channels), 2, 0)
    images = merge_depth(y, dim.taps, 1, dim.dilation, _padding_of_outputs(dim))
    w = filter_gradient(x.reshape(-1, *x.shape[2:]), images, flat, precision)
    return jnp.flip(jnp.moveaxis(w.reshape(*flat.size, in_channels, dim.taps, out_channels), 3, 0), 0)


def _padding_of_outputs(dim: Dimension) -> tuple[int, int]:
    """The outputs to pad, where the stride is 1, so that every cell has one for each tap."""
    low = dim.reach - dim.before
    return low, dim.reach + dim.cells - low - dim.outputs


class _Chunks(NamedTuple):
    """How the rows of images are cut into chunks, of one size, for the steps of a loop.

    Attributes:
        images: Of one chunk.
        rows: Of one chunk.
        number: Of chunks of the same images.
    """

    images: int
    rows: int
    number: int


def _cut(batch: int, lines: int, row_bytes: int) -> _Chunks:
    divisors = (n for n in range(1, batch + 1) if batch % n == 0)
    images = max((n for n in divisors if n * row_bytes <= CHUNK_BYTES), default=1)
    chunks = -(-lines // max(1, CHUNK_BYTES // (images * row_bytes)))
    rows = -(-lines // chunks)
    return _Chunks(images, rows, -(-lines // rows))


def _by_rows(x: jax.Array, y: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The sum of one-dimensional filter gradients of a few rows at a time, the window's rows being more channels.

    These are channels of the cotangent, so that less gets transposed, or with strides of the input. XLA does not give
    YNNPACK what is one-dimensional.
    """
    dim, flat = window.dimensions[0], window.after_first()
    is_strided = dim.stride > 1
    by_tap, by_row, low = (x, y, dim.before) if is_strided else (y, x, dim.reach - dim.before)
    offsets = [tap * dim.dilation if is_strided else dim.reach - tap * dim.dilation for tap in range(dim.taps)]
    batch, lines = by_row.shape[:2]
    chunks = _cut(batch, lines, by_tap.shape[2] * by_tap.shape[3] * dim.taps * by_tap.dtype.itemsize)
    seen, all_seen = dim.cells_of(chunks.rows), dim.cells_of(chunks.rows * chunks.number)
    by_tap = pad_cells(by_tap, ((low, all_seen - low - by_tap.shape[1]), (0, 0)))
    by_row = pad_cells(by_row, ((0, chunks.rows * chunks.number - lines), (0, 0)))

    def part(step: Any) -> jax.Array:
        some, row = _take_chunk(by_tap, step, chunks, seen, dim.stride), _take_chunk(by_row, step, chunks, chunks.rows)
        taps = [lax.slice_in_dim(some, start, start + seen - dim.reach, dim.stride, axis=1) for start in offsets]
        all_taps = lax.concatenate(taps, 3)
        pair = (all_taps, row) if is_strided else (row, all_taps)
        some_x, some_y = (array.reshape(-1, *array.shape[2:]) for array in pair)
        return _behind_channels(some_x, some_y, flat, precision)

    w = _sum_steps(part, batch // chunks.images * chunks.number, x)
    if is_strided:
        return w.reshape(dim.taps, x.shape[-1], -1, y.shape[-1]).transpose(0, 2, 1, 3)
    return w.reshape(x.shape[-1], -1, dim.taps, y.shape[-1]).transpose(2, 1, 0, 3)


def _take_chunk(array: jax.Array, step: Any, chunks: _Chunks, rows: int, stride: int = 1) -> jax.Array:
    """So many rows of the images of one step, from where its chunk begins."""
    image, row = np.int32(0), step
    if chunks.images < array.shape[0]:
        image, row = lax.div(row, np.int32(chunks.number)) * chunks.images, lax.rem(row, np.int32(chunks.number))
    start = image, row * (chunks.rows * stride), *(np.int32(0),) * (array.ndim - 2)
    return lax.dynamic_slice(array, start, (chunks.images, rows, *array.shape[2:]), allow_negative_indices=False)


def _sum_steps(part: Callable[[Any], jax.Array], steps: int, like: jax.Array) -> jax.Array:
    """The sum of ``part(step)`` over the steps, which varies over the axes of a ``shard_map`` as ``like`` does."""
    first = np.int32(0)
    if steps == 1:
        return part(first)
    start = zeros_varying_like(like, jax.eval_shape(part, first).shape)
    return lax.fori_loop(0, steps, lambda step, total: total + part(lax.convert_element_type(step, np.int32)), start)


def _behind_channels(x: jax.Array, y: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The filter gradient ``[in_channels, *window, out_channels]``.

    It is a convolution in which batch and channels change places, ``y`` is the filters and strides are dilations.
    """
    x = jnp.moveaxis(x, (-1, 0), (0, -1))
    padding = tuple((dim.before, dim.cells_of(dim.outputs) - dim.cells - dim.before) for dim in window.dimensions)
    y = jnp.moveaxis(y, 0, -2)
    return canonical(x, y, window.dilations, padding, window.strides, precision=precision)
