"""Derivatives equal finite differences, and all modes and orders of composition equal each other."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import Case, cotangent
from machinery.numbers import assert_near, directions, dot
from machinery.programs import share
from machinery.registry import DIFFERENTIABLE, differentiable_case, each

STEP = 1e-5
# Where derivatives are taken; all but the first are kinks of most ops that have any.
POINTS: dict[str, Callable[[Case], Case]] = {"given": lambda case: case, "ties": Case.at_ties, "zeros": Case.at_zeros}


def weights_of(results: list[jax.Array]) -> list[jax.Array]:
    return [jnp.asarray(cotangent(result.shape), result.dtype) for result in results]


def moved(x, by, step: float):
    return jax.tree.map(lambda array, direction: array + step * direction, x, by)


def near(x, by):
    """``x`` and its neighbours on both sides, along an axis more."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), x, moved(x, by, STEP), moved(x, by, -STEP))


def first_order(f, x, v) -> dict[str, Any]:
    """Results nearby, tangents by forward mode and the weights' gradient by reverse mode."""
    y, pull = jax.vjp(f, x)
    return {
        "results": jax.lax.map(f, near(x, v)),
        "forward": jax.jvp(f, (x,), (v,))[1],
        "reverse": pull(weights_of(y))[0],
    }


def loss_of(f, x) -> jax.Array:
    """A quadratic function of the results, which has second derivatives even where they are linear."""
    y = f(x)
    terms = [jnp.sum(w * (leaf + leaf**2 / 2)) for w, leaf in zip(weights_of(y), y, strict=True)]
    return sum(terms, jnp.zeros(()))


def in_a_loop(f):
    return lambda x: jax.lax.map(lambda _: f(x), jnp.zeros(1))


def second_order(f, x, v, u) -> dict[str, Any]:
    """The second derivatives along ``u`` by all four compositions, and by one of them with the op in a loop."""
    loss = functools.partial(loss_of, f)
    gradient, gradient_in_a_loop = jax.grad(loss), jax.grad(functools.partial(loss_of, in_a_loop(f)))

    def along_u(x):
        return jax.jvp(loss, (x,), (u,))[1]

    return {
        "gradients": jax.lax.map(gradient, near(x, u)),
        "forward_over_reverse": jax.jvp(gradient, (x,), (u,))[1],
        "reverse_over_forward": jax.grad(along_u)(x),
        "reverse_over_reverse": jax.grad(lambda x: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient(x), u))))(x),
        "forward_over_forward": jax.jvp(along_u, (x,), (v,))[1],
        # What loops forget of a rule of differentiation is forgotten here.
        "in_a_loop": jax.jvp(gradient_in_a_loop, (x,), (u,))[1],
    }


@share
def program(case: Case):
    """All derivatives in one program of the arrays to differentiate by, the others, and two directions."""

    def run(x, rest, v, u):
        def f(x):
            return case.floats(**rest, **x)

        return first_order(f, x, v) | (second_order(f, x, v, u) if case.order == 2 else {})

    return jax.jit(run)


@share
def derivatives(case: Case, point: str):
    """The results of the program in float64 at a point of :data:`POINTS`, and its two directions."""
    with jax.enable_x64(True):
        x, rest = case.split(POINTS[point](case).cast(jnp.float64))
        v, u = directions(x, seed=1), directions(x, seed=2)
        return jax.tree.map(np.asarray, program(case)(x, rest, v, u)), v, u


def assert_modes_agree(case: Case, point: str) -> None:
    """Reverse mode is the transpose of forward mode, and the Hessian is one and symmetric in all compositions."""
    found, v, _ = derivatives(case, point)
    first = [found["forward"], found["reverse"]]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    weights = [cotangent(leaf.shape) for leaf in found["forward"]]
    assert_near(dot(found["reverse"], v), dot(weights, found["forward"]), 1e-9, "reverse mode, forward mode")
    if case.order < 2:
        return
    # The first is H u and the third its transpose, so that the Hessian is symmetric where they are equal.
    expected = found["forward_over_reverse"]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(expected))
    for mode in ("reverse_over_forward", "reverse_over_reverse", "in_a_loop"):
        assert_near(found[mode], expected, 1e-9, f"{mode}, forward_over_reverse")
    assert_near(found["forward_over_forward"], dot(expected, v), 1e-9, "forward_over_forward, forward_over_reverse")


@each(case for case in DIFFERENTIABLE if not case.straight_through)
def test_first_derivatives_are_finite_differences(case):
    found, _, _ = derivatives(case, "given")
    differences = [(y[1] - y[2]) / (2 * STEP) for y in found["results"]]
    assert_near(found["forward"], differences, 1e-6, "forward mode, finite differences")


@each(case for case in DIFFERENTIABLE if case.order == 2 and not case.straight_through)
def test_second_derivatives_are_finite_differences_of_the_gradient(case):
    found, _, _ = derivatives(case, "given")
    differences = {name: (g[1] - g[2]) / (2 * STEP) for name, g in found["gradients"].items()}
    assert_near(found["forward_over_reverse"], differences, 1e-6, "forward over reverse mode, finite differences")


@pytest.mark.parametrize("point", POINTS)
@differentiable_case
def test_derivatives_are_finite_and_all_modes_agree(case, point):
    assert_modes_agree(case, point)
