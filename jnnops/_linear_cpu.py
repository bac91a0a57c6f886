"""How ``_linear`` lowers convolution and its two gradients on CPU.

Only canonical convolutions are emitted, channels last with filters ``[*window, in, out]``: inside a loop XLA turns
those in any other layout into scalar loops, so that JAX's own filter gradient takes 25 to 50 times longer there.
Everything else is a choice by measurement with jaxlib 0.10.2 on two cores with AVX-512, in milliseconds of CPU time
divided by two; what is not mentioned (one dimension but for its strided input gradient, groups) gained nothing from
anything else. The code that comes out does not grow with the images.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnnops import _linear_depthwise as depthwise
from jnnops._varying import zeros_varying_like
from jnnops._window import Window

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# Of the cotangent that one step of the filter gradient reads: it has the part of the filters there, which XLA's
# convolution reads again and again and so wants in the cache.
CHUNK_BYTES = 256 << 10


def forward(x: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``y`` of ``x`` and ``w``."""
    if depthwise.fits(window, groups, x.shape[-1], w.shape[-1]):
        return depthwise.forward(x, w, window)
    if groups > 1:
        return _canonical(x, w, window.strides, window.padding, window.dilations, groups=groups, precision=precision)
    if _is_pointwise(window):  # 56x56, 64 to 256 channels: 5.5 -> 4.9; from 28x28 cells on every second one: 3.0
        return _dot(_take_strides(x, window), w, precision)
    return _convolve(x, w, window.strides, window.padding, window.dilations, precision)


def input_gradient(y: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``x`` of ``y`` and ``w``: a convolution with the filters reversed and in and out swapped."""
    if depthwise.fits(window, groups, groups * w.shape[-2], w.shape[-1]):
        return depthwise.input_gradient(y, w, window, groups)
    n = len(window.size)
    strided = math.prod(window.strides) > 1
    if groups == 1 and not strided and _is_pointwise(window):  # 56x56, 64 to 256 channels: 7.5 -> 4.9
        return _dot(y, jnp.swapaxes(w, -1, -2), precision)
    if groups == 1 and strided and _has_few_phase_taps(window):
        return _input_gradient_by_phases(y, w, window, precision)
    *size, per_group, out_channels = w.shape
    turned = jnp.flip(w, range(n)).reshape(*size, per_group, groups, out_channels // groups)
    turned = jnp.swapaxes(turned, -1, -3).reshape(*size, out_channels // groups, groups * per_group)
    padding = []
    for cells, outputs, k, s, d, (before, _) in _dimensions(window):
        low = (k - 1) * d - before
        padding.append((low, cells - ((outputs - 1) * s + 1) + before))
    padding = tuple(padding)
    if groups == 1 and not strided:
        return _convolve(y, turned, (1,) * n, padding, window.dilations, precision)
    return _canonical(
        y, turned, (1,) * n, padding, window.dilations, x_dilation=window.strides, groups=groups, precision=precision
    )


def filter_gradient(x: jax.Array, y: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``w`` of ``x`` and ``y``."""
    if depthwise.fits(window, groups, x.shape[-1], y.shape[-1]):
        return depthwise.filter_gradient(x, y, window)
    if groups > 1 or len(window.size) == 1:
        return _filter_gradient_at_once(x, y, window, groups, precision)
    if len(window.size) == 2:
        return _filter_gradient_by_rows(x, y, window, precision)
    # 3x3x3, 16x28x28, 32 channels: 127 -> 14
    images = _merge_depth(x, window.size[0], window.strides[0], window.dilations[0], window.padding[0])
    flat = Window(*(getattr(window, field.name)[1:] for field in dataclasses.fields(window)))
    w = filter_gradient(images, y.reshape(-1, *y.shape[2:]), window=flat, groups=1, precision=precision)
    return jnp.moveaxis(w.reshape(*w.shape[:2], window.size[0], x.shape[-1], y.shape[-1]), 2, 0)


def _convolve(x: jax.Array, w: jax.Array, strides: Ints, padding: Pairs, dilations: Ints, precision: Any) -> jax.Array:
    """Convolution without groups, in three dimensions by two-dimensional ones, which XLA has kernels for."""
    if len(strides) < 3:
        return _canonical(x, w, strides, padding, dilations, precision=precision)
    depth, *_, in_channels, out_channels = w.shape
    if strides[0] > 1:  # 3x3x3 with stride 2, 16x28x28, 32 channels: 7.5 -> 2.1
        images = _merge_depth(x, depth, strides[0], dilations[0], padding[0])
        flat = jnp.moveaxis(w, 0, 2).reshape(*w.shape[1:3], depth * in_channels, out_channels)
        y = _canonical(images, flat, strides[1:], padding[1:], dilations[1:], precision=precision)
        return y.reshape(x.shape[0], -1, *y.shape[1:])
    # All filters on each image, then what those of each depth gave is shifted and summed: 74 -> 9.0 (as above: 16).
    flat = jnp.moveaxis(w, 0, -2).reshape(*w.shape[1:4], depth * out_channels)
    y = _canonical(x.reshape(-1, *x.shape[2:]), flat, strides[1:], padding[1:], dilations[1:], precision=precision)
    y = y.reshape(*x.shape[:2], *y.shape[1:3], depth, out_channels)
    total = sum(padding[0]) - (depth - 1) * dilations[0]
    shifts = [padding[0][0] - tap * dilations[0] for tap in range(depth)]
    parts = [_pad(y[..., tap, :], ((shift, total - shift), (0, 0), (0, 0))) for tap, shift in enumerate(shifts)]
    return sum(parts[1:], parts[0])


def _merge_depth(x: jax.Array, size: int, stride: int, dilation: int, padding: tuple[int, int]) -> jax.Array:
    """``[batch * out_depth, height, width, size * channels]``: with each image those that its window has in depth."""
    x = _pad(x, (padding, (0, 0), (0, 0)))
    reach = x.shape[1] - (size - 1) * dilation
    taps = [lax.slice_in_dim(x, tap * dilation, tap * dilation + reach, stride, axis=1) for tap in range(size)]
    return lax.concatenate(taps, 4).reshape(-1, *x.shape[2:4], size * x.shape[-1])


def _has_few_phase_taps(window: Window) -> bool:
    """Whether the input gradient by phases wins.

    What it computes in vain is the share of the filters' size padded to a multiple of the strides. XLA's own strided
    input gradient is only bad in 2-D, where 7x7 filters with stride 2 on 224x224 cells: 41 -> 22, with up to half as
    much again (3x3 with stride 2 stays: 5.1, by phases 5.9), 4 in 1-D on 1000 cells, 64 channels: 2.7 -> 1.8, but a
    scalar loop in 3-D: 290 -> 2.6.
    """
    padded = math.prod(-(-(k + -before % s) // s) * s for _, _, k, s, _, (before, _) in _dimensions(window))
    return max(window.dilations) == 1 and (len(window.size) == 3 or padded <= 1.5 * math.prod(window.size))


def _input_gradient_by_phases(y: jax.Array, w: jax.Array, window: Window, precision: Any) -> jax.Array:
    """One convolution of stride 1 that gives all cells of a stride as channels, which then are set side by side.

    In one dimension, ``x[i]`` is the sum of ``y[o] * w[t]`` over ``i + before = t + s * o``. With zeros in front of
    ``w`` such that ``before`` is ``shift * s``, ``i = q * s + phase`` and ``t = u * s + phase``: ``o = q + shift - u``.
    """
    n = len(window.size)
    in_channels, out_channels = w.shape[-2:]
    filter_padding, taps, cells_out, padding = [], [], [], []
    for cells, outputs, k, s, _, (before, _) in _dimensions(window):
        front = -before % s
        u, q, shift = -(-(k + front) // s), -(-cells // s), (before + front) // s
        filter_padding.append((front, u * s - k - front))
        taps.append(u)
        cells_out.append(q)
        padding.append((u - 1 - shift, q - outputs + shift))
    # [*taps, out_channels, *phases, in_channels]
    split = jnp.pad(w, [*filter_padding, (0, 0), (0, 0)])
    split = split.reshape(*itertools.chain(*zip(taps, window.strides, strict=True)), in_channels, out_channels)
    split = split.transpose(*range(0, 2 * n, 2), 2 * n + 1, *range(1, 2 * n, 2), 2 * n)
    filters = jnp.flip(split, range(n)).reshape(*taps, out_channels, -1)
    phases = _convolve(y, filters, (1,) * n, tuple(padding), (1,) * n, precision)
    phases = phases.reshape(-1, *cells_out, *window.strides, in_channels)
    side_by_side = phases.transpose(0, *itertools.chain(*((1 + i, 1 + n + i) for i in range(n))), 2 * n + 1)
    x = side_by_side.reshape(-1, *(q * s for q, s in zip(cells_out, window.strides, strict=True)), in_channels)
    return lax.slice(x, (0,) * (n + 2), (x.shape[0], *window.input_shape, in_channels))


def _filter_gradient_by_rows(x: jax.Array, y: jax.Array, window: Window, precision: Any) -> jax.Array:
    """The sum of the filter gradients of a few rows of the output at a time.

    3x3, 28x28, 128 channels: 31 -> 13.8; 56x56, 64 channels: 33 -> 18.5; 14x14, 256 channels: 16 -> 14; 7x7 on
    224x224x3: 52 -> 16; 1x1, 56x56, 64 to 256 channels: 79 -> 18.
    """
    (cells, outputs, size, stride, dilation, (before, _)), _ = _dimensions(window)
    steps = min(outputs, -(-y.size * y.dtype.itemsize // CHUNK_BYTES))
    rows = -(-outputs // steps)
    steps = -(-outputs // rows)
    if steps == 1:
        return _filter_gradient_at_once(x, y, window, 1, precision)
    # the rows of the input that the rows of a step see, and that all steps together do
    seen, all_seen = ((count - 1) * stride + (size - 1) * dilation + 1 for count in (rows, rows * steps))
    x = _pad(x, ((before, all_seen - before - cells), (0, 0)))
    y = _pad(y, ((0, rows * steps - outputs), (0, 0)))
    part = Window(
        window.size,
        window.strides,
        window.dilations,
        ((0, 0), window.padding[1]),
        (seen, window.input_shape[1]),
        (rows, window.output_shape[1]),
    )

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        some_x = lax.dynamic_slice_in_dim(x, step * (rows * stride), seen, axis=1)
        some_y = lax.dynamic_slice_in_dim(y, step * rows, rows, axis=1)
        return total + _filter_gradient_at_once(some_x, some_y, part, 1, precision)

    start = zeros_varying_like(x, (*window.size, x.shape[-1], y.shape[-1]))
    return lax.fori_loop(0, steps, add, start)


def _filter_gradient_at_once(x: jax.Array, y: jax.Array, window: Window, groups: int, precision: Any) -> jax.Array:
    """A convolution in which batch and channels change places, ``y`` is the filters and strides are dilations."""
    n, batch, channels = len(window.size), x.shape[0], x.shape[-1]
    if groups == 1 and _is_pointwise(window):
        cells = _take_strides(x, window).reshape(-1, channels)
        w = lax.dot(y.reshape(-1, y.shape[-1]).T, cells, precision=precision)
        return w.T.reshape(*window.size, channels, -1)
    x = x.reshape(*x.shape[:-1], groups, channels // groups)
    x = jnp.moveaxis(x, (-1, 0), (0, -1)).reshape(channels // groups, *window.input_shape, groups * batch)
    padding = tuple(
        (before, (outputs - 1) * s + (k - 1) * d + 1 - cells - before)
        for cells, outputs, k, s, d, (before, _) in _dimensions(window)
    )
    y = jnp.moveaxis(y, 0, -2)
    w = _canonical(x, y, window.dilations, padding, window.strides, groups=groups, precision=precision)
    return jnp.moveaxis(w, 0, n)


def _canonical(
    x: jax.Array,
    w: jax.Array,
    strides: Ints,
    padding: Pairs,
    dilations: Ints,
    *,
    x_dilation: Ints | None = None,
    groups: int = 1,
    precision: Any = None,
) -> jax.Array:
    spatial = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        lhs_dilation=x_dilation,
        rhs_dilation=dilations,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
        precision=precision,
    )


def _is_pointwise(window: Window) -> bool:
    return set(window.size) == {1} and set(itertools.chain(*window.padding)) == {0}


def _take_strides(x: jax.Array, window: Window) -> jax.Array:
    return lax.slice(x, (0,) * x.ndim, x.shape, (1, *window.strides, 1))


def _dot(x: jax.Array, w: jax.Array, precision: Any) -> jax.Array:
    """``x`` times the only matrix of the filters."""
    return lax.dot_general(x, w.reshape(w.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def _pad(x: jax.Array, padding: Pairs) -> jax.Array:
    """Pads the spatial dimensions with zeros; negative pairs crop."""
    if not any(itertools.chain(*padding)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])


def _dimensions(window: Window) -> Any:
    """Cells, outputs, size, stride, dilation and padding of each spatial dimension."""
    return zip(
        window.input_shape,
        window.output_shape,
        window.size,
        window.strides,
        window.dilations,
        window.padding,
        strict=True,
    )
