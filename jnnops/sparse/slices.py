"""Gradients and updates of a few rows of a table."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_number_array, as_static_int
from jnnops._tables.ids import in_range, signed
from jnnops._tables.rows import add_rows, take_rows
from jnnops._types import Tree

T = TypeVar("T")

# How to write rows at indices as `deduplicate` makes them; those of padding go nowhere.
DISTINCT: Any = {
    "mode": "drop",
    "indices_are_sorted": True,
    "unique_indices": True,
    "wrap_negative_indices": False,
}


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("indices", "values"), meta_fields=("num_rows", "unique")
)
@dataclasses.dataclass(frozen=True, eq=False)
class IndexedSlices:
    """A table that is zero but for a few rows: the gradient of a table of which a few rows were looked up.

    A pytree of ``indices`` and ``values``. To compute with it, change the values alone:
    ``dataclasses.replace(slices, values=slices.values / 2)``.

    Attributes:
        indices: ``[n]``, integers: the row of each slice. Slices of one row are summed; those of no row, with an index
            below 0 or not below ``num_rows``, are padding and count for nothing.
        values: ``[n, *row_shape]``.
        num_rows: How many rows the table has.
        unique: Whether the indices are distinct and in order, and the values of padding zero, as ``deduplicate`` makes
            them.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 3.0]), num_rows=4)
        >>> slices.to_dense().tolist()
        [2.0, 0.0, 4.0, 0.0]

    References:
        ``tf.IndexedSlices``.
    """

    indices: jax.Array
    values: jax.Array
    num_rows: int
    unique: bool = False

    def to_dense(self) -> jax.Array:
        """The table: ``[num_rows, *row_shape]``, summed in float32 at least and rounded once."""
        check_slices("IndexedSlices.to_dense", "slices", self)
        return add_rows(jnp.asarray(self.values), jnp.asarray(self.indices), self.num_rows)

    def deduplicate(self) -> "IndexedSlices":
        """The same table with one slice for each row.

        Their number must not depend on the data: it is ``n`` or ``num_rows``, whichever is less, and those at the end
        that are not needed are padding.

        Returns:
            Slices with distinct indices in ascending order, padding included; values are summed in float32 at least
            and rounded once.

        Example:
            >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 3.0]), num_rows=4)
            >>> slices = slices.deduplicate()
            >>> slices.indices.tolist(), slices.values.tolist()
            ([0, 2, 6], [2.0, 4.0, 0.0])
        """
        check_slices("IndexedSlices.deduplicate", "slices", self)
        return self if self.unique else _deduplicate(self)


@jax.jit
def _deduplicate(slices: IndexedSlices) -> IndexedSlices:
    num_rows = slices.num_rows
    ids = signed(slices.indices)
    size = min(len(ids), num_rows)
    ids = jnp.where(in_range(ids, num_rows), ids, num_rows)
    # The ids alone are sorted, and each slice then finds its place among them by bisection: XLA on CPU is fast at
    # sorting one array only (docs/lowerings.rst, "Tables in place").
    ordered = lax.sort(ids)
    is_first = jnp.concatenate([jnp.ones(min(len(ids), 1), bool), ordered[1:] != ordered[:-1]])
    place = jnp.cumsum(is_first, dtype=ids.dtype) - 1
    padding = num_rows + lax.iota(ids.dtype, size)
    indices = padding.at[place].set(jnp.where(ordered < num_rows, ordered, num_rows + place), mode="drop")
    target = jnp.where(ids < num_rows, place[jnp.searchsorted(ordered, ids)], size)
    wide = accumulation_dtype(slices.values.dtype)
    sums = jnp.zeros((size, *slices.values.shape[1:]), wide)
    sums = sums.at[target].add(slices.values.astype(wide), mode="drop")
    return IndexedSlices(indices, sums.astype(slices.values.dtype), num_rows, unique=True)


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
        ValueError: If slices do not fit their table, or ``updates`` is another pytree.

    Example:
        >>> updates = {"table": nn.sparse.IndexedSlices(jnp.array([1]), jnp.array([5.0]), num_rows=3)}
        >>> nn.sparse.apply_updates({"table": jnp.zeros(3)}, updates)["table"].tolist()
        [0.0, 5.0, 0.0]

    References:
        ``optax.apply_updates``, ``tf.raw_ops.ResourceScatterAdd``.
    """

    def apply(path: Any, param: Any, update: Any) -> Any:
        if not isinstance(update, IndexedSlices):
            return optax.apply_updates(param, update)
        name = f"updates{jax.tree_util.keystr(path)}"
        table = jnp.asarray(param)
        check_slices("sparse.apply_updates", name, update, table)
        slices = update.deduplicate()
        if slices.values.dtype == table.dtype == accumulation_dtype(table.dtype):
            # Added to in one pass over memory, not read and then written (docs/lowerings.rst, "Tables in place").
            return table.at[slices.indices].add(slices.values, **DISTINCT)
        rows = take_rows(table, slices.indices)
        wide = jnp.promote_types(rows.dtype, slices.values.dtype)
        return put_rows(table, slices.indices, rows.astype(wide) + slices.values.astype(wide))

    def structure(tree: Tree) -> Any:
        return jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None or is_slices(leaf))

    if structure(updates) != structure(params):
        raise ValueError(
            f"sparse.apply_updates: `updates` must be a pytree like `params`, {structure(params)}, got "
            f"{structure(updates)}"
        )
    return jax.tree_util.tree_map_with_path(apply, params, updates, is_leaf=lambda leaf: leaf is None)


def put_rows(table: jax.Array, indices: jax.Array, rows: jax.Array) -> jax.Array:
    """The table with other rows at indices as ``deduplicate`` makes them; rows of padding go nowhere."""
    return table.at[indices].set(rows.astype(table.dtype), **DISTINCT)


def global_norm(grads: Tree) -> jax.Array:
    """The Euclidean norm of all gradients together, as if the slices were dense.

    Args:
        grads: A pytree of arrays and :class:`IndexedSlices`.

    Returns:
        A scalar, float32 at least.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 2]), jnp.array([1.0, 2.0]), num_rows=4)
        >>> nn.sparse.global_norm({"table": slices, "bias": jnp.array([4.0])}).item()
        5.0

    References:
        ``optax.global_norm``, ``tf.linalg.global_norm``.
    """
    return _norm_of(jax.tree.map(_deduplicated, grads, is_leaf=is_slices))


def clip_by_global_norm(grads: Tree, max_norm: ArrayLike) -> Tree:
    """Scales all gradients by one factor so that their norm is at most ``max_norm``.

    What ``optax.clip_by_global_norm`` does to dense gradients. To be called before the optimiser, since :func:`lazy`
    refuses transformations in which one row's update depends on another's.

    Args:
        grads: A pytree of arrays and :class:`IndexedSlices`.
        max_norm: The largest norm allowed, a scalar.

    Returns:
        The gradients, with the slices deduplicated. A norm that is not finite makes them NaN or 0, as in optax.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 2]), jnp.array([1.0, 2.0]), num_rows=4)
        >>> clipped = nn.sparse.clip_by_global_norm({"table": slices, "bias": jnp.array([4.0])}, 2.5)
        >>> clipped["table"].to_dense().tolist(), clipped["bias"].tolist()
        ([0.0, 0.0, 1.5, 0.0], [2.0])

    References:
        ``optax.clip_by_global_norm``, ``tf.clip_by_global_norm``.
    """
    limit = as_number_array("sparse.clip_by_global_norm", "max_norm", max_norm, rank=0)
    grads = jax.tree.map(_deduplicated, grads, is_leaf=is_slices)
    norm = _norm_of(grads)

    def clip(grad: Any) -> Any:
        if isinstance(grad, IndexedSlices):
            return dataclasses.replace(grad, values=clip(grad.values))
        wide = accumulation_dtype(jnp.asarray(grad).dtype)
        scaled = jnp.asarray(grad, wide) / norm.astype(wide) * limit.astype(wide)
        return jnp.where(norm < limit.astype(norm.dtype), grad, scaled.astype(jnp.asarray(grad).dtype))

    return jax.tree.map(clip, grads, is_leaf=is_slices)


def _deduplicated(grad: Any) -> Any:
    return grad.deduplicate() if isinstance(grad, IndexedSlices) else grad


def _norm_of(grads: Tree) -> jax.Array:
    """The norm of all arrays and of the values of all slices, which are distinct."""
    leaves = [
        jnp.asarray(grad.values if isinstance(grad, IndexedSlices) else grad)
        for grad in jax.tree.leaves(grads, is_leaf=is_slices)
    ]
    squares = [jnp.sum(jnp.square(jnp.abs(leaf.astype(accumulation_dtype(leaf.dtype))))) for leaf in leaves]
    dtype = functools.reduce(jnp.promote_types, [square.dtype for square in squares], jnp.dtype(jnp.float32))
    return jnp.sqrt(sum((square.astype(dtype) for square in squares), jnp.zeros((), dtype)))


def is_slices(leaf: Any) -> bool:
    """Where a tree of gradients ends."""
    return isinstance(leaf, IndexedSlices)


def check_slices(op: str, argument: str, slices: IndexedSlices, table: Any = None) -> None:
    """Raises unless the slices make sense, and fit the table if one is given."""
    as_static_int(op, f"{argument}.num_rows", slices.num_rows, minimum=0)
    indices, values = jnp.asarray(slices.indices), jnp.asarray(slices.values)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"{op}: `{argument}` must have integer indices, got {indices.dtype}")
    if indices.ndim != 1 or not values.ndim or len(indices) != len(values):
        raise ValueError(
            f"{op}: `{argument}` must have indices of shape [n] and values of shape [n, ...], "
            f"got {indices.shape} and {values.shape}"
        )
    if table is not None and table.shape != (slices.num_rows, *values.shape[1:]):
        raise ValueError(
            f"{op}: `{argument}` must be slices of an array of shape {table.shape}, got {slices.num_rows} rows of "
            f"shape {values.shape[1:]}"
        )
