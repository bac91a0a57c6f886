"""How ``_linear`` lowers convolution and its two gradients on CPU.

Only canonical convolutions are emitted, channels last with filters ``[*window, in, out]``: inside a loop XLA turns
those in any other layout into scalar loops, so that JAX's own filter gradient takes 25 to 50 times longer there.
Everything else is a choice by measurement with jaxlib 0.10.2 on two cores with AVX-512, on 8 images, in milliseconds.
XLA hands two-dimensional convolutions to YNNPACK, which is slower there than its own kernels; what these do not get
because of that, and what they do badly, goes another way. In one dimension nothing gained but for the strided input
gradient. The code that comes out does not grow with the images.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops import _linear_depthwise as depthwise
from jnnops import _linear_strided as strided
from jnnops._primitives.varying import zeros_varying_like
from jnnops._window import Window, pad_cells

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# Of what one step of the filter gradient reads: a step's arrays and its patches of them stay in the cache. Between a
# quarter and four times of it, times differ by a fifth.
CHUNK_BYTES = 3 << 19
# Of the outputs of a convolution that are computed only to have XLA's own kernels take it.
MAX_NEEDLESS = 1 / 6
# That a convolution of some groups at once should have.
MIN_CHANNELS = 32


def forward(x: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``y`` of ``x`` and ``w``."""
    if depthwise.fits(window, groups, x.shape[-1], w.shape[-1], direction="forward"):
        return depthwise.forward(x, w, window)
    if groups > 1:
        parts = _parts(groups, min(w.shape[-2], w.shape[-1] // groups))
        return _map_parts(
            lambda x, w: forward(x, w, window=window, groups=1, precision=precision),
            _split_channels(x, parts),
            _block_diagonal(w, groups, parts),
        )
    if _is_pointwise(window):  # 56x56, 64 to 256 channels: 5.5 -> 4.9; from 28x28 cells on every second one: 3.0
        return _dot(_take_strides(x, window), w, precision)
    if strided.fits(window, x.shape[-1]):
        return strided.forward(x, w, window, precision)
    return _convolve(x, w, window.strides, window.padding, window.dilations, precision)


def input_gradient(y: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``x`` of ``y`` and ``w``: a convolution with the filters reversed and in and out swapped."""
    if depthwise.fits(window, groups, groups * w.shape[-2], w.shape[-1], direction="gradient"):
        return depthwise.input_gradient(y, w, window, groups)
    if groups > 1:
        parts = _parts(groups, min(w.shape[-2], w.shape[-1] // groups))
        return _map_parts(
            lambda y, w: input_gradient(y, w, window=window, groups=1, precision=precision),
            _split_channels(y, parts),
            _block_diagonal(w, groups, parts),
        )
    n = len(window.size)
    if _is_pointwise(window):  # 56x56, 64 to 256 channels: 7.5 -> 4.9
        return _put_strides(_dot(y, jnp.swapaxes(w, -1, -2), precision), window)
    is_strided = math.prod(window.strides) > 1
    if is_strided and _has_few_row_phase_taps(window, w.shape[-2]):
        return _input_gradient_by_row_phases(y, w, window, precision)
    if is_strided and _has_few_phase_taps(window):
        return _input_gradient_by_phases(y, w, window, precision)
    turned = jnp.swapaxes(jnp.flip(w, range(n)), -1, -2)
    padding = []
    for cells, outputs, k, s, d, (before, _) in window.dimensions():
        low = (k - 1) * d - before
        padding.append((low, cells - ((outputs - 1) * s + 1) + before))
    padding = tuple(padding)
    if not is_strided:
        return _convolve(y, turned, (1,) * n, padding, window.dilations, precision)
    return _canonical(y, turned, (1,) * n, padding, window.dilations, x_dilation=window.strides, precision=precision)


def filter_gradient(x: jax.Array, y: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    """``w`` of ``x`` and ``y``."""
    if 0 in (x.size, y.size):  # integers come here directly, not by `_linear`, which takes care of it
        return jnp.zeros((*window.size, x.shape[-1] // groups, y.shape[-1]), x.dtype)
    if depthwise.fits(window, groups, x.shape[-1], y.shape[-1], direction="gradient"):
        return depthwise.filter_gradient(x, y, window, groups)
    if groups > 1:
        parts = _parts(groups, min(x.shape[-1], y.shape[-1]) // groups)
        blocks = lax.map(
            lambda pair: filter_gradient(*pair, window=window, groups=1, precision=precision),
            (_split_channels(x, parts), _split_channels(y, parts)),
        )
        return _diagonal_blocks(blocks, groups // parts)
    if len(window.size) == 1:
        return _filter_gradient_at_once(x, y, window, precision)
    if _is_pointwise(window):  # 56x56, 64 to 256 channels: 88 -> 9.7; the transpose in the dot is free
        cells = _take_strides(x, window).reshape(-1, x.shape[-1])
        w = lax.dot(cells.T, y.reshape(-1, y.shape[-1]), precision=precision)
        return w.reshape(*window.size, *w.shape)
    if strided.fits(window, x.shape[-1]):
        return strided.filter_gradient(x, y, window, precision)
    if len(window.size) == 2:
        return _filter_gradient_by_rows(x, y, window, precision)
    # The windows' depth becomes channels of whichever has less. 3x3x3, 16x28x28, 32 channels: 127 -> 20; 3x1x1 from 72
    # to 32 channels: 16 -> 6.8
    (_, _, size, stride, dilation, padding), *_ = window.dimensions()
    flat = _without_first(window)
    c, o = x.shape[-1], y.shape[-1]
    if stride > 1 or c <= o:
        images = _merge_depth(x, size, stride, dilation, padding)
        w = filter_gradient(images, y.reshape(-1, *y.shape[2:]), window=flat, groups=1, precision=precision)
        return jnp.moveaxis(w.reshape(*flat.size, size, c, o), 2, 0)
    reach = (size - 1) * dilation
    low = reach - padding[0]
    images = _merge_depth(y, size, 1, dilation, (low, reach + x.shape[1] - low - y.shape[1]))
    w = filter_gradient(x.reshape(-1, *x.shape[2:]), images, window=flat, groups=1, precision=precision)
    return jnp.flip(jnp.moveaxis(w.reshape(*flat.size, c, size, o), 3, 0), 0)


def _convolve(x: jax.Array, w: jax.Array, strides: Ints, padding: Pairs, dilations: Ints, precision: Any) -> jax.Array:
    """Convolution without groups, in three dimensions by two-dimensional ones, which XLA has kernels for."""
    if len(strides) == 1:
        return _canonical(x, w, strides, padding, dilations, precision=precision)
    if len(strides) == 2:
        return _convolve_images(x, w, strides, padding, dilations, precision)
    depth, *_, in_channels, out_channels = w.shape
    if strides[0] > 1:  # 3x3x3 with stride 2, 16x28x28, 32 channels: 7.5 -> 2.1
        images = _merge_depth(x, depth, strides[0], dilations[0], padding[0])
        flat = jnp.moveaxis(w, 0, 2).reshape(*w.shape[1:3], depth * in_channels, out_channels)
        y = _convolve_images(images, flat, strides[1:], padding[1:], dilations[1:], precision)
        return y.reshape(x.shape[0], -1, *y.shape[1:])
    # All filters on each image, then what those of each depth gave is shifted and summed: 74 -> 9.0 (as above: 16).
    flat = jnp.moveaxis(w, 0, -2).reshape(*w.shape[1:4], depth * out_channels)
    y = _convolve_images(x.reshape(-1, *x.shape[2:]), flat, strides[1:], padding[1:], dilations[1:], precision)
    y = y.reshape(*x.shape[:2], *y.shape[1:3], depth, out_channels)
    total = sum(padding[0]) - (depth - 1) * dilations[0]
    shifts = [padding[0][0] - tap * dilations[0] for tap in range(depth)]
    parts = [pad_cells(y[..., tap, :], ((shift, total - shift), (0, 0), (0, 0))) for tap, shift in enumerate(shifts)]
    return sum(parts[1:], parts[0])


def _convolve_images(
    x: jax.Array, w: jax.Array, strides: Ints, padding: Pairs, dilations: Ints, precision: Any
) -> jax.Array:
    """Two-dimensional convolution, if it costs little with as many needless outputs as keep it from YNNPACK.

    XLA's own kernels, which get what has more outputs than the input has cells, are faster: 3x3, 56x56, 64 channels:
    18.6 -> 13.1; 28x28, 128 channels: 13.7 -> 10.9; 14x14, 256 channels: 15.7 -> 13.4; 112x112, 32 channels: 29 -> 15.
    """
    if w.shape[:2] == (1, 1) and strides == (1, 1) and not any(itertools.chain(*padding)):
        return _dot(x, w, precision)
    needless = []
    for axis, (stride, pair, dilation) in enumerate(zip(strides, padding, dilations, strict=True)):
        cells = x.shape[1 + axis]
        outputs = (cells + sum(pair) - (w.shape[axis] - 1) * dilation - 1) // stride + 1
        needless.append((max(cells + 1 - outputs, 0) / outputs, axis, outputs, cells + 1))
    share, axis, outputs, more = min(needless)
    if share == 0 or share > MAX_NEEDLESS or not jnp.issubdtype(x.dtype, jnp.floating):
        return _canonical(x, w, strides, padding, dilations, precision=precision)
    extended = list(padding)
    extended[axis] = (padding[axis][0], padding[axis][1] + (more - outputs) * strides[axis])
    y = _canonical(x, w, strides, tuple(extended), dilations, precision=precision)
    return lax.slice_in_dim(y, 0, outputs, axis=1 + axis)


def _merge_depth(x: jax.Array, size: int, stride: int, dilation: int, padding: tuple[int, int]) -> jax.Array:
    """``[batch * out_depth, height, width, size * channels]``: with each image those that its window has in depth."""
    x = pad_cells(x, (padding, (0, 0), (0, 0)))
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
    padded = math.prod(-(-(k + -before % s) // s) * s for _, _, k, s, _, (before, _) in window.dimensions())
    return max(window.dilations) == 1 and (len(window.size) == 3 or padded <= 1.5 * math.prod(window.size))


def _input_gradient_by_phases(y: jax.Array, w: jax.Array, window: Window, precision: Any) -> jax.Array:
    """One convolution of stride 1 that gives all cells of a stride as channels, which then are set side by side.

    In one dimension, ``x[i]`` is the sum of ``y[o] * w[t]`` over ``i + before = t + s * o``. With zeros in front of
    ``w`` such that ``before`` is ``shift * s``, ``i = q * s + phase`` and ``t = u * s + phase``: ``o = q + shift - u``.
    """
    n = len(window.size)
    in_channels, out_channels = w.shape[-2:]
    filter_padding, taps, cells_out, padding = [], [], [], []
    for cells, outputs, k, s, _, (before, _) in window.dimensions():
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


def _has_few_row_phase_taps(window: Window, in_channels: int) -> bool:
    """Whether the input gradient by phases of the rows wins: with few channels it does not, 7x7 to 3: 34, so 97."""
    if len(window.size) != 2 or max(window.dilations) > 1:
        return False
    _, (_, outputs, k, s, _, (before, _)) = window.dimensions()
    padded = -(-(k + -before % s) // s) * s
    return s * in_channels > 16 and outputs >= 12 and padded <= 1.5 * k


def _input_gradient_by_row_phases(y: jax.Array, w: jax.Array, window: Window, precision: Any) -> jax.Array:
    """A convolution of stride 1 for every row of a stride, which gives all cells of a stride in that row as channels.

    Of the columns the filters are those of ``_input_gradient_by_phases``, of the rows the taps that meet the phase.
    Stride 2, 56x56, 64 channels: 3x3: 9.8 -> 5.2; 4x4: 17 -> 13; 3x3, 28x28, 128 to 256 channels: 11.7 -> 10.0; on
    14x14, to 512: 11.8, so 15.3.
    """
    in_channels, out_channels = w.shape[-2:]
    (height, rows, _, step, _, (above, _)), (width, columns, k, s, _, (before, _)) = window.dimensions()
    front = -before % s
    u, q, shift = -(-(k + front) // s), -(-width // s), (before + front) // s
    w = jnp.pad(w, [(0, 0), (front, u * s - k - front), (0, 0), (0, 0)])
    w = w.reshape(-1, u, s * in_channels, out_channels).swapaxes(2, 3)
    lines = -(-height // step)
    phases = []
    for phase in range(step):
        # rows `i * step + phase` meet the taps `(phase + above) % step + t * step` of `y`'s rows `i + first - t`
        first, tap = divmod(phase + above, step)
        filters = jnp.flip(w[tap::step], (0, 1))
        taps = len(filters)
        if taps:
            padding = ((taps - 1 - first, lines - rows + first), (u - 1 - shift, q - columns + shift))
            phases.append(_convolve_images(y, filters, (1, 1), padding, (1, 1), precision))
        else:
            phases.append(jnp.zeros((y.shape[0], lines, q, s * in_channels), y.dtype))
    x = jnp.stack(phases, 2).reshape(y.shape[0], lines * step, q * s, in_channels)
    return x[:, :height, :width]


def _filter_gradient_by_rows(x: jax.Array, y: jax.Array, window: Window, precision: Any) -> jax.Array:
    """The sum of one-dimensional filter gradients of a few rows at a time, the window's rows being more channels.

    These are channels of the cotangent, so that less gets transposed, or with strides of the input. XLA does not give
    YNNPACK what is one-dimensional. 3x3, 28x28, 128 channels: 48 -> 16; 56x56, 64 channels: 63 -> 17; 14x14, 256
    channels: 26 -> 16; 56x56, 64 channels with stride 2: 20 -> 11; 7x7 on 224x224x3: 126 -> 54.
    """
    (_, _, size, stride, dilation, (before, _)), _ = window.dimensions()
    reach = (size - 1) * dilation
    if stride > 1:
        by_tap, by_row, low = x, y, before
        offsets = [tap * dilation for tap in range(size)]
    else:
        by_tap, by_row, low = y, x, reach - before
        offsets = [reach - tap * dilation for tap in range(size)]
    row_bytes = by_tap.shape[2] * by_tap.shape[3] * size * by_tap.dtype.itemsize
    batch, lines = by_row.shape[:2]
    images = max((n for n in range(1, batch + 1) if batch % n == 0 and n * row_bytes <= CHUNK_BYTES), default=1)
    chunks = -(-lines // max(1, CHUNK_BYTES // (images * row_bytes)))
    rows = -(-lines // chunks)
    chunks = -(-lines // rows)
    seen, all_seen = ((count - 1) * stride + reach + 1 for count in (rows, rows * chunks))
    by_tap = pad_cells(by_tap, ((low, all_seen - low - by_tap.shape[1]), (0, 0)))
    by_row = pad_cells(by_row, ((0, rows * chunks - lines), (0, 0)))
    flat = _without_first(window)
    zero = np.int32(0)

    def part(step: Any) -> jax.Array:
        image, row = zero, lax.convert_element_type(step, np.int32)
        if images < batch:
            image, row = lax.div(row, np.int32(chunks)) * images, lax.rem(row, np.int32(chunks))

        def take(array: jax.Array, row: Any, count: int) -> jax.Array:
            start, sizes = (image, row, zero, zero), (images, count, *array.shape[2:])
            return lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)

        lines = take(by_tap, row * (rows * stride), seen)
        taps = [lax.slice_in_dim(lines, start, start + seen - reach, stride, axis=1) for start in offsets]
        pair = [lax.concatenate(taps, 3), take(by_row, row * rows, rows)]
        some_x, some_y = (array.reshape(-1, *array.shape[2:]) for array in (pair if stride > 1 else reversed(pair)))
        return _filters_behind_channels(some_x, some_y, flat, precision)

    steps = batch // images * chunks
    if steps == 1:
        w = part(zero)
    else:
        start = zeros_varying_like(x, jax.eval_shape(part, zero).shape)
        w = lax.fori_loop(0, steps, lambda step, total: total + part(step), start)
    if stride > 1:
        return w.reshape(size, x.shape[-1], -1, y.shape[-1]).transpose(0, 2, 1, 3)
    return w.reshape(x.shape[-1], -1, size, y.shape[-1]).transpose(2, 1, 0, 3)


def _filter_gradient_at_once(x: jax.Array, y: jax.Array, window: Window, precision: Any) -> jax.Array:
    w = _filters_behind_channels(x, y, window, precision)
    return jnp.moveaxis(w, 0, len(window.size))


def _filters_behind_channels(x: jax.Array, y: jax.Array, window: Window, precision: Any) -> jax.Array:
    """The filter gradient ``[in_channels, *window, out_channels]``.

    It is a convolution in which batch and channels change places, ``y`` is the filters and strides are dilations.
    """
    x = jnp.moveaxis(x, (-1, 0), (0, -1))
    padding = tuple(
        (before, (outputs - 1) * s + (k - 1) * d + 1 - cells - before)
        for cells, outputs, k, s, d, (before, _) in window.dimensions()
    )
    y = jnp.moveaxis(y, 0, -2)
    return _canonical(x, y, window.dilations, padding, window.strides, precision=precision)


def _parts(groups: int, channels: int) -> int:
    """In how many convolutions without groups one is done whose groups have that many channels, in or out.

    XLA runs groups as a scalar loop. So some share a convolution whose filters are zero between them, until it has
    enough channels for a matrix kernel. 3x3, 28x28, 128 channels in 2 groups: 36 -> 11.5, with gradients 347 -> 28.
    """
    divisors = (n for n in range(1, groups + 1) if groups % n == 0)
    return max((n for n in divisors if groups // n * channels >= MIN_CHANNELS), default=1)


def _map_parts(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """``function`` of each part, their channels side by side."""
    found = lax.map(lambda part: function(*part), arrays)
    return jnp.moveaxis(found, 0, -2).reshape(*found.shape[1:-1], -1)


def _split_channels(x: jax.Array, parts: int) -> jax.Array:
    """``[parts, ..., channels // parts]``."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], parts, -1), -2, 0)


def _block_diagonal(w: jax.Array, groups: int, parts: int) -> jax.Array:
    """The filters of each part: ``[parts, *window, in_channels // parts, out_channels // parts]``."""
    *size, i, o = w.shape
    m, o = groups // parts, o // groups
    blocks = jnp.moveaxis(w.reshape(*size, i, parts, m, o), -3, 0)  # [parts, *window, i, m, o]
    of_group = jnp.eye(m, dtype=bool)[:, None, :, None]
    return jnp.where(of_group, blocks[..., None, :, :, :], 0).reshape(parts, *size, m * i, m * o)


def _diagonal_blocks(w: jax.Array, m: int) -> jax.Array:
    """The transpose of ``_block_diagonal``."""
    parts, *size, i, o = w.shape
    blocks = w.reshape(parts, *size, m, i // m, m, o // m)
    of_group = jnp.eye(m, dtype=bool)[:, None, :, None]
    blocks = jnp.where(of_group, blocks, 0).sum(-4)  # [parts, *window, i, m, o]
    return jnp.moveaxis(blocks, 0, -3).reshape(*size, i // m, parts * o)


def _canonical(
    x: jax.Array,
    w: jax.Array,
    strides: Ints,
    padding: Pairs,
    dilations: Ints,
    *,
    x_dilation: Ints | None = None,
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
        precision=precision,
    )


def _without_first(window: Window) -> Window:
    """The window in the dimensions after the first."""
    return Window(*(getattr(window, field.name)[1:] for field in dataclasses.fields(window)))


def _is_pointwise(window: Window) -> bool:
    return set(window.size) == {1} and set(itertools.chain(*window.padding)) == {0}


def _take_strides(x: jax.Array, window: Window) -> jax.Array:
    return lax.slice(x, (0,) * x.ndim, x.shape, (1, *window.strides, 1))


def _put_strides(x: jax.Array, window: Window) -> jax.Array:
    """The transpose of ``_take_strides``."""
    if math.prod(window.strides) == 1:
        return x
    config = [
        (0, cells - ((outputs - 1) * stride + 1), stride - 1) for cells, outputs, _, stride, *_ in window.dimensions()
    ]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *config, (0, 0, 0)])


def _dot(x: jax.Array, w: jax.Array, precision: Any) -> jax.Array:
    """``x`` times the only matrix of the filters."""
    return lax.dot_general(x, w.reshape(w.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())), precision=precision)
