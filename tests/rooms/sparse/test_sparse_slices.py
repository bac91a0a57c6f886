"""Slices of tables: sums, padding, clipping, and adding them to parameters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jnnops as nn
from jnnops.sparse import IndexedSlices, apply_updates, clip_by_global_norm, global_norm


def slices_of(indices, num_rows, row_shape=(3,), dtype=jnp.float32, seed=0):
    indices = np.asarray(indices)
    values = np.random.default_rng(seed).standard_normal((len(indices), *row_shape))
    return IndexedSlices(jnp.asarray(indices), jnp.asarray(values, dtype), num_rows)


def dense(slices):
    table = np.zeros((slices.num_rows, *slices.values.shape[1:]))
    for index, value in zip(np.asarray(slices.indices), np.asarray(slices.values, np.float64), strict=True):
        if 0 <= index < slices.num_rows:
            table[index] += value
    return table


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

    def test_is_a_pytree(self):
        slices = slices_of([1, 1], 5)
        doubled = jax.jit(lambda s: dataclasses.replace(s, values=2 * s.values))(slices)
        assert doubled.num_rows == 5
        np.testing.assert_allclose(doubled.to_dense(), 2 * slices.to_dense())
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), slices, slices_of([0, 3], 5, seed=1))
        tables = jax.jit(jax.vmap(lambda s: s.deduplicate().to_dense()))(stacked)
        np.testing.assert_allclose(tables[1], dense(slices_of([0, 3], 5, seed=1)), rtol=1e-6)

    @pytest.mark.parametrize("method", [IndexedSlices.to_dense, IndexedSlices.deduplicate])
    def test_errors(self, method):
        name = f"IndexedSlices.{method.__name__}: `slices` must have"
        # what `jax.tree.map(lambda x: x / 2, slices)` makes of them
        with pytest.raises(TypeError, match=f"{name} integer indices, got float32"):
            method(IndexedSlices(jnp.zeros(2), jnp.zeros((2, 3)), 5))
        with pytest.raises(ValueError, match=rf"{name} indices of shape \[n\] .*, got \(2,\) and \(3, 3\)"):
            method(IndexedSlices(jnp.zeros(2, jnp.int32), jnp.zeros((3, 3)), 5))


class TestApplyUpdates:
    @pytest.mark.parametrize(
        ("dtype", "update_dtype"),
        [(jnp.float32, jnp.float32), (jnp.bfloat16, jnp.bfloat16), (jnp.bfloat16, jnp.float32)],
        ids=str,
    )
    def test_equals_optax(self, dtype, update_dtype):
        params = {"table": slices_of(range(10), 10, dtype=dtype, seed=1).values, "bias": jnp.ones(2, dtype), "no": None}
        slices = slices_of([9, 3, 9, -1, 10, 0], 10, dtype=update_dtype)
        bias = jnp.ones(2, update_dtype)
        with jax.numpy_dtype_promotion("standard"):
            actual = apply_updates(params, {"table": slices, "bias": bias, "no": None})
            dense_updates: Any = {"table": slices.to_dense(), "bias": bias, "no": None}
            expected: Any = optax.apply_updates(params, dense_updates)
        assert actual["table"].dtype == dtype
        np.testing.assert_array_equal(actual["table"], expected["table"])
        np.testing.assert_array_equal(actual["bias"], expected["bias"])
        assert actual["no"] is None

    def test_slices_must_fit_the_table(self):
        message = r"sparse.apply_updates: `updates\['table'\]` must be slices of an array of shape \(5, 3\), got "
        with pytest.raises(ValueError, match=message + r"6 rows of shape \(3,\)"):
            apply_updates({"table": jnp.zeros((5, 3))}, {"table": slices_of([1], 6)})
        with pytest.raises(ValueError, match=message + r"5 rows of shape \(2,\)"):
            apply_updates({"table": jnp.zeros((5, 3))}, {"table": slices_of([1], 5, (2,))})
        with pytest.raises(TypeError, match=r"`updates\['table'\].num_rows` must be a static integer, got '5'"):
            apply_updates({"table": jnp.zeros((5, 3))}, {"table": dataclasses.replace(slices_of([1], 5), num_rows="5")})
        halves = jax.tree.map(lambda leaf: leaf / 2, {"table": slices_of([1], 5)})
        with pytest.raises(TypeError, match=r"`updates\['table'\]` must have integer indices"):
            apply_updates({"table": jnp.zeros((5, 3))}, halves)

    def test_updates_must_be_a_pytree_like_the_parameters(self):
        with pytest.raises(ValueError, match="sparse.apply_updates: `updates` must be a pytree like `params`, .* got"):
            apply_updates({"table": jnp.zeros((5, 3)), "b": jnp.zeros(2)}, {"table": slices_of([1], 5)})


class TestClipping:
    grads = staticmethod(
        lambda dtype=jnp.float32: {"table": slices_of([2, 0, 2, -1], 5, dtype=dtype), "b": jnp.ones(3)}
    )

    def test_norm_is_that_of_the_dense_gradients(self):
        grads = self.grads()
        expected = np.sqrt(np.sum(dense(grads["table"]) ** 2) + 3)
        np.testing.assert_allclose(global_norm(grads), expected, rtol=1e-6)
        assert global_norm({}) == 0

    @pytest.mark.parametrize("max_norm", [0.1, 2.0, 100.0, 1])
    def test_equals_optax_on_dense_gradients(self, max_norm):
        grads = self.grads()
        as_dense = {"table": grads["table"].to_dense(), "b": grads["b"]}
        expected: Any
        expected, _ = optax.clip_by_global_norm(max_norm).update(as_dense, optax.EmptyState())
        actual = jax.jit(clip_by_global_norm)(grads, max_norm)
        np.testing.assert_allclose(actual["table"].to_dense(), expected["table"], rtol=1e-6)
        np.testing.assert_allclose(actual["b"], expected["b"], rtol=1e-6)

    def test_16_bits_are_clipped_by_a_float32_norm(self):
        grads = {"table": slices_of([2, 0], 5, dtype=jnp.bfloat16), "b": jnp.full(10_000, 0.5, jnp.float16)}
        norm = jax.jit(global_norm)(grads)
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, np.sqrt(np.sum(dense(grads["table"]) ** 2) + 2500), rtol=1e-6)
        clipped = jax.jit(clip_by_global_norm)(grads, 1.0)
        assert clipped["table"].values.dtype == jnp.bfloat16
        np.testing.assert_allclose(jax.jit(global_norm)(clipped), 1, rtol=1e-2)

    def test_zero_gradients_stay_zero(self):
        grads = {"table": IndexedSlices(jnp.array([7]), jnp.ones((1, 3)), 5)}
        assert not np.any(nn.sparse.clip_by_global_norm(grads, 1.0)["table"].values)

    def test_limit_must_be_a_number(self):
        with pytest.raises(ValueError, match="sparse.clip_by_global_norm: `max_norm` must be of rank 0, got shape"):
            clip_by_global_norm(self.grads(), jnp.ones(2))
