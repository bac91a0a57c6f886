"""Comparisons of results, and inputs with ties."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def is_floating(array: Any) -> bool:
    """Whether an array or its shape has a floating dtype; bfloat16 has one."""
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def assert_same(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Same structure, dtypes and values."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        if is_floating(a):
            np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(a, e)


def assert_same_shapes(actual: Any, expected: Any) -> None:
    """Same structure, shapes and dtypes, of arrays or of ``jax.ShapeDtypeStruct``."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)


def assert_near(actual: Any, expected: Any, tolerance: float, of: str) -> None:
    """Same arrays but for a fraction of the largest finite value among them, or of 1 where that is larger."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        scale = max(1.0, largest(e))
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale, err_msg=of)


def assert_within_ulps(actual: Any, exact: Any, ulps: float, of: str) -> None:
    """An array equals a float64 one but for rounding errors, in units of the last place of its largest value."""
    exact = np.asarray(exact, np.float64)
    atol = ulps * EPSILON[str(actual.dtype)] * largest(exact)
    np.testing.assert_allclose(np.asarray(actual, np.float64), exact, rtol=0, atol=atol, err_msg=of)


def largest(array: np.ndarray) -> float:
    """The largest finite magnitude; 0 if there is none."""
    return float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))


def dot(a: Any, b: Any) -> float:
    """The scalar product of two trees of arrays."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(np.sum(np.asarray(x) * np.asarray(y)) for x, y in pairs))


def few_values(array: np.ndarray) -> np.ndarray:
    """An array of the same shape with three values only, so that windows tie; positive if all were positive.

    One of the values is 0, where most activations have their kink. A single number has nothing to tie with.
    """
    if array.ndim == 0:
        return array
    if np.all(array > 0):
        return np.round(array * 4) % 3 / 2 + 0.5
    return np.round(array) % 3 - 1


def directions(arrays: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """A random tangent for each array."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(np.shape(array)) for name, array in arrays.items()}


def stack(points: Sequence[Any]) -> Any:
    """Trees of arrays as one tree with an axis more."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
