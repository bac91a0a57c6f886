"""How a convolution of a few input channels for each group, and its gradients, are lowered on CPU.

XLA runs grouped convolutions there as scalar loops. A sum over the taps of shifted slices, each times its weights, is
elementwise, which XLA fuses and vectorises over the channels. With more than one channel for each group it is the sum
over the members of the groups: 3x3, 28x28, 128 channels in 32 groups: 8.2 -> 3.7 against products of matrices; in 64
groups: 6.9 -> 1.7, its input gradient 6.7 -> 1.6, its filter gradient 15.5 -> 4.9.
"""

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.varying import zeros_varying_like
from jnnops._taps import sum_over_outputs, window_cells
from jnnops._window import Window, pad_cells

MAX_TAPS = 64  # the code grows with the taps, the members of a group and the outputs of a channel
MAX_MEMBERS = {"forward": 4, "gradient": 2}  # of a group; with more, products of matrices win
PRODUCTS = 16  # that one kernel of the filter gradient sums


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


def _filter_gradient(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    """The transpose in the filters: for each tap the sum of the products of its slices with the cotangent.

    A step takes a few rows of a few images, which stay in the cache for all taps, and adds them up for each column and
    channel; only at the end the columns are summed. A sum of fewer products XLA does not vectorise: 3x3, 56x56, 128
    channels: 8 products 17.8, 16 products 8.1; 5x5: 42 and 14. Without steps these are 13 and 53.
    """
    dtype, wide = x.dtype, accumulation_dtype(x.dtype)
    batch, channels = y.shape[0], y.shape[-1]
    (_, outputs, size, stride, dilation, (before, _)), *_ = window.dimensions()
    others, paddings = window.output_shape[1:], window.padding[1:]
    images = max(n for n in (1, 2, 4) if batch % n == 0)
    rows = min(PRODUCTS // images, outputs)  # that are summed
    kept = 1 if others else -(-outputs // rows)  # that are not, where there are no columns
    block = rows * kept
    blocks = -(-outputs // block)
    seen, all_seen = ((count - 1) * stride + (size - 1) * dilation + 1 for count in (block, block * blocks))
    x = pad_cells(_repeat_channels(x, channels), [(before, all_seen - before - x.shape[1]), *paddings])
    y = pad_cells(y, [(0, block * blocks - outputs), *[(0, 0)] * len(others)])
    part_window = dataclasses.replace(window, output_shape=(block, *others))
    taps = list(itertools.product(*map(range, window.size)))
    zero = np.int32(0)

    def add(step: Any, totals: list[jax.Array]) -> list[jax.Array]:
        step = lax.convert_element_type(step, np.int32)
        image, row = lax.div(step, np.int32(blocks)) * images, lax.rem(step, np.int32(blocks)) * block

        def take(array: jax.Array, row: Any, count: int) -> jax.Array:
            start, sizes = (image, row, *[zero] * (y.ndim - 2)), (images, count, *array.shape[2:])
            return lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)

        some_x, some_y = lax.optimization_barrier((take(x, row * stride, seen), take(y, row, block)))
        found = []
        for tap, total in zip(taps, totals, strict=True):
            cells = window_cells(some_x, part_window, tap)
            for image_, first in itertools.product(range(images), range(0, block, kept)):
                lines = slice(first, first + kept)
                total = total + cells[image_, lines].astype(wide) * some_y[image_, lines].astype(wide)
            found.append(total)
        return found

    start = [zeros_varying_like(x, (kept, *others, channels)).astype(wide) for _ in taps]
    totals = lax.fori_loop(0, batch // images * blocks, add, start)
    w = jnp.stack([total.sum(range(total.ndim - 1)) for total in totals])
    return w.reshape(*window.size, 1, channels).astype(dtype)


def _repeat_channels(x: jax.Array, channels: int) -> jax.Array:
    """Each channel as often as it has outputs, which stand side by side."""
    return x if x.shape[-1] == channels else jnp.repeat(x, channels // x.shape[-1], axis=-1)


def _times(x: jax.Array, weights: jax.Array) -> jax.Array:
    return x * weights.reshape((1,) * (x.ndim - 1) + weights.shape)
