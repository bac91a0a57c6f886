"""Which lowering each convolution and each of its gradients gets.

The arguments are static, so the choice is made once for a program. Figures are in docs/lowerings.rst.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._windows.geometry import Window
from jnnops.convolution._cpu import few_channels, filters, pointwise, rows_of_taps, strided_input
from jnnops.convolution._cpu.canonical import canonical, convolve
from jnnops.convolution._cpu.groups import (
    block_diagonal,
    diagonal_blocks,
    map_parts,
    number_of_parts,
    split_channels,
)


def forward(x: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike) -> jax.Array:
    """``y`` of ``x`` and ``w``."""
    if few_channels.fits(window, groups, x.shape[-1], w.shape[-1], direction="forward"):
        return few_channels.forward(x, w, window)
    if groups > 1:
        parts = number_of_parts(groups, min(w.shape[-2], w.shape[-1] // groups))
        one = functools.partial(forward, window=window, groups=1, precision=precision)
        return map_parts(one, split_channels(x, parts), block_diagonal(w, groups, parts))
    if pointwise.fits(window):
        return pointwise.forward(x, w, window, precision)
    if rows_of_taps.fits(window, x.shape[-1]):
        return rows_of_taps.forward(x, w, window, precision)
    return convolve(x, w, window.strides, window.padding, window.dilations, precision)


def input_gradient(
    y: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike
) -> jax.Array:
    """``x`` of ``y`` and ``w``: a convolution with the filters reversed and in and out swapped."""
    if few_channels.fits(window, groups, groups * w.shape[-2], w.shape[-1], direction="gradient"):
        return few_channels.input_gradient(y, w, window, groups)
    if groups > 1:
        parts = number_of_parts(groups, min(w.shape[-2], w.shape[-1] // groups))
        one = functools.partial(input_gradient, window=window, groups=1, precision=precision)
        return map_parts(one, split_channels(y, parts), block_diagonal(w, groups, parts))
    if pointwise.fits(window):
        return pointwise.input_gradient(y, w, window, precision)
    is_strided = math.prod(window.strides) > 1
    if is_strided and strided_input.fits_phases_of_rows(window, w.shape[-2]):
        return strided_input.by_phases_of_rows(y, w, window, precision)
    if is_strided and strided_input.fits_all_phases(window):
        return strided_input.by_all_phases(y, w, window, precision)
    turned = jnp.swapaxes(jnp.flip(w, range(window.rank)), -1, -2)
    padding, ones = tuple(dim.transposed_padding for dim in window.dimensions), (1,) * window.rank
    if not is_strided:
        return convolve(y, turned, ones, padding, window.dilations, precision)
    return canonical(y, turned, ones, padding, window.dilations, x_dilation=window.strides, precision=precision)


def filter_gradient(
    x: jax.Array, y: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike
) -> jax.Array:
    """``w`` of ``x`` and ``y``."""
    if few_channels.fits(window, groups, x.shape[-1], y.shape[-1], direction="gradient"):
        return few_channels.filter_gradient(x, y, window, groups)
    if groups > 1:
        parts = number_of_parts(groups, min(x.shape[-1], y.shape[-1]) // groups)
        one = functools.partial(filter_gradient, window=window, groups=1, precision=precision)
        blocks = lax.map(lambda pair: one(*pair), (split_channels(x, parts), split_channels(y, parts)))
        return diagonal_blocks(blocks, groups // parts)
    return filters.filter_gradient(x, y, window, precision)
