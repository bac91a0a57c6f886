"""Makes sure that tables are read before they are written.

A program that both reads and writes a table gets a copy of it from XLA, unless what is written depends on what is read.
So the rows that are written, or the indices at which they are, are made to depend on all rows that were read.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

T = TypeVar("T")


def read_once(rows: T) -> T:
    """Rows of tables that XLA does not read again wherever they are used."""
    return lax.optimization_barrier(rows)


def first_of(array: jax.Array) -> jax.Array:
    """A number that comes with an array from :func:`read_once`."""
    return array.reshape(-1)[:1].astype(jnp.float32)


def after(results: list[jax.Array], arrays: list[jax.Array]) -> list[jax.Array]:
    """Arrays that exist only once all results do, which come from :func:`read_once` or :func:`first_of`."""
    total = sum(map(jnp.sum, map(first_of, results)), jnp.zeros((), jnp.float32))
    # Of 32 bits shifted by 31 and then by 1 nothing is left, but XLA does not know. (It does know that 0 * total is 0,
    # and jaxlib 0.10.2 drops a barrier between total and the arrays before it decides on copies.)
    sign = lax.shift_right_logical(lax.bitcast_convert_type(total, jnp.uint32), jnp.uint32(31))
    zero = lax.shift_right_logical(sign, jnp.uint32(1))
    return [each + zero.astype(each.dtype) for each in arrays]
