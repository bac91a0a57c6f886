"""Values and gradients are the same eager, in jit, vmap, loops and checkpoints."""

import jax
import jax.numpy as jnp
from machinery.case import Case
from machinery.mapped import gradients, values
from machinery.numbers import assert_same, assert_same_shapes
from machinery.programs import share
from machinery.registry import DIFFERENTIABLE, FIRST, differentiable_case, each, every_case


@share
def eager(case: Case):
    return case(**case.cast(case.first_dtype))


class TestValues:
    @every_case
    def test_in_jit_are_those_of_eager(self, case):
        assert_same(values(case)[0], eager(case))
        assert_same_shapes(jax.eval_shape(case.__call__, **case.cast(case.first_dtype)), eager(case))

    @every_case
    def test_of_vmap_are_those_of_a_loop(self, case):
        _, mapped, looped = values(case)
        for number, pair in enumerate(mapped, start=1):
            assert_same(pair, jax.tree.map(lambda leaf, number=number: leaf[jnp.array([0, number])], looped))

    @every_case
    def test_of_a_loop_are_those_of_jit(self, case):
        value, _, looped = values(case)
        assert_same(jax.tree.map(lambda leaf: leaf[0], looped), value)


class TestGradients:
    @each(case for case in DIFFERENTIABLE if case in FIRST)
    def test_in_jit_are_those_of_eager(self, case):
        looped, _, _ = gradients(case)
        eager_gradient = case.gradient(case.cast(case.first_dtype))
        assert_same(jax.tree.map(lambda leaf: leaf[0], looped), eager_gradient, 1e-4, 1e-5)

    @differentiable_case
    def test_of_vmap_are_those_of_a_loop(self, case):
        looped, mapped, _ = gradients(case)
        assert_same(mapped, looped, 1e-4, 1e-5)

    @differentiable_case
    def test_in_a_rematerialised_scan_are_those_of_a_loop(self, case):
        looped, _, summed = gradients(case)
        assert_same(summed, jax.tree.map(lambda leaf: 2 * leaf[0], looped), 1e-4, 1e-5)
