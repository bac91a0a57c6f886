"""Looking up bags of ids and combining the rows of each."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import (
    NOT_NEGATIVE,
    accumulation_dtype,
    as_integer_array,
    as_scalar,
    at_least,
    check_choice,
    debug_check,
    is_traced,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import in_range
from jnnops._tables.shards import as_shards, check_floating, count_rows, take_sharded_rows
from jnnops._types import Table
from jnnops.embedding._bags import NO_ID, Bags, bags_of, check_sparse, ids_where
from jnnops.embedding._max_norm import limited, of_each_row

if TYPE_CHECKING:  # Importing it takes longer than importing this library.
    from jax.experimental.sparse import BCOO

COMBINERS = ("mean", "sqrtn", "sum")


@answers_tensorflow_names
def embedding_lookup_sparse(
    params: Table,
    sp_ids: "BCOO",
    sp_weights: "BCOO | None",
    combiner: str = "mean",
    max_norm: ArrayLike | None = None,
    *,
    partition_strategy: str = "mod",
) -> jax.Array:
    r"""Looks up the ids of each row of a sparse matrix and combines the rows of the table that they name.

    With the rows :math:`e_i` and the weights :math:`w_i` of the ids of one bag:

    .. math::
        \text{sum} = \sum_i w_i e_i \qquad
        \text{mean} = \frac{\sum_i w_i e_i}{\sum_i w_i} \qquad
        \text{sqrtn} = \frac{\sum_i w_i e_i}{\sqrt{\sum_i w_i^2}}

    Args:
        params: The table, ``[num_rows, ...]``, floating point, or a list of the arrays that are its shards.
        sp_ids: ``[batch, max_ids]``, integers in ``[0, num_rows)`` (see :mod:`jnnops.embedding`).
        sp_weights: The weight of each id, integers or floating point, with the same indices; None for 1.
        combiner: ``"mean"``, ``"sqrtn"`` or ``"sum"``.
        max_norm: A number of at least 0. Rows whose l2 norm is larger are scaled down to it before they are weighted.
        partition_strategy: ``"mod"`` or ``"div"``: which rows the shards hold.

    Returns:
        ``[batch, ...]`` in the dtype of ``params``. Zeros, with a gradient of 0, for an empty bag (TensorFlow leaves
        out those at the end) and wherever the denominator is 0. An id out of range counts, as a row of zeros.

    Raises:
        ValueError: If a matrix is not of rank 2 or has a layout other than those two, ``sp_weights`` does not fit
            ``sp_ids``, the shards do not fit together, or an option is none of those above.
        TypeError: If ``sp_ids`` is no BCOO matrix of integers, ``sp_weights`` none of numbers, or ``params`` is not
            floating point or of several dtypes.

    Note:
        Weights are taken in the precision of the sums: that of ``params``, but at least float32. If
        ``sp_ids.unique_indices`` is set it must be true; small bags are combined faster then.

    Example:
        >>> table = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> sp_ids, sp_weights = nn.SparseIds.from_lists([[0, 2], [], [1]], weights=[[1, 3], [], [2]])
        >>> nn.embedding_lookup_sparse(table, sp_ids, sp_weights).tolist()
        [[4.0, 5.0], [0.0, 0.0], [3.0, 4.0]]
        >>> nn.embedding_lookup_sparse(table, sp_ids, None, combiner="sum").tolist()
        [[6.0, 8.0], [0.0, 0.0], [3.0, 4.0]]

    References:
        ``tf.nn.embedding_lookup_sparse``.
    """
    op = "embedding_lookup_sparse"
    shards = as_shards(op, "params", params, partition_strategy)
    check_floating(op, "params", shards)
    check_sparse(op, sp_ids, sp_weights, ("sp_ids", "sp_weights"), 2)
    check_choice(op, "combiner", combiner, COMBINERS)
    max_norm = None if max_norm is None else as_scalar(op, "max_norm", max_norm, NOT_NEGATIVE)
    return _lookup_sparse(shards, sp_ids, sp_weights, max_norm, combiner, partition_strategy)


@functools.partial(jax.jit, static_argnames=("combiner", "partition_strategy"))
def _lookup_sparse(
    shards: tuple[jax.Array, ...],
    sp_ids: "BCOO",
    sp_weights: "BCOO | None",
    max_norm: ArrayLike | None,
    combiner: str,
    partition_strategy: str,
) -> jax.Array:
    op = "embedding_lookup_sparse"
    wide = accumulation_dtype(shards[0].dtype)
    bags = bags_of(op, sp_ids, sp_weights, ("sp_ids", "sp_weights"), wide)
    bags = bags._replace(ids=_check_ids(op, "sp_ids", bags.ids, shards))
    return _combine(shards, bags, max_norm, combiner, partition_strategy).astype(shards[0].dtype)


@answers_tensorflow_names
def safe_embedding_lookup_sparse(
    embedding_weights: Table,
    sparse_ids: "BCOO",
    sparse_weights: "BCOO | None" = None,
    combiner: str = "mean",
    default_id: ArrayLike | None = None,
    max_norm: ArrayLike | None = None,
    *,
    partition_strategy: str = "div",
) -> jax.Array:
    """``embedding_lookup_sparse`` that leaves out negative ids and can give empty bags a row of the table.

    Ids below 0 are left out and, unless the combiner is ``"sum"``, so are ids whose weight is not above 0.

    Args:
        embedding_weights: The table, ``[num_rows, ...]``, floating point, or a list of the arrays that are its shards.
        sparse_ids: ``[..., max_ids]``, integers below ``num_rows``, of rank 2 or more; of its dimensions none or all
            but the last are batch dimensions (see :mod:`jnnops.embedding`).
        sparse_weights: The weight of each id, integers or floating point, with the same indices; None for 1.
        combiner: ``"mean"``, ``"sqrtn"`` or ``"sum"``.
        default_id: The id, in ``[0, num_rows)``, whose row the bags without ids get; None for zeros.
        max_norm: A number of at least 0. Rows whose l2 norm is larger are scaled down to it before they are weighted,
            that of ``default_id`` too.
        partition_strategy: ``"mod"`` or ``"div"``: which rows the shards hold. Here the default is ``"div"``, in
            TensorFlow 1 too.

    Returns:
        The dimensions of ``sparse_ids`` but the last, then those of a row, in the dtype of ``embedding_weights``. An id
        of ``num_rows`` or more counts, as a row of zeros.

    Raises:
        ValueError: If a matrix is of rank 1 or has a layout other than those two, ``sparse_weights`` does not fit
            ``sparse_ids``, the shards do not fit together, or an option is none of those above.
        TypeError: If ``sparse_ids`` is no BCOO matrix of integers, ``sparse_weights`` none of numbers, ``default_id``
            no integer, or ``embedding_weights`` is not floating point or of several dtypes.

    Example:
        >>> table = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> sparse_ids, _ = nn.SparseIds.from_lists([[0, 2, -1], [-1], []])
        >>> nn.safe_embedding_lookup_sparse(table, sparse_ids).tolist()
        [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
        >>> nn.safe_embedding_lookup_sparse(table, sparse_ids, default_id=2).tolist()
        [[3.0, 4.0], [5.0, 6.0], [5.0, 6.0]]

    References:
        ``tf.nn.safe_embedding_lookup_sparse``.
    """
    op = "safe_embedding_lookup_sparse"
    shards = as_shards(op, "embedding_weights", embedding_weights, partition_strategy)
    check_floating(op, "embedding_weights", shards)
    check_sparse(op, sparse_ids, sparse_weights, ("sparse_ids", "sparse_weights"), at_least(2))
    check_choice(op, "combiner", combiner, COMBINERS)
    if default_id is not None:
        default_id = _as_default_id(op, default_id, count_rows(shards))
    max_norm = None if max_norm is None else as_scalar(op, "max_norm", max_norm, NOT_NEGATIVE)
    return _safe_lookup_sparse(shards, sparse_ids, sparse_weights, default_id, max_norm, combiner, partition_strategy)


@functools.partial(jax.jit, static_argnames=("combiner", "partition_strategy"))
def _safe_lookup_sparse(
    shards: tuple[jax.Array, ...],
    sparse_ids: "BCOO",
    sparse_weights: "BCOO | None",
    default_id: jax.Array | None,
    max_norm: ArrayLike | None,
    combiner: str,
    partition_strategy: str,
) -> jax.Array:
    op = "safe_embedding_lookup_sparse"
    wide = accumulation_dtype(shards[0].dtype)
    bags = bags_of(op, sparse_ids, sparse_weights, ("sparse_ids", "sparse_weights"), wide)
    kept = bags.ids >= 0
    if bags.weights is not None and combiner != "sum":
        kept &= bags.weights > 0
    bags = bags.only(kept)
    bags = bags._replace(ids=_check_ids(op, "sparse_ids", bags.ids, shards))
    combined = _combine(shards, bags, max_norm, combiner, partition_strategy)
    if default_id is not None:
        empty = bags.sum((bags.ids != NO_ID).astype(jnp.int32)) == 0
        # The default row is looked up as the only id of a bag. Where no bag is empty that one has no id either, so that
        # the row of the default id has no gradient at all in row-sparse training, rather than one of 0.
        default_id = _check_ids(op, "default_id", ids_where(jnp.any(empty), default_id), shards)
        default = _combine(shards, Bags(default_id.reshape(1, 1), None, None, 1), max_norm, "sum", partition_strategy)
        combined = jnp.where(of_each_row(empty, combined), jnp.broadcast_to(default, combined.shape), combined)
    return combined.astype(shards[0].dtype).reshape(*sparse_ids.shape[:-1], *shards[0].shape[1:])


def _as_default_id(op: str, default_id: ArrayLike, num_rows: int) -> jax.Array:
    array = as_integer_array(op, "default_id", default_id, rank=0)
    if not is_traced(default_id) and not 0 <= np.asarray(default_id) < num_rows:
        raise ValueError(f"{op}: `default_id` must be in [0, {num_rows}), got {default_id}")
    return array


def _check_ids(op: str, argument: str, ids: jax.Array, shards: tuple[jax.Array, ...]) -> jax.Array:
    """The ids, of which ``checkify`` reports those out of range."""
    num_rows = count_rows(shards)
    return debug_check(op, argument, f"be in [0, {num_rows})", ids, in_range(ids, num_rows) | (ids == NO_ID))


def _combine(
    shards: tuple[jax.Array, ...], bags: Bags, max_norm: ArrayLike | None, combiner: str, partition_strategy: str
) -> jax.Array:
    """The rows of each bag combined: ``[bags.num_bags, *row_shape]``, in the dtype of sums."""
    rows = take_sharded_rows(shards, bags.ids, partition_strategy)
    wide = accumulation_dtype(rows.dtype)
    rows = rows.astype(wide) if max_norm is None else limited(rows, max_norm, bags.ids.ndim)
    if bags.weights is not None:
        rows *= of_each_row(bags.weights, rows)
    total = bags.sum(rows)
    if combiner == "sum":
        return total
    weights = (bags.ids != NO_ID).astype(rows.dtype) if bags.weights is None else bags.weights
    divisor = bags.sum(weights if combiner == "mean" else jnp.square(weights))
    nothing = divisor == 0
    divisor = jnp.where(nothing, 1, divisor)
    if combiner == "sqrtn":
        divisor = jnp.sqrt(divisor)
    return jnp.where(of_each_row(nothing, total), 0, total / of_each_row(divisor, total))
