"""The gradient of a maximum over windows, as a gather of winners.

A maximum over windows can record for each output which cell of its window won: the number of that cell in row-major
order, its ``winner``. The derivative by the input is then linear and local: ``take_winners`` picks the winner's tangent
for each output, and its transpose ``add_winners`` sums for each cell the cotangents of the few windows that it won,
without any scatter. ``take_taps`` and ``add_taps`` are the same for what was added to the cells of each window, the
structuring element of a dilation.

Arrays are ``x: [batch, *spatial, channels]``, ``y`` and ``winners: [batch, *out_spatial, channels]`` and ``filters:
[taps, channels]``. A winner in the padding has no value and no gradient.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import differentiable, linear_pair, merging_into
from jnnops._primitives.varying import zeros_varying_like
from jnnops._windows.geometry import Window
from jnnops._windows.layout import along, pad_cells
from jnnops._windows.taps import UNROLLED_TAPS, fold_taps, sum_over_outputs

NO_WINNER = -1
SUMMED = 16  # cotangents in one kernel of `add_taps`; XLA does not vectorise a loop that sums fewer
SUMMED_TAPS = 16  # in one loop of it; more take long to compile
BLOCK_CELLS = 4096  # of a step of `add_taps`, times `SUMMED`; they stay in the cache for all taps


def winners_dtype(taps: int) -> Any:
    """The smallest integers that count the taps of a window."""
    return next(dtype for dtype in (jnp.int8, jnp.int16, jnp.int32) if taps <= jnp.iinfo(dtype).max)


def windows_are_apart(window: Window) -> bool:
    """Whether no cell lies between the cells of a window or in two windows."""
    return all(dim.dilation == 1 and (dim.outputs == 1 or dim.stride >= dim.taps) for dim in window.dimensions)


def first_real_cells(window: Window) -> np.ndarray:
    """The number of the first cell of each window that is not padding: ``[1, *out_spatial, 1]``."""
    rank = window.rank + 2
    numbers, any_real = np.zeros((1,) * rank, np.int64), np.ones((1,) * rank, bool)
    for axis, dim in enumerate(window.dimensions, start=1):
        is_real = dim.tap_cells() >= 0
        numbers = numbers * dim.taps + np.argmax(is_real, axis=1).reshape(along(axis, rank))
        any_real = any_real & is_real.any(axis=1).reshape(along(axis, rank))
    return np.where(any_real, numbers, NO_WINNER)


def _take_winners(x: jax.Array, winners: jax.Array, *, window: Window) -> jax.Array:
    x = lax.optimization_barrier(pad_cells(x, window.padding))

    def pick(y: jax.Array, number: Any, cells: jax.Array) -> jax.Array:
        return jnp.where(winners == jnp.asarray(number, winners.dtype), cells, y)

    return fold_taps(pick, jnp.zeros_like(winners, x.dtype), window, x)


def _add_winners(y: jax.Array, winners: jax.Array, *, window: Window) -> jax.Array:
    wide, taps = accumulation_dtype(y.dtype), math.prod(window.size)

    def won(number: Any, y: jax.Array, winners: jax.Array) -> jax.Array:
        return jnp.where(winners == jnp.asarray(number, winners.dtype), y, 0).astype(wide)

    if taps <= UNROLLED_TAPS:
        numbers = np.arange(taps).reshape(window.size)
        x = sum_over_outputs(lambda tap, *cells: won(numbers[tap], *cells), window, y, winners, fills=[0, NO_WINNER])
        return x.astype(y.dtype)

    if windows_are_apart(window):
        return _add_to_tiles(y, winners, window)

    # from outputs with as many gaps between them as the stride leaves, the taps backwards
    gaps = [(0, 0, 0), *((*dim.transposed_padding, dim.stride - 1) for dim in window.dimensions), (0, 0, 0)]
    y_gaps = lax.pad(y, np.asarray(0, y.dtype), gaps)
    winners_gaps = lax.pad(winners, np.asarray(NO_WINNER, winners.dtype), gaps)
    backwards = Window(tuple(dim._replace(stride=1, outputs=dim.cells) for dim in window.dimensions))
    x = fold_taps(
        lambda x, number, *cells: x + won(taps - 1 - number, *cells),
        jnp.zeros((y.shape[0], *window.input_shape, y.shape[-1]), wide),
        backwards,
        *lax.optimization_barrier((y_gaps, winners_gaps)),
    )
    return x.astype(y.dtype)


def _add_to_tiles(y: jax.Array, winners: jax.Array, window: Window) -> jax.Array:
    """To each cell of windows that are apart the cotangent of its window, if it is the winner."""
    rank = window.rank + 2
    number, crop = np.zeros((1,) * rank, np.int64), []
    for axis, dim in enumerate(window.dimensions, start=1):
        stride = max(dim.stride, dim.taps)  # of a single window the stride does not matter
        y, winners = (jnp.repeat(array, stride, axis=axis) for array in (y, winners))
        tap = np.arange(dim.outputs * stride) % stride
        # of a cell between the windows a number that none has
        tap = np.where(tap < dim.taps, tap, -math.prod(window.size) * dim.taps)
        number = number * dim.taps + tap.reshape(along(axis, rank))
        crop.append((-dim.before, dim.cells + dim.before - dim.outputs * stride))
    return pad_cells(jnp.where(winners == number.clip(NO_WINNER - 1).astype(winners.dtype), y, 0), crop)


def _take_taps(filters: jax.Array, winners: jax.Array, *, taps: int) -> jax.Array:
    chunks, count = _chunks(taps, UNROLLED_TAPS)
    filters = lax.pad(filters, np.asarray(0, filters.dtype), [(0, chunks * count - taps, 0), (0, 0, 0)])

    def pick(chunk: Any, y: jax.Array) -> jax.Array:
        for number in range(count):
            tap = chunk * count + number
            values = lax.dynamic_index_in_dim(filters, tap, keepdims=False)
            values = values.reshape((1,) * (winners.ndim - 1) + values.shape)
            y = jnp.where(winners == jnp.asarray(tap, winners.dtype), values, y)
        return y

    start = zeros_varying_like(winners, winners.shape).astype(filters.dtype)
    return _for_each_chunk(pick, start, chunks)


def _add_taps(y: jax.Array, winners: jax.Array, *, taps: int) -> jax.Array:
    """A step takes a block of outputs, which stays in the cache for all taps, and adds up ``SUMMED`` of its lines.

    Only at the end the columns of the block are summed.
    """
    wide, channels = accumulation_dtype(y.dtype), y.shape[-1]
    if not y.size:
        return jnp.zeros_like(y, shape=(taps, channels))
    chunks, count = _chunks(taps, SUMMED_TAPS)
    outputs = math.prod(y.shape[:-1])
    width = max(1, min(BLOCK_CELLS // max(channels, 1), -(-outputs // SUMMED)))
    steps = -(-outputs // (SUMMED * width))

    def blocks(array: jax.Array, fill: int) -> jax.Array:
        # columns and channels as one axis, which XLA vectorises however few channels there are
        rest = (steps * SUMMED * width - outputs) * channels
        cells = lax.pad(array.ravel(), np.asarray(fill, array.dtype), [(0, rest, 0)])
        return cells.reshape(steps, SUMMED, width * channels)

    all_blocks = lax.optimization_barrier((blocks(y, 0), blocks(winners, NO_WINNER)))

    def total(chunk: Any, filters: jax.Array) -> jax.Array:
        def add(step: Any, totals: list[jax.Array]) -> list[jax.Array]:
            # without the barrier XLA does not vectorise the sums
            some_y, some_winners = lax.optimization_barrier(
                [lax.dynamic_index_in_dim(array, step, keepdims=False) for array in all_blocks]
            )
            found = []
            for number, sums in enumerate(totals):
                won = some_winners == jnp.asarray(chunk * count + number, winners.dtype)
                for line in range(SUMMED):
                    sums = sums + jnp.where(won[line], some_y[line], 0).astype(wide)
                found.append(sums)
            return found

        zeros = zeros_varying_like(y, (width * channels,)).astype(wide)
        sums = lax.fori_loop(0, steps, add, [zeros] * count)
        found = jnp.stack(sums).reshape(count, width, channels).sum(1)
        return lax.dynamic_update_slice_in_dim(filters, found, chunk * count, 0)

    start = zeros_varying_like(y, (chunks * count, channels)).astype(wide)
    return _for_each_chunk(total, start, chunks)[:taps].astype(y.dtype)


def _chunks(taps: int, most: int) -> tuple[int, int]:
    """Into how many chunks to cut the taps, and how many each has; the last may reach beyond the last tap."""
    chunks = -(-taps // most)
    return chunks, -(-taps // chunks)


def _for_each_chunk(step: Any, start: jax.Array, chunks: int) -> jax.Array:
    if chunks == 1:
        return step(0, start)
    return lax.fori_loop(0, chunks, lambda chunk, carry: step(lax.convert_element_type(chunk, np.int32), carry), start)


# take_winners(x, winners, *, window) -> y: the cell of each window that won.
# add_winners(y, winners, *, window) -> x: for each cell the sum over the windows that it won.
take_winners, add_winners = linear_pair(_take_winners, _add_winners, merging_into(0))

# take_taps(filters, winners, *, taps) -> y: the filter's entry of the tap that won.
# add_taps(y, winners, *, taps) -> filters: for each tap the sum over the windows that it won.
take_taps, add_taps = linear_pair(_take_taps, _add_taps, merging_into(-1))


def _of_winners(values: jax.Array, x: jax.Array, winners: jax.Array, *, window: Window) -> jax.Array:
    del x, winners, window
    return values


def _of_winners_jvp(primals: Any, tangents: Any, *, window: Window) -> tuple[jax.Array, jax.Array]:
    values, x, winners = primals
    _, tangent, _ = tangents
    taken = jnp.zeros_like(values) if tangent is None else take_winners(tangent, winners, window=window)
    return of_winners(values, x, winners, window=window), taken


# of_winners(values, x, winners, *, window) -> values: those that the winners have in `x`, as a function of `x` alone.
# A rule of differentiation returns its value by this, so that the winner of a tie stays the same in every order, where
# the derivative of `jnp.maximum` would share.
of_winners = differentiable(_of_winners, _of_winners_jvp, merging_into(0))
