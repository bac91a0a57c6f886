"""Comparisons of results, and the precision of dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from machinery.case import Case

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def first_dtype(case: Case) -> Any:
    """float32, or the first dtype that the op takes."""
    return jnp.float32 if "float32" in case.dtypes else jnp.dtype(case.dtypes[0])


def assert_same(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6, note: str = "") -> None:
    """Same structure, dtypes, shapes and values."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected), note
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (e.dtype, e.shape), note
        if jnp.issubdtype(a.dtype, jnp.floating):
            wide = np.float64 if a.dtype == jnp.float64 else np.float32
            np.testing.assert_allclose(np.asarray(a, wide), np.asarray(e, wide), rtol=rtol, atol=atol, err_msg=note)
        else:
            np.testing.assert_array_equal(a, e, err_msg=note)


def assert_within_ulps(actual: Any, exact: Any, ulps: float, note: str = "") -> None:
    """Within so many units in the last place of the largest finite number of ``exact``, which is float64."""
    exact = np.asarray(exact, np.float64)
    if exact.size:
        atol = ulps * EPSILON[str(actual.dtype)] * max(np.abs(exact[np.isfinite(exact)]), default=1)
        np.testing.assert_allclose(np.asarray(actual, np.float64), exact, rtol=0, atol=atol, err_msg=note)
