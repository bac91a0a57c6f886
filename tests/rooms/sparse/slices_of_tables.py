"""Slices and the tables that they stand for."""

import jax.numpy as jnp
import numpy as np

from jnnops.sparse import IndexedSlices


def slices_of(indices, num_rows, row_shape=(3,), dtype=jnp.float32, seed=0):
    indices = np.asarray(indices)
    values = np.random.default_rng(seed).standard_normal((len(indices), *row_shape))
    return IndexedSlices(jnp.asarray(indices), jnp.asarray(values, dtype), num_rows)


def dense(slices):
    table = np.zeros((slices.num_rows, *slices.values.shape[1:]))
    for index, value in zip(np.asarray(slices.indices), np.asarray(slices.values, np.float64), strict=True):
        if 0 <= index < slices.num_rows:
            table[index] += value
    return table
