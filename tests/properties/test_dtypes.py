"""Results and gradients have the dtype of the arguments and lose no more than its rounding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from machinery.case import Case, large_cotangent
from machinery.numbers import assert_within_ulps, is_floating, stack
from machinery.programs import compile_rounding, share
from machinery.registry import CASES, FIRST, differentiable_case, each


def widened(case: Case, arrays):
    """The same numbers with the floating ones in float64."""
    return {name: array.astype(jnp.float64) if name in case.float_names else array for name, array in arrays.items()}


def dtypes_of(case: Case) -> list[str]:
    """All narrower dtypes for an op's first case; for its options bfloat16, whose sums lose most."""
    narrow = [dtype for dtype in case.dtypes if dtype != "float64"]
    return narrow if case in FIRST else [dtype for dtype in narrow if dtype == "bfloat16"] or narrow[-1:]


@share
def values_and_gradients(case: Case):
    """By dtype, the results and gradient in that dtype and in float64, of the same numbers."""
    point = dataclasses.replace(case.at_ties() if case.rounding_chooses else case, weights=large_cotangent)
    dtypes = dtypes_of(case)
    with jax.enable_x64(True):
        given = [point.cast(dtype) for dtype in dtypes]

        def program(given):
            points = stack([widened(case, arrays) for arrays in given])
            return list(map(point.values_and_gradient, given)), jax.lax.map(point.values_and_gradient, points)

        rounded, exact = jax.tree.map(np.asarray, compile_rounding(program, given)(given))
    exact = [jax.tree.map(lambda leaf, number=number: leaf[number], exact) for number in range(len(given))]
    return dict(zip(dtypes, zip(rounded, exact, strict=True), strict=True))


def assert_is(array, dtype: str, wanted: str) -> None:
    """The dtype of a result, which is that of the arguments if it is floating at all."""
    assert array.dtype == jnp.dtype(wanted or (dtype if is_floating(array) else array.dtype))


@each(case for case in CASES if case.float_names)
def test_results_keep_the_dtype_and_its_precision(case):
    for dtype, ((results, _), (exact, _)) in values_and_gradients(case).items():
        wanted = case.result_dtypes or [""] * len(results)
        for result, reference, name in zip(results, exact, wanted, strict=True):
            assert_is(result, dtype, name)
            assert_is(reference, "float64", name)
            if is_floating(result):
                ulps = case.ulps if dtype in ("float16", "bfloat16") else 100
                assert_within_ulps(result, reference, ulps, dtype)


@differentiable_case
def test_gradients_keep_the_dtype_and_its_precision(case):
    for dtype, ((_, gradient), (_, exact)) in values_and_gradients(case).items():
        for name in case.gradient_names:
            assert gradient[name].dtype == jnp.dtype(dtype)
            assert exact[name].dtype == jnp.float64
            ulps = case.gradient_ulps if dtype in ("float16", "bfloat16") else 1000
            assert_within_ulps(gradient[name], exact[name], ulps, f"{dtype} {name}")
