"""The number of a row that has a given rank."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    as_integer_array,
    as_number_array,
    as_static_bool,
    at_least,
    is_traced,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import checked_ids


@answers_tensorflow_names
def nth_element(input: ArrayLike, n: ArrayLike, reverse: bool = False) -> jax.Array:
    """The number that would be at place ``n`` of each row if it were sorted.

    The gradient goes to all numbers of the row that are equal to it, in equal parts. NaN counts as larger than all
    numbers.

    Args:
        input: Rank 1 or more, floating point or integer.
        n: A place, from 0 to the size of the last axis less 1. It may be traced; one out of range then gives NaN, or 0
            for integers, and ``checkify`` reports it.
        reverse: Whether to sort in descending order.

    Returns:
        The shape of ``input`` without its last axis, with its dtype.

    Raises:
        ValueError: If ``n`` is known to be out of range.
        TypeError: If ``input`` is neither integer nor floating point, or ``n`` not an integer.

    Example:
        >>> nn.nth_element([3.0, 1.0, 2.0], 1).item()
        2.0

    References:
        ``tf.raw_ops.NthElement``, formerly ``tf.contrib.nn.nth_element``.
    """
    op = "nth_element"
    x = as_number_array(op, "input", input, rank=at_least(1))
    place = as_integer_array(op, "n", n, rank=0)
    size = x.shape[-1]
    if not is_traced(place) and not 0 <= int(place) < size:
        raise ValueError(f"{op}: `n` must be in [0, {size}), got {int(place)}")
    return _nth_element(x, place, as_static_bool(op, "reverse", reverse))


@functools.partial(jax.jit, static_argnames="reverse")
def _nth_element(x: jax.Array, n: jax.Array, reverse: bool) -> jax.Array:
    n, valid = checked_ids("nth_element", "n", n, x.shape[-1])
    place = x.shape[-1] - 1 - n if reverse else n
    found = jnp.take(jnp.sort(lax.stop_gradient(x), axis=-1), place, axis=-1, mode="clip")
    found = jnp.where(valid, found, jnp.asarray(jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else 0, x.dtype))
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return found
    # What is added is 0, the mean of all equal numbers less the same mean without a derivative: its gradient counts.
    equal = (x == found[..., None]) & valid
    share = equal.astype(x.dtype) / jnp.maximum(jnp.sum(equal, -1, keepdims=True), 1).astype(x.dtype)
    finite = jnp.where(equal & jnp.isfinite(x), x, 0)
    return found + jnp.sum(share * (finite - lax.stop_gradient(finite)), -1)
