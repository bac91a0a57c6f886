"""First and second derivatives of every case, in every mode, against finite differences and each other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import Case, cotangent
from machinery.registry import CASES, FIRST

DIFFERENTIABLE = [case for case in CASES if case.order and case.gradient_names]
# One case of each op, the first that has second derivatives, is differentiated twice; the others once.
TWICE = list({case.op.__name__: case for case in reversed(DIFFERENTIABLE) if case.order == 2}.values())[::-1]
STEP = 1e-5  # of finite differences, in float64
TOLERANCE = 1e-4

Arrays = list[jax.Array]


def split(case: Case, arrays: dict[str, jax.Array]) -> tuple[Arrays, Callable[[Arrays], Arrays]]:
    """The arguments to differentiate by, and the floating results as a function of them."""
    names = case.gradient_names

    def f(values: Arrays) -> Arrays:
        return case.floats(**{**arrays, **dict(zip(names, values, strict=True))})

    return [arrays[name] for name in names], f


def directions(values: Arrays, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.standard_normal(value.shape), value.dtype) for value in values]


def dot(xs: Arrays, ys: Arrays) -> jax.Array:
    return sum((jnp.vdot(x, y) for x, y in zip(xs, ys, strict=True)), jnp.zeros(()))


def shifted(values: Arrays, direction: Arrays, step: float) -> Arrays:
    return [value + step * by for value, by in zip(values, direction, strict=True)]


def difference(function: Callable[[Arrays], Arrays], values: Arrays, direction: Arrays) -> Arrays:
    """The central finite difference."""
    ahead, behind = (function(shifted(values, direction, step)) for step in (STEP, -STEP))
    return [(a - b) / (2 * STEP) for a, b in zip(ahead, behind, strict=True)]


def curved_sum(f: Callable[[Arrays], Arrays]) -> Callable[[Arrays], jax.Array]:
    """A scalar of the results with a second derivative, even if they are linear in the arguments."""

    def total(values: Arrays) -> jax.Array:
        ys = f(values)
        weights = [jnp.asarray(cotangent(y.shape), y.dtype) for y in ys]
        return dot(weights, [y + y * y / 2 for y in ys])

    return total


def second_derivatives(total: Callable[[Arrays], jax.Array], values: Arrays, u: Arrays, v: Arrays) -> dict[str, Any]:
    """By ``u`` and ``v``, in all four compositions of the two modes and with the two exchanged."""
    gradient = jax.grad(total)

    def forward(values: Arrays) -> jax.Array:
        return jax.jvp(total, (values,), (u,))[1]

    return {
        "forward over forward": jax.jvp(forward, (values,), (v,))[1],
        "forward over reverse": dot(jax.jvp(gradient, (values,), (v,))[1], u),
        "reverse over forward": dot(jax.grad(forward)(values), v),
        "reverse over reverse": dot(jax.grad(lambda values: dot(gradient(values), u))(values), v),
        "exchanged": dot(jax.jvp(gradient, (values,), (u,))[1], v),
    }


def assert_all_equal(found: dict[str, jax.Array]) -> None:
    reference = float(found["forward over reverse"])
    for name, value in found.items():
        np.testing.assert_allclose(value, reference, rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case.id)
def test_derivatives_equal_finite_differences_in_both_modes(case):
    with jax.enable_x64(True):
        values, f = split(case, case.cast(jnp.float64))

        def program(values: Arrays, u: Arrays, v: Arrays) -> Any:
            results, tangents = jax.jvp(f, (values,), (u,))
            weights = directions(results, 3)
            (gradient,) = jax.vjp(f, values)[1](weights)
            first = tangents, difference(f, values, u), dot(gradient, u), dot(weights, tangents)
            if case not in TWICE:
                return first, None
            total = curved_sum(f)
            along = jax.jvp(jax.grad(total), (values,), (v,))[1], difference(jax.grad(total), values, v)
            return first, (second_derivatives(total, values, u, v), *along)

        first, second = jax.jit(program)(values, directions(values, 1), directions(values, 2))
    tangents, differences, reverse, forward = first
    for tangent, by_difference in zip(tangents, differences, strict=True):
        np.testing.assert_allclose(tangent, by_difference, rtol=TOLERANCE, atol=TOLERANCE, err_msg="forward mode")
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-9, err_msg="reverse mode against forward mode")
    if second is not None:
        compositions, along, differences = second
        for derivative, by_difference in zip(along, differences, strict=True):
            scale = TOLERANCE * max(1.0, float(np.abs(by_difference).max(initial=0)))
            np.testing.assert_allclose(derivative, by_difference, rtol=0, atol=scale, err_msg="second derivative")
        assert_all_equal(compositions)


@pytest.mark.parametrize("case", [case for case in TWICE if case in FIRST], ids=lambda case: case.id)
def test_all_orders_of_modes_agree_at_ties_and_kinks(case):
    with jax.enable_x64(True):
        arrays = case.cast(jnp.float64)
        rounded = {name: jnp.round(array) if name in case.float_names else array for name, array in arrays.items()}
        values, f = split(case, rounded)

        def program(values: Arrays, u: Arrays, v: Arrays) -> Any:
            def in_loop(values: Arrays) -> Arrays:
                return jax.lax.map(lambda _: f(values), jnp.zeros(1))

            both = {"plain": curved_sum(f), "in a loop": curved_sum(in_loop)}
            return {name: second_derivatives(total, values, u, v) for name, total in both.items()}

        found = jax.jit(program)(values, directions(values, 1), directions(values, 2))
    for compositions in found.values():
        assert_all_equal(compositions)
    np.testing.assert_allclose(
        *(found[name]["forward over reverse"] for name in ("plain", "in a loop")), rtol=1e-8, atol=1e-8
    )
