"""Euclidean norms of numbers whose squares overflow or vanish."""

import jax
import jax.numpy as jnp
from jax import lax


def unit_of(square: jax.Array) -> jax.Array:
    """A power of two to measure numbers in, given the sum of their squares, so that it neither overflows nor vanishes.

    It is 1 unless the sum is near the ends of what its dtype holds, so the norm of ordinary numbers stays the same to
    the last bit. It is a constant to derivatives.
    """
    exponent = jnp.finfo(square.dtype).maxexp  # 128 in float32: the largest number is just below 2 ** 128

    def power(eighths: int) -> jax.Array:
        return jnp.asarray(2.0 ** (eighths * exponent // 8), square.dtype)

    unit = jnp.where(square > power(6), power(5), jnp.where(square < power(-6), power(-5), power(0)))
    return lax.stop_gradient(unit)
