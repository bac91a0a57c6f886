"""Convolutions without groups as XLA's own kernels take them, in three dimensions by two-dimensional ones."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._primitives.releases import JAXLIB
from jnnops._windows.layout import pad_cells
from jnnops.convolution._cpu import pointwise

Pairs = tuple[tuple[int, int], ...]


def convolve(
    x: jax.Array,
    w: jax.Array,
    strides: tuple[int, ...],
    padding: Pairs,
    dilations: tuple[int, ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    """Convolution in one, two or three dimensions."""
    if len(strides) == 1:
        return canonical(x, w, strides, padding, dilations, precision=precision)
    if len(strides) == 2:
        return convolve_images(x, w, strides, padding, dilations, precision)
    depth, *_, in_channels, out_channels = w.shape
    inner = strides[1:], padding[1:], dilations[1:]
    if strides[0] > 1:
        images = merge_depth(x, depth, strides[0], dilations[0], padding[0])
        flat = jnp.moveaxis(w, 0, 2).reshape(*w.shape[1:3], depth * in_channels, out_channels)
        y = convolve_images(images, flat, *inner, precision)
        return y.reshape(x.shape[0], -1, *y.shape[1:])
    # all filters on each image; then what those of each depth gave is shifted and summed
    flat = jnp.moveaxis(w, 0, -2).reshape(*w.shape[1:4], depth * out_channels)
    y = convolve_images(x.reshape(-1, *x.shape[2:]), flat, *inner, precision)
    y = y.reshape(*x.shape[:2], *y.shape[1:3], depth, out_channels)
    total = sum(padding[0]) - (depth - 1) * dilations[0]
    shifts = [padding[0][0] - tap * dilations[0] for tap in range(depth)]
    parts = [pad_cells(y[..., tap, :], ((shift, total - shift), (0, 0), (0, 0))) for tap, shift in enumerate(shifts)]
    return sum(parts[1:], parts[0])


def convolve_images(
    x: jax.Array,
    w: jax.Array,
    strides: tuple[int, ...],
    padding: Pairs,
    dilations: tuple[int, ...],
    precision: lax.PrecisionLike,
) -> jax.Array:
    """Two-dimensional convolution, where it pays with as many needless outputs as keep it from YNNPACK.

    XLA's own kernels get what has more outputs than the input has cells.
    """
    if w.shape[:2] == (1, 1) and strides == (1, 1) and not any(itertools.chain(*padding)):
        return pointwise.dot(x, w, precision)
    needless = []
    for axis, (stride, pair, dilation) in enumerate(zip(strides, padding, dilations, strict=True)):
        cells = x.shape[1 + axis]
        outputs = (cells + sum(pair) - (w.shape[axis] - 1) * dilation - 1) // stride + 1
        needless.append((max(cells + 1 - outputs, 0) / outputs, axis, outputs, cells + 1))
    share, axis, outputs, more = min(needless)
    if share == 0 or not _pays(share, w):
        return canonical(x, w, strides, padding, dilations, precision=precision)
    extended = list(padding)
    extended[axis] = (padding[axis][0], padding[axis][1] + (more - outputs) * strides[axis])
    y = canonical(x, w, strides, tuple(extended), dilations, precision=precision)
    return lax.slice_in_dim(y, 0, outputs, axis=1 + axis)


def _pays(share: float, w: jax.Array) -> bool:
    """Whether XLA's own kernels are faster with so large a share of needless outputs, by the release of jaxlib.

    Where that was not measured, as for jaxlib 0.11, the plain form is taken. The figures are in docs/lowerings.rst,
    "Needless outputs".
    """
    if not jnp.issubdtype(w.dtype, jnp.floating):
        return False
    if JAXLIB[:2] == (0, 10):
        return share <= 1 / 8 and w.shape[-2] >= 24
    return JAXLIB >= (0, 12) and share <= 1 / 6 and w.nbytes >= 2 << 20


def merge_depth(x: jax.Array, size: int, stride: int, dilation: int, padding: tuple[int, int]) -> jax.Array:
    """``[batch * out_depth, height, width, size * channels]``: with each image those that its window has in depth."""
    x = pad_cells(x, (padding, (0, 0), (0, 0)))
    reach = x.shape[1] - (size - 1) * dilation
    taps = [lax.slice_in_dim(x, tap * dilation, tap * dilation + reach, stride, axis=1) for tap in range(size)]
    return lax.concatenate(taps, 4).reshape(-1, *x.shape[2:4], size * x.shape[-1])


def canonical(
    x: jax.Array,
    w: jax.Array,
    strides: tuple[int, ...],
    padding: Pairs,
    dilations: tuple[int, ...],
    *,
    x_dilation: tuple[int, ...] | None = None,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """The convolution of ``lax``, with channels last and without groups."""
    spatial = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        lhs_dilation=x_dilation,
        rhs_dilation=dilations,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        precision=precision,
    )
