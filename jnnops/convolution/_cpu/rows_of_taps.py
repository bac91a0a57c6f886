"""How some convolutions with strides are lowered on CPU: as one matrix product for each row of taps.

The cells of a stride stand side by side as more channels, which costs nothing, as those in the last dimension are
neighbours already. The columns of the window that then remain are more outputs, to be shifted and summed: so every
product reads whole rows of the input. In two dimensions, windows of odd size gain nothing.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._windows.geometry import Window
from jnnops._windows.layout import pad_cells

MAX_ROWS = 64  # of taps, with which the code grows
MIN_CHANNELS = 16  # with fewer the products are too thin


def fits(window: Window, channels: int) -> bool:
    """Whether the lowerings of this module are meant for such a convolution."""
    *rows, last = window.dimensions
    is_even = last.taps % last.stride == 0 and last.taps > last.stride
    return (
        last.stride > 1
        and last.dilation == 1
        and channels >= MIN_CHANNELS
        and math.prod(dim.taps for dim in rows) <= MAX_ROWS
        and (len(rows) == 2 or (len(rows) == 1 and is_even))
    )


def forward(x: jax.Array, w: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The convolution."""
    out_channels, columns = w.shape[-1], window.output_shape[-1]
    shifts = _shifts(window)
    x = _side_by_side(x, window)
    products = [
        lax.dot_general(_rows(x, window, tap), rows, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)
        for tap, rows in zip(_taps(window), _filter_rows(w, window), strict=True)
    ]
    y = sum(products[1:], products[0]).reshape(*products[0].shape[:-1], shifts, out_channels)
    parts = [y[..., shift : shift + columns, shift, :] for shift in range(shifts)]
    return sum(parts[1:], parts[0])


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The transpose in the filters."""
    in_channels, out_channels = x.shape[-1], y.shape[-1]
    *rows, size = window.size
    shifts = _shifts(window)
    x = _side_by_side(x, window)
    unmoved = [(0, 0)] * len(rows)
    y = lax.concatenate([pad_cells(y, [*unmoved, (shift, shifts - 1 - shift)]) for shift in range(shifts)], y.ndim - 1)
    y = lax.optimization_barrier(y.reshape(-1, y.shape[-1]))
    products = [
        lax.dot(_rows(x, window, tap).reshape(-1, x.shape[-1]).T, y, precision=precision) for tap in _taps(window)
    ]
    w = jnp.stack(products).reshape(*rows, -1, in_channels, shifts, out_channels)
    w = jnp.moveaxis(w, -2, -4).reshape(*rows, -1, in_channels, out_channels)
    return lax.slice_in_dim(w, 0, size, axis=len(rows))


def _shifts(window: Window) -> int:
    """The columns of the window, in strides."""
    return -(-window.size[-1] // window.strides[-1])


def _side_by_side(x: jax.Array, window: Window) -> jax.Array:
    """The padded input ``[batch, *rows, columns, stride * channels]``, with as many columns as the outputs read."""
    *rows, last = window.dimensions
    columns = last.outputs + _shifts(window) - 1
    padding = [(dim.before, dim.cells_of(dim.outputs) - dim.before - dim.cells) for dim in rows]
    x = pad_cells(x, [*padding, (last.before, columns * last.stride - last.before - last.cells)])
    # without the barrier XLA computes the padding anew for every row of taps
    return lax.optimization_barrier(x.reshape(*x.shape[:-2], columns, last.stride * x.shape[-1]))


def _filter_rows(w: jax.Array, window: Window) -> list[jax.Array]:
    """For each row of taps ``[stride * in_channels, shifts * out_channels]``."""
    *_, size, _, out_channels = w.shape
    shifts, stride = _shifts(window), window.strides[-1]
    w = jnp.pad(w.reshape(-1, *w.shape[-3:]), [(0, 0), (0, shifts * stride - size), (0, 0), (0, 0)])
    w = w.reshape(len(w), shifts, -1, out_channels).swapaxes(1, 2)
    return list(w.reshape(len(w), -1, shifts * out_channels))


def _taps(window: Window) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, window.size[:-1])))


def _rows(x: jax.Array, window: Window, tap: tuple[int, ...]) -> jax.Array:
    """Those that a row of taps meets."""
    rows = window.dimensions[:-1]
    start = [place * dim.dilation for place, dim in zip(tap, rows, strict=True)]
    stop = [at + (dim.outputs - 1) * dim.stride + 1 for at, dim in zip(start, rows, strict=True)]
    strides = 1, *(dim.stride for dim in rows), 1, 1
    return lax.slice(x, (0, *start, 0, 0), (x.shape[0], *stop, *x.shape[-2:]), strides)
