"""Maxima and sums over regions of images whose boundaries are known only at run time.

``rows`` and ``columns`` are boundaries: ``outputs + 1`` integers that rise from 0 to the size, each by at most
``ceil(size / outputs)``. Region ``(i, j)`` has the rows from ``rows[i]`` up to ``rows[i + 1]``: without the latter, or
with it (where the image has such a row) if regions overlap; and columns likewise. Its cells are numbered row by row.

One cell of every region makes one gather from the image, and a reduction is a fold over as many of them as the largest
region has cells, where a smaller region repeats its last row or column. The transpose that JAX has for a gather is a
scatter, ten times slower on CPU than what the boundaries allow: each cell belongs to one region, or else also to the
one before it. Hence two linear primitives, each the transpose of the other: the sum of each region's cells, and for
each cell the sum of its regions.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import differentiable, linear_pair
from jnnops._primitives.varying import zeros_varying_like

# Up to this many cells all gathers of a fold make one pass; larger regions take a loop with so many in each turn.
UNROLLED_CELLS = 9


def region_maxima(x: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool) -> jax.Array:
    """The maximum of each region of ``[batch, height, width, channels]``, with the derivative of the first one."""
    return _maxima_of_regions(x, rows, columns, overlapping=overlapping)


def _region_maxima(x: jax.Array, rows: jax.Array, columns: jax.Array, *, overlapping: bool) -> jax.Array:
    count, width = _cells(x.shape, rows, columns, overlapping)
    cell = functools.partial(_take_cell, x, rows, columns, overlapping, width)
    return _fold(count, count, lambda number, y: jnp.maximum(y, cell(number)), cell(0))


def _region_maxima_jvp(primals: Any, tangents: Any, *, overlapping: bool) -> tuple[jax.Array, jax.Array]:
    x, rows, columns = primals
    y = region_maxima(x, rows, columns, overlapping)
    winners = _winners_of_regions(lax.stop_gradient(x), lax.stop_gradient(y), rows, columns, overlapping)
    return y, region_sums(tangents[0], rows, columns, overlapping, winners)


def _winners_of_regions(
    x: jax.Array, y: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool
) -> jax.Array:
    """``_first_maxima``, of images that may have leading axes."""
    first = functools.partial(_first_maxima, overlapping=overlapping)
    for _ in range(rows.ndim - 1):
        first = jax.vmap(first)
    return first(x, y, rows, columns)


def _first_maxima(x: jax.Array, y: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool) -> jax.Array:
    """The number of the first cell of each region that is its maximum ``y``, or NaN."""
    count, width = _cells(x.shape, rows, columns, overlapping)
    cell = functools.partial(_take_cell, x, rows, columns, overlapping, width)
    dtype = np.min_scalar_type(-count - UNROLLED_CELLS)

    def step(number: Any, winners: jax.Array) -> jax.Array:
        found = cell(number)
        return jnp.where((found == y) | (found != found), jnp.asarray(number, dtype), winners)

    # In two turns at least, since XLA never merges a loop with what reads its result. Otherwise it finds the winner
    # anew for every cell of the region, which takes two to five times as long ("Pooling" in docs/lowerings.rst).
    unroll = min(width, -(-count // 2))
    return _fold(count, unroll, step, zeros_varying_like(y, y.shape).astype(dtype), backwards=True)


def region_sums(
    x: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool, winners: jax.Array | None = None
) -> jax.Array:
    """The sum of each region, or with ``winners`` the cell with that number; linear in ``x``."""
    given = () if winners is None else (winners,)
    return _sum_regions(x, rows, columns, *given, shape=x.shape[-3:-1], overlapping=overlapping)


def _region_sums(
    x: jax.Array, rows: jax.Array, columns: jax.Array, *winners: jax.Array, shape: tuple[int, int], overlapping: bool
) -> jax.Array:
    """What ``region_sums`` computes."""
    count, width = _cells(x.shape, rows, columns, overlapping)
    last_rows, last_columns = (_last(b, size, overlapping) for b, size in zip((rows, columns), shape, strict=True))

    def step(number: Any, sums: jax.Array) -> jax.Array:
        if winners:
            inside = winners[0] == jnp.asarray(number, winners[0].dtype)
        else:
            in_rows = rows[:-1] + number // width <= last_rows
            in_columns = columns[:-1] + number % width <= last_columns
            inside = outer(jnp.logical_and, in_rows, in_columns)
        cell = _take_cell(x, rows, columns, overlapping, width, number)
        return sums + jnp.where(inside, cell.astype(sums.dtype), 0)

    sums = zeros_varying_like(x, (x.shape[0], rows.shape[0] - 1, columns.shape[0] - 1, x.shape[3]))
    return _fold(count, count, step, sums.astype(accumulation_dtype(x.dtype))).astype(x.dtype)


def _region_spread(
    y: jax.Array, rows: jax.Array, columns: jax.Array, *winners: jax.Array, shape: tuple[int, int], overlapping: bool
) -> jax.Array:
    """The transpose of ``_region_sums``: for each cell the sum of its regions, or of those whose winner it is."""
    width = _cells((0, *shape, 0), rows, columns, overlapping)[1]
    wide = accumulation_dtype(y.dtype)
    parts = []
    for before in itertools.product(range(1 + overlapping), repeat=2):
        (i, row, in_row), (j, column, in_column) = map(_owner, (rows, columns), shape, before)
        owned = outer(jnp.logical_and, in_row, in_column)
        if winners:
            number = outer(jnp.add, row * width, column).astype(winners[0].dtype)
            owned = owned & (_take(winners[0], i, j) == number)
        parts.append(jnp.where(owned, _take(y, i, j).astype(wide), 0))
    return functools.reduce(jnp.add, parts).astype(y.dtype)


def outer(combine: Callable[..., jax.Array], rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Combines a vector for the rows with one for the columns to ``[1, rows, columns, 1]``."""
    return combine(rows[None, :, None, None], columns[None, None, :, None])


def region_sizes(boundaries: jax.Array, size: int, overlapping: bool) -> jax.Array:
    """The cells of each region along an axis."""
    return _last(boundaries, size, overlapping) + 1 - boundaries[:-1]


def _cells(shape: tuple[int, ...], rows: jax.Array, columns: jax.Array, overlapping: bool) -> tuple[int, int]:
    """The most cells that a region has, and the most columns."""
    height, width = (
        -(-size // (boundaries.shape[-1] - 1)) + overlapping
        for size, boundaries in zip(shape[1:3], (rows, columns), strict=True)
    )
    return height * width, width


def _fold(
    count: int,
    unroll: int,
    step: Callable[[Any, jax.Array], jax.Array],
    start: jax.Array,
    *,
    backwards: bool = False,
) -> jax.Array:
    """Folds over the cells' numbers, and some more if ``unroll`` does not divide ``count``, which are no new cells."""
    unroll = min(unroll, UNROLLED_CELLS)
    count = -(-count // unroll) * unroll
    in_order = (lambda turn, folded: step(count - 1 - turn, folded)) if backwards else step
    return lax.fori_loop(np.int32(0), np.int32(count), in_order, start, unroll=unroll)


def _last(boundaries: jax.Array, size: int, overlapping: bool) -> jax.Array:
    """The last cell of each region along an axis."""
    return jnp.minimum(boundaries[1:], size - 1) if overlapping else boundaries[1:] - 1


def _owner(boundaries: jax.Array, size: int, before: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each cell along an axis the region, or the one before it; its place there; and whether it belongs to it."""
    cells = jnp.arange(size, dtype=boundaries.dtype)
    region = jnp.sum(cells[:, None] >= boundaries[None, 1:-1], axis=1, dtype=boundaries.dtype) - before
    belongs = (region >= 0) & ((before == 0) | (cells == boundaries[region + 1]))
    return region, cells - boundaries[region], belongs


def _take_cell(
    x: jax.Array, rows: jax.Array, columns: jax.Array, overlapping: bool, width: int, number: Any
) -> jax.Array:
    """The cell with that number of every region; a region that has no such row or column repeats its last."""
    i = jnp.minimum(rows[:-1] + number // width, _last(rows, x.shape[1], overlapping))
    j = jnp.minimum(columns[:-1] + number % width, _last(columns, x.shape[2], overlapping))
    return _take(x, i, j)


def _take(x: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    """``x[:, i][:, :, j]``, as one gather whose result XLA need not transpose."""
    indices = jnp.stack(jnp.broadcast_arrays(i[:, None], j[None, :]), axis=-1)
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=(3,),
        collapsed_slice_dims=(1, 2),
        start_index_map=(1, 2),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    indices = jnp.broadcast_to(indices, (x.shape[0], *indices.shape))
    return lax.gather(x, indices, dimensions, (1, 1, 1, x.shape[3]), mode="clip")


def _one_after_another(
    compute: Callable[..., jax.Array],
) -> Callable[..., jax.Array]:
    """What ``compute`` gives for each of the images and their boundaries in further leading axes, which all have."""

    @functools.wraps(compute)
    def each(x: jax.Array, rows: jax.Array, *rest: jax.Array, **params: Any) -> jax.Array:
        mapped = functools.partial(compute, **params)
        for _ in range(rows.ndim - 1):
            mapped = jax.vmap(mapped)
        return mapped(x, rows, *rest)

    return each


def _stack(
    operation: Callable[..., jax.Array], arrays: Sequence[Any], axes: Sequence[int | None], **params: Any
) -> tuple[jax.Array, int]:
    """The batching rule: the mapped axis becomes a leading one of every array."""
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    mapped = [
        jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    ]
    return operation(*mapped, **params), 0


_maxima_of_regions = differentiable(_one_after_another(_region_maxima), _region_maxima_jvp, _stack)

# (x or y, rows, columns, winners or nothing, *, shape, overlapping), linear in the first
_sum_regions, _ = linear_pair(_one_after_another(_region_sums), _one_after_another(_region_spread), _stack)
