"""Computing with 16-bit numbers in float32."""

import functools
from collections.abc import Callable

import jax

from jnnops._check import accumulation_dtype


def in_accumulation_dtype(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Computes ``f(x, ...)`` of a 16-bit ``x`` in float32 and rounds the result once.

    The gradient of what broadcasts to ``x`` is so summed in float32, too.
    """

    @functools.wraps(f)
    def wide(x: jax.Array, *arrays: jax.Array) -> jax.Array:
        return f(*(array.astype(accumulation_dtype(x.dtype)) for array in (x, *arrays))).astype(x.dtype)

    return wide
