"""Rounding that is differentiated as if it were none: where numbers are inside of a range, and by its ends outside.

Every order and mode has this one rule. A second derivative is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jnnops._primitives.operation import Operation, differentiable

# The value of numbers, and the ends of the range outside of which they are clipped, of one rank.
Rounding = Callable[..., jax.Array]
Ends = Callable[..., tuple[jax.Array, jax.Array]]


def straight_through(rounded: Rounding, ends: Ends, *, ends_have_gradients: bool) -> Operation:
    """Makes an operation of a rounding.

    Args:
        rounded: ``rounded(x, low, high, **params)``, of arrays of one rank that broadcast to ``x``, of the dtype of
            ``x``.
        ends: ``ends(low, high, **params)``: between which numbers, both included, ``x`` has a gradient.
        ends_have_gradients: Whether the gradient of what is below goes to ``low`` and of what is above to ``high``.
    """

    def jvp(primals: Any, tangents: Any, **params: Any) -> tuple[jax.Array, jax.Array]:
        x, low, high = primals
        first, last = ends(low, high, **params)
        wide = x.astype(first.dtype)
        zero = jnp.zeros_like(wide)

        def part(tangent: jax.Array | None) -> jax.Array:
            return zero if tangent is None else jnp.broadcast_to(tangent.astype(first.dtype), x.shape)

        by_x, by_low, by_high = map(part, tangents if ends_have_gradients else (tangents[0], None, None))
        # of a range of nothing but 0 all is inside
        inside = ((wide >= first) & (wide <= last)) | ((low == 0) & (high == 0))
        outside = jnp.where(wide < first, by_low, jnp.where(wide > last, by_high, zero))
        return operation(x, low, high, **params), jnp.where(inside, by_x, outside).astype(x.dtype)

    operation = differentiable(rounded, jvp, _batch)
    return operation


def _batch(operation: Any, arrays: Sequence[Any], axes: Sequence[int | None], **params: Any) -> tuple[jax.Array, int]:
    size = next(array.shape[at] for array, at in zip(arrays, axes, strict=True) if at is not None)
    x, *ends = (
        jnp.expand_dims(array, 0) if at is None else jnp.moveaxis(array, at, 0)
        for array, at in zip(arrays, axes, strict=True)
    )
    return operation(jnp.broadcast_to(x, (size, *x.shape[1:])), *ends, **params), 0
