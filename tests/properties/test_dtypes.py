"""Results and gradients keep the dtype of the arguments, and its precision."""

import jax
import jax.numpy as jnp
import pytest
from machinery.numbers import assert_within_ulps
from machinery.registry import CASES, FIRST

# Of an op's first case all dtypes are tried, of the others bfloat16, whose sums lose most.
WITH_DTYPES = [
    (case, [dtype for dtype in case.dtypes if case in FIRST or dtype == "bfloat16"])
    for case in CASES
    if case.float_names
]
GRADIENT_ULPS = 16  # of the largest; each step of a derivative rounds once


@pytest.mark.parametrize(("case", "dtypes"), [pytest.param(*each, id=each[0].id) for each in WITH_DTYPES if each[1]])
def test_results_and_gradients_keep_the_dtype_and_its_precision(case, dtypes):
    by_gradient = case.gradient_names if case.order and case in FIRST else ()

    def both(arrays):
        return jax.tree.leaves(case(**arrays)), case.gradient(arrays, by_gradient)

    def widened(arrays):
        names = case.float_names if "float64" in case.dtypes else ()
        return {name: array.astype(jnp.float64) if name in names else array for name, array in arrays.items()}

    with jax.enable_x64(True):
        given = {dtype: case.cast(dtype) for dtype in dtypes}
        found = jax.jit(lambda given: {dtype: (both(each), both(widened(each))) for dtype, each in given.items()})(
            given
        )
    for dtype, ((results, gradient), (exact, exact_gradient)) in found.items():
        is_narrow = dtype in ("float16", "bfloat16")
        wanted = case.result_dtypes or [
            dtype if jnp.issubdtype(result.dtype, jnp.floating) else str(result.dtype) for result in results
        ]
        for result, reference, name in zip(results, exact, wanted, strict=True):
            assert result.dtype == jnp.dtype(name)
            if jnp.issubdtype(result.dtype, jnp.floating):
                assert_within_ulps(result, reference, case.ulps if is_narrow else 100, dtype)
        for name, leaf in gradient.items():
            assert leaf.dtype == given[dtype][name].dtype
            if is_narrow and case.gradient_survives_rounding:
                assert_within_ulps(leaf, exact_gradient[name], GRADIENT_ULPS, f"gradient by {name} in {dtype}")
