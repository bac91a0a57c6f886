"""Slices of tables: sums, padding, and what becomes of them as a pytree."""

import copy
import functools
import operator
import pickle
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from rooms.sparse.losses_of_tables import MESH
from rooms.sparse.slices_of_tables import dense, slices_of

from jnnops.sparse import IndexedSlices, apply_updates


class TestIndexedSlices:
    @pytest.mark.parametrize(
        ("n", "num_rows", "row_shape"), [(8, 5, (3,)), (8, 100, ()), (3, 1, (2, 2)), (0, 5, (3,)), (8, 0, (3,))]
    )
    def test_deduplicate(self, n, num_rows, row_shape):
        for seed in range(5):
            indices = np.random.default_rng(seed).integers(-2, 8, n).astype(np.int32)
            slices = slices_of(indices, num_rows, row_shape)
            unique = slices.deduplicate()
            found = unique.indices.tolist()
            assert found == sorted(set(found))
            assert len(found) == min(n, num_rows)
            assert {index for index in found if index < num_rows} == {i for i in indices if 0 <= i < num_rows}
            assert not np.any(np.asarray(unique.values)[np.asarray(unique.indices) >= num_rows])
            for same in (slices, unique):
                np.testing.assert_allclose(same.to_dense(), dense(slices), rtol=1e-5, atol=1e-6)
            assert unique.unique
            assert unique.deduplicate() is unique

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint32, np.int32])
    def test_indices_of_any_dtype(self, dtype):
        slices = slices_of(np.array([7, np.iinfo(dtype).max, 7], dtype), 300)
        np.testing.assert_allclose(slices.to_dense(), dense(slices), rtol=1e-6)
        np.testing.assert_allclose(slices.deduplicate().to_dense(), dense(slices), rtol=1e-6)

    def test_indices_of_64_bits(self):
        with jax.enable_x64(True):
            slices = slices_of(np.array([7, 2**40, -(2**40), 7], np.int64), 300)
            assert slices.deduplicate().indices.tolist() == [7, 301, 302, 303]
            np.testing.assert_allclose(slices.deduplicate().to_dense(), dense(slices), rtol=1e-6)

    def test_sums_of_16_bits_are_rounded_once(self):
        values = jnp.asarray([256, *[0.5] * 10], jnp.bfloat16)  # 256.5 would be rounded to 256 ten times
        slices = IndexedSlices(jnp.zeros(11, jnp.int32), values, 2)
        assert slices.deduplicate().values.tolist()[0] == 260
        assert slices.to_dense().tolist() == [260, 0]

    def test_values_can_be_replaced(self):
        slices = slices_of([1, 1], 5).deduplicate()
        doubled = jax.jit(lambda s: s.with_values(2 * s.values))(slices)
        assert (doubled.num_rows, doubled.unique) == (5, True)
        np.testing.assert_allclose(doubled.to_dense(), 2 * slices.to_dense())

    def test_errors(self):
        with pytest.raises(TypeError, match="IndexedSlices: `indices` must be an integer array, got float32"):
            IndexedSlices(jnp.zeros(2), jnp.zeros((2, 3)), 5)
        for method in (IndexedSlices.to_dense, IndexedSlices.deduplicate):
            name = f"IndexedSlices.{method.__name__}: `slices` must have"
            with pytest.raises(ValueError, match=rf"{name} indices of shape \[n\] .*, got \(2,\) and \(3, 3\)"):
                method(IndexedSlices(jnp.zeros(2, jnp.int32), jnp.zeros((3, 3)), 5))
            with pytest.raises(TypeError, match=f"{name} integer indices and an array of values, got NoneType and"):
                method(IndexedSlices(None, jnp.zeros(2), 5))  # pyright: ignore[reportArgumentType]


# What is done to gradients that are dense, and does not mean the same of slices.
ARITHMETIC = {
    "a multiple": lambda g: jax.tree.map(lambda leaf: 2 * leaf, g),
    "a quotient": lambda g: jax.tree.map(lambda leaf: leaf / 4, g),
    "a sum": lambda g: jax.tree.map(jnp.add, g, g),
    "operator +": lambda g: jax.tree.map(operator.add, g, g),
    "a moving average": lambda g: jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, g, g),
    "a mean over a new axis": lambda g: jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), 0), g, g),
    "a sum over a new axis": lambda g: jax.tree.map(lambda *leaves: jnp.sum(jnp.stack(leaves), 0), g, g),
    "zeros of its shape": lambda g: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), g),
    "optax.tree.scale": lambda g: optax.tree.scale(2, g),
    "optax.tree.add": lambda g: optax.tree.add(g, g),
    "optax.clip": lambda g: optax.clip(1.0).update(g, optax.EmptyState()),
    "optax.sgd": lambda g: optax.sgd(0.1).update(g, optax.sgd(0.1).init(g)),
    "pmean": jax.vmap(lambda g: lax.pmean(g, "x"), axis_name="x"),
    "psum": jax.vmap(lambda g: lax.psum(g, "x"), axis_name="x"),
}


class TestAsPytree:
    """The indices go wherever arrays go, but there is no way to calculate with them by accident."""

    @pytest.mark.parametrize("name", ARITHMETIC)
    def test_arithmetic_is_an_error_that_names_slices(self, name):
        grads = {"table": slices_of([3, 900], 1000)}
        calculate = ARITHMETIC[name]
        with pytest.raises(TypeError, match="IndexedSlices.*(scale|with_values)"):
            calculate(grads)
        with pytest.raises(TypeError, match="IndexedSlices.*(scale|with_values)"):
            jax.jit(calculate).lower(grads)

    def test_pmean_in_shard_map_is_an_error(self):
        mean = jax.shard_map(lambda g: lax.pmean(g, "x"), mesh=MESH, in_specs=P("x"), out_specs=P())
        with pytest.raises(TypeError, match=r"IndexedSlices.*scale"):
            jax.make_jaxpr(mean)(slices_of([3, 900], 1000))

    def test_norm_of_optax_is_an_error(self):
        with pytest.raises(TypeError, match=r"IndexedSlices.*global_norm"):
            jax.make_jaxpr(optax.tree.norm)(slices_of([3, 900], 1000))
        with pytest.raises((TypeError, NotImplementedError)):  # outside of jit the words are JAX's
            optax.tree.norm(slices_of([3, 900], 1000))

    def test_adding_to_parameters_by_optax_tells_of_ours(self):
        updates: Any = {"table": slices_of([1], 5)}
        for params in ({"table": jnp.zeros((5, 3))}, {"table": np.zeros((5, 3), np.float32)}):
            with pytest.raises(TypeError, match=r"nn.sparse.apply_updates \(not that of optax\)"):
                optax.apply_updates(params, updates)

    def test_indices_are_no_random_keys(self):
        with pytest.raises(TypeError, match="IndexedSlices: the indices must not be used as keys of jax.random"):
            jax.random.split(jax.tree.leaves(slices_of([1], 5))[0][0])

    def test_goes_through_transformations_and_control_flow(self):
        first, second = slices_of([1, 4, 1], 5), slices_of([0, -1, 3], 5, seed=1)

        @functools.partial(jax.jit, donate_argnums=0)
        def everything(first, second):
            def reverse(carry, _):
                return jax.tree.map(lambda leaf: leaf[::-1], carry), carry

            carried, stacked = lax.scan(reverse, first, None, length=3)
            chosen = lax.cond(carried.values[0, 0] > 1e9, lambda: first, lambda: second)
            looped = lax.while_loop(lambda s: s.values[0, 0] < 0, lambda s: s.with_values(-s.values), second)
            joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), first, second)
            mapped = jax.vmap(lambda s: s.deduplicate().to_dense())(stacked)
            kept = jax.checkpoint(lambda s: lax.optimization_barrier(s))(chosen)
            gradient = jax.grad(lambda v: jnp.sum(jax.jit(second.with_values)(v).to_dense() ** 2))(second.values)
            return carried, kept, looped, joined, mapped, gradient

        expected = dense(first), dense(second)
        carried, kept, looped, joined, mapped, gradient = everything(first, second)
        np.testing.assert_allclose(dense(carried), expected[0], rtol=1e-6)
        np.testing.assert_allclose(mapped, [expected[0]] * 3, rtol=1e-6)
        np.testing.assert_allclose(dense(kept), expected[1], rtol=1e-6)
        np.testing.assert_allclose(np.abs(dense(looped)), np.abs(expected[1]), rtol=1e-6)
        np.testing.assert_allclose(dense(joined), sum(expected), rtol=1e-6)
        np.testing.assert_allclose(gradient, 2 * np.asarray(second.values) * [[1], [0], [1]], rtol=1e-6)

    def test_goes_to_devices_and_back(self):
        slices = slices_of([1, 4], 5)
        placed = jax.device_put(slices, NamedSharding(MESH, P("x")))
        assert placed.indices.sharding.is_equivalent_to(NamedSharding(MESH, P("x")), 1)
        copies = [jax.device_get(placed), pickle.loads(pickle.dumps(slices)), copy.deepcopy(slices)]
        copies.append(jax.export.export(jax.jit(slices.with_values))(slices.values).call(slices.values))
        for each in copies:
            assert each.indices.tolist() == [1, 4]
            np.testing.assert_array_equal(dense(each), dense(slices))

    def test_checkpoints_restore_the_kind_of_keys_by_its_name(self):
        sealed, _ = jax.tree.leaves(slices_of([1, -4], 5))
        restored = jax.random.wrap_key_data(jax.random.key_data(sealed), impl=str(jax.random.key_impl(sealed)))
        assert restored.dtype == sealed.dtype
        assert IndexedSlices(restored, jnp.zeros(2), 5).indices.tolist() == [1, -4]

    def test_shapes_and_axes_may_stand_for_arrays(self):
        shapes = jax.eval_shape(lambda: slices_of([1, 4], 5))
        assert (shapes.indices.shape, shapes.indices.dtype) == ((2,), jnp.int32)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], -1), slices_of([1, 4], 5, row_shape=()))
        tables = jax.vmap(lambda s: s.to_dense(), in_axes=(IndexedSlices(1, 1, 5),))(stacked)  # pyright: ignore
        assert tables.shape == (2, 5)
        assert [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)] == [
            ".indices",
            ".values",
        ]

    def test_unique_slices_that_are_joined_are_no_longer(self):
        unique = slices_of([1, 4, 1], 5).deduplicate()
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), unique, unique)
        assert (unique.unique, joined.unique) == (True, False)
        np.testing.assert_allclose(joined.deduplicate().to_dense(), 2 * dense(unique), rtol=1e-6)
        np.testing.assert_allclose(apply_updates(jnp.zeros((5, 3)), joined), 2 * dense(unique), rtol=1e-6)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), unique)
        assert not stacked.unique
        assert jax.tree.map(lambda leaf: leaf[0], stacked).unique
