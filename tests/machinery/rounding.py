"""How often the gradients of 16-bit numbers are rounded."""

import dataclasses

import jax
import jax.numpy as jnp

from machinery.case import Case, large_cotangent
from machinery.numbers import assert_within_ulps
from machinery.programs import compile_rounding


def assert_gradients_are_rounded_once(case: Case) -> None:
    """Compares them in bfloat16 with those of the same numbers in float64."""
    case = dataclasses.replace(case, weights=large_cotangent)
    with jax.enable_x64(True):
        given = case.cast(jnp.bfloat16)
        wide = {name: array.astype(jnp.float64) if name in case.float_names else array for name, array in given.items()}
        points = [given, wide]
        found, exact = compile_rounding(lambda points: list(map(case.gradient, points)), points)(points)
    for name in case.gradient_names:
        assert_within_ulps(found[name], exact[name], 0.51, name)
