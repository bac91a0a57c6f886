"""Walks over the taps of a window: the cells that each one meets, and the outputs that meet each cell.

Slices of one padded array, combined element by element, fuse into one kernel that XLA vectorises over the channels.
Arrays are ``[batch, *spatial, channels]``.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.varying import vary_with
from jnnops._windows.geometry import Window
from jnnops._windows.phases import interleave, phases_of

# Code grows with the taps that are unrolled, so of larger windows only the last axes are, as many as have no more taps.
UNROLLED_TAPS = 64


def window_cells(x: jax.Array, window: Window, tap: tuple[int, ...]) -> jax.Array:
    """The cells of the padded ``x`` that ``tap`` meets."""
    # of no outputs nothing, at the beginning: the tap may lie beyond all padded cells
    start = [place * dim.dilation if dim.outputs else 0 for place, dim in zip(tap, window.dimensions, strict=True)]
    stop = [
        at + (dim.outputs - 1) * dim.stride + 1 if dim.outputs else 0
        for at, dim in zip(start, window.dimensions, strict=True)
    ]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *window.strides, 1))


def fold_taps(step: Callable[..., Any], start: Any, window: Window, *padded: jax.Array) -> Any:
    """``step(carry, number, *cells)`` for each tap in row-major order: its number, and the cells of each array.

    The number is an int where all taps are unrolled, otherwise traced. All arrays have one batch and padded shape.
    """
    rank = window.rank
    looped = next(axis for axis in range(rank + 1) if math.prod(window.size[axis:]) <= UNROLLED_TAPS)
    inner = list(itertools.product(*map(range, window.size[looped:])))
    if not looped:
        for number, tap in enumerate(inner):
            start = step(start, number, *(window_cells(x, window, tap) for x in padded))
        return start

    # what one step of the loop needs, of the axes that are looped
    spans = [(dim.outputs - 1) * dim.stride + 1 for dim in window.dimensions[:looped]]
    unrolled = window.replace(stop=looped, taps=1)

    def row(number: Any, carry: Any) -> Any:
        number = lax.convert_element_type(number, np.int32)
        place = _unravel(number, window.size[:looped])
        offsets = [at * np.int32(d) for at, d in zip(place, window.dilations[:looped], strict=True)]

        def part(x: jax.Array) -> jax.Array:
            offset = (np.int32(0), *offsets, *(np.int32(0),) * (rank - looped + 1))
            sizes = (x.shape[0], *spans, *x.shape[1 + looped :])
            return lax.dynamic_slice(x, offset, sizes, allow_negative_indices=False)

        # without the barrier the kernels of the loop are not vectorised
        parts = lax.optimization_barrier([part(x) for x in padded])
        for last, tap in enumerate(inner):
            cells = [window_cells(x, unrolled, (0,) * looped + tap) for x in parts]
            carry = step(carry, number * np.int32(len(inner)) + np.int32(last), *cells)
        return carry

    return lax.fori_loop(0, math.prod(window.size[:looped]), row, vary_with(start, *padded))


def _unravel(number: Any, sizes: Sequence[int]) -> list[Any]:
    """The coordinates of a traced number in row-major order."""
    place = []
    for size in reversed(sizes):
        place.insert(0, lax.rem(number, np.int32(size)))
        number = lax.div(number, np.int32(size))
    return place


def sum_over_outputs(
    term: Callable[..., jax.Array], window: Window, *outputs: jax.Array, fills: Sequence[float]
) -> jax.Array:
    """For each cell of the input the sum of ``term(tap, *cells)`` over the outputs whose ``tap`` meets it.

    One phase of the strides at a time, so that all slices have stride 1; then the phases interleave.

    Args:
        term: Elementwise; of slices of the ``outputs``.
        window: Whose taps are all unrolled.
        outputs: ``[batch, *out_spatial, channels]`` each.
        fills: For each of them what stands for outputs that are none, for which the terms must be 0.
    """
    split = [phases_of(dim) for dim in window.dimensions]
    # without the barrier XLA computes the padding anew in every tap
    padded = lax.optimization_barrier(
        [
            lax.pad(y, np.asarray(fill, y.dtype), [(0, 0, 0), *((*dim.padding, 0) for dim in split), (0, 0, 0)])
            for y, fill in zip(outputs, fills, strict=True)
        ]
    )
    terms: dict[tuple[int, ...], list[jax.Array]] = {
        phase: [] for phase in itertools.product(*map(range, window.strides))
    }
    for tap in itertools.product(*map(range, window.size)):
        lags, phase = zip(*(dim.of_tap(place) for dim, place in zip(split, tap, strict=True)), strict=True)
        cells = [slice(dim.last - lag, dim.last - lag + dim.cells) for dim, lag in zip(split, lags, strict=True)]
        terms[phase].append(term(tap, *(y[(slice(None), *cells)] for y in padded)))
    zeros = jnp.zeros_like(next(filter(None, terms.values()))[0])
    sums = [functools.reduce(jnp.add, found, zeros) for found in terms.values()]
    x = interleave(jnp.stack(sums).reshape(*window.strides, *zeros.shape), window.strides) if sums[1:] else sums[0]
    return lax.slice(x, (0,) * x.ndim, (x.shape[0], *window.input_shape, x.shape[-1]))
