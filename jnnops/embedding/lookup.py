"""Looking up rows one by one."""

import functools

import jax
from jax.typing import ArrayLike

from jnnops._check import NOT_NEGATIVE, as_integer_array, as_scalar
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import checked_ids
from jnnops._tables.shards import as_shards, check_floating, count_rows, take_sharded_rows
from jnnops._types import Table
from jnnops.embedding._max_norm import limited


@answers_tensorflow_names
def embedding_lookup(
    params: Table,
    ids: ArrayLike,
    max_norm: ArrayLike | None = None,
    *,
    partition_strategy: str = "mod",
) -> jax.Array:
    """Looks up the row of each id.

    Args:
        params: The table, ``[num_rows, ...]``, or a list of the arrays that are its shards. Integers too, unless
            ``max_norm`` is given.
        ids: Any shape, integers in ``[0, num_rows)``.
        max_norm: A number of at least 0. Rows whose l2 norm is larger are scaled down to it.
        partition_strategy: ``"mod"`` or ``"div"``: which rows the shards hold (see :mod:`jnnops.embedding`).

    Returns:
        ``[*ids.shape, ...]`` in the dtype of ``params``; zeros for an id out of range.

    Raises:
        ValueError: If ``params`` is a scalar, its shards do not fit together, or an option is none of those above.
        TypeError: If ``ids`` is not integer, or ``params`` is not numeric or of several dtypes.

    Note:
        As in TensorFlow, the gradient goes through the norm of a row where it is ``max_norm`` or more. A row of zeros
        is left alone even if ``max_norm`` is 0 (TensorFlow: NaN).

    Example:
        >>> table = jnp.array([[0.0, 1.0], [3.0, 4.0], [5.0, 12.0]])
        >>> nn.embedding_lookup(table, [2, 0]).tolist()
        [[5.0, 12.0], [0.0, 1.0]]
        >>> nn.embedding_lookup(table, [1], max_norm=2.5).tolist()
        [[1.5, 2.0]]
        >>> nn.embedding_lookup([table[::2], table[1::2]], [1]).tolist()
        [[3.0, 4.0]]

    References:
        ``tf.nn.embedding_lookup``.
    """
    op = "embedding_lookup"
    shards = as_shards(op, "params", params, partition_strategy)
    ids = as_integer_array(op, "ids", ids)
    if max_norm is not None:
        max_norm = as_scalar(op, "max_norm", max_norm, NOT_NEGATIVE)
        check_floating(op, "params", shards)
    return _lookup(shards, ids, max_norm, partition_strategy)


@functools.partial(jax.jit, static_argnames="partition_strategy")
def _lookup(
    shards: tuple[jax.Array, ...], ids: jax.Array, max_norm: ArrayLike | None, partition_strategy: str
) -> jax.Array:
    ids, _ = checked_ids("embedding_lookup", "ids", ids, count_rows(shards))
    rows = take_sharded_rows(shards, ids, partition_strategy)
    return rows if max_norm is None else limited(rows, max_norm, ids.ndim).astype(rows.dtype)
