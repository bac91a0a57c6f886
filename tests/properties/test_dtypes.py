"""Results and gradients have the dtype of the arguments and lose no more than its rounding."""

import jax
import jax.numpy as jnp
import numpy as np
from machinery.case import Case
from machinery.numbers import assert_within_ulps, is_floating, stack
from machinery.programs import compile_rounding, share
from machinery.registry import CASES, differentiable_case, each


def widened(case: Case, arrays):
    """The same numbers with the floating ones in float64."""
    return {name: array.astype(jnp.float64) if name in case.float_names else array for name, array in arrays.items()}


@share
def values_and_gradients(case: Case):
    """By dtype, the results and gradient in that dtype and in float64, of the same numbers."""
    with jax.enable_x64(True):
        point = case.at_ties() if case.rounding_chooses else case
        given = [point.cast(dtype) for dtype in case.dtypes]

        def program(given):
            points = stack([widened(case, arrays) for arrays in given])
            return list(map(case.values_and_gradient, given)), jax.lax.map(case.values_and_gradient, points)

        rounded, exact = jax.tree.map(np.asarray, compile_rounding(program, given)(given))
    exact = [jax.tree.map(lambda leaf, number=number: leaf[number], exact) for number in range(len(given))]
    return dict(zip(case.dtypes, zip(rounded, exact, strict=True), strict=True))


@each(case for case in CASES if case.float_names)
def test_results_keep_the_dtype_and_its_precision(case):
    for dtype, ((results, _), (exact, _)) in values_and_gradients(case).items():
        wanted = case.result_dtypes or [dtype if is_floating(result) else str(result.dtype) for result in results]
        for result, reference, name in zip(results, exact, wanted, strict=True):
            assert result.dtype == jnp.dtype(name)
            if is_floating(result):
                ulps = case.ulps if dtype in ("float16", "bfloat16") else 100
                assert_within_ulps(result, reference, ulps, dtype)


@differentiable_case
def test_gradients_keep_the_dtype_and_its_precision(case):
    for dtype, ((_, gradient), (_, exact)) in values_and_gradients(case).items():
        for name in case.gradient_names:
            assert gradient[name].dtype == jnp.dtype(dtype)
            ulps = case.gradient_ulps if dtype in ("float16", "bfloat16") else 1000
            assert_within_ulps(gradient[name], exact[name], ulps, f"{dtype} {name}")
