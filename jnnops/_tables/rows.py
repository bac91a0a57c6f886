"""Rows of a table as a linear primitive, and its transpose: what every lookup of the library goes through.

``take_rows`` and ``add_rows`` are each other's transposes, which gives forward mode, reverse mode and all mixtures of
any order. They are primitives, rather than a ``gather``, for three reasons: the gradient of a row that is looked up
many times is summed in float32 however few bits the table has, the lowering is chosen by measurement, and
:mod:`jnnops.sparse` finds the lookups of a table in a traced program by them.

A table is ``[num_rows, *row_shape]``, ids are integers of any shape, and ``rows`` are ``[*ids.shape, *row_shape]``. An
id out of range takes a row of zeros and adds nothing. The primitives' ids are int32 or int64.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import Operation, linear_pair
from jnnops._primitives.varying import vary_with, zeros_varying_like
from jnnops._tables.ids import in_range, signed


def take_rows(table: jax.Array, ids: jax.Array) -> jax.Array:
    """The row of each id: ``[*ids.shape, *row_shape]``; zeros for ids out of range."""
    if not ids.size:  # XLA refuses the gradient in a shard_map before jaxlib 0.10.2, whatever computes it
        return vary_with(jnp.zeros((*ids.shape, *table.shape[1:]), table.dtype), table, ids)
    return TAKE(table, signed(ids), num_rows=table.shape[0])


def add_rows(rows: jax.Array, ids: jax.Array, num_rows: int) -> jax.Array:
    """A table of zeros to which each row is added at its id: ``[num_rows, *row_shape]``, summed in float32 at least."""
    return ADD(rows, signed(ids), num_rows=num_rows)


def _take(table: jax.Array, ids: jax.Array, none: int = 0) -> jax.Array:
    """The row of each id, with ``none`` for ids out of range."""
    row_shape = table.shape[1:]
    if not table.shape[0]:
        return zeros_varying_like(table, (*ids.shape, *row_shape))
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(ids.ndim, ids.ndim + len(row_shape))), collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    return lax.gather(table, ids[..., None], dimensions, (1, *row_shape), mode="fill", fill_value=none)


def _add_rows(rows: jax.Array, ids: jax.Array, *, num_rows: int) -> jax.Array:
    row_shape = rows.shape[ids.ndim :]
    if not num_rows or not rows.size:
        return zeros_varying_like(rows, (num_rows, *row_shape))
    rows, ids = rows.reshape(-1, *row_shape), ids.reshape(-1)
    if rows.dtype != accumulation_dtype(rows.dtype) and row_shape and num_rows >= 2 * ids.size:
        return _add_to_large_table(rows, ids, num_rows)
    return _sum_by_id(rows, ids, num_rows).astype(rows.dtype)


def _add_to_large_table(rows: jax.Array, ids: jax.Array, num_rows: int) -> jax.Array:
    """Sums each id's rows where it occurs first, and takes the table from there.

    So 16-bit rows are summed in float32 without a float32 table as large as the result (docs/lowerings.rst, "Rows of
    tables").
    """
    places = lax.iota(jnp.int32, ids.size)
    nowhere = jnp.full(num_rows, ids.size, jnp.int32)
    first = lax.scatter_min(nowhere, ids[:, None], places, _scattered(places), mode="drop")
    sums = _sum_by_id(rows, _take(first, ids, none=ids.size), ids.size)
    return _take(sums.astype(rows.dtype), first)


def _sum_by_id(rows: jax.Array, ids: jax.Array, num_rows: int) -> jax.Array:
    """``_add_rows`` for ids of rank 1, in the dtype of sums."""
    wide = rows.astype(accumulation_dtype(rows.dtype))
    table = jnp.zeros((num_rows, *rows.shape[1:]), wide.dtype)
    return lax.scatter_add(table, ids[:, None], wide, _scattered(rows), mode="drop")


def _scattered(rows: jax.Array) -> lax.ScatterDimensionNumbers:
    """One row for each id."""
    return lax.ScatterDimensionNumbers(
        update_window_dims=tuple(range(1, rows.ndim)), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )


def _take_rows(table: jax.Array, ids: jax.Array, *, num_rows: int) -> jax.Array:
    del num_rows
    return _take(table, ids)


def _batch_take(take: Operation, arguments: Any, axes: Any, *, num_rows: int) -> tuple[jax.Array, int]:
    (table, ids), (table_axis, ids_axis) = arguments, axes
    if table_axis is None:
        return take(table, jnp.moveaxis(ids, ids_axis, 0), num_rows=num_rows), 0
    if ids_axis is None:  # One table whose rows are those of all tables side by side.
        return take(jnp.moveaxis(table, table_axis, 1), ids, num_rows=num_rows), ids.ndim
    # One table with the rows of all tables one after the other.
    tables = jnp.moveaxis(table, table_axis, 0)
    ids = _ids_of_stack(jnp.moveaxis(ids, ids_axis, 0), num_rows)
    return take(tables.reshape(-1, *tables.shape[2:]), ids, num_rows=tables.shape[0] * num_rows), 0


def _batch_add(add: Operation, arguments: Any, axes: Any, *, num_rows: int) -> tuple[jax.Array, int]:
    (rows, ids), (rows_axis, ids_axis) = arguments, axes
    if ids_axis is None:  # One table whose rows are those of all tables side by side.
        return add(jnp.moveaxis(rows, rows_axis, ids.ndim), ids, num_rows=num_rows), 1
    ids = jnp.moveaxis(ids, ids_axis, 0)
    size = ids.shape[0]
    rows = jnp.broadcast_to(rows, (size, *rows.shape)) if rows_axis is None else jnp.moveaxis(rows, rows_axis, 0)
    stack = add(rows, _ids_of_stack(ids, num_rows), num_rows=size * num_rows)
    return stack.reshape(size, num_rows, *stack.shape[1:]), 0


def _ids_of_stack(ids: jax.Array, num_rows: int) -> jax.Array:
    """The ids of ``[tables, ...]`` in tables of ``num_rows`` put one after the other."""
    if ids.shape[0] * num_rows > np.iinfo(ids.dtype).max:
        raise ValueError(
            f"vmap over {ids.shape[0]} tables of {num_rows} rows with ids of their own has more rows in all than "
            f"{ids.dtype} can count; give the ids in a wider dtype (jax_enable_x64)"
        )
    first = lax.broadcasted_iota(ids.dtype, ids.shape, 0) * np.asarray(num_rows, ids.dtype)
    return jnp.where(in_range(ids, num_rows), ids + first, -1)


# (table, ids, *, num_rows) -> rows, and its transpose (rows, ids, *, num_rows) -> table
TAKE, ADD = linear_pair(_take_rows, _add_rows, _batch_take, _batch_add)
