"""Adding updates to parameters, where they are slices in place."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from jnnops._check import accumulation_dtype, as_array, check_shape
from jnnops._tables.rows import take_rows
from jnnops._types import Tree
from jnnops.sparse.slices import IndexedSlices, check_slices, is_slices

T = TypeVar("T")

# How to write rows at indices as `deduplicate` makes them; those of padding go nowhere.
DISTINCT: Any = {
    "mode": "drop",
    "indices_are_sorted": True,
    "unique_indices": True,
    "wrap_negative_indices": False,
}


def apply_updates(params: T, updates: Tree) -> T:
    """Adds updates to parameters: those that are slices to the rows they name, which alone are read and written.

    As ``optax.apply_updates``, and in place where ``params`` are donated to a jitted function around it; otherwise a
    table is copied whole, which takes far longer than the step.

    Args:
        params: A pytree of arrays.
        updates: The same pytree with an array or :class:`IndexedSlices` for each.

    Returns:
        The new parameters, in the dtypes of ``params``.

    Raises:
        ValueError: If an update has another shape than its parameter, or ``updates`` is another pytree.

    Example:
        >>> updates = {"table": nn.sparse.IndexedSlices(jnp.array([1]), jnp.array([5.0]), num_rows=3)}
        >>> nn.sparse.apply_updates({"table": jnp.zeros(3)}, updates)["table"].tolist()
        [0.0, 5.0, 0.0]

    References:
        ``optax.apply_updates``, ``tf.raw_ops.ResourceScatterAdd``.
    """
    op = "sparse.apply_updates"

    def apply(path: Any, param: Any, update: Any) -> Any:
        name = f"updates{jax.tree_util.keystr(path)}"
        if param is None:
            return None
        if not isinstance(update, IndexedSlices):
            array, why = as_array(op, name, update), f"that of `params{jax.tree_util.keystr(path)}`"
            check_shape(op, name, array, jnp.shape(param), why)
            return optax.apply_updates(param, array)
        table = as_array(op, f"params{jax.tree_util.keystr(path)}", param)
        check_slices(op, name, update, table)
        slices = update.deduplicate()
        indices = slices.indices
        if slices.values.dtype == table.dtype == accumulation_dtype(table.dtype):
            # Added to in one pass over memory, not read and then written (docs/lowerings.rst, "Tables in place").
            return table.at[indices].add(slices.values, **DISTINCT)
        rows = take_rows(table, indices)
        wide = jnp.promote_types(rows.dtype, slices.values.dtype)
        return put_rows(table, indices, rows.astype(wide) + slices.values.astype(wide))

    def structure(tree: Tree) -> Any:
        return jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None or is_slices(leaf))

    if structure(updates) != structure(params):
        raise ValueError(
            f"{op}: `updates` must be a pytree like `params`, {structure(params)}, got {structure(updates)}"
        )
    return jax.tree_util.tree_map_with_path(apply, params, updates, is_leaf=lambda leaf: leaf is None)


def put_rows(table: jax.Array, indices: jax.Array, rows: jax.Array) -> jax.Array:
    """The table with other rows at indices as ``deduplicate`` makes them; rows of padding go nowhere."""
    return table.at[indices].set(rows.astype(table.dtype), **DISTINCT)
