"""8192 ids looked up in 100,000 x 128 and in 1000 x 128; one by one, and as 1024 bags of 8.

TensorFlow's gradients are made dense, as ours are here.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal

FEATURES = 128
BAGS, BAG_SIZE = 1024, 8
IDS = BAGS * BAG_SIZE
SHAPE = (BAGS, BAG_SIZE)
WEIGHTS = np.random.default_rng(1).uniform(0.5, 1.5, SHAPE).astype(np.float32)


def table(num_rows: int) -> np.ndarray:
    return normal(num_rows, FEATURES)


def lookup(num_rows: int, max_norm: float | None = None) -> Benchmark:
    """``embedding_lookup``."""

    def plain(params: jax.Array, ids: jax.Array) -> jax.Array:
        rows = params[ids]
        if max_norm is None:
            return rows
        return rows * jnp.minimum(1, max_norm / jnp.linalg.norm(rows, axis=1, keepdims=True))

    return Benchmark(
        "embedding_lookup",
        f"{num_rows}x{FEATURES}" + ("" if max_norm is None else "_max_norm"),
        arrays={"params": table(num_rows)},
        constants={"ids": integers(0, num_rows, IDS)},
        ours=lambda params, ids: nn.embedding_lookup(params, ids, max_norm),
        plain=plain,
        tensorflow=Peer(lambda tf, params, ids: tf.nn.embedding_lookup(params, ids, max_norm)),
        # PyTorch's max_norm changes the table itself
        torch=None if max_norm else Peer(lambda torch, params, ids: torch.nn.functional.embedding(ids.long(), params)),
        shared=("params",),
    )


def bags(combiner: str, label: str, weighted: bool = False, by_row: bool = False, unique: bool = True) -> Benchmark:
    """``embedding_lookup_sparse`` in one of the layouts of sparse ids."""
    rows, columns = np.indices(SHAPE, np.int32)
    indices = np.stack([columns] if by_row else [rows, columns], -1)
    layout = (lambda array: array) if by_row else (lambda array: array.reshape(-1, *array.shape[2:]))

    def ours(params: jax.Array, *given: jax.Array) -> jax.Array:
        *weights, ids, indices = given
        ids, *weights = (BCOO((data, indices), shape=SHAPE, unique_indices=unique) for data in (ids, *weights))
        return nn.embedding_lookup_sparse(params, ids, weights[0] if weights else None, combiner)

    def plain(params: jax.Array, *given: jax.Array) -> jax.Array:
        *weights, ids, _ = (array.reshape(-1, *array.shape[2 if by_row else 1 :]) for array in given)
        factors = weights[0] if weights else jnp.ones(IDS)
        number = jnp.repeat(jnp.arange(BAGS), BAG_SIZE)
        total = jax.ops.segment_sum(params[ids] * factors[:, None], number, BAGS)
        return total if combiner == "sum" else total / jax.ops.segment_sum(factors, number, BAGS)[:, None]

    def tensorflow(tf: Any, params: Any, *given: Any) -> Any:
        *weights, ids, _ = given
        at = tf.constant(np.stack([rows, columns], -1).reshape(-1, 2), tf.int64)
        ids, *weights = (tf.sparse.SparseTensor(at, tf.reshape(data, [-1]), SHAPE) for data in (ids, *weights))
        return tf.nn.embedding_lookup_sparse(params, ids, weights[0] if weights else None, combiner)

    def torch(torch: Any, params: Any, *given: Any) -> Any:
        *weights, ids, _ = given
        ids, *weights = (data.reshape(SHAPE) for data in (ids.long(), *weights))
        return torch.nn.functional.embedding_bag(
            ids, params, mode=combiner, per_sample_weights=weights[0] if weights else None
        )

    arrays = {"params": table(100_000)}
    if weighted:
        arrays["weights"] = layout(WEIGHTS)
    return Benchmark(
        "embedding_lookup_sparse",
        f"{combiner}_{label}",
        arrays=arrays,
        constants={"ids": layout(integers(0, 100_000, *SHAPE)), "indices": layout(indices)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        # which has weights for sums alone
        torch=None if weighted and combiner != "sum" else Peer(torch),
        shared=("params",),
    )


BENCHMARKS = [
    lookup(100_000),
    lookup(1000),
    lookup(100_000, max_norm=10.0),
    bags("mean", "one_list"),
    bags("mean", "one_list_not_unique", unique=False),
    bags("mean", "by_row", by_row=True),
    bags("sum", "by_row_weighted", by_row=True, weighted=True),
]
