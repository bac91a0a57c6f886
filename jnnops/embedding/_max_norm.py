"""Rows of a limited norm."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype
from jnnops._tables.norms import unit_of


def limited(rows: jax.Array, max_norm: ArrayLike, ids_rank: int) -> jax.Array:
    """The rows, each scaled down to ``max_norm`` if it is longer, in the dtype of sums."""
    wide = rows.astype(accumulation_dtype(rows.dtype))
    axes = tuple(range(ids_rank, rows.ndim))
    unit = unit_of(jnp.sum(jnp.square(wide), axes, keepdims=True))
    square = jnp.sum(jnp.square(wide / unit), axes, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1))  # the root has no derivative at 0
    limit = jnp.asarray(max_norm, wide.dtype)
    longer = (square > 0) & (norm >= limit / unit)
    # Selected before the division, which then has a derivative for shorter rows too, whatever the limit. The unit is
    # divided by first, since one factor for both would vanish for the longest rows.
    factor = jnp.where(longer, limit, 1) / jnp.where(longer, norm, 1)
    return jnp.where(longer, wide / unit * factor, wide)


def of_each_row(numbers: jax.Array, rows: jax.Array) -> jax.Array:
    """One number for each row, as an array of the rank of ``rows``."""
    return numbers.reshape(numbers.shape + (1,) * (rows.ndim - numbers.ndim))
