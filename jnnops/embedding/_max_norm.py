"""Rows of a limited norm."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import as_number_array, is_traced


def as_max_norm(op: str, max_norm: ArrayLike) -> jax.Array:
    """Converts a limit and checks it as far as it is known."""
    limit = as_number_array(op, "max_norm", max_norm, rank=0)
    if not is_traced(max_norm) and np.asarray(max_norm) < 0:
        raise ValueError(f"{op}: `max_norm` must be at least 0, got {max_norm}")
    return limit


def scales(rows: jax.Array, max_norm: jax.Array, ids_rank: int) -> jax.Array:
    """The factor that brings each row, in the dtype of sums, down to ``max_norm``: of the shape of the ids."""
    limit = max_norm.astype(rows.dtype)
    square = jnp.sum(jnp.square(rows), tuple(range(ids_rank, rows.ndim)))
    norm = jnp.sqrt(jnp.where(square > 0, square, 1))  # the root has no derivative at 0
    return jnp.where((square > 0) & (norm >= limit), limit / norm, 1)


def of_each_row(numbers: jax.Array, rows: jax.Array) -> jax.Array:
    """One number for each row, as an array of the rank of ``rows``."""
    return numbers.reshape(numbers.shape + (1,) * (rows.ndim - numbers.ndim))
