"""Batches: empty ones, and those split over devices by jit and by shard_map."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from machinery.case import Case
from machinery.numbers import assert_same, first_dtype
from machinery.programs import compile_by_default
from machinery.registry import CASES

BATCHED = [case for case in CASES if case.batched]


def shard(case: Case) -> tuple[jax.sharding.Mesh, dict[str, jax.Array], dict[str, PartitionSpec]]:
    """The mesh to split a batch of 8 on, the arguments with such a batch, and how to split each."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    arrays = case.cast(first_dtype(case))
    for name in case.batched:
        repeats = np.arange(8) % arrays[name].shape[case.batch_axis]
        arrays[name] = jnp.take(arrays[name], repeats, axis=case.batch_axis)
    split = PartitionSpec(*(None,) * case.batch_axis, "batch")
    return mesh, arrays, {name: split if name in case.batched else PartitionSpec() for name in arrays}


@pytest.mark.parametrize("case", BATCHED, ids=lambda case: case.id)
def test_empty_batch(case):
    arrays = case.cast(first_dtype(case))
    full = jax.eval_shape(case.__call__, **arrays)
    for name in case.batched:
        arrays[name] = jax.lax.slice_in_dim(arrays[name], 0, 0, axis=case.batch_axis)
    by_gradient = case.gradient_names if case.order else ()
    empty, gradient = jax.jit(lambda arrays: (case(**arrays), case.gradient(arrays, by_gradient)))(arrays)
    for leaf, like in zip(jax.tree.leaves(empty), jax.tree.leaves(full), strict=True):
        assert (leaf.dtype, leaf.ndim, leaf.size) == (like.dtype, like.ndim, 0)
    for name, found in gradient.items():
        np.testing.assert_array_equal(found, np.zeros(found.shape), err_msg=name)


@pytest.mark.parametrize("case", BATCHED, ids=lambda case: case.id)
def test_sharded_batch_needs_no_all_gather(case):
    mesh, arrays, specs = shard(case)
    shardings = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
    placed = jax.device_put(arrays, shardings)
    compiled = compile_by_default(lambda arrays: case(**arrays), placed, in_shardings=(shardings,))
    assert "all-gather" not in (compiled.as_text() or "")
    assert_same(compiled(placed), jax.jit(case.__call__)(**arrays))


@pytest.mark.parametrize("case", [case for case in BATCHED if case.independent], ids=lambda case: case.id)
def test_shard_map_equals_the_whole(case):
    mesh, arrays, specs = shard(case)
    out = PartitionSpec(*(None,) * case.batch_axis, "batch")

    def whole(arrays: dict[str, jax.Array]) -> list[jax.Array]:
        return jax.tree.leaves(case(**arrays))

    def total(f: Any, chosen: dict[str, jax.Array], arrays: dict[str, jax.Array]) -> jax.Array:
        leaves = [leaf for leaf in f({**arrays, **chosen}) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return sum((jnp.sum(jnp.sin(leaf)) for leaf in leaves), jnp.zeros((), leaves[0].dtype))

    sharded = jax.shard_map(whole, mesh=mesh, in_specs=(specs,), out_specs=out)
    chosen = {name: arrays[name] for name in case.gradient_names} if case.order else {}

    @jax.jit
    def program(chosen: Any, arrays: Any) -> Any:
        gradients = [jax.grad(functools.partial(total, f))(chosen, arrays) if chosen else {} for f in (sharded, whole)]
        return sharded(arrays), whole(arrays), *gradients

    actual, expected, actual_gradient, expected_gradient = program(chosen, arrays)
    assert_same(actual, expected)
    assert_same(actual_gradient, expected_gradient, rtol=1e-4, atol=1e-5)
