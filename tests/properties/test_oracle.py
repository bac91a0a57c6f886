"""Values and gradients are those of TensorFlow, also at ties and kinks, and those of users' programs too."""

import jax
import numpy as np
from machinery.case import Case
from machinery.numbers import assert_same
from machinery.programs import compile_by_default, share
from machinery.registry import CASES, each, first_case


@share
def program(case: Case):
    """Results and gradient in one program, which may be called with other arrays of the same shapes."""
    return jax.jit(case.values_and_gradient)


def tolerance(case: Case) -> float:
    return case.tolerance or (1e-10 if case.oracle_dtype == "float64" else 2e-5)


def assert_gradients_are_those_of_tensorflow(case: Case, arrays, actual) -> None:
    from machinery import oracle

    assert case.oracle is not None
    rtol = 10 * tolerance(case)
    expected = oracle.gradients(case.oracle, arrays, case.gradient_names)
    for name, e in zip(case.gradient_names, expected, strict=True):
        np.testing.assert_allclose(actual[name], e, rtol=rtol, atol=rtol, err_msg=name)


@each([case for case in CASES if case.oracle])
def test_values_and_gradients_are_those_of_tensorflow(case):
    from machinery import oracle

    rtol = tolerance(case)
    with jax.enable_x64(True):
        arrays = case.cast(case.oracle_dtype)
        given = {name: np.asarray(array) for name, array in arrays.items()}
        actual, gradient = program(case)(arrays)
        expected = oracle.values(case.oracle, given)
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert a.shape == e.shape
            np.testing.assert_allclose(np.asarray(a), e, rtol=rtol, atol=rtol)
        if case.is_differentiable and case.oracle_gradient:
            assert_gradients_are_those_of_tensorflow(case, given, gradient)


@each([case for case in CASES if case.oracle and case.is_differentiable and case.oracle_gradient and case.ties])
def test_gradients_at_ties_and_kinks_are_those_of_tensorflow(case):
    with jax.enable_x64(True):
        arrays = case.at_ties().cast(case.oracle_dtype)
        given = {name: np.asarray(array) for name, array in arrays.items()}
        assert_gradients_are_those_of_tensorflow(case, given, program(case)(arrays)[1])


@first_case
def test_programs_of_users_give_the_same(case):
    # All other tests compile without optimisations, whose results TensorFlow has judged above.
    arrays = case.cast(case.first_dtype)
    assert_same(compile_by_default(case.values_and_gradient, arrays)(arrays), program(case)(arrays), 1e-5, 1e-5)
