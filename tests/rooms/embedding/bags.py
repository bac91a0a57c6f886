"""Bags of ids that the tests look up, in every layout, and their combination by loops."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.experimental.sparse import BCOO
from machinery.case import normal

import jnnops as nn

TABLE = jnp.asarray(normal(7, 3), jnp.float32)
from_lists: Any = nn.SparseIds.from_lists
lookup_sparse: Any = nn.embedding_lookup_sparse
safe_lookup_sparse: Any = nn.safe_embedding_lookup_sparse


def f32(values):
    return jnp.asarray(values, jnp.float32)


def error_of(f, *arguments):
    return checkify.checkify(f, errors=checkify.user_checks)(*arguments)[0].get() or ""


def combined(table, bags, weights, combiner, max_norm=None):
    """``embedding_lookup_sparse`` by loops, of lists."""
    table = np.asarray(table, np.float64)
    if max_norm is not None:
        table = table * np.minimum(1, max_norm / np.linalg.norm(table, axis=1, keepdims=True))
    results = []
    for ids, w in zip(bags, weights, strict=True):
        total = sum((a * table[i] for i, a in zip(ids, w, strict=True)), np.zeros(table.shape[1]))
        divisor = {"sum": 1, "mean": sum(w), "sqrtn": np.sqrt(np.sum(np.square(w)))}[combiner]
        results.append(total / divisor if divisor else 0 * total)
    return np.array(results).reshape(len(bags), table.shape[1])


def shuffled(matrix, seed=0):
    """The same entries in another order."""
    order = np.random.default_rng(seed).permutation(matrix.nse)
    entries = (matrix.data[order], matrix.indices[order])
    return BCOO(entries, shape=matrix.shape, unique_indices=matrix.unique_indices)


def without_knowledge(matrix):
    """The same, of whose indices nothing is promised."""
    return BCOO((matrix.data, matrix.indices), shape=matrix.shape)


LAYOUTS: dict[str, Any] = {
    "canonical": lambda *lists: from_lists(*lists),
    "padded": lambda *lists: from_lists(*lists, nse=20, max_ids=6),
    "by_row": lambda *lists: from_lists(*lists, n_batch=1),
    "by_row_padded": lambda *lists: from_lists(*lists, n_batch=1, max_ids=7, nse=6),
    "shuffled": lambda *lists: nn.SparseIds(*map(shuffled, from_lists(*lists, nse=20, max_ids=6))),
    "unknown": lambda *lists: nn.SparseIds(*(without_knowledge(shuffled(m)) for m in from_lists(*lists, max_ids=6))),
}
BAGS = [[], [3, 3, 1], [6], [], [0, 5, 2, 4], []]
BAG_WEIGHTS = [[], [1.5, 0.5, -1.0], [2.0], [], [0.25, -1, 3, 1], []]
