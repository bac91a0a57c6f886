"""Which axes of a ``shard_map`` an array varies over: what primitives and loops of our own must keep equal."""

from typing import Any

import jax
import jax.numpy as jnp

from jnnops._primitives.releases import make_vary, varying_axes


def vary_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, varying over all the axes that any of them varies over."""
    axes = frozenset[Any]().union(*map(_varying_axes, arrays))
    return tuple(_vary(array, axes) for array in arrays)


def zeros_varying_like(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of ``array`` that vary as it does."""
    return _vary(jnp.zeros(shape, array.dtype), _varying_axes(array))


def zeros_of(aval: Any, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of an abstract value that vary as it does."""
    return _vary(jnp.zeros(shape, aval.dtype), varying_axes(aval))


def _varying_axes(array: jax.Array) -> frozenset[Any]:
    return varying_axes(jax.typeof(array))


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    missing = tuple(axes - _varying_axes(array))
    return make_vary(array, missing) if missing else array
