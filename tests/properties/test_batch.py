"""Batches and mapped axes may be empty, and a batch may be split over devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from machinery.case import Case
from machinery.numbers import assert_same, assert_same_shapes, is_floating
from machinery.programs import share
from machinery.registry import CASES, each, first_case

batched_case = each(case for case in CASES if case.batched)


class TestEmpty:
    @batched_case
    def test_batch_gives_empty_results_and_no_gradient(self, case):
        arrays = case.cast(case.first_dtype)
        full = jax.tree.leaves(jax.eval_shape(case.__call__, **arrays))
        for name in case.batched:
            arrays[name] = jax.lax.slice_in_dim(arrays[name], 0, 0, axis=case.batch_axis)
        results, gradient = jax.jit(case.values_and_gradient)(arrays)
        for leaf, like in zip(results, full, strict=True):
            shape = (*like.shape[: case.batch_axis], 0, *like.shape[case.batch_axis + 1 :])
            assert (leaf.shape, leaf.dtype) == (shape, like.dtype)
        for found in gradient.values():
            np.testing.assert_array_equal(found, np.zeros(found.shape))

    @first_case
    def test_axis_of_vmap_gives_empty_results_and_gradients(self, case):
        arrays = case.cast(case.first_dtype)

        def mapped(arrays, size):
            def over(name):
                copies = jnp.zeros((size, *arrays[name].shape), arrays[name].dtype)
                return jax.vmap(lambda array: case.values_and_gradient({**arrays, name: array}))(copies)

            return {name: over(name) for name in arrays}

        of_one = jax.eval_shape(lambda arrays: mapped(arrays, 1), arrays)
        expected = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((0, *leaf.shape[1:]), leaf.dtype), of_one)
        assert_same_shapes(jax.jit(lambda arrays: mapped(arrays, 0))(arrays), expected)


def of_eight(case: Case):
    """The arguments with a batch of 8, and how they are split over 8 devices."""
    arrays = case.cast(case.first_dtype)
    for name in case.batched:
        repeats = np.arange(8) % arrays[name].shape[case.batch_axis]
        arrays[name] = jnp.take(arrays[name], repeats, axis=case.batch_axis)
    split = PartitionSpec(*(None,) * case.batch_axis, "batch")
    return arrays, {name: split if name in case.batched else PartitionSpec() for name in arrays}


def mesh():
    return jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))


def values_and_gradient(case: Case, f, arrays):
    """The results of ``f``, and the gradient of a nonlinear function of them, the same for every example."""
    if not case.is_differentiable:
        return f(arrays), {}
    chosen, rest = case.split(arrays)

    def total(chosen):
        results = f({**rest, **chosen})
        floating = [leaf for leaf in results if is_floating(leaf)]
        return sum((jnp.sum(jnp.sin(leaf)) for leaf in floating), jnp.zeros((), floating[0].dtype)), results

    gradient, results = jax.grad(total, has_aux=True)(chosen)
    return results, gradient


@share
def of_the_whole(case: Case):
    arrays, _ = of_eight(case)
    return jax.jit(lambda arrays: values_and_gradient(case, lambda a: jax.tree.leaves(case(**a)), arrays))(arrays)


class TestSharded:
    @batched_case
    def test_batch_needs_no_all_gather(self, case):
        arrays, specs = of_eight(case)
        shardings = {name: NamedSharding(mesh(), spec) for name, spec in specs.items()}
        # The flags of the tests concern what comes after the partitioner.
        program = (
            jax.jit(lambda arrays: jax.tree.leaves(case(**arrays)), in_shardings=(shardings,)).lower(arrays).compile()
        )
        assert "all-gather" not in (program.as_text() or "")
        assert_same(program(jax.device_put(arrays, shardings)), of_the_whole(case)[0])

    @each(case for case in CASES if case.batched and case.independent)
    def test_shard_map_equals_the_whole(self, case):
        arrays, specs = of_eight(case)
        out = PartitionSpec(*(None,) * case.batch_axis, "batch")
        sharded = jax.shard_map(
            lambda arrays: jax.tree.leaves(case(**arrays)), mesh=mesh(), in_specs=(specs,), out_specs=out
        )
        actual = jax.jit(lambda arrays: values_and_gradient(case, sharded, arrays))(arrays)
        assert_same(actual, of_the_whole(case), 1e-4, 1e-5)
