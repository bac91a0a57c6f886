"""Cases of ``jnnops.embedding``."""

import functools
import inspect
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from machinery.case import Bad, Case, bad, normal

import jnnops as nn

TABLE = normal(7, 3)
IDS = np.array([[2, 0, 6], [2, 2, 5]], np.int32)

# Four bags: the second has one id, the third none and the fourth one of them twice. In any order, with room for two
# entries more.
SHAPE = (4, 4)
INDICES = np.array([[0, 0], [3, 2], [4, 4], [1, 0], [0, 3], [3, 0], [3, 1], [4, 4]], np.int32)
ENTRIES = np.array([1, 2, 5, 0, 4, 2, 6, 7], np.int32)
WEIGHTS = np.array([0.5, 0.25, 9.0, 2.0, 1.5, 1.0, -0.5, 9.0])
# Much the same, the entries of each bag by themselves.
ROW_INDICES = np.array([[0, 4, 2], [3, 4, 4], [4, 4, 4], [0, 1, 2]], np.int32)[:, :, None]
ROW_ENTRIES = np.array([[1, 4, 0], [0, 0, 0], [3, 1, 1], [2, 6, 2]], np.int32)
ROW_WEIGHTS = np.array([[0.5, 9.0, 1.5], [2.0, 9.0, 9.0], [9.0, 9.0, 9.0], [1.0, -0.5, 0.25]])
# Images of words, say: [batch, places, words].
CUBE_SHAPE = (2, 3, 2)
CUBE_INDICES = np.array([[1, 2, 1], [0, 0, 0], [0, 0, 1], [2, 3, 2], [1, 0, 0], [1, 2, 0]], np.int32)
CUBE_ENTRIES = np.array([3, 6, 5, 1, -1, 2], np.int32)
CUBE_WEIGHTS = np.array([2.0, 1.5, -0.25, 1.0, 1.0, 0.5])


def of_shards(first: Any, second: Any, third: Any, ids: Any, **options: Any) -> Any:
    """``embedding_lookup`` in a table of three shards."""
    return nn.embedding_lookup([first, second, third], ids, **options)


def of_entries(
    op: Any, params: Any, ids: Any, indices: Any, weights: Any, shape: Any, unique: bool, **others: Any
) -> Any:
    """A sparse op of the arrays that make up its matrices; ``others`` replace what they give."""
    indices = jnp.asarray(indices)
    shape = (*indices.shape[:-2], *shape[indices.ndim - 2 :])
    ids, weights = (
        None if data is None else BCOO((jnp.asarray(data), indices), shape=shape, unique_indices=unique)
        for data in (ids, weights)
    )
    given = dict(zip(inspect.signature(op).parameters, (params, ids, weights), strict=False))
    return op(**{**given, **others})


@functools.wraps(nn.embedding_lookup_sparse)
def lookup_sparse(
    params: Any, ids: Any, indices: Any, weights: Any = None, *, shape: Any = SHAPE, unique: bool = False, **others: Any
) -> Any:
    return of_entries(nn.embedding_lookup_sparse, params, ids, indices, weights, shape, unique, **others)


@functools.wraps(nn.safe_embedding_lookup_sparse)
def safe_lookup_sparse(
    params: Any, ids: Any, indices: Any, weights: Any = None, *, shape: Any = SHAPE, unique: bool = False, **others: Any
) -> Any:
    return of_entries(nn.safe_embedding_lookup_sparse, params, ids, indices, weights, shape, unique, **others)


of_shards.__name__ = "embedding_lookup"


def tf_lookup(**options: Any) -> Any:
    """The oracle of ``embedding_lookup``, of a table or of its shards."""

    def run(tf: Any, ids: Any, **tables: Any) -> Any:
        return tf.compat.v1.nn.embedding_lookup(list(tables.values()), ids, **options)

    return run


def tf_lookup_sparse(name: str, shape: tuple[int, ...] = SHAPE, **options: Any) -> Any:
    """The oracle of a sparse op, given the entries within ``shape`` alone and in order."""

    def run(tf: Any, params: Any, ids: Any, indices: Any, weights: Any = None) -> Any:
        if len(indices.shape) > 2:
            numbers = tf.range(indices.shape[0])[:, None, None] + tf.zeros_like(indices)
            indices = tf.concat([numbers, indices], -1)
        present = tf.reduce_all(indices < shape, -1)

        def matrix(data: Any) -> Any:
            if data is None:
                return None
            at = tf.cast(tf.boolean_mask(indices, present), tf.int64)
            return tf.sparse.reorder(tf.sparse.SparseTensor(at, tf.boolean_mask(data, present), shape))

        return getattr(tf.nn, name)(params, matrix(ids), matrix(weights), **options)

    return run


def matrix(data: Any = ENTRIES, indices: Any = INDICES, shape: tuple[int, ...] = SHAPE) -> BCOO:
    """Ids or weights to be refused."""
    return BCOO((jnp.asarray(data), jnp.asarray(indices)), shape=shape)


def bad_matrices(ids: str, weights: str) -> tuple[Bad, ...]:
    """What both sparse ops refuse of their matrices, by the names of these."""
    return (
        bad(f"`{ids}` must be a jax.experimental.sparse.BCOO matrix, got list", TypeError, **{ids: [[1, 2]]}),
        bad(f"`{ids}` must be a jax.experimental.sparse.BCOO matrix, got NoneType", TypeError, **{ids: None}),
        bad(f"`{weights}` must be a jax.experimental.sparse.BCOO matrix, got ndarray", TypeError, **{weights: WEIGHTS}),
        bad(f"`{ids}` must be integer, got float32", TypeError, **{ids: matrix(WEIGHTS.astype(np.float32))}),
        bad(f"`{weights}` must be integer or floating point, got bool", TypeError, **{weights: matrix(ENTRIES > 2)}),
        bad(
            f"`{ids}` must have n_dense 0 and n_batch 0 or 1 for rank 2, got n_dense 1 and n_batch 0",
            **{ids: matrix(np.ones((8, 4), np.int32), INDICES[:, :1])},
        ),
        bad(
            f"`{ids}` must have n_dense 0 and n_batch 0 or 1 for rank 2, got n_dense 0 and n_batch 2",
            **{ids: matrix(np.ones((4, 4, 1), np.int32), np.zeros((4, 4, 1, 0), np.int32))},
        ),
        bad(
            rf"`{weights}` must have the shape and the entries of `{ids}` \(shape, data.shape and indices.shape "
            r"\(4, 4\), \(8,\), \(8, 2\)\), got \(4, 4\), \(7,\), \(7, 2\)",
            **{ids: matrix(), weights: matrix(WEIGHTS[:7].astype(np.float32), INDICES[:7])},
        ),
        bad(f"`{weights}` must have the shape and", **{ids: matrix(), weights: matrix(shape=(4, 5))}),
        bad("`combiner` must be 'mean', 'sqrtn' or 'sum', got 'max'", combiner="max"),
        bad("`max_norm` must be at least 0, got -1.0", max_norm=-1.0),
        bad("`max_norm` must be at least 0, got nan", max_norm=float("nan")),
        bad("`max_norm` must be of rank 0", max_norm=np.ones(3, np.float32)),
    )


CASES = [
    Case(
        nn.embedding_lookup,
        {"params": TABLE, "ids": IDS},
        oracle=tf_lookup(),
        batched=("ids",),
        bad=(
            bad("`params` must be of rank at least 1", params=np.float32(1)),
            bad("`params` must be an array, got str", TypeError, params="table"),
            bad("`params` must be integer or floating point", TypeError, params=np.ones((2, 3), bool)),
            bad(r"`params` must have at least one shard, got \[\]", params=[]),
            bad(r"`params\[1\]` must be of rank at least 1", params=[np.ones(2, np.float32), np.float32(1)]),
            bad(
                "`params` must have shards of one dtype, got .*float32.*int32",
                TypeError,
                params=[np.ones((2, 3), np.float32), np.ones((2, 3), np.int32)],
            ),
            bad(
                r"`params` must have shards that differ in their first dimension only, got \[\(2, 3\), \(2, 4\)\]",
                params=[np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)],
            ),
            bad(
                r"`params` must have shards of \[3, 2\] rows for 5 rows, got \[2, 3\]",
                params=[np.ones((2, 3), np.float32), np.ones((3, 3), np.float32)],
            ),
            bad("`ids` must be an integer array, got float32", TypeError, ids=np.ones(2, np.float32)),
            bad("`max_norm` must be at least 0, got -1", max_norm=-1),
            bad("`max_norm` must be at least 0, got nan", max_norm=float("nan")),
            bad("`max_norm` must be a static number", TypeError, max_norm=True),
            bad("`params` must be floating point", TypeError, params=np.ones((2, 3), np.int32), max_norm=1.0),
            bad("`partition_strategy` must be 'mod' or 'div', got 'row'", partition_strategy="row"),
        ),
    ),
    Case(
        nn.embedding_lookup,
        {"params": TABLE, "ids": IDS},
        {"max_norm": 1.25},
        label="max_norm",
        oracle=tf_lookup(max_norm=1.25),
        batched=("ids",),
    ),
    *(
        Case(
            of_shards,
            {**dict(zip(("first", "second", "third"), shards, strict=True)), "ids": IDS},
            {"partition_strategy": strategy},
            label=strategy,
            oracle=tf_lookup(partition_strategy=strategy),
            batched=("ids",),
        )
        for strategy, shards in (
            ("mod", [TABLE[start::3] for start in range(3)]),
            ("div", [TABLE[:3], TABLE[3:5], TABLE[5:]]),
        )
    ),
    Case(
        lookup_sparse,
        {"params": TABLE, "ids": ENTRIES, "indices": INDICES, "weights": WEIGHTS},
        oracle=tf_lookup_sparse("embedding_lookup_sparse", combiner="mean"),
        bad=(
            *bad_matrices("sp_ids", "sp_weights"),
            bad("`params` must be floating point", TypeError, params=np.ones((7, 3), np.int32)),
            bad("`params` must be of rank at least 1", params=np.float32(1)),
            bad(
                r"`sp_ids` must be of rank 2, got shape \(2, 3, 2\)",
                sp_ids=matrix(CUBE_ENTRIES, CUBE_INDICES, CUBE_SHAPE),
            ),
            bad("`partition_strategy` must be 'mod' or 'div', got 'row'", partition_strategy="row"),
        ),
    ),
    Case(
        lookup_sparse,
        {"params": normal(7, 2, 2), "ids": ENTRIES, "indices": INDICES, "weights": WEIGHTS},
        {"combiner": "sqrtn", "max_norm": 1.25, "unique": True},
        label="unique_indices",
        oracle=tf_lookup_sparse("embedding_lookup_sparse", combiner="sqrtn", max_norm=1.25),
    ),
    Case(
        lookup_sparse,
        {"params": TABLE, "ids": ROW_ENTRIES, "indices": ROW_INDICES, "weights": ROW_WEIGHTS},
        {"combiner": "sum"},
        label="rows",
        oracle=tf_lookup_sparse("embedding_lookup_sparse", combiner="sum"),
        batched=("ids", "indices", "weights"),
    ),
    *(
        Case(
            lookup_sparse,
            {"params": TABLE, "ids": ENTRIES, "indices": INDICES},
            {"combiner": combiner, "unique": combiner == "sqrtn"},
            label=f"unweighted_{combiner}",
            oracle=tf_lookup_sparse("embedding_lookup_sparse", combiner=combiner),
        )
        for combiner in ("mean", "sqrtn")
    ),
    Case(
        safe_lookup_sparse,
        {"params": TABLE, "ids": CUBE_ENTRIES, "indices": CUBE_INDICES, "weights": CUBE_WEIGHTS},
        {"shape": CUBE_SHAPE, "default_id": 2, "max_norm": 1.25},
        oracle=tf_lookup_sparse("safe_embedding_lookup_sparse", CUBE_SHAPE, default_id=2, max_norm=1.25),
        bad=(
            *bad_matrices("sparse_ids", "sparse_weights"),
            bad("`embedding_weights` must be floating point", TypeError, embedding_weights=np.ones((7, 3), np.int32)),
            bad("`sparse_ids` must be of rank at least 2", sparse_ids=matrix(ENTRIES, INDICES[:, :1], (4,))),
            bad(r"`default_id` must be in \[0, 7\), got 7", default_id=7),
            bad(r"`default_id` must be in \[0, 7\), got -1", default_id=-1),
            bad("`default_id` must be an integer array", TypeError, default_id=1.0),
            bad("`default_id` must be of rank 0", default_id=[1]),
            bad("`partition_strategy` must be 'mod' or 'div', got 'row'", partition_strategy="row"),
        ),
    ),
    Case(
        safe_lookup_sparse,
        {"params": TABLE, "ids": ROW_ENTRIES - 1, "indices": ROW_INDICES, "weights": ROW_WEIGHTS},
        {"combiner": "sum"},
        label="rows",
        oracle=tf_lookup_sparse("safe_embedding_lookup_sparse", combiner="sum"),
        batched=("ids", "indices", "weights"),
    ),
]
