"""Input gradients of convolutions with strides, by phases: each phase of the cells is a convolution of stride 1."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._windows.geometry import Dimension, Window
from jnnops._windows.phases import Phases, interleave, phases_of
from jnnops.convolution._cpu.canonical import convolve, convolve_images

# How much larger filters may get by padding them to a multiple of the strides; XLA computes that share in vain.
MAX_PADDED = 1.5


def fits_all_phases(window: Window) -> bool:
    """Whether all phases at once win.

    XLA's own strided input gradient is only bad in two dimensions, and a scalar loop in three.
    """
    padded = math.prod(_padded_taps(dim) for dim in window.dimensions)
    return max(window.dilations) == 1 and (window.rank == 3 or padded <= MAX_PADDED * math.prod(window.size))


def fits_phases_of_rows(window: Window, in_channels: int) -> bool:
    """Whether a convolution for each phase of the rows wins; with few channels it does not."""
    if window.rank != 2 or max(window.dilations) > 1:
        return False
    columns = window.dimensions[1]
    is_wide = columns.stride * in_channels > 16 and columns.outputs >= 12
    return is_wide and _padded_taps(columns) <= MAX_PADDED * columns.taps


def by_all_phases(y: jax.Array, w: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """One convolution of stride 1 that gives all cells of a stride as channels, which then are set side by side."""
    n, (in_channels, out_channels) = window.rank, w.shape[-2:]
    split = [phases_of(dim) for dim in window.dimensions]
    lags = [dim.last + 1 for dim in split]
    # [*lags, out_channels, *phases, in_channels]
    filters = jnp.pad(w, [*map(_filter_padding, split), (0, 0), (0, 0)])
    filters = filters.reshape(*itertools.chain(*zip(lags, window.strides, strict=True)), in_channels, out_channels)
    filters = filters.transpose(*range(0, 2 * n, 2), 2 * n + 1, *range(1, 2 * n, 2), 2 * n)
    filters = jnp.flip(filters, range(n)).reshape(*lags, out_channels, -1)
    phases = convolve(y, filters, (1,) * n, tuple(dim.padding for dim in split), (1,) * n, precision)
    phases = phases.reshape(y.shape[0], *(dim.cells for dim in split), *window.strides, in_channels)
    x = interleave(phases.transpose(*range(1 + n, 1 + 2 * n), *range(1 + n), 1 + 2 * n), window.strides)
    return lax.slice(x, (0,) * (n + 2), (x.shape[0], *window.input_shape, in_channels))


def by_phases_of_rows(y: jax.Array, w: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """A convolution of stride 1 for every phase of the rows, which gives all cells of a stride in a row as channels.

    Of the columns the filters are those of ``by_all_phases``, of the rows the taps of the phase.
    """
    in_channels, out_channels = w.shape[-2:]
    rows, columns = (phases_of(dim) for dim in window.dimensions)
    w = jnp.pad(w, [(0, 0), _filter_padding(columns), (0, 0), (0, 0)])
    w = w.reshape(-1, columns.last + 1, columns.stride * in_channels, out_channels).swapaxes(2, 3)
    phases = []
    for phase in range(rows.stride):
        taps, padding = rows.taps_of(phase)
        if taps:
            filters = jnp.flip(w[taps.start :: taps.step], (0, 1))
            phases.append(convolve_images(y, filters, (1, 1), (padding, columns.padding), (1, 1), precision))
        else:
            shape = y.shape[0], rows.cells, columns.cells, columns.stride * in_channels
            phases.append(jnp.zeros(shape, y.dtype))
    x = jnp.stack(phases, 2).reshape(y.shape[0], rows.cells * rows.stride, columns.cells * columns.stride, in_channels)
    height, width = window.input_shape
    return x[:, :height, :width]


def _padded_taps(dim: Dimension) -> int:
    return (phases_of(dim).last + 1) * dim.stride


def _filter_padding(dim: Phases) -> tuple[int, int]:
    """Zeros before and after the taps, so that they are a whole number of strides."""
    return dim.front, (dim.last + 1) * dim.stride - dim.front - dim.taps
