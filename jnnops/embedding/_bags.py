"""Bags: the ids of each row of a sparse matrix, with their weights."""

import functools
import math
import operator
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jnnops._check import check_rank, debug_check, is_real_number
from jnnops._tables.ids import in_range, signed
from jnnops._tables.rows import add_rows

if TYPE_CHECKING:  # Importing it takes longer than importing this library.
    from jax.experimental.sparse import BCOO

# The rows of bags of at most this many ids are summed by an addition for each id, because XLA on CPU gathers, weighs
# and adds them in one loop then. For a reduction it writes all rows to memory first (docs/lowerings.rst, "Bags").
MAX_UNROLLED = 32

NO_ID = -1


class Bags(NamedTuple):
    """The ids of bags, in one of two layouts.

    Attributes:
        ids: ``[entries]``, or ``[num_bags, entries of each bag]``; ``NO_ID`` where there is none.
        weights: The weight of each id, 0 where there is none; None for 1.
        owner: ``[entries]``: the bag of each entry in the first layout; None in the second.
        num_bags: The number of bags.
    """

    ids: jax.Array
    weights: jax.Array | None
    owner: jax.Array | None
    num_bags: int

    def only(self, kept: jax.Array) -> "Bags":
        """Less the ids that are not to be kept."""
        weights = None if self.weights is None else jnp.where(kept, self.weights, 0)
        return self._replace(ids=jnp.where(kept, self.ids, NO_ID), weights=weights)

    def sum(self, values: jax.Array) -> jax.Array:
        """The sum over each bag of the values of its ids, which are one for each id, of any shape."""
        if self.owner is None:
            return _sum_of_columns(values)
        return add_rows(values, self.owner, self.num_bags)


@jax.custom_jvp
def _sum_of_columns(values: jax.Array) -> jax.Array:
    if not 0 < values.shape[1] <= MAX_UNROLLED:
        return jnp.sum(values, 1)
    total = values[:, 0]
    for column in range(1, values.shape[1]):
        total += values[:, column]
    return total


@_sum_of_columns.defjvp
def _sum_of_columns_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # The derivative is stated as a sum, whose transpose is a broadcast. That of the slices above would be a sum of
    # arrays that are zero but for one column.
    return _sum_of_columns(*primals), jnp.sum(*tangents, 1)


def check_sparse(op: str, sp_ids: "BCOO", sp_weights: "BCOO | None", names: tuple[str, str], rank: int | range) -> None:
    """Raises unless these are matrices of ids and, if given, of their weights."""
    from jax.experimental.sparse import BCOO

    for argument, matrix in zip(names, (sp_ids, sp_weights), strict=True):
        if matrix is None and argument == names[1]:
            continue
        if not isinstance(matrix, BCOO):
            raise TypeError(
                f"{op}: `{argument}` must be a jax.experimental.sparse.BCOO matrix, got {type(matrix).__name__}"
            )
        check_rank(op, argument, matrix, rank)  # pyright: ignore[reportArgumentType]
        if matrix.n_dense or matrix.n_batch not in (0, matrix.ndim - 1):
            raise ValueError(
                f"{op}: `{argument}` must have n_dense 0 and n_batch 0 or {matrix.ndim - 1} for rank {matrix.ndim}, "
                f"got n_dense {matrix.n_dense} and n_batch {matrix.n_batch}"
            )
    if not jnp.issubdtype(sp_ids.dtype, jnp.integer):
        raise TypeError(f"{op}: `{names[0]}` must be integer, got {sp_ids.dtype}")
    if sp_weights is not None:
        if not is_real_number(sp_weights.dtype):
            raise TypeError(f"{op}: `{names[1]}` must be integer or floating point, got {sp_weights.dtype}")
        ids, weights = ((m.shape, m.data.shape, m.indices.shape) for m in (sp_ids, sp_weights))
        if ids != weights:
            raise ValueError(
                f"{op}: `{names[1]}` must have the shape and the entries of `{names[0]}` (shape, data.shape and "
                f"indices.shape {', '.join(map(str, ids))}), got {', '.join(map(str, weights))}"
            )


def bags_of(op: str, sp_ids: "BCOO", sp_weights: "BCOO | None", names: tuple[str, str], dtype: DTypeLike) -> Bags:
    """The bags that two matrices make, with weights in ``dtype``."""
    *batch, max_ids = sp_ids.shape
    count = math.prod(batch)
    layout = (*batch[: sp_ids.n_batch], sp_ids.nse)

    indices = signed(jnp.broadcast_to(sp_ids.indices, (*layout, sp_ids.n_sparse)))
    sizes = sp_ids.shape[sp_ids.n_batch :]
    present = functools.reduce(operator.and_, (in_range(indices[..., i], size) for i, size in enumerate(sizes)))
    ids = ids_where(present, jnp.broadcast_to(sp_ids.data, layout))
    weights = None
    if sp_weights is not None:
        weights = jnp.where(present, jnp.broadcast_to(sp_weights.data, layout).astype(dtype), 0)
        agree = jnp.all(sp_weights.indices == sp_ids.indices, -1)
        weights = debug_check(op, names[1], f"have the indices of `{names[0]}`", weights, agree | ~present)
    if sp_ids.n_batch:
        rows = (count, sp_ids.nse)
        return Bags(ids.reshape(rows), None if weights is None else weights.reshape(rows), None, count)

    owner = functools.reduce(lambda number, axis: number * batch[axis] + indices[:, axis], range(len(batch)), 0)
    if not sp_ids.unique_indices or max_ids > MAX_UNROLLED or count * max_ids > 2 * sp_ids.nse:
        return Bags(ids, weights, jnp.where(present, owner, NO_ID), count)

    # The ids are put into the second layout, `[num_bags, max_ids]`, in which rows are added without being written to
    # memory first. This needs unique indices, so that no two ids have the same place, and is worth it only if there are
    # at most twice as many places as ids, since a row of zeros is added for each place without an id.
    places = jnp.where(present, owner * max_ids + indices[:, -1], NO_ID)

    def placed(numbers: jax.Array) -> jax.Array:
        return add_rows(numbers, places, count * max_ids).reshape(count, max_ids)

    return Bags(placed(ids - NO_ID) + NO_ID, None if weights is None else placed(weights), None, count)


def ids_where(present: jax.Array, ids: jax.Array) -> jax.Array:
    """``NO_ID`` where there is none; a negative id, which is no row either, stays apart from it."""
    ids = signed(ids)
    return jnp.where(present, jnp.where(ids < 0, NO_ID - 1, ids), NO_ID)
