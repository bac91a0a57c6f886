"""jit, vmap, loops, rematerialisation and export of every op: one program for what one case is compared in."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import Case
from machinery.numbers import assert_same, first_dtype
from machinery.programs import compile_by_default
from machinery.registry import CASES, FIRST

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
first_case = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.id)
first_differentiable_case = pytest.mark.parametrize(
    "case", [case for case in FIRST if case.order and case.gradient_names], ids=lambda case: case.id
)


def stack(*trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def other_values(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Other arguments of the same shapes."""
    return {
        name: jnp.roll(array, 1, 0) if array.ndim else (array * 0.75).astype(array.dtype)
        for name, array in arrays.items()
    }


def mapped_names(case: Case) -> list[tuple[str, ...]]:
    """All arguments together; of an op's first case also each by itself, which its other options do not change."""
    names = tuple(case.arrays)
    each = [(name,) for name in names] if case in FIRST and len(names) > 1 else []
    return [*each, names]


def map_over(case: Case, names: tuple[str, ...], one: dict[str, Any], other: dict[str, Any], size: int = 2) -> Any:
    """The op mapped over some arguments: one of them along its last axis, the others along their first."""
    axes = {name: -1 if name == names[0] else 0 for name in names}
    stacked = {}
    for name in names:
        both = jnp.stack([one[name], other[name]], axes[name])
        stacked[name] = jax.lax.slice_in_dim(both, 0, size, axis=axes[name] % both.ndim)
    rest = {name: array for name, array in one.items() if name not in names}
    return jax.vmap(lambda chosen: case(**chosen, **rest), in_axes=(axes,))(stacked)


@every_case
def test_jit_equals_eager_and_vmap_equals_a_loop(case):
    arrays, names = case.cast(first_dtype(case)), mapped_names(case)
    other = other_values(arrays)

    def program(arrays, other):
        loops = {chosen: case(**{**arrays, **{name: other[name] for name in chosen}}) for chosen in names}
        mapped = {chosen: map_over(case, chosen, arrays, other) for chosen in names}
        none = {chosen: map_over(case, chosen, arrays, other, size=0) for chosen in names}
        return case(**arrays), loops, mapped, none

    expected = case(**arrays)
    jitted, loops, mapped, none = jax.jit(program)(arrays, other)
    assert_same(jitted, expected, note="jit")
    shapes = jax.eval_shape(case.__call__, **arrays)
    for shape, leaf in zip(jax.tree.leaves(shapes), jax.tree.leaves(expected), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)
    for chosen in names:
        assert_same(mapped[chosen], stack(jitted, loops[chosen]), note=f"vmap over {chosen}")
        for leaf, like in zip(jax.tree.leaves(none[chosen]), jax.tree.leaves(expected), strict=True):
            assert (leaf.shape, leaf.dtype) == ((0, *like.shape), like.dtype), f"vmap of size 0 over {chosen}"


@first_differentiable_case
def test_gradient_is_the_same_in_jit_vmap_and_a_rematerialised_scan(case):
    arrays = case.cast(first_dtype(case))
    second = {name: jnp.roll(array, 1, 0) if array.ndim else array for name, array in arrays.items()}

    def in_scan(arrays):
        def total(chosen):
            body = jax.checkpoint(lambda carry, _: (carry + case.weighted_sum(**{**arrays, **chosen}), None))
            start = jnp.zeros((), jax.eval_shape(case.weighted_sum, **arrays).dtype)
            return jax.lax.scan(body, start, None, length=2)[0]

        return jax.grad(total)({name: arrays[name] for name in case.gradient_names})

    def program(arrays, second):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), arrays, second)
        empty = jax.tree.map(lambda array: array[:0], stacked)
        each = case.gradient(arrays), case.gradient(second)
        return *each, jax.vmap(case.gradient)(stacked), jax.vmap(case.gradient)(empty), in_scan(arrays)

    one, other, mapped, none, scanned = jax.jit(program)(arrays, second)
    assert_same(one, case.gradient(arrays), note="jit")
    assert_same(mapped, stack(one, other), rtol=1e-4, atol=1e-5, note="vmap")
    assert_same(scanned, jax.tree.map(lambda leaf: 2 * leaf, one), rtol=1e-4, atol=1e-5, note="scan")
    for name, leaf in none.items():
        assert (leaf.shape, leaf.dtype) == ((0, *arrays[name].shape), arrays[name].dtype), f"vmap of size 0: {name}"


@first_case
def test_default_flags_of_the_compiler_change_nothing(case):
    arrays = case.cast(first_dtype(case))
    names = case.gradient_names if case.order else ()

    def both(arrays):
        return jax.tree.leaves(case(**arrays)), case.gradient(arrays, names)

    assert_same(compile_by_default(both, arrays)(arrays), jax.jit(both)(arrays), rtol=1e-4, atol=1e-5)


@first_case
def test_export_for_all_platforms_and_back(case):
    arrays = case.cast(first_dtype(case))
    f = jax.jit(lambda arrays: jax.tree.leaves(case(**arrays)))
    differentiable = bool(case.order and case.gradient_names)
    exported = jax.export.export(f, platforms=["cpu", "cuda", "rocm", "tpu"])(arrays)
    data = exported.serialize(vjp_order=int(differentiable))
    assert_same(jax.export.deserialize(data).call(arrays), f(arrays))
