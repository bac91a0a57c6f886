"""Rounding that is differentiated as if it were none: where numbers are inside of a range, and by its ends outside.

Every order and mode has this one rule. A second derivative is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnnops._primitives.operation import Operation, differentiable


class Sides(NamedTuple):
    """Where numbers lie, as boolean arrays; what is on none of the sides has no gradient.

    Attributes:
        below: Below the range.
        inside: In it.
        above: Above it.
    """

    below: jax.Array
    inside: jax.Array
    above: jax.Array


# The value of numbers and the ends of a range outside of which they are clipped, all of one rank; and their sides.
Rounding = Callable[..., jax.Array]
SidesOf = Callable[..., Sides]


def sides_of(x: jax.Array, first: jax.Array, last: jax.Array) -> Sides:
    """The sides of a range that holds its ends."""
    return Sides(x < first, (x >= first) & (x <= last), x > last)


def straight_through(rounded: Rounding, sides: SidesOf, *, ends_have_gradients: bool) -> Operation:
    """Makes an operation of a rounding.

    Args:
        rounded: ``rounded(x, low, high, **params)``, of arrays of one rank that broadcast to ``x``, of the dtype of
            ``x``.
        sides: ``sides(x, low, high, **params)``, of arrays of the dtype of the ends: ``x`` has a gradient inside.
        ends_have_gradients: Whether the gradient of what is below goes to ``low`` and of what is above to ``high``.
    """

    def jvp(primals: Any, tangents: Any, **params: Any) -> tuple[jax.Array, jax.Array]:
        x, low, high = primals
        wide = x.astype(low.dtype)
        below, inside, above = sides(wide, low, high, **params)
        zero = jnp.zeros_like(wide)

        def part(tangent: jax.Array | None) -> jax.Array:
            return zero if tangent is None else jnp.broadcast_to(tangent.astype(wide.dtype), x.shape)

        by_x, by_low, by_high = map(part, tangents if ends_have_gradients else (tangents[0], None, None))
        outside = jnp.where(below, by_low, jnp.where(above, by_high, zero))
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
