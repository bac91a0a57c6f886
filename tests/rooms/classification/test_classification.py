"""Softmax and cross entropies: extreme logits, classes that are ruled out, labels out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify
from machinery import oracle
from machinery.case import Case, normal
from machinery.rounding import assert_gradients_are_rounded_once

import jnnops as nn

INF, NAN = np.inf, np.nan
sigmoid_loss = nn.sigmoid_cross_entropy_with_logits
weighted_loss = nn.weighted_cross_entropy_with_logits
dense_loss = nn.softmax_cross_entropy_with_logits
sparse_loss = nn.sparse_softmax_cross_entropy_with_logits


def f32(values):
    return jnp.asarray(values, jnp.float32)


def i32(values):
    return jnp.asarray(values, jnp.int32)


def summed(f, argnums):
    return jax.grad(lambda *arguments: jnp.sum(f(*arguments)), argnums=argnums)


class TestSoftmax:
    def test_large_logits(self):
        x = f32([[1000, 1000, -1000], [-1e38, -1e38, -3e38]])
        assert nn.softmax(x).tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0]]
        np.testing.assert_allclose(nn.log_softmax(f32([-2e4, 2e4])), [-4e4, 0])

    def test_log_softmax_of_a_small_probability_is_precise(self):
        assert nn.log_softmax(f32([0, -1000])).tolist() == [0, -1000]
        np.testing.assert_allclose(nn.log_softmax(f32([0, -10])), [-4.5398899e-05, -10.000045], rtol=2e-3)

    @pytest.mark.parametrize("op", [nn.softmax, nn.log_softmax], ids=lambda op: op.__name__)
    def test_infinities_are_those_of_tensorflow(self, op):
        x = np.array([[-INF, 0, 1], [-INF, -INF, 2], [-INF, -INF, -INF], [NAN, 0, 1]], np.float32)
        expected = oracle.values(lambda tf, x: getattr(tf.nn, op.__name__)(x), {"x": x})[0]
        expected[3] = NAN  # TensorFlow's softmax gives [NaN, 0, 0]
        np.testing.assert_allclose(op(x), expected, rtol=1e-6)

    @pytest.mark.parametrize("op", [nn.softmax, nn.log_softmax], ids=lambda op: op.__name__)
    def test_derivatives_where_logits_are_minus_infinity_are_finite(self, op):
        x = f32([[-INF, 0, 1], [-INF, -INF, 2], [-INF, -INF, -INF]])
        weights = f32([[1, 2, 3]] * 3)

        def total(x):
            y = op(x)
            return jnp.sum(jnp.where(jnp.isfinite(y), y * weights, 0))

        assert np.isfinite(jax.jit(jax.grad(total))(x)).all()
        assert np.isfinite(jax.jit(jax.hessian(total))(x)).all()
        assert np.isfinite(jax.jvp(jax.grad(total), (x,), (weights,))[1]).all()

    def test_gradient_where_all_are_ruled_out_is_zero(self):
        x = f32([[-INF, -INF], [0, 0]])
        weights = f32([[1, 2], [1, 2]])
        gradient = jax.jit(jax.grad(lambda x: jnp.vdot(nn.softmax(x), weights)))(x)
        assert gradient.tolist() == [[0, 0], [-0.25, 0.25]]

    def test_no_classes(self):
        assert nn.softmax(jnp.zeros((3, 0))).shape == (3, 0)
        assert nn.log_softmax(jnp.zeros((3, 0))).shape == (3, 0)

    @pytest.mark.parametrize(("dtype", "unit"), [(jnp.float16, 2**-11), (jnp.bfloat16, 2**-8)])
    def test_16_bits_are_rounded_once(self, dtype, unit):
        logits = jnp.asarray(np.random.default_rng(0).standard_normal(64), dtype)
        labels = jnp.full(64, 1 / 64, dtype)
        exact = np.asarray(logits, np.float64)
        log_p = exact - np.log(np.exp(exact).sum())
        for actual, expected in (
            (nn.softmax(logits), np.exp(log_p)),
            (nn.log_softmax(logits), log_p),
            (dense_loss(labels, logits), -log_p.mean()),
            (sparse_loss(7, logits), -log_p[7]),
            (sigmoid_loss(labels, logits), np.log1p(np.exp(exact)) - exact / 64),
        ):
            assert actual.dtype == dtype
            np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=1.01 * unit)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_any_axis_equals_tensorflow_on_the_last(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    generator = np.random.default_rng(len(shape))
    arrays = {"labels": generator.uniform(0, 1, shape), "logits": 10 * generator.standard_normal(shape)}

    def all_three(tf, labels, logits):
        loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        return tf.nn.softmax(logits), tf.nn.log_softmax(logits), loss

    moved = {name: np.moveaxis(array, axis, -1) for name, array in arrays.items()}
    p, log_p, loss = oracle.values(all_three, moved)
    labels, logits = arrays.values()
    with jax.enable_x64(True):
        np.testing.assert_allclose(nn.softmax(logits, axis), np.moveaxis(p, -1, axis), rtol=1e-12)
        np.testing.assert_allclose(nn.log_softmax(logits, axis), np.moveaxis(log_p, -1, axis), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(dense_loss(labels, logits, axis), loss, rtol=1e-12)


class TestSigmoidCrossEntropy:
    def test_large_logits(self):
        loss = sigmoid_loss(f32([0, 1, 0, 1, 0.5]), f32([1e38, 1e38, -1e38, -1e38, 500]))
        np.testing.assert_array_equal(loss, f32([1e38, 0, 0, 1e38, 250]))

    def test_small_loss_is_precise(self):
        np.testing.assert_allclose(sigmoid_loss(f32([1, 0]), f32([30, -30])), [9.357623e-14] * 2, rtol=1e-5)

    def test_infinite_logits_cost_nothing_where_the_label_agrees(self):
        labels, logits = f32([0, 1, 0, 1, 0.5, 0.5]), f32([-INF, INF, INF, -INF, INF, -INF])
        assert sigmoid_loss(labels, logits).tolist() == [0, 0, INF, INF, INF, INF]
        assert weighted_loss(labels, logits, 3.0).tolist() == [0, 0, INF, INF, INF, INF]
        assert weighted_loss(labels, logits, 0.0).tolist() == [0, 0, INF, 0, INF, 0]
        by_labels, by_logits = summed(sigmoid_loss, (0, 1))(labels[:2], logits[:2])
        assert by_labels.tolist() == [0, 0]
        assert by_logits.tolist() == [0, 0]
        assert np.isfinite(summed(lambda x: weighted_loss(labels, x, 3.0), 0)(logits)).all()

    def test_nan_propagates(self):
        assert np.isnan(sigmoid_loss(f32([NAN, 0]), f32([0, NAN]))).all()

    def test_gradients_at_zero_are_those_on_both_sides(self):
        labels, zero = f32([0, 1, 0.25]), jnp.zeros(3)
        assert summed(sigmoid_loss, 1)(labels, zero).tolist() == [0.5, -0.5, 0.25]
        assert summed(weighted_loss, 1)(labels, zero, 3.0).tolist() == [0.5, -1.5, 0]
        assert jax.jit(jax.vmap(jax.grad(jax.grad(sigmoid_loss, 1), 1)))(labels, zero).tolist() == [0.25] * 3

    def test_pos_weight_may_be_a_python_int(self):
        assert weighted_loss(1.0, -100.0, 2) == 200


class TestSoftmaxCrossEntropy:
    def test_16_bit_gradients_of_labels_that_broadcast_are_rounded_once(self):
        arrays = {"labels": np.array([0.25, 0.5, 0.25]), "logits": normal(1000, 3)}
        assert_gradients_are_rounded_once(Case(dense_loss, arrays))

    def test_common_offset_of_the_logits_changes_nothing(self):
        labels, logits = f32([[0.25, 0.75, 0]]), f32([[1, 2, 4]])
        expected = -0.25 * 1 - 0.75 * 2 + np.log(np.exp([1, 2, 4]).sum())
        for offset in (0, 2.0**20, -(2.0**20)):
            np.testing.assert_allclose(dense_loss(labels, logits + offset), [expected], rtol=1e-6)
            np.testing.assert_allclose(sparse_loss(i32([1]), logits + offset), [expected - 0.25], rtol=1e-6)

    def test_gradient_for_logits_counts_the_sum_of_the_labels(self):
        # TensorFlow's is softmax - labels = [-1.5, -0.5].
        assert summed(dense_loss, 1)(f32([[2, 1]]), f32([[0, 0]])).tolist() == [[-0.5, 0.5]]

    def test_gradient_for_labels(self):
        np.testing.assert_allclose(summed(dense_loss, 0)(f32([[1, 0]]), f32([[0, 0]])), [[np.log(2)] * 2], rtol=1e-6)

    def test_ruled_out_class_without_a_label_adds_nothing(self):
        labels, logits = f32([[1, 0], [0.5, 0], [0, 0]]), f32([[3, -INF], [3, -INF], [-INF, -INF]])
        assert dense_loss(labels, logits).tolist() == [0, 0, 0]
        by_labels, by_logits = summed(dense_loss, (0, 1))(labels, logits)
        assert by_labels.tolist() == [[0, 0]] * 3
        assert by_logits.tolist() == [[0, 0]] * 3
        for hessian in jax.tree.leaves(
            jax.jit(jax.hessian(lambda *a: jnp.sum(dense_loss(*a)), (0, 1)))(labels, logits)
        ):
            assert np.isfinite(hessian).all()

    def test_ruled_out_class_with_a_label_is_infinite(self):
        labels, logits = f32([[0, 1], [1e-9, 1e-9], [0, 0]]), f32([[3, -INF], [-INF, 0], [3, -1e38]])
        assert dense_loss(labels, logits).tolist() == [INF, INF, 0]
        assert sparse_loss(i32([1, 0]), logits[:2]).tolist() == [INF, INF]
        assert summed(dense_loss, 1)(labels, logits)[0].tolist() == [1, -1]

    def test_all_classes_ruled_out_is_nan_with_a_finite_gradient(self):
        labels, logits = f32([[0, 1], [0.5, 0.5]]), jnp.full((2, 2), -INF)
        assert np.isnan(dense_loss(labels, logits)).all()
        assert summed(dense_loss, 1)(labels, logits).tolist() == [[0, -1], [-0.5, -0.5]]

    def test_nan_logits_propagate_even_where_the_label_is_zero(self):
        assert np.isnan(dense_loss(f32([[1, 0], [0, 1]]), f32([[0, NAN], [0, NAN]]))).all()

    def test_negative_labels_follow_the_formula(self):
        np.testing.assert_allclose(dense_loss(f32([-1, 2]), jnp.zeros(2)), np.log(2), rtol=1e-6)

    def test_no_classes(self):
        np.testing.assert_array_equal(dense_loss(jnp.zeros((3, 0)), jnp.zeros((3, 0))), jnp.zeros(3))

    def test_integer_labels_take_the_dtype_of_the_logits(self):
        with jax.numpy_dtype_promotion("standard"):
            loss = dense_loss(jnp.array([[0, 1]]), jnp.zeros((3, 2), jnp.bfloat16))
        assert loss.dtype == jnp.bfloat16
        assert loss.shape == (3,)

    @pytest.mark.parametrize("shape", [(5,), (1, 5), (4, 1), (4, 5)])
    def test_labels_are_broadcast_as_in_tensorflow(self, shape):
        arrays = {
            "labels": np.random.default_rng(0).uniform(0, 1, shape),
            "logits": np.random.default_rng(1).normal(size=(4, 5)),
        }
        expected = oracle.values(lambda tf, **a: tf.nn.softmax_cross_entropy_with_logits(**a), arrays)[0]
        with jax.enable_x64(True):
            np.testing.assert_allclose(dense_loss(**arrays), expected, rtol=1e-12)


class TestSparseSoftmaxCrossEntropy:
    def test_label_out_of_range_gives_nan_as_tensorflow_on_accelerators(self):
        labels, logits = np.array([5, -1, 1], np.int32), np.array([[0, 1]] * 3, np.float32)
        expected_loss = oracle.values(on_accelerator, {"labels": labels, "logits": logits})[0]
        expected_gradient = oracle.gradients(on_accelerator, {"labels": labels, "logits": logits}, ["logits"])[0]
        assert np.isnan(expected_loss).tolist() == [True, True, False]
        np.testing.assert_allclose(sparse_loss(labels, logits), expected_loss, rtol=1e-6)
        weights = f32(oracle.cotangent((3,)))
        gradient = jax.jit(jax.grad(lambda x: jnp.vdot(sparse_loss(labels, x), weights)))(logits)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)

    def test_checkify_reports_labels_out_of_range(self):
        checked = checkify.checkify(jax.jit(sparse_loss), errors=checkify.user_checks)
        for labels, wrong in (([0, 1], False), ([0, 2], True), ([-1, 0], True)):
            error, _ = checked(jnp.array(labels), jnp.zeros((2, 2)))
            message = "sparse_softmax_cross_entropy_with_logits: `labels` must be in [0, 2)" if wrong else None
            assert (error.get() or "").startswith(message or "")
            assert bool(error.get()) == wrong

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
    def test_labels_of_any_integer_dtype(self, dtype):
        # 300 is no number of (u)int8, and the largest of each dtype is no class.
        logits = jnp.zeros((2, 300)).at[0, 100].set(1000)
        loss = sparse_loss(np.array([7, np.iinfo(dtype).max], dtype), logits)
        assert loss[0] == 1000
        assert np.isnan(loss[1]) == (np.iinfo(dtype).max >= 300)

    def test_labels_of_64_bits(self):
        with jax.enable_x64(True):
            for labels in (np.array([1, 2**32], np.int64), np.array([1, 2**64 - 1], np.uint64)):
                loss = sparse_loss(labels, f32([[0, 1000]] * 2))
                assert loss[0] == 0
                assert np.isnan(loss[1])

    def test_scalar_label(self):
        assert sparse_loss(1, f32([100, 0, 0])) == 100

    def test_all_classes_ruled_out_is_nan_with_a_finite_gradient(self):
        logits = jnp.full((1, 2), -INF)
        assert np.isnan(sparse_loss(i32([1]), logits)).all()
        assert summed(lambda x: sparse_loss(i32([1]), x), 0)(logits).tolist() == [[0, -1]]

    def test_gradient_at_a_ruled_out_label_is_that_of_tensorflow(self):
        assert summed(lambda x: sparse_loss(i32([1, 0]), x), 0)(f32([[0, -INF]] * 2)).tolist() == [[1, -1], [0, 0]]

    def test_equals_the_dense_loss_of_one_hot_labels(self):
        logits = f32(np.random.default_rng(0).standard_normal((3, 7, 11)))
        labels = jnp.arange(21).reshape(3, 7) % 11
        np.testing.assert_allclose(sparse_loss(labels, logits), dense_loss(jax.nn.one_hot(labels, 11), logits), 1e-5)


def on_accelerator(tf, labels, logits):
    """TensorFlow's CPU kernel raises for labels out of range; compiled by XLA it is that of accelerators."""
    return tf.function(tf.nn.sparse_softmax_cross_entropy_with_logits, jit_compile=True)(labels, logits)
