"""What the pooling ops share: their arguments, and the reduction of windows one axis at a time."""

import functools
import math
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import check_rank
from jnnops._taps import UNROLLED_TAPS
from jnnops._window import (
    DATA_FORMATS,
    Window,
    axis_cells,
    is_channels_last,
    move_channels,
    resolve_ints,
    resolve_window,
)
from jnnops._winners import first_real_cells, windows_are_apart, winners_dtype

POOLED_RANKS = tuple(n + 2 for n in DATA_FORMATS)

# Up to this many cells along an axis, the window is reduced slice by slice; longer ones by doubling.
UNROLLED_CELLS = 8

# Up to so many windows over each cell, only those at the edges are padded. In milliseconds on two cores, 8x56x56x64:
# the maximum of 3x3 2.7 -> 1.4, with stride 2 1.5 -> 0.8, 7x7 with stride 3 2.1 -> 0.9. With more of them XLA's kernels
# of windows and edges together get slow: 8x8 5.8 -> 19.
MAX_OVERLAP = 3


def resolve_pooling(
    op: str,
    x: jax.Array,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    *,
    ranks: int | Collection[int],
    size_argument: str = "ksize",
) -> tuple[Window, bool]:
    """Checks the arguments of a pooling op, whose ``input`` must have one of the ``ranks``."""
    check_rank(op, "input", x, ranks)
    spatial_rank = x.ndim - 2
    channels_last = is_channels_last(op, data_format, spatial_rank)
    window = resolve_window(
        op,
        input_shape=x.shape[1:-1] if channels_last else x.shape[2:],
        size=resolve_ints(op, size_argument, ksize, spatial_rank, channels_last),
        strides=strides,
        padding=padding,
        dilations=dilations,
        channels_last=channels_last,
    )
    if any(not (cells >= 0).any(axis=1).all() for cells in axis_cells(window)):
        raise ValueError(
            f"{op}: `padding` must leave every window a real cell, got {window.padding} for spatial shape "
            f"{window.input_shape}, {size_argument} {window.size} and dilations {window.dilations}"
        )
    return window, channels_last


def in_layout(pool: Callable[[jax.Array], jax.Array], x: jax.Array, channels_last: bool) -> jax.Array:
    if channels_last:
        return pool(x)
    return move_channels(pool(move_channels(x, x.ndim - 2, to_last=True)), x.ndim - 2, to_last=False)


def reduce_in_order(x: Any, window: Window, combine: Callable[[Any, Any], Any], neutral: Any) -> Any:
    """Combines the cells of each window in row-major order.

    ``x`` is ``[batch, *spatial, channels]``, or a tuple of such arrays, and ``neutral`` the padding of each. The last
    axis is reduced first: where ``combine`` prefers the first of two equal values, it finds the first in row-major
    order of the whole window.
    """
    if 0 in window.output_shape:
        return jax.tree.map(lambda x: no_outputs(x, window), x)
    for axis in reversed(range(len(window.size))):
        x = reduce_axis(x, window, axis, combine, neutral)
    return x


def reduce_in_any_order(
    x: jax.Array,
    window: Window,
    combine: Callable[[Any, Any], Any],
    neutral: Any,
    reduce: Callable[[jax.Array, int], jax.Array],
) -> jax.Array:
    """Combines the cells of each window; ``reduce`` does the same to all along an axis, which it removes.

    In milliseconds on two cores, 8x56x56x64: the sum of 7x7 with stride 3 takes 1.1 with the last axis first and 0.8
    so, without the barriers 1.3.
    """
    if 0 in window.output_shape:
        return no_outputs(x, window)
    for axis, (_, n, k, s, d, _) in enumerate(window.dimensions()):
        if axis:
            x = lax.optimization_barrier(x)
        if k > UNROLLED_CELLS and d == 1 and (n == 1 or s >= k):
            x = reduce(_tiles_along(x, window, axis, neutral), axis + 2)
        else:
            x = reduce_axis(x, window, axis, combine, neutral)
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
    for axis in reversed(range(len(window.size))):
        step = math.prod(window.size[axis + 1 :])
        advance = functools.partial(_advance_winners, step)
        found = lax.optimization_barrier(found)  # 5x5 takes 6.4 without, 5.3 with it
        found = reduce_axis(found, window, axis, _first_winner, (lowest(x.dtype), 0), advance)
    values, winners = found
    # in a window of nothing but the lowest number the padding before it has won, which is equal and comes first
    return values, jnp.maximum(winners, first_real_cells(window).astype(winners.dtype))


def _winners_in_tiles(x: jax.Array, values: jax.Array, window: Window, dtype: Any) -> jax.Array:
    """The first cell of each window that is the maximum, or NaN, where windows are apart.

    One axis after the other: the least row of each column, then the least number of all columns. In milliseconds on two
    cores, 8x56x56x64: 14x14 takes 0.5 with the maximum, and 2.1 as one minimum over both axes.
    """
    rank, real = len(window.size), jnp.ones((1, *window.input_shape, 1), bool)
    for axis in reversed(range(rank)):
        x, real = _tiles_along(x, window, axis, 0), _tiles_along(real, window, axis, False)
    values = lax.optimization_barrier(jnp.expand_dims(values, range(2, 2 * rank + 1, 2)))
    none = jnp.iinfo(dtype).max
    found = jnp.where(((x == values) | (x != x)) & real, np.zeros((), dtype), none)
    for axis in range(rank):
        step = np.asarray(math.prod(window.size[axis + 1 :]), dtype)
        number = found + lax.broadcasted_iota(dtype, found.shape, axis + 2) * step
        found = lax.optimization_barrier(jnp.where(found == none, none, number).min(axis + 2))
    return found


def _tiles_along(x: jax.Array, window: Window, axis: int, value: Any) -> jax.Array:
    """One axis cut into its windows: two axes, the outputs and the cells of each."""
    _, outputs, size, stride, _, (before, _) = list(window.dimensions())[axis]
    stride = max(stride, size)  # of a single window it does not matter
    x = padded_along(x, axis, -before, outputs * stride - before, value)
    x = x.reshape(*x.shape[: axis + 1], outputs, stride, *x.shape[axis + 2 :])
    return lax.slice_in_dim(x, 0, size, axis=axis + 2)


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
    window: Window,
    axis: int,
    combine: Callable[[Any, Any], Any],
    neutral: Any,
    advance: Callable[[Any, int], Any] = _as_they_are,
) -> Any:
    """Combines the cells of each window along one axis.

    If few windows overlap, only those that reach over an edge are padded; to pad all of the axis would copy it.

    Args:
        x: An array, or a tuple of arrays.
        window: The geometry.
        axis: The axis.
        combine: Of two neighbouring parts of a window what stands for both.
        neutral: The padding of each array.
        advance: Says of a part by how many cells it lies after the one that it is combined with.
    """
    size, n, k, s, d, (before, _) = list(window.dimensions())[axis]
    span = (k - 1) * d + 1
    inside = range(min(max(-(-before // s), 0), n), min((size + before - span) // s + 1, n))
    whole = not inside or -(-k // s) > MAX_OVERLAP
    groups = [range(n)] if whole else [range(0, inside.start), inside, range(inside.stop, n)]

    def reduce(outputs: range) -> Any:
        start, stop = outputs[0] * s - before, outputs[-1] * s - before + span
        cells = jax.tree.map(lambda x, value: padded_along(x, axis, start, stop, value), x, neutral)
        return reduce_cells(cells, axis, len(outputs), (k, s, d), combine, advance)

    return jax.tree.map(lambda *parts: lax.concatenate(parts, axis + 1), *(reduce(group) for group in groups if group))


def reduce_cells(
    x: Any,
    axis: int,
    outputs: int,
    geometry: tuple[int, int, int],
    combine: Callable[[Any, Any], Any],
    advance: Callable[[Any, int], Any] = _as_they_are,
) -> Any:
    """``reduce_axis`` of ``x`` that needs no padding; the geometry is the size, the stride and the dilation."""
    size, stride, dilation = geometry
    span = (outputs - 1) * stride + 1

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
