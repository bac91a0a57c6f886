"""The segments of monotone fits, from the top down: all segments of a level in one sweep over the rows.

A fit that decreases is above the mean of a segment just where the sum of what exceeds that mean is largest, so there
the segment falls into two; it is one if nothing is to be gained. Numbers in any order take some 20 sweeps for a row of
100,000. To pool adjacent violators one after the other, as on a processor, takes XLA as many steps as there are numbers
of 10 us and more each (jaxlib 0.10.2).

Which sum is largest is decided by numbers of twice the precision, as pairs of one and of what it lacks, so that ties of
float32 numbers are ties.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.varying import vary_with

Pair = tuple[jax.Array, jax.Array]


def decreasing_segments(x: jax.Array) -> jax.Array:
    """For each number of ``[rows, size]`` the segment that it belongs to, int32 from 0."""
    size = x.shape[1]
    places = lax.broadcasted_iota(jnp.int32, x.shape, 1)
    # a scale at which sums, times the size, are in range
    sums = _prefix_sums(x * 4.0 ** -size.bit_length())

    def split(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        is_first, _ = state
        falls_here = _falls_here(sums, is_first, places)
        return is_first | falls_here, jnp.any(falls_here)

    start = vary_with((places == 0, jnp.bool_(True)), x)
    return _numbers(lax.while_loop(lambda state: state[1], split, start)[0])


def segment_means(x: jax.Array, segments: jax.Array) -> jax.Array:
    """The mean of the segment of each number, linear in the numbers."""

    def over_segments(values: jax.Array) -> jax.Array:
        sums = _for_each_row(jax.ops.segment_sum, values, segments)
        return _take(sums, segments)

    share = 1 / over_segments(jnp.ones_like(x))
    rough = over_segments(x * share)
    # A long sum has lost much to rounding; that of the differences to it is small.
    return rough + over_segments((x - rough) * share)


def _numbers(is_first: jax.Array) -> jax.Array:
    return jnp.cumsum(is_first, 1, dtype=jnp.int32) - 1


def _falls_here(sums: Pair, is_first: jax.Array, places: jax.Array) -> jax.Array:
    """Whether a segment falls into two before a place, or more where several are alike."""
    size = places.shape[1]
    segments = _numbers(is_first)
    first = lax.cummax(jnp.where(is_first, places, 0), 1)
    is_last = jnp.roll(is_first, -1, 1)  # the first place of the row is one
    end = lax.cummin(jnp.where(is_last, places + 1, size), 1, reverse=True)
    before = _minus(_at(sums, places), _at(sums, first))
    whole = _minus(_at(sums, end), _at(sums, first))
    after = _minus(whole, before)
    part, length = ((to - first).astype(sums[0].dtype) for to in (places, end))
    # by how much the numbers before exceed the mean of all, times the length
    gain = _minus(_times(before, length), _times(whole, part))
    is_best = places > first
    for number in gain:
        candidates = jnp.where(is_best, number, -jnp.inf)
        most = _for_each_row(jax.ops.segment_max, candidates, segments)
        is_best &= number == _take(most, segments)
    return is_best & (before[0] / jnp.maximum(part, 1) >= after[0] / (length - part))


def _for_each_row(reduce: Callable[..., jax.Array], values: jax.Array, segments: jax.Array) -> jax.Array:
    """What a function of ``jax.ops`` makes of the numbers of each segment, as many as there are numbers in a row."""
    reduce_row = functools.partial(reduce, num_segments=values.shape[1], indices_are_sorted=True)
    return jax.vmap(reduce_row)(values, segments)


def _take(array: jax.Array, places: jax.Array) -> jax.Array:
    return jnp.take_along_axis(array, places, 1, mode="promise_in_bounds")


def _at(sums: Pair, places: jax.Array) -> Pair:
    return _take(sums[0], places), _take(sums[1], places)


def _prefix_sums(x: jax.Array) -> Pair:
    """The sum before each place and of all numbers: of all chunks of a row at once, then of the chunks."""
    rows, size = x.shape
    width = math.isqrt(size)
    chunks = -(-size // width)
    padded = lax.pad(x, np.asarray(0, x.dtype), [(0, 0, 0), (0, chunks * width - size, 0)])
    steps = jnp.moveaxis(padded.reshape(rows, chunks, width), 2, 0)
    totals, within = _running_sums((steps, jnp.zeros_like(steps)))
    (high, low), before = _running_sums((totals[0].T, totals[1].T))
    sums = _plus(within, (before[0].T[None], before[1].T[None]))
    flat = [jnp.moveaxis(part, 0, 2).reshape(rows, chunks * width)[:, :size] for part in sums]
    return jnp.concatenate([flat[0], high[:, None]], 1), jnp.concatenate([flat[1], low[:, None]], 1)


def _running_sums(values: Pair) -> tuple[Pair, Pair]:
    """The sum along the first axis, and those before each place."""

    def add(total: Pair, value: Pair) -> tuple[Pair, Pair]:
        return _plus(total, value), total

    return lax.scan(add, (jnp.zeros_like(values[0][0]), jnp.zeros_like(values[1][0])), values)


def _plus(a: Pair, b: Pair) -> Pair:
    total = a[0] + b[0]
    of_b = total - a[0]
    return _tidy(total, (a[0] - (total - of_b)) + (b[0] - of_b) + (a[1] + b[1]))


def _minus(a: Pair, b: Pair) -> Pair:
    return _plus(a, (-b[0], -b[1]))


def _times(a: Pair, b: jax.Array) -> Pair:
    product = a[0] * b
    (a_high, a_low), (b_high, b_low) = _halves(a[0]), _halves(b)
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return _tidy(product, rest + a[1] * b)


def _tidy(high: jax.Array, low: jax.Array) -> Pair:
    total = high + low
    return total, low - (total - high)


def _halves(x: jax.Array) -> Pair:
    """A number in two parts whose products are exact."""
    bits = lax.bitcast_convert_type(x, jnp.dtype(f"int{jnp.finfo(x.dtype).bits}"))
    high = lax.bitcast_convert_type(bits & -(2 ** (jnp.finfo(x.dtype).nmant // 2 + 1)), x.dtype)
    return high, x - high
