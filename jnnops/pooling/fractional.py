"""Fractional pooling: the average or the maximum of regions of varying size, so that images shrink by any ratio."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    Interval,
    accumulation_dtype,
    as_integer_array,
    as_key,
    as_number_array,
    as_static_bool,
    as_static_float,
    debug_check,
    describe,
    is_sequence,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.pooling._regions import outer, region_maxima, region_sizes, region_sums

_RATIO = Interval("be at least 1", low=1)
_SEQUENCES = ("row_pooling_sequence", "col_pooling_sequence")


@serializable
class FractionalPoolResult(NamedTuple):
    """The result of ``fractional_avg_pool`` and ``fractional_max_pool``."""

    output: jax.Array
    row_pooling_sequence: jax.Array
    col_pooling_sequence: jax.Array


@answers_tensorflow_names
def fractional_avg_pool(
    value: ArrayLike,
    pooling_ratio: float | Sequence[float],
    pseudo_random: bool = False,
    overlapping: bool = False,
    *,
    key: ArrayLike | None = None,
    row_pooling_sequence: ArrayLike | None = None,
    col_pooling_sequence: ArrayLike | None = None,
) -> FractionalPoolResult:
    """:func:`fractional_max_pool` with the average of each region.

    Args:
        value: ``[batch, height, width, channels]``, floating point or integer.
        pooling_ratio: How many times smaller the output is, at least 1: a number, two (rows, columns), or
            ``(1, rows, columns, 1)``. Not used for an axis whose sequence is given.
        pseudo_random: Whether longer and shorter regions alternate evenly, from a random start, instead of in random
            order.
        overlapping: Whether a region also has the first row of the region below and the first column of that beside.
        key: A ``jax.random`` key, needed unless both sequences are given.
        row_pooling_sequence: ``[out_height + 1]`` integers: the row at which each region begins, and the height. Drawn
            unless given; must rise from 0 by 1 to ``ceil(height / out_height)`` each, otherwise all of the output is
            NaN (of integers: the lowest number) and its gradient 0.
        col_pooling_sequence: ``[out_width + 1]`` integers: the columns, likewise.

    Returns:
        ``FractionalPoolResult(output, row_pooling_sequence, col_pooling_sequence)``: ``output`` is ``[batch,
        out_height, out_width, channels]`` in the dtype of ``value``, with 16-bit numbers summed in float32 and averages
        of integers rounded toward zero; the sequences are int32.

    Raises:
        TypeError: If ``value`` is neither integer nor floating point, ``pooling_ratio`` not static, or a sequence not
            integer.
        ValueError: If a shape or ratio does not fit, or there is no key to draw a sequence with.

    Note:
        The differences from TensorFlow are those of :func:`fractional_max_pool`.

    Example:
        >>> x = jnp.arange(25.0).reshape(1, 5, 5, 1)
        >>> y, *_ = nn.fractional_avg_pool(x, 2.0, row_pooling_sequence=[0, 2, 5], col_pooling_sequence=[0, 3, 5])
        >>> y.ravel().tolist()
        [3.5, 6.0, 16.0, 18.5]

    References:
        ``tf.nn.fractional_avg_pool``. Graham, "Fractional Max-Pooling", 2014.
    """
    return _fractional_pool(
        "fractional_avg_pool",
        _averages,
        value,
        pooling_ratio,
        pseudo_random,
        overlapping,
        key,
        (row_pooling_sequence, col_pooling_sequence),
    )


@answers_tensorflow_names
def fractional_max_pool(
    value: ArrayLike,
    pooling_ratio: float | Sequence[float],
    pseudo_random: bool = False,
    overlapping: bool = False,
    *,
    key: ArrayLike | None = None,
    row_pooling_sequence: ArrayLike | None = None,
    col_pooling_sequence: ArrayLike | None = None,
) -> FractionalPoolResult:
    """The maximum of each region, where rows and columns are cut at random into regions of nearly equal size.

    An axis of ``size`` cells is cut into ``floor(size / ratio)`` regions, of whose lengths none is more than 1 above
    another. The gradient goes to the first maximum of a region in row-major order, and only there. NaN and minus
    infinity propagate; the first NaN counts as the maximum.

    Args:
        value: ``[batch, height, width, channels]``, floating point or integer.
        pooling_ratio: How many times smaller the output is, at least 1: a number, two (rows, columns), or
            ``(1, rows, columns, 1)``. Not used for an axis whose sequence is given.
        pseudo_random: Whether longer and shorter regions alternate evenly, from a random start, instead of in random
            order.
        overlapping: Whether a region also has the first row of the region below and the first column of that beside.
        key: A ``jax.random`` key, needed unless both sequences are given.
        row_pooling_sequence: ``[out_height + 1]`` integers: the row at which each region begins, and the height. Drawn
            unless given; must rise from 0 by 1 to ``ceil(height / out_height)`` each, otherwise all of the output is
            NaN (of integers: the lowest number) and its gradient 0.
        col_pooling_sequence: ``[out_width + 1]`` integers: the columns, likewise.

    Returns:
        ``FractionalPoolResult(output, row_pooling_sequence, col_pooling_sequence)``: ``output`` is ``[batch,
        out_height, out_width, channels]`` in the dtype of ``value``; the sequences are int32.

    Raises:
        TypeError: If ``value`` is neither integer nor floating point, ``pooling_ratio`` not static, or a sequence not
            integer.
        ValueError: If a shape or ratio does not fit, or there is no key to draw a sequence with.

    Note:
        TensorFlow drops NaN and then has no gradient, gives -3.4e38 for a region of minus infinity, and takes neither
        sequences nor empty batches nor 16-bit inputs. As there, ``size / ratio`` is rounded to float32, which tells
        where the ratio divides the size: 8 cells at a ratio of 8 / 7 become 6 regions.

    Example:
        >>> x = jnp.arange(25.0).reshape(1, 5, 5, 1)
        >>> y, rows, columns = nn.fractional_max_pool(x, 2.0, key=jax.random.key(0))
        >>> y.shape, rows.shape, columns.shape
        ((1, 2, 2, 1), (3,), (3,))
        >>> y, *_ = nn.fractional_max_pool(x, 2.0, row_pooling_sequence=[0, 2, 5], col_pooling_sequence=[0, 3, 5])
        >>> y.ravel().tolist()
        [7.0, 9.0, 22.0, 24.0]

    References:
        ``tf.nn.fractional_max_pool``. Graham, "Fractional Max-Pooling", 2014.
    """
    return _fractional_pool(
        "fractional_max_pool",
        region_maxima,
        value,
        pooling_ratio,
        pseudo_random,
        overlapping,
        key,
        (row_pooling_sequence, col_pooling_sequence),
    )


def _fractional_pool(
    op: str,
    pool: Callable[[jax.Array, jax.Array, jax.Array, bool], jax.Array],
    value: ArrayLike,
    pooling_ratio: Any,
    pseudo_random: bool,
    overlapping: bool,
    key: ArrayLike | None,
    given: tuple[ArrayLike | None, ArrayLike | None],
) -> FractionalPoolResult:
    x = as_number_array(op, "value", value, rank=4)
    pseudo_random = as_static_bool(op, "pseudo_random", pseudo_random)
    overlapping = as_static_bool(op, "overlapping", overlapping)
    ratios = _resolve_ratios(op, pooling_ratio)
    drawn = any(sequence is None for sequence in given)
    key = as_key(op, key) if drawn or key is not None else None
    axes = zip(_SEQUENCES, given, x.shape[1:3], ratios, strict=True)
    sequences, outputs = zip(*(_as_sequence(op, *axis) for axis in axes), strict=True)
    return _draw_and_pool(x, key if drawn else None, sequences, outputs, pseudo_random, overlapping, op=op, pool=pool)


@functools.partial(jax.jit, static_argnames=("outputs", "pseudo_random", "overlapping", "op", "pool"))
def _draw_and_pool(
    x: jax.Array,
    key: jax.Array | None,
    given: tuple[jax.Array | None, jax.Array | None],
    outputs: tuple[int, int],
    pseudo_random: bool,
    overlapping: bool,
    *,
    op: str,
    pool: Callable[[jax.Array, jax.Array, jax.Array, bool], jax.Array],
) -> FractionalPoolResult:
    keys = (None, None) if key is None else jax.random.split(key)
    sequences, valid = [], []
    for argument, sequence, size, count, axis_key in zip(_SEQUENCES, given, x.shape[1:3], outputs, keys, strict=True):
        if sequence is None:
            sequence, holds = _draw(axis_key, size, count, pseudo_random), None
        else:
            sequence, holds = _check_sequence(op, argument, sequence, size)
        sequences.append(sequence)
        valid.append(holds)
    return FractionalPoolResult(_pool_regions(x, sequences, valid, pool, overlapping), *sequences)


def _resolve_ratios(op: str, pooling_ratio: Any) -> tuple[float, float]:
    """The ratios of the rows and of the columns."""
    given = pooling_ratio if is_sequence(pooling_ratio) else (pooling_ratio,)
    ratios = np.array([as_static_float(op, "pooling_ratio", ratio, _RATIO) for ratio in given])
    if ratios.shape not in ((1,), (2,), (4,)):
        raise ValueError(f"{op}: `pooling_ratio` must be a number or have length 2 or 4, got {describe(pooling_ratio)}")
    if ratios.shape == (4,):
        if (ratios[0], ratios[3]) != (1, 1):
            message = "must be 1 for the batch and channel dimensions"
            raise ValueError(f"{op}: `pooling_ratio` {message}, got {describe(pooling_ratio)}")
        ratios = ratios[1:3]
    rows, columns = np.broadcast_to(ratios, 2).tolist()
    return rows, columns


def _outputs(op: str, size: int, ratio: float) -> int:
    """The regions along an axis, to TensorFlow's precision."""
    outputs = int(np.float32(size) / np.float32(ratio))
    if outputs == 0:
        raise ValueError(f"{op}: `pooling_ratio` must be at most the size it divides, got {ratio} for size {size}")
    return outputs


def _draw(key: jax.Array, size: int, outputs: int, pseudo_random: bool) -> jax.Array:
    """Random boundaries ``[outputs + 1]``, ``size % outputs`` of whose increments are 1 more than the others."""
    shorter, longer = divmod(size, outputs)
    if longer == 0:
        boundaries = np.arange(outputs + 1) * shorter
    elif pseudo_random:
        # The paper's ceil(alpha (i + u)) with alpha = size / outputs, less the 1 that it counts from. TensorFlow draws
        # u from 0 to where the first increment becomes too long or the last one too short. Only whole outputs-th parts
        # of alpha u matter, so all of it is done in integers, exactly.
        start = jax.random.randint(key, (), 0, min(2 * outputs - longer, outputs + longer), jnp.int32)
        whole, parts = np.divmod(np.arange(1, outputs) * size, outputs)
        inner = whole.astype(np.int32) + (parts.astype(np.int32) + start) // outputs
        boundaries = jnp.pad(inner, 1).at[-1].set(size)
    else:
        increments = shorter + (np.arange(outputs) < longer)
        boundaries = jnp.pad(jnp.cumsum(jax.random.permutation(key, increments)), (1, 0))
    return jnp.asarray(boundaries, jnp.int32)


def _as_sequence(op: str, argument: str, value: Any, size: int, ratio: float) -> tuple[jax.Array | None, int]:
    """Converts a sequence, unless it is to be drawn, and counts the regions along its axis."""
    if value is None:
        return None, _outputs(op, size, ratio)
    given = as_integer_array(op, argument, value, rank=1)
    if not 2 <= given.shape[0] <= size + 1:
        raise ValueError(f"{op}: `{argument}` must have from 2 to {size + 1} boundaries, got {given.shape[0]}")
    return given, given.shape[0] - 1


def _check_sequence(op: str, argument: str, given: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The sequence as int32, and whether its values are good."""
    longest = -(-size // (given.shape[0] - 1))
    sequence = given.astype(jnp.int32)
    increments = sequence[1:] - sequence[:-1]
    holds = (sequence[0] == 0) & (sequence[-1] == size) & jnp.all((increments >= 1) & (increments <= longest))
    holds &= jnp.all(sequence.astype(given.dtype) == given)  # 64-bit numbers may not fit
    requirement = f"rise from 0 to {size} by 1 to {longest} each"
    return debug_check(op, argument, requirement, sequence, holds), holds


def _pool_regions(
    x: jax.Array,
    sequences: Sequence[jax.Array],
    valid: Sequence[jax.Array | None],
    pool: Callable[[jax.Array, jax.Array, jax.Array, bool], jax.Array],
    overlapping: bool,
) -> jax.Array:
    """Pools, and gives NaN instead if a given sequence is not ``valid``, by regions that are."""
    rows, columns = (
        sequence if holds is None else jnp.where(holds, sequence, _even(size, sequence.shape[0] - 1))
        for sequence, holds, size in zip(sequences, valid, x.shape[1:3], strict=True)
    )
    output = pool(x, rows, columns, overlapping)
    bad = jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    for holds in valid:
        if holds is not None:
            output = jnp.where(holds, output, jnp.asarray(bad, output.dtype))
    return output


def _even(size: int, outputs: int) -> jax.Array:
    """Boundaries of regions as equal as can be."""
    return jnp.asarray(np.arange(outputs + 1) * size // outputs, jnp.int32)


def _averages(x: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool) -> jax.Array:
    integers = jnp.issubdtype(x.dtype, jnp.integer)
    wide = accumulation_dtype(x.dtype)
    if integers and wide.itemsize < 4:
        wide = jnp.dtype(jnp.int32)
    sums = region_sums(x.astype(wide), rows, columns, overlapping)
    sizes = (region_sizes(b, size, overlapping) for b, size in zip((rows, columns), x.shape[1:3], strict=True))
    counts = jnp.broadcast_to(outer(jnp.multiply, *sizes), sums.shape).astype(wide)
    return (lax.div(sums, counts) if integers else sums / counts).astype(x.dtype)
