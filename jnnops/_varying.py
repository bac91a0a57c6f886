"""Which axes of a ``shard_map`` an array varies over: what primitives and loops of our own must keep equal."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def vary_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, varying over all the axes that any of them varies over."""
    axes = frozenset[Any]().union(*map(_varying_axes, arrays))
    return tuple(_vary(array, axes) for array in arrays)


def zeros_varying_like(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of ``array`` that vary as it does."""
    return _vary(jnp.zeros(shape, array.dtype), _varying_axes(array))


def zeros_of(aval: Any, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of an abstract value that vary as it does."""
    return _vary(jnp.zeros(shape, aval.dtype), _axes_of(aval))


def _varying_axes(array: jax.Array) -> frozenset[Any]:
    return _axes_of(jax.typeof(array))


def _axes_of(aval: Any) -> frozenset[Any]:
    # the second before jax 0.10
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else aval.vma


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    missing = tuple(axes - _varying_axes(array))
    if not missing:
        return array
    if hasattr(lax, "pcast"):
        return lax.pcast(array, missing, to="varying")
    return lax.pvary(array, missing)  # before jax 0.9  # pyright: ignore[reportAttributeAccessIssue]
