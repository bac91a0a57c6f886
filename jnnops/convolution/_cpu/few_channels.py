"""How a convolution of a few input channels for each group, and its gradients, are lowered on CPU.

XLA runs grouped convolutions there as scalar loops. A sum over the taps of shifted slices, each times its weights, is
elementwise, which XLA fuses and vectorises over the channels. With more than one channel for each group it is the sum
over the members of the groups.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.varying import zeros_varying_like
from jnnops._windows.geometry import Window
from jnnops._windows.layout import pad_cells
from jnnops._windows.taps import sum_over_outputs, window_cells

MAX_TAPS = 64  # the code grows with the taps, the members of a group and the outputs of a channel
MAX_MEMBERS = {"forward": 4, "gradient": 2}  # of a group; with more, products of matrices win
PRODUCTS = 16  # that one kernel of the filter gradient sums; XLA does not vectorise a sum of fewer


def fits(window: Window, groups: int, channels: int, outputs: int, *, direction: str) -> bool:
    """Whether the lowerings of this module are meant for such a convolution, ``forward`` or a ``gradient`` of it."""
    members = channels // groups
    products = members * math.prod(window.size)
    return groups > 1 and members <= MAX_MEMBERS[direction] and products <= MAX_TAPS and outputs <= groups * MAX_TAPS


def forward(x: jax.Array, w: jax.Array, window: Window) -> jax.Array:
    """The convolution."""
    members = w.shape[-2]
    parts = [_forward(x[..., n::members], w[..., n : n + 1, :], window) for n in range(members)]
    return sum(parts[1:], parts[0])


def input_gradient(y: jax.Array, w: jax.Array, window: Window, groups: int) -> jax.Array:
    """The transpose in the input."""
    parts = [_input_gradient(y, w[..., n : n + 1, :], window, groups) for n in range(w.shape[-2])]
    return jnp.stack(parts, -1).reshape(*parts[0].shape[:-1], -1)


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, groups: int) -> jax.Array:
    """The transpose in the filters."""
    members = x.shape[-1] // groups
    parts = [_filter_gradient(x[..., n::members], y, window) for n in range(members)]
    return lax.concatenate(parts, len(window.size))


def _forward(x: jax.Array, w: jax.Array, window: Window) -> jax.Array:
    """The convolution: of a padded input, the sum over the taps of a shifted slice times that tap's weights."""
    dtype, wide = x.dtype, accumulation_dtype(x.dtype)
    x = pad_cells(_repeat_channels(x, w.shape[-1]), window.padding)
    # without the barrier XLA computes the padding anew in every tap
    x = lax.optimization_barrier(x)
    taps = itertools.product(*map(range, window.size))
    products = [_times(window_cells(x, window, tap).astype(wide), w[(*tap, 0)].astype(wide)) for tap in taps]
    return sum(products[1:], products[0]).astype(dtype)


def _input_gradient(y: jax.Array, w: jax.Array, window: Window, channels: int) -> jax.Array:
    """The transpose in the input."""
    wide = accumulation_dtype(w.dtype)
    weights = w[..., 0, :].astype(wide)
    # the outputs of a channel not summed yet
    x = sum_over_outputs(lambda tap, y: _times(y.astype(wide), weights[tap]), window, y, fills=[0])
    multiplier = w.shape[-1] // channels
    if multiplier > 1:
        # as whole slices: a sum over a last axis this short is a scalar loop, 8 times slower
        x = lax.optimization_barrier(x)
        parts = [x[..., output::multiplier] for output in range(multiplier)]
        x = functools.reduce(jnp.add, parts)
    return x.astype(y.dtype)


class _Blocks(NamedTuple):
    """How the outputs are cut into blocks for the steps of a filter gradient.

    Attributes:
        images: Of one block.
        rows: Of one block.
        kept: How many of its rows are not summed in a step.
        number: Of blocks of the same images.
    """

    images: int
    rows: int
    kept: int
    number: int


def _cut(batch: int, window: Window) -> _Blocks:
    outputs = window.dimensions[0].outputs
    images = max(n for n in (1, 2, 4) if batch % n == 0)
    summed = min(PRODUCTS // images, outputs)
    kept = 1 if window.rank > 1 else -(-outputs // summed)  # of sequences, which have no columns
    return _Blocks(images, summed * kept, kept, -(-outputs // (summed * kept)))


def _filter_gradient(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    """The transpose in the filters: for each tap the sum of the products of its slices with the cotangent.

    A step takes a few rows of a few images, which stay in the cache for all taps, and adds them up for each column and
    channel; only at the end the columns are summed.
    """
    dtype, wide, channels = x.dtype, accumulation_dtype(x.dtype), y.shape[-1]
    dim, others = window.dimensions[0], window.after_first()
    blocks = _cut(y.shape[0], window)
    seen, all_seen = dim.cells_of(blocks.rows), dim.cells_of(blocks.rows * blocks.number)
    x = _repeat_channels(x, channels)
    x = pad_cells(x, [(dim.before, all_seen - dim.before - x.shape[1]), *others.padding])
    y = pad_cells(y, [(0, blocks.rows * blocks.number - dim.outputs), *[(0, 0)] * others.rank])
    part_window = window.replace(stop=1, outputs=blocks.rows)
    taps = list(itertools.product(*map(range, window.size)))

    def add(step: Any, totals: list[jax.Array]) -> list[jax.Array]:
        some_x, some_y = lax.optimization_barrier(
            (_take_block(x, step, blocks, seen, dim.stride), _take_block(y, step, blocks, blocks.rows))
        )
        found = []
        for tap, total in zip(taps, totals, strict=True):
            cells = window_cells(some_x, part_window, tap)
            for image, first in itertools.product(range(blocks.images), range(0, blocks.rows, blocks.kept)):
                lines = slice(first, first + blocks.kept)
                total = total + cells[image, lines].astype(wide) * some_y[image, lines].astype(wide)
            found.append(total)
        return found

    start = [zeros_varying_like(x, (blocks.kept, *others.output_shape, channels)).astype(wide) for _ in taps]
    totals = lax.fori_loop(0, y.shape[0] // blocks.images * blocks.number, add, start)
    w = jnp.stack([total.sum(range(total.ndim - 1)) for total in totals])
    return w.reshape(*window.size, 1, channels).astype(dtype)


def _take_block(array: jax.Array, step: Any, blocks: _Blocks, rows: int, stride: int = 1) -> jax.Array:
    """So many rows of the images of one step, from where its block begins."""
    step, number = lax.convert_element_type(step, np.int32), np.int32(blocks.number)
    image, row = lax.div(step, number) * blocks.images, lax.rem(step, number) * blocks.rows
    start = image, row * stride, *(np.int32(0),) * (array.ndim - 2)
    return lax.dynamic_slice(array, start, (blocks.images, rows, *array.shape[2:]), allow_negative_indices=False)


def _repeat_channels(x: jax.Array, channels: int) -> jax.Array:
    """Each channel as often as it has outputs, which stand side by side."""
    return x if x.shape[-1] == channels else jnp.repeat(x, channels // x.shape[-1], axis=-1)


def _times(x: jax.Array, weights: jax.Array) -> jax.Array:
    return x * weights.reshape((1,) * (x.ndim - 1) + weights.shape)
