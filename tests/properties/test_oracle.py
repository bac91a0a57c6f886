"""Values and gradients of every case are those of TensorFlow."""

import jax
import numpy as np
import pytest
from machinery import oracle
from machinery.registry import CASES


@pytest.mark.parametrize("case", [case for case in CASES if case.oracle], ids=lambda case: case.id)
def test_values_and_gradients_are_those_of_tensorflow(case):
    rtol = case.tolerance or (1e-10 if case.oracle_dtype == "float64" else 2e-5)
    by_gradient = case.gradient_names if case.order and case.oracle_gradient else ()

    def both(arrays):
        return jax.tree.leaves(case(**arrays)), case.gradient(arrays, by_gradient)

    with jax.enable_x64(True):
        arrays = case.cast(case.oracle_dtype)
        given = {name: np.asarray(array) for name, array in arrays.items()}
        actual, gradient = jax.jit(both)(arrays)
    expected = oracle.values(case.oracle, given)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(np.asarray(a), e, rtol=rtol, atol=rtol)
    if by_gradient:
        for name, e in zip(by_gradient, oracle.gradients(case.oracle, given, by_gradient), strict=True):
            np.testing.assert_allclose(gradient[name], e, rtol=10 * rtol, atol=10 * rtol, err_msg=name)
