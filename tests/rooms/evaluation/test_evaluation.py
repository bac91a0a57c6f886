"""Ranks of classes and places in sorted rows, at ties and where numbers are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery import oracle
from machinery.programs import compile_by_default

import jnnops as nn
from jnnops.evaluation import _places

INF, NAN = np.inf, np.nan


places_of_largest_elsewhere = jax.jit(_places._places_of_largest, static_argnames="k")


def special_rows(size, dtype):
    """Two rows with many ties and with the numbers that bits, rounding and infinities make special."""
    rng = np.random.default_rng(size)
    rows = rng.integers(0, 7, (2, size)).astype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        special = [INF, -INF, NAN, -NAN, 0.0, -0.0, 1e-39, 2e-39, -1e-39]
    else:
        info = jnp.iinfo(dtype)
        special = [info.max, info.min, info.max - 1, info.min + 1]
    places = rng.choice(size, len(special), replace=False)
    rows[0, places] = np.array(special, dtype)
    return rows


def order(row):
    """The places of numbers from the largest to the least, NaN first, by Python's stable sort."""
    numbers = row.astype(np.float64).tolist() if jnp.issubdtype(row.dtype, jnp.floating) else row.tolist()
    return sorted(range(len(numbers)), key=lambda place: (numbers[place] == numbers[place], -numbers[place]))


class TestTopK:
    def test_ties_zeros_and_infinities_are_those_of_tensorflow(self):
        row = np.array([[0, -0.0, INF, -0.0, 0, -INF, 3, INF, 3]], np.float32)
        for k in (0, 1, 4, 9):
            values, indices = jax.jit(nn.top_k, static_argnums=1)(row, k)
            expected = oracle.tf.math.top_k(row, k)
            np.testing.assert_array_equal(indices, expected.indices)
            np.testing.assert_array_equal(values, expected.values)
            np.testing.assert_array_equal(np.signbit(values), np.signbit(expected.values))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "int8", "uint32", "uint64"])
    def test_order_is_that_of_a_stable_sort_on_all_platforms(self, dtype):
        with jax.enable_x64(True):
            for size, k in ((9, 9), (40, 40), (66_000, 10)):
                rows = special_rows(size, dtype)
                expected = [order(row)[:k] for row in rows]
                for find in (_places.places_of_largest, places_of_largest_elsewhere):
                    np.testing.assert_array_equal(find(jnp.asarray(rows), k=k), expected, f"{size}, {k}")

    def test_no_rows_no_columns_and_no_numbers(self):
        assert [part.shape for part in nn.top_k(jnp.zeros((0, 3)), 2)] == [(0, 2)] * 2
        assert [part.shape for part in nn.top_k(jnp.zeros((2, 0)), 0)] == [(2, 0)] * 2
        values, pull = jax.vjp(lambda x: nn.top_k(x, 0).values, jnp.ones((2, 3)))
        assert not np.any(pull(values)[0])

    def test_sorted_may_be_false(self):
        assert nn.top_k(jnp.array([1, 3, 2]), 2, sorted=False).indices.tolist() == [1, 2]

    @pytest.mark.parametrize("k", [1, 4])
    @pytest.mark.parametrize("size", [9, 50_000])
    def test_cpu_selects_and_does_not_sort(self, size, k):
        text = compile_by_default(lambda x: nn.top_k(x, k), jnp.zeros((3, size))).as_text() or ""
        assert 'custom_call_target="TopK"' in text
        assert " sort(f32" not in text


class TestInTopK:
    def test_ties_infinities_and_targets_out_of_range_are_those_of_tensorflow(self):
        rows = [[0.1, 0.5, 0.5, 0.2], [INF, 1, 2, 3], [NAN, 1, 2, 3], [-INF, 1, 2, 3], [1, 1, 1, 1]]
        predictions = np.array(rows, np.float32)
        in_top_k = jax.jit(nn.in_top_k)
        for k in (-1, 0, 1, 2, 3, 4, 9):
            for target in range(-1, 5):
                targets = np.full(len(rows), target, np.int32)
                expected = oracle.tf.math.in_top_k(targets, predictions, k).numpy()
                np.testing.assert_array_equal(in_top_k(targets, predictions, k), expected, f"{k}, {target}")

    def test_no_rows_and_no_classes(self):
        assert nn.in_top_k(jnp.zeros(0, int), jnp.zeros((0, 3)), 1).shape == (0,)
        assert nn.in_top_k(jnp.zeros(1, int), jnp.zeros((1, 0)), 1).tolist() == [False]

    def test_targets_out_of_range_are_reported(self):
        check = checkify.checkify(jax.jit(nn.in_top_k), errors=checkify.user_checks)
        assert "in_top_k: `targets` must be in [0, 2)" in (check(jnp.array([2]), jnp.ones((1, 2)), 1)[0].get() or "")

    def test_nothing_is_sorted(self):
        text = jax.jit(nn.in_top_k).lower(jnp.zeros(4, int), jnp.zeros((4, 9)), 3).as_text()
        assert "stablehlo.sort" not in text
        assert "chlo.top_k" not in text


class TestNthElement:
    def test_is_that_of_tensorflow(self):
        x = np.array([[3.0, 1, 2, 2, 5, 4], [0, 0, -1, INF, -INF, 7]], np.float32)
        for n in range(6):
            for reverse in (False, True):
                expected = oracle.tf.raw_ops.NthElement(input=x, n=n, reverse=reverse).numpy()
                np.testing.assert_array_equal(nn.nth_element(x, n, reverse), expected)

    def test_gradient_is_shared_by_equals(self):
        x = jnp.array([[3.0, 2, 2, 1], [INF, 1, 1, INF]])
        gradient = jax.grad(lambda x: nn.nth_element(x, jnp.int32(1)).sum())(x)
        assert gradient.tolist() == [[0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0]]

    @pytest.mark.parametrize("n", [-1, 3])
    def test_a_traced_place_out_of_range_is_nan_and_reported(self, n):
        x = jnp.array([1.0, 2.0, 3.0])
        error, value = checkify.checkify(jax.jit(nn.nth_element), errors=checkify.user_checks)(x, n)
        assert np.isnan(value)
        assert "nth_element: `n` must be in [0, 3)" in (error.get() or "")


class TestApproximations:
    def test_are_exact_on_cpu_and_differentiable(self):
        x = jnp.asarray(np.random.default_rng(0).permutation(200), jnp.float32)
        for op, sign in ((nn.approx_max_k, -1), (nn.approx_min_k, 1)):
            values, indices = op(x, 5)
            np.testing.assert_array_equal(indices, np.argsort(sign * x)[:5])
            np.testing.assert_array_equal(x[indices], values)
            gradient = jax.grad(lambda x, op=op: jnp.sum(op(x, 5).values ** 2))(x)
            np.testing.assert_array_equal(gradient, jnp.zeros(200).at[indices].set(2 * values))
