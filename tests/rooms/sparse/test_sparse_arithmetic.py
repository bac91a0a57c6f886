"""Sums, multiples, norms and clipping of gradients, some of which are slices, are those of dense gradients."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.experimental import checkify
from rooms.sparse.losses_of_tables import assert_same, classes_and_biases, parameters, tables
from rooms.sparse.losses_of_tables import dense as all_dense
from rooms.sparse.slices_of_tables import dense, slices_of

import jnnops as nn
from jnnops.sparse import IndexedSlices, add, clip_by_global_norm, global_norm, scale, sum_stacked, value_and_grad

MICRO_BATCHES = jnp.array([[[3, 7, 3]], [[49, 0, 7]], [[3, 3, -1]], [[50, 8, 0]]])


def gradient_of(params, ids):
    return value_and_grad(classes_and_biases, tables=tables)(params, ids)[1]


class TestMicroBatches:
    """Whichever way their gradients are added, they are those of one batch."""

    @staticmethod
    def expected():
        return jax.jit(jax.grad(classes_and_biases))(parameters(), MICRO_BATCHES.reshape(4, 3))

    def test_added_one_by_one(self):
        @jax.jit
        def gradient(params):
            total = add(*[scale(gradient_of(params, ids), 0.25) for ids in MICRO_BATCHES])
            assert total["classes"].values.shape == (12, 4)
            return all_dense(total), all_dense(scale(total, 4))

        quarter, whole = gradient(parameters())
        assert_same(whole, self.expected())
        assert_same(quarter, jax.tree.map(lambda leaf: leaf / 4, self.expected()))

    def test_stacked_by_scan_and_by_vmap(self):
        @jax.jit
        def gradients(params):
            _, stacked = lax.scan(lambda _, ids: (None, gradient_of(params, ids)), None, MICRO_BATCHES)
            mapped = jax.vmap(functools.partial(gradient_of, params))(MICRO_BATCHES)
            return [all_dense(sum_stacked(each)) for each in (stacked, mapped, scale(mapped, 1))]

        for actual in gradients(parameters()):
            assert_same(actual, self.expected())

    def test_slices_are_stacked_while_dense_gradients_are_carried(self):
        @jax.jit
        def gradient(params):
            def step(total, ids):
                grads = gradient_of(params, ids)
                return add(total, grads["kernel"]), (grads["classes"], grads["biases"])

            kernel, stacked = lax.scan(step, jnp.zeros_like(params["kernel"]), MICRO_BATCHES)
            classes, biases = sum_stacked(stacked)
            return all_dense({"classes": classes, "biases": biases, "kernel": kernel})

        assert_same(gradient(parameters()), self.expected())


class TestAddAndScale:
    def test_16_bits_are_rounded_once(self):
        whole, half = jnp.full(2, 256, jnp.bfloat16), jnp.full(2, 0.5, jnp.bfloat16)
        assert add(whole, *[half] * 10).tolist() == [260, 260]  # 256.5 would be rounded to 256 ten times
        assert sum_stacked(jnp.stack([whole, *[half] * 10])).tolist() == [260, 260]
        # 1.0078125 * 1.4 is 1.4109375, whose neighbours are 1.40625 and 1.4140625; 1.4 alone would become 1.3984375
        scaled = scale({"t": IndexedSlices(jnp.array([0]), jnp.full(1, 1.0078125, jnp.bfloat16), 1), "b": whole}, 1.4)
        assert scaled["t"].values.dtype == scaled["b"].dtype == jnp.bfloat16
        assert scaled["t"].values.tolist() == [1.4140625]

    def test_uniqueness_is_kept_by_scale_and_lost_by_add(self):
        unique = slices_of([1, 1], 5).deduplicate()
        assert scale(unique, 2).unique
        assert add(unique) is unique
        assert not add(unique, unique).unique
        np.testing.assert_allclose(add(unique, unique).deduplicate().to_dense(), 2 * unique.to_dense())

    def test_indices_of_several_dtypes(self):
        with jax.enable_x64(True):
            wide = IndexedSlices(np.array([1, 2**40]), jnp.ones((2, 3), jnp.float32), 5)
            total = add(slices_of(np.array([1], np.int32), 5), wide)
            assert total.indices.dtype == jnp.int64
            assert total.indices.tolist() == [1, 1, 2**40]

    def test_none_and_empty_trees(self):
        assert add({"a": None}, {"a": None}) == {"a": None}
        assert scale({}, 2) == sum_stacked({}) == {}
        assert sum_stacked(jnp.zeros((0, 2))).tolist() == [0, 0]

    @pytest.mark.parametrize(
        ("others", "message"),
        [
            ([{"t": jnp.ones((5, 3))}], r"`gradients\[1\]` must be a pytree like `gradients\[0\]`, .*, got"),
            ([{"t": jnp.ones((5, 3)), "b": jnp.ones(2)}], r"`gradients\[1\]\['t'\]` must be IndexedSlices, .* got Arr"),
            ([{"t": slices_of([1], 6), "b": jnp.ones(2)}], r"`gradients\[1\]\['t'\]` must be .* \(5, 3\), .* \(6, 3\)"),
            (
                [{"t": slices_of([1], 5), "b": jnp.ones(1)}],
                r"`gradients\[1\]\['b'\]` must have the shape .* got \(1,\)",
            ),
            ([{"t": slices_of([1], 5), "b": slices_of([1], 2, ())}], r"`gradients\[0\]\['b'\]` must be IndexedSlices"),
        ],
        ids=["structure", "array for slices", "another table", "another shape", "slices for an array"],
    )
    def test_what_cannot_be_added(self, others, message):
        with pytest.raises(ValueError, match=f"sparse.add: {message}"):
            add({"t": slices_of([1], 5), "b": jnp.ones(2)}, *others)

    def test_arguments_of_the_wrong_kind(self):
        with pytest.raises(ValueError, match="sparse.add: `gradients` must be at least one pytree, got none"):
            add()
        with pytest.raises(ValueError, match="sparse.scale: `factor` must be of rank 0, got shape"):
            scale(slices_of([1], 5), jnp.ones(3))
        with pytest.raises(TypeError, match=r"sparse.scale: `gradients\[0\]` must be floating point .*, got int32"):
            scale([jnp.arange(3)], 0.5)
        with pytest.raises(ValueError, match=r"sparse.sum_stacked: `gradients\['b'\]` must be of rank at least 1"):
            sum_stacked({"b": jnp.ones(())})
        with pytest.raises(ValueError, match=r"sparse.sum_stacked: `gradients` must have indices of shape \[m, n\]"):
            sum_stacked(slices_of([1], 5))


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

    def test_limit_must_be_a_number_of_at_least_0(self):
        for limit, got in ((jnp.ones(2), "of rank 0, got"), (-1, "at least 0, got -1"), (np.nan, "at least 0")):
            with pytest.raises(ValueError, match=f"sparse.clip_by_global_norm: `max_norm` must be {got}"):
                clip_by_global_norm(self.grads(), limit)
        check = checkify.checkify(jax.jit(clip_by_global_norm), errors=checkify.user_checks)
        report = check(self.grads(), -1.0)[0].get() or ""
        assert "sparse.clip_by_global_norm: `max_norm` must be at least 0" in report

    @pytest.mark.parametrize("limit", [0.0, 0.5])
    def test_derivatives_at_gradients_of_zero_are_finite(self, limit):
        def values_of(values, bias):
            grads = {"table": IndexedSlices(jnp.array([2, 0]), values, 5), "b": bias}
            clipped = clip_by_global_norm(grads, limit)
            # a quarter of the norm, lest it be the whole of what is differentiated
            return jnp.sum(clipped["table"].values) + jnp.sum(clipped["b"]) + global_norm(grads) / 4

        @jax.jit
        def all_orders(*zeros):
            derivatives = [jax.grad, lambda f, n: jax.hessian(f, n), lambda f, n: jax.jacrev(jax.grad(f, n), n)]
            return values_of(*zeros), [derivative(values_of, (0, 1))(*zeros) for derivative in derivatives]

        value, (first, *second) = all_orders(jnp.zeros((2, 3)), jnp.zeros(3))
        assert value == 0
        assert all(np.all(np.asarray(leaf) == 1) for leaf in first)
        assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(second))

    def test_second_derivative_of_the_norm(self):
        x = jnp.array([3.0, 0.0, 4.0])
        np.testing.assert_allclose(jax.hessian(global_norm)(x), (np.eye(3) - np.outer(x, x) / 25) / 5, atol=1e-6)

    @pytest.mark.parametrize("size", [1e30, 1e-30, 2.0**100, 2.0**-40])
    def test_squares_that_overflow_or_vanish(self, size):
        grads = {"table": slices_of([2, 0, 2], 5), "b": jnp.ones(3)}
        large = {"table": grads["table"].with_values(grads["table"].values * size), "b": grads["b"] * size}

        @jax.jit
        def run(grads, limit):
            return global_norm(grads), clip_by_global_norm(grads, limit), jax.grad(global_norm)(grads["b"])

        norm, clipped, gradient = run(large, 0.5 * size)
        expected_norm, expected, expected_gradient = run(grads, 0.5)
        np.testing.assert_allclose(norm, expected_norm * size, rtol=1e-6)
        np.testing.assert_allclose(clipped["table"].values, expected["table"].values * size, rtol=1e-6)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)
