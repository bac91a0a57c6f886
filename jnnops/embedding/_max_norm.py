"""Rows of a limited norm."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import differentiable, merging_into
from jnnops._primitives.varying import zeros_varying_like


def limited(rows: jax.Array, max_norm: ArrayLike, ids_rank: int) -> jax.Array:
    """The rows, each scaled down to ``max_norm`` if it is longer, in the dtype of sums."""
    shape, row_shape = rows.shape[:ids_rank], rows.shape[ids_rank:]
    wide = rows.astype(accumulation_dtype(rows.dtype)).reshape(math.prod(shape), math.prod(row_shape))
    unit = _unit(wide)
    square = SQUARES(wide, unit)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1))  # the root has no derivative at 0
    limit = jnp.asarray(max_norm, wide.dtype)
    longer = (square > 0) & (norm >= limit / unit)
    # Selected before the division, which then has a derivative for shorter rows too, whatever the limit. The factor of
    # the longest rows would vanish if it were one with that of the unit.
    factor = jnp.where(longer, limit, 1) / jnp.where(longer, norm, 1)
    return (wide * jnp.where(longer, 1 / unit, 1)[:, None] * factor[:, None]).reshape(rows.shape)


def _unit(rows: jax.Array) -> jax.Array:
    """What the numbers of each row are measured in: 1, or a large power of two where the sum of squares overflows."""
    rows = lax.stop_gradient(rows)
    large = jnp.asarray(2.0 ** (jnp.finfo(rows.dtype).maxexp * 5 // 8), rows.dtype)
    return jnp.where(jnp.isinf(jnp.sum(jnp.square(rows), 1)), large, 1)


def _squares(rows: jax.Array, unit: jax.Array) -> jax.Array:
    """The sum of the squares of each row, measured in its unit."""
    # All rows are measured once more only if one of them is large: this would double the time.
    in_large = lax.cond(
        jnp.any(unit != 1),
        lambda: jnp.sum(jnp.square(rows / unit[:, None]), 1),
        lambda: zeros_varying_like(rows, unit.shape),
    )
    return jnp.where(unit == 1, jnp.sum(jnp.square(rows), 1), in_large)


def _squares_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (rows, unit), (tangent, _) = primals, tangents
    return SQUARES(rows, unit), 2 / unit * jnp.sum(rows * (tangent * (1 / unit)[:, None]), 1)


# rows [n, size], unit [n] -> [n]; the units have no derivative
SQUARES = differentiable(_squares, _squares_jvp, merging_into(0))


def of_each_row(numbers: jax.Array, rows: jax.Array) -> jax.Array:
    """One number for each row, as an array of the rank of ``rows``."""
    return numbers.reshape(numbers.shape + (1,) * (rows.ndim - numbers.ndim))
