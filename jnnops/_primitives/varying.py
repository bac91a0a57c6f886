"""Which axes of a ``shard_map`` an array varies over: what primitives and loops of our own must keep equal."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray

from jnnops._primitives.releases import varying_axes

T = TypeVar("T")


def vary_with(tree: T, *others: Any) -> T:
    """The pytree, each array of it varying over all axes that any array of it or of ``others`` varies over.

    This is how the first carry of a loop is made: a loop keeps the types of its carry, and what the carry becomes
    varies over all that the loop's body computes with. Outside of a ``shard_map`` nothing happens.

    Args:
        tree: A pytree of arrays.
        others: Pytrees of arrays, of abstract values, and of anything else, which counts for nothing.
    """
    axes = frozenset[Any]().union(*map(_varying_axes, jax.tree.leaves((tree, others))))
    return jax.tree.map(lambda array: _vary(array, axes), tree)


def vary_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, varying over all the axes that any of them varies over, as a primitive asks of its arguments."""
    return vary_with(arrays)


def zeros_varying_like(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of ``array`` that vary as it does."""
    return vary_with(jnp.zeros(shape, array.dtype), array)


def _varying_axes(value: Any) -> frozenset[Any]:
    if isinstance(value, jax.Array):
        return varying_axes(jax.typeof(value))
    return varying_axes(value) if isinstance(value, ShapedArray) else frozenset()


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    missing = tuple(axes - varying_axes(jax.typeof(array)))
    return lax.pcast(array, missing, to="varying") if missing else array
