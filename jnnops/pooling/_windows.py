"""What the pooling ops share: their arguments, and the reduction of windows one axis at a time.

The last axis is reduced first. Of equal values the first along an axis is preferred, which makes it the first in
row-major order of the whole window.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import check_rank
from jnnops._window import DATA_FORMATS, Window, is_channels_last, move_channels, resolve_ints, resolve_window

POOLED_RANKS = tuple(n + 2 for n in DATA_FORMATS)

# Up to this many cells along an axis, the window is reduced slice by slice; longer ones by doubling.
UNROLLED_CELLS = 8


def resolve_pooling(
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


def in_layout(pool: Callable[[jax.Array], jax.Array], x: jax.Array, channels_last: bool) -> jax.Array:
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


def reduce_windows(
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
