"""Which axes of a ``shard_map`` an array varies over: what primitives and loops of our own must keep equal."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jnnops._primitives.releases import make_vary, varying_axes

T = TypeVar("T")


def vary_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, varying over all the axes that any of them varies over, as the arguments of a primitive must."""
    return vary_with(arrays)


def vary_with(tree: T, *others: Any) -> T:
    """The pytree, each of its arrays varying over all the axes that any array of it or of the others varies over.

    The carry of a loop must vary so from the start, as what is added to it in a step does.
    """
    axes = frozenset[Any]().union(*(varying_axes(jax.typeof(array)) for array in jax.tree.leaves((tree, others))))
    return jax.tree.map(lambda array: _vary(array, axes), tree)


def zeros_varying_like(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of ``array`` that vary as it does."""
    return vary_with(jnp.zeros(shape, array.dtype), array)


def zeros_of(aval: Any, shape: tuple[int, ...]) -> jax.Array:
    """Zeros of the dtype of an abstract value that vary as it does."""
    return _vary(jnp.zeros(shape, aval.dtype), varying_axes(aval))


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    missing = tuple(axes - varying_axes(jax.typeof(array)))
    return make_vary(array, missing) if missing else array
