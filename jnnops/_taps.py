"""Walks over the taps of a window: the cells that each one meets, and the outputs that meet each cell.

Slices of one padded array, combined element by element, fuse into one kernel that XLA vectorises over the channels.
Arrays are ``[batch, *spatial, channels]``.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.varying import vary_alike
from jnnops._window import Window

# Code grows with the taps that are unrolled, so of larger windows only the last axes are, as many as have no more taps.
UNROLLED_TAPS = 64


def window_cells(x: jax.Array, window: Window, tap: tuple[int, ...]) -> jax.Array:
    """The cells of the padded ``x`` that ``tap`` meets."""
    start = [u * d for u, d in zip(tap, window.dilations, strict=True)]
    stop = [
        a + (outputs - 1) * s + 1 if outputs else a
        for a, outputs, s in zip(start, window.output_shape, window.strides, strict=True)
    ]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *window.strides, 1))


def fold_taps(step: Callable[..., Any], start: Any, window: Window, *padded: jax.Array) -> Any:
    """``step(carry, number, *cells)`` for each tap in row-major order: its number, and the cells of each array.

    The number is an int where all taps are unrolled, otherwise traced. All arrays have one batch and padded shape.
    """
    rank = len(window.size)
    looped = next(axis for axis in range(rank + 1) if math.prod(window.size[axis:]) <= UNROLLED_TAPS)
    inner = list(itertools.product(*map(range, window.size[looped:])))
    if not looped:
        for number, tap in enumerate(inner):
            start = step(start, number, *(window_cells(x, window, tap) for x in padded))
        return start

    # the carry of a loop must vary over the axes of a `shard_map` as what is added to it does
    leaves, structure = jax.tree.flatten(start)
    start = jax.tree.unflatten(structure, vary_alike(*leaves, *padded)[: len(leaves)])
    # the rows that one step of the loop needs, of the axes that are looped
    spans = [(n - 1) * s + 1 for n, s in zip(window.output_shape[:looped], window.strides[:looped], strict=True)]
    unrolled = dataclasses.replace(window, size=(1,) * looped + window.size[looped:])

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

    return lax.fori_loop(0, math.prod(window.size[:looped]), row, start)


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

    One phase of the strides at a time, so that all slices have stride 1. Cell ``i`` of the input is cell ``s m + r`` of
    the padded one. Each phase ``r`` is computed for all ``m`` that any phase needs; then they interleave.

    Args:
        term: Elementwise; of slices of the ``outputs``.
        window: Whose taps are all unrolled.
        outputs: ``[batch, *out_spatial, channels]`` each.
        fills: For each of them what stands for outputs that are none, for which the terms must be 0.
    """
    first, counts, reach, pads = [], [], [], []
    for size, n, k, s, d, (before, _) in window.dimensions():
        first.append(before // s)
        counts.append((before + size - 1) // s - first[-1] + 1)
        reach.append((k - 1) * d // s)
        pads.append((reach[-1] - first[-1], first[-1] + counts[-1] - n, 0))
    # without the barrier XLA computes the padding anew in every tap
    padded = lax.optimization_barrier(
        [
            lax.pad(y, np.asarray(fill, y.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
            for y, fill in zip(outputs, fills, strict=True)
        ]
    )
    terms: dict[tuple[int, ...], list[jax.Array]] = {
        phase: [] for phase in itertools.product(*map(range, window.strides))
    }
    for tap in itertools.product(*map(range, window.size)):
        steps = [divmod(u * d, s) for u, d, s in zip(tap, window.dilations, window.strides, strict=True)]
        cells = [slice(r - q, r - q + count) for r, (q, _), count in zip(reach, steps, counts, strict=True)]
        terms[tuple(r for _, r in steps)].append(term(tap, *(y[(slice(None), *cells)] for y in padded)))
    zeros = jnp.zeros_like(terms[(0,) * len(window.size)][0])
    x = _interleave([functools.reduce(jnp.add, found, zeros) for found in terms.values()], window.strides)
    start = [before - a * s for (before, _), a, s in zip(window.padding, first, window.strides, strict=True)]
    stop = [a + size for a, size in zip(start, window.input_shape, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]))


def _interleave(phases: list[jax.Array], strides: tuple[int, ...]) -> jax.Array:
    """``[batch, *cells, channels]`` of each phase to ``[batch, *(cells * strides), channels]``."""
    if len(phases) == 1:
        return phases[0]
    n, (batch, *cells, channels) = len(strides), phases[0].shape
    x = jnp.stack(phases).reshape(*strides, batch, *cells, channels)
    order = [n, *itertools.chain.from_iterable((n + 1 + axis, axis) for axis in range(n)), 2 * n + 1]
    return x.transpose(order).reshape(batch, *(c * s for c, s in zip(cells, strides, strict=True)), channels)
