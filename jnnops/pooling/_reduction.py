"""The reduction of windows one axis at a time: sums, maxima, and the winners of maxima."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._windows.geometry import Dimension, Window
from jnnops._windows.taps import UNROLLED_TAPS
from jnnops._windows.winners import first_real_cells, windows_are_apart, winners_dtype

# Up to this many cells along an axis, the window is reduced slice by slice; longer ones by doubling.
UNROLLED_CELLS = 8

# If no more windows than this lie over each cell, only those at the edges are padded, which halves the time of 3x3.
# With more of them XLA's kernels of windows and edges together get slow ("Pooling" in docs/lowerings.rst).
MAX_OVERLAP = 3


def reduce_in_order(x: Any, window: Window, combine: Callable[[Any, Any], Any], neutral: Any) -> Any:
    """Combines the cells of each window in row-major order.

    ``x`` is ``[batch, *spatial, channels]``, or a tuple of such arrays, and ``neutral`` the padding of each. The last
    axis is reduced first: where ``combine`` prefers the first of two equal values, it finds the first in row-major
    order of the whole window.
    """
    if 0 in window.output_shape:
        return jax.tree.map(lambda x: no_outputs(x, window), x)
    for axis in reversed(range(window.rank)):
        x = reduce_axis(x, window.dimensions[axis], axis, combine, neutral)
    return x


def reduce_in_any_order(
    x: jax.Array,
    window: Window,
    combine: Callable[[Any, Any], Any],
    neutral: Any,
    reduce: Callable[[jax.Array, int], jax.Array],
) -> jax.Array:
    """Combines the cells of each window; ``reduce`` does the same to all along an axis, which it removes.

    With the first axis first, and barriers between them, the sum of 7x7 with stride 3 takes two thirds of the time.
    """
    if 0 in window.output_shape:
        return no_outputs(x, window)
    for axis, dim in enumerate(window.dimensions):
        if axis:
            x = lax.optimization_barrier(x)
        if dim.taps > UNROLLED_CELLS and windows_are_apart(Window((dim,))):
            x = reduce(_tiles_along(x, dim, axis, neutral), axis + 2)
        else:
            x = reduce_axis(x, dim, axis, combine, neutral)
    return x


def no_outputs(x: jax.Array, window: Window) -> jax.Array:
    return jnp.zeros_like(x, shape=(x.shape[0], *window.output_shape, x.shape[-1]))


def maxima(x: jax.Array, window: Window) -> jax.Array:
    """The maximum of each window, NaN if there is one."""
    return reduce_in_any_order(x, window, jnp.maximum, lowest(x.dtype), jnp.max)


def maxima_and_winners(x: jax.Array, window: Window) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the number in row-major order of the first of its cells that is the maximum.

    NaN counts as the maximum.
    """
    dtype = winners_dtype(math.prod(window.size))
    if 0 in window.output_shape:
        return no_outputs(x, window), no_outputs(x.astype(dtype), window)
    if math.prod(window.size) > UNROLLED_TAPS and windows_are_apart(window):
        values = maxima(x, window)
        return values, _winners_in_tiles(x, values, window, dtype)
    found = x, jnp.zeros_like(x, dtype)
    for axis in reversed(range(window.rank)):
        step = math.prod(window.size[axis + 1 :])
        advance = functools.partial(_advance_winners, step)
        found = lax.optimization_barrier(found)  # without it 5x5 takes a fifth longer
        found = reduce_axis(found, window.dimensions[axis], axis, _first_winner, (lowest(x.dtype), 0), advance)
    values, winners = found
    # in a window of nothing but the lowest number the padding before it has won, which is equal and comes first
    return values, jnp.maximum(winners, first_real_cells(window).astype(winners.dtype))


def _winners_in_tiles(x: jax.Array, values: jax.Array, window: Window, dtype: Any) -> jax.Array:
    """The first cell of each window that is the maximum, or NaN, where windows are apart.

    One axis after the other, four times faster than as one minimum over all: the least row of each column, then the
    least number of all columns.
    """
    rank, real = window.rank, jnp.ones((1, *window.input_shape, 1), bool)
    for axis in reversed(range(rank)):
        dim = window.dimensions[axis]
        x, real = _tiles_along(x, dim, axis, 0), _tiles_along(real, dim, axis, False)
    values = lax.optimization_barrier(jnp.expand_dims(values, range(2, 2 * rank + 1, 2)))
    none = jnp.iinfo(dtype).max
    found = jnp.where(((x == values) | (x != x)) & real, np.zeros((), dtype), none)
    for axis in range(rank):
        step = np.asarray(math.prod(window.size[axis + 1 :]), dtype)
        number = found + lax.broadcasted_iota(dtype, found.shape, axis + 2) * step
        found = lax.optimization_barrier(jnp.where(found == none, none, number).min(axis + 2))
    return found


def _tiles_along(x: jax.Array, dim: Dimension, axis: int, value: Any) -> jax.Array:
    """One axis cut into its windows: two axes, the outputs and the cells of each."""
    stride = max(dim.stride, dim.taps)  # of a single window it does not matter
    x = padded_along(x, axis, -dim.before, dim.outputs * stride - dim.before, value)
    x = x.reshape(*x.shape[: axis + 1], dim.outputs, stride, *x.shape[axis + 2 :])
    return lax.slice_in_dim(x, 0, dim.taps, axis=axis + 2)


def padded_along(x: jax.Array, axis: int, start: int, stop: int, value: Any) -> jax.Array:
    """The cells from ``start`` to ``stop`` along an axis, of which those that do not exist have a value."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis + 1] = (-start, stop - x.shape[axis + 1], 0)
    return lax.pad(x, np.asarray(value, x.dtype), edges)


def lowest(dtype: Any) -> Any:
    """What no number of ``dtype`` is below."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _first_winner(a: Any, b: Any) -> Any:
    (values, winners), (others, other_winners) = a, b
    first = (values >= others) | (values != values)
    return jnp.maximum(values, others), jnp.where(first, winners, other_winners)


def _advance_winners(step: int, found: Any, by: int) -> Any:
    values, winners = found
    return values, winners + by * step


def _as_they_are(cells: Any, by: int) -> Any:
    del by
    return cells


def reduce_axis(
    x: Any,
    dim: Dimension,
    axis: int,
    combine: Callable[[Any, Any], Any],
    neutral: Any,
    advance: Callable[[Any, int], Any] = _as_they_are,
) -> Any:
    """Combines the cells of each window along one axis.

    If few windows overlap, only those that reach over an edge are padded; to pad all of the axis would copy it.

    Args:
        x: An array, or a tuple of arrays.
        dim: The geometry of the axis.
        axis: The number of the spatial axis.
        combine: Of two neighbouring parts of a window what stands for both.
        neutral: The padding of each array.
        advance: Says of a part by how many cells it lies after the one that it is combined with.
    """
    stride, before, n = dim.stride, dim.before, dim.outputs
    first, last = -(-before // stride), (dim.cells + before - dim.reach - 1) // stride
    inside = range(min(first, n), min(last + 1, n))
    whole = not inside or -(-dim.taps // stride) > MAX_OVERLAP
    groups = [range(n)] if whole else [range(0, inside.start), inside, range(inside.stop, n)]

    def reduce(outputs: range) -> Any:
        start, stop = outputs[0] * stride - before, outputs[-1] * stride - before + dim.reach + 1
        cells = jax.tree.map(lambda x, value: padded_along(x, axis, start, stop, value), x, neutral)
        return reduce_cells(cells, axis, dim._replace(outputs=len(outputs)), combine, advance)

    return jax.tree.map(lambda *parts: lax.concatenate(parts, axis + 1), *(reduce(group) for group in groups if group))


def reduce_cells(
    x: Any,
    axis: int,
    dim: Dimension,
    combine: Callable[[Any, Any], Any],
    advance: Callable[[Any, int], Any] = _as_they_are,
) -> Any:
    """``reduce_axis`` of ``x`` that has its padding already."""
    size, stride, dilation = dim.taps, dim.stride, dim.dilation
    span = (dim.outputs - 1) * stride + 1

    def take(cells: Any, first: int, count: int, stride: int = 1) -> Any:
        def part(array: jax.Array) -> jax.Array:
            return lax.slice_in_dim(array, first * dilation, first * dilation + count, stride, axis=axis + 1)

        return advance(jax.tree.map(part, cells), first)

    if size <= UNROLLED_CELLS:
        return functools.reduce(combine, (take(x, offset, span, stride) for offset in range(size)))

    # Blocks of 1, 2, 4, ... cells, each made of two of the last; the window consists of those in the binary form of
    # its size, the longest first.
    blocks, length, parts = x, 1, []
    while length <= size:
        if size & length:
            parts.append(take(blocks, size & ~(2 * length - 1), span, stride))
        length *= 2
        if length <= size:
            half = length // 2
            pairs = jax.tree.leaves(blocks)[0].shape[axis + 1] - half * dilation
            blocks = combine(take(blocks, 0, pairs), take(blocks, half, pairs))
    return functools.reduce(combine, reversed(parts))
