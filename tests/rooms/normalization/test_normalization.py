"""Moments and batch normalization: accuracy, empty batches, zeros and infinities, and TensorFlow's gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery import oracle
from machinery.case import Case
from machinery.rounding import assert_gradients_are_rounded_once

import jnnops as nn
from jnnops.layers import BatchNorm, LayerNorm

INF, NAN = np.inf, np.nan


def f32(values):
    return jnp.asarray(values, jnp.float32)


def norm_sum(x, **options):
    return jnp.sum(nn.l2_normalize(x, **options))


class TestL2Normalize:
    def test_zero_stays_zero_with_the_gradient_of_tensorflow(self):
        assert nn.l2_normalize(jnp.zeros(3)).tolist() == [0, 0, 0]
        expected = oracle.gradients(lambda tf, x: tf.nn.l2_normalize(x), {"x": np.zeros(3, np.float32)}, ["x"])[0]
        weights = f32(oracle.cotangent((3,)))
        gradient = jax.jit(jax.grad(lambda x: jnp.vdot(nn.l2_normalize(x), weights)))(jnp.zeros(3))
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
    def test_derivatives_at_zero_are_finite(self, dtype):
        zero = jnp.zeros(3, dtype)
        assert nn.l2_normalize(zero).tolist() == [0, 0, 0]
        assert np.isfinite(jax.jit(jax.grad(norm_sum))(zero)).all()
        assert np.isfinite(jax.jit(jax.hessian(norm_sum))(zero)).all()

    def test_gradient_at_the_kink_is_that_of_longer_vectors(self):
        kink = f32([2, 0])
        np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: norm_sum(x, epsilon=4.0)))(kink), f32([0, 0.5]))

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_squares_of_16_bits_neither_overflow_nor_vanish(self, dtype):
        half = dtype(0.5**0.5)
        if dtype == jnp.bfloat16:
            for size in (3e38, 1e-39):
                assert nn.l2_normalize(jnp.array([size, size], dtype), epsilon=0.0).tolist() == [half, half]
        assert nn.l2_normalize(jnp.array([300, 300], dtype)).tolist() == [half, half]
        assert nn.l2_normalize(jnp.array([2e-5, 2e-5], dtype)).tolist() == [half, half]
        np.testing.assert_array_equal(nn.l2_normalize(jnp.ones(4096, dtype)), jnp.full(4096, 1 / 64, dtype))

    def test_tiny_and_large_values_are_those_of_tensorflow(self):
        x = np.array([[1e-7, 0], [1e-30, 1e-30], [1e18, 1e18]], np.float32)
        expected = oracle.values(lambda tf, x: tf.nn.l2_normalize(x, 1), {"x": x})[0]
        np.testing.assert_allclose(nn.l2_normalize(x, axis=1), expected, rtol=1e-6)

    def test_values_and_derivatives_of_huge_and_subnormal_vectors(self):
        sizes = np.array([3e38, 1e20, 1e18, 1, 1e-16, 1e-25, 1e-38, 1e-41, 0])
        x = (sizes[:, None] * np.array([1, -1, 0.5, 0.25])).astype(np.float32)
        options = [(row, epsilon) for epsilon in (0.0, 1e-30, 1e-12) for row in range(len(sizes))]
        rows, epsilons = (np.array(column) for column in zip(*options, strict=True))

        def derivatives(x, epsilon):
            def normalize(x):
                return nn.l2_normalize(x, epsilon=epsilon)

            def loss(x):  # a gradient of it lies along the vector, too
                return jnp.vdot(normalize(x), jnp.array([1, 2, 0, -1], x.dtype))

            hessians = (jax.hessian(loss)(x), jax.jacrev(jax.grad(loss))(x), jax.jacfwd(jax.jacfwd(loss))(x))
            return normalize(x), jax.grad(loss)(x), jax.jacfwd(loss)(x), *hessians

        def found(dtype):
            return jax.jit(jax.vmap(derivatives))(x[rows].astype(dtype), jnp.asarray(epsilons, dtype))

        with jax.enable_x64(True):
            exact = [np.asarray(leaf) for leaf in found(jnp.float64)]
        for actual, expected in zip(found(jnp.float32), exact, strict=True):
            largest = np.abs(expected).reshape(len(rows), -1).max(1)
            assert np.isfinite(largest).sum() == len(rows) - 1  # 0 has no direction with `epsilon` 0
            known = largest < 1e38
            atol = (1e-6 * largest + 2e-38)[known]  # subnormal results may be 0
            wrong = np.abs(np.asarray(actual)[known].astype(np.float64) - expected[known])
            assert (wrong.reshape(len(atol), -1).max(1) <= atol).all()

    @pytest.mark.parametrize("epsilon", [1e-12, 100.0])
    def test_complex_values_and_gradients_are_those_of_tensorflow(self, epsilon):
        x = (IMAGE[0] + 1j * IMAGE[1]).astype(np.complex64)
        x[1] = 0
        weights = IMAGE[0, :, ::-1]

        def loss_of_tensorflow(tf, x):
            y = tf.nn.l2_normalize(x, (0, 2), epsilon)
            return tf.reduce_sum(tf.math.real(y) * weights) + tf.reduce_sum(tf.math.imag(y) ** 2 * weights)

        def ours(x):
            y = nn.l2_normalize(x, (0, 2), epsilon)
            return jnp.vdot(y.real, weights) + jnp.vdot(y.imag**2, weights), y

        expected = oracle.values(lambda tf, x: tf.nn.l2_normalize(x, (0, 2), epsilon), {"x": x})[0]
        gradient, y = jax.jit(jax.grad(ours, has_aux=True))(x)
        assert y.dtype == gradient.dtype == np.complex64
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-7)
        by_tensorflow = oracle.gradients(loss_of_tensorflow, {"x": x}, ["x"])[0] / oracle.cotangent(())
        np.testing.assert_allclose(gradient, np.conj(by_tensorflow), rtol=1e-4, atol=1e-5)  # JAX's convention

    def test_complex_second_derivatives_are_those_of_pairs_of_real_numbers(self):
        x = jnp.array([3 + 4j, 1 - 2j, 0.5j], jnp.complex64)
        direction = jnp.array([1j, 2, 1 - 1j], jnp.complex64)

        def pairs(x):
            return jnp.stack([x.real, x.imag])

        def of_complex(x):
            return jnp.sum(pairs(nn.l2_normalize(x)) ** 3)

        def of_pairs(x):
            return jnp.sum(nn.l2_normalize(x) ** 3)

        def along(loss, x, direction):
            return jax.jvp(jax.grad(loss), (x,), (direction,))[1]

        both = jax.jit(lambda: (along(of_complex, x, direction), along(of_pairs, pairs(x), pairs(direction))))
        found, expected = both()
        np.testing.assert_allclose(pairs(jnp.conj(found)), expected, rtol=1e-5)

    def test_nan_and_infinity_propagate(self):
        assert np.isnan(nn.l2_normalize(f32([NAN, 1]))).all()
        np.testing.assert_array_equal(nn.l2_normalize(f32([INF, 1])), f32([NAN, 0]))

    def test_no_axis_is_every_value_by_itself(self):
        assert nn.l2_normalize(f32([-3, 0, 2]), axis=()).tolist() == [-1, 0, 1]


class TestMoments:
    @pytest.mark.parametrize("axes", [(0, 1), (1, 2)])
    def test_accurate_where_the_mean_is_ten_thousand_deviations(self, axes):
        x = (np.random.default_rng(0).standard_normal((50, 60, 70)) + 1e4).astype(np.float32)
        mean, variance = nn.moments(x, axes)
        np.testing.assert_allclose(mean, x.astype(np.float64).mean(axes), rtol=3e-7)
        np.testing.assert_allclose(variance, x.astype(np.float64).var(axes), rtol=1e-4)

    def test_variance_of_equal_values_is_exactly_zero(self):
        for value in (0.1, 1e4 + 0.7, -3e18):
            assert nn.moments(jnp.full((3, 4), value), -1).variance.tolist() == [0, 0, 0]

    def test_variance_is_never_negative(self):
        x = np.float32(1e6) + np.random.default_rng(0).integers(0, 2, (1000, 7)).astype(np.float32) / 16
        assert (nn.moments(x, -1).variance >= 0).all()

    def test_16_bits_are_summed_in_float32(self):
        mean, variance = nn.moments(jnp.full(3000, 60000, jnp.float16), 0)
        assert (mean, variance) == (60000, 0)
        mean, variance = nn.moments(jnp.arange(1000.0).astype(jnp.bfloat16), 0)
        assert (mean, variance) == (500, 83456)  # as TensorFlow
        assert mean.dtype == variance.dtype == jnp.bfloat16
        # The square of 1000 overflows float16, the variance does not.
        assert nn.moments(jnp.zeros(10000, jnp.float16).at[0].set(1000), 0).variance == 100

    def test_no_values_and_infinities_are_those_of_tensorflow(self):
        for x in (np.zeros((3, 0), np.float32), np.array([[INF, 1], [NAN, 1], [-INF, 1]], np.float32)):
            expected = oracle.values(lambda tf, x: tf.nn.moments(x, 1), {"x": x})
            np.testing.assert_array_equal(nn.moments(x, 1), expected)

    @pytest.mark.parametrize("axes", [0, [-1], (2, 0), None])
    @pytest.mark.parametrize("keepdims", [False, True])
    def test_any_axes_are_those_of_tensorflow(self, axes, keepdims):
        x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
        expected = oracle.values(lambda tf, x: tf.nn.moments(x, axes, keepdims=keepdims), {"x": x})
        for a, e in zip(nn.moments(x, axes, keepdims=keepdims), expected, strict=True):
            assert a.shape == e.shape
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)

    def test_axes_none_are_all_and_empty_are_none(self):
        x = f32([[0, 2], [4, 6]])
        assert nn.moments(x, None) == (3, 5)
        mean, variance = nn.moments(x, [])
        assert mean.tolist() == x.tolist()
        assert variance.tolist() == [[0, 0], [0, 0]]

    def test_shift_changes_nothing(self):
        x = f32([1, 2, 6])
        assert nn.moments(x, 0, 100.0) == nn.moments(x, 0)

    def test_infinite_mean_has_a_finite_gradient(self):
        # What is masked by a zero cotangent stays masked.
        gradient = jax.jit(jax.grad(lambda x: nn.moments(x, 0).mean))(f32([INF, 1]))
        assert gradient.tolist() == [0.5, 0.5]


class TestBatchNormalization:
    def test_large_mean_does_not_cancel(self):
        y = nn.batch_normalization(f32([1e4 + 1, 1e4 - 1]), f32(1e4), f32(3e-4), f32(0.5), None, 0.0)
        np.testing.assert_allclose(y, [58.2350269, -57.2350269], rtol=1e-6)

    def test_16_bit_inputs_take_float32_moments_and_keep_their_dtype(self):
        x = jnp.array([[1, 2], [3, 60000]], jnp.float16)
        mean, variance = nn.moments(x.astype(jnp.float32), 0)
        y = nn.batch_normalization(x, mean, variance, None, f32([1, 1]), 0.0)
        assert y.dtype == jnp.float16
        assert y.tolist() == [[-1, -1], [1, 1]]


def normalise(x, running=True, **options: Any):
    """``fused_batch_norm`` of 2 channels."""
    if running:
        options = {"mean": f32([1, 2]), "variance": f32([3, 4]), **options}
    return nn.fused_batch_norm(x, f32([0.5, 2]), f32([-1, 1]), **options)


PARAMETERS = ("scale", "offset", "mean", "variance")
IMAGE = np.random.default_rng(0).standard_normal((2, 3, 4, 2)).astype(np.float32)


class TestFusedBatchNorm:
    @pytest.mark.parametrize("is_training", [True, False])
    def test_gradients_of_y_are_those_of_tensorflow(self, is_training):
        arrays = {
            "x": IMAGE,
            "scale": np.array([0.5, 2], np.float32),
            "offset": np.array([-1, 1], np.float32),
            "mean": np.array([1, 2], np.float32),
            "variance": np.array([3, 4], np.float32),
        }
        names = ["x", "scale", "offset"]

        def y_of_tensorflow(tf, **arrays):
            return tf.compat.v1.nn.fused_batch_norm(**arrays, is_training=is_training)[0]

        expected = oracle.gradients(y_of_tensorflow, arrays, names)
        weights = f32(oracle.cotangent(IMAGE.shape))

        def total(chosen):
            return jnp.vdot(nn.fused_batch_norm(**{**arrays, **chosen}, is_training=is_training).y, weights)

        actual = jax.jit(jax.grad(total))({name: arrays[name] for name in names})
        for name, gradient in zip(names, expected, strict=True):
            np.testing.assert_allclose(actual[name], gradient, rtol=1e-4, atol=1e-5, err_msg=name)

    def test_a_factor_of_one_ignores_the_old_moments(self):
        expected = normalise(IMAGE, running=False)
        invalid = jnp.full(2, NAN)
        step = jax.jit(lambda f: normalise(IMAGE, mean=invalid, variance=invalid, exponential_avg_factor=f))
        for actual in (step(1.0), normalise(IMAGE), normalise(IMAGE, mean=[], running=False)):
            for a, e in zip(actual, expected, strict=True):
                np.testing.assert_allclose(a, e, rtol=1e-6, atol=1e-6)
        assert np.isnan(step(0.5).running_mean).all()

    def test_running_moments_are_weighted_and_unbiased(self):
        _, mean, variance = normalise(IMAGE, exponential_avg_factor=0.25)
        np.testing.assert_allclose(mean, 0.75 * np.array([1, 2]) + 0.25 * IMAGE.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(variance, 0.75 * np.array([3, 4]) + 0.25 * IMAGE.var((0, 1, 2), ddof=1), rtol=1e-5)

    @pytest.mark.parametrize("is_training", [True, False])
    def test_channels_first_equals_channels_last(self, is_training):
        options = {"is_training": is_training, "exponential_avg_factor": 0.5, "epsilon": 0.0}
        first = normalise(np.moveaxis(IMAGE, -1, 1), data_format="NCHW", **options)
        last = normalise(IMAGE, **options)
        np.testing.assert_allclose(jnp.moveaxis(first.y, 1, -1), last.y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(first[1:], last[1:], rtol=1e-5)

    def test_a_single_value_has_variance_zero(self):
        y, mean, variance = normalise(f32([[[[5, 6]]]]), running=False)
        assert (y.tolist(), mean.tolist(), variance.tolist()) == ([[[[-1, 1]]]], [5, 6], [0, 0])

    def test_empty_batch_gives_nan_in_training_only(self):
        y, mean, variance = normalise(IMAGE[:0], exponential_avg_factor=0.5)
        assert y.shape == (0, 3, 4, 2)
        assert np.isnan(mean).all()
        assert np.isnan(variance).all()
        y, mean, variance = normalise(IMAGE[:0], is_training=False)
        assert y.shape == (0, 3, 4, 2)
        assert (mean.tolist(), variance.tolist()) == ([1, 2], [3, 4])

    @pytest.mark.parametrize("is_training", [True, False])
    def test_empty_batch_has_gradients_of_zero(self, is_training):
        def total(x, *parameters):
            return jnp.sum(nn.fused_batch_norm(x, *parameters, is_training=is_training).y)

        arguments = IMAGE[:0], *(f32([1, 2]) for _ in range(4))
        found = jax.jit(jax.grad(total, range(5)))(*arguments)
        assert [gradient.tolist() for gradient in found] == [[], *[[0, 0]] * 4]

    def test_inference_returns_the_moments_it_was_given(self):
        y, mean, variance = normalise(IMAGE, is_training=False, exponential_avg_factor=0.5, epsilon=1.0)
        assert (mean.tolist(), variance.tolist()) == ([1, 2], [3, 4])
        np.testing.assert_allclose(y[..., 0], (IMAGE[..., 0] - 1) * 0.25 - 1, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_16_bit_images_have_float32_moments(self, dtype):
        x = (200 * IMAGE + 300).astype(dtype)  # squares overflow float16
        for options in ({}, {"is_training": False}):
            actual = normalise(x, **options)
            expected = normalise(x.astype(jnp.float32), **options)
            assert [array.dtype for array in actual] == [dtype, jnp.float32, jnp.float32]
            np.testing.assert_array_equal(actual.y, expected.y.astype(dtype))
            np.testing.assert_allclose(actual[1:], expected[1:], rtol=1e-6)

    @pytest.mark.parametrize("is_training", [True, False])
    def test_16_bit_gradients_are_rounded_once(self, is_training):
        arrays = {"x": IMAGE, **{name: np.array([k, 2.0]) for k, name in enumerate(PARAMETERS, start=1)}}
        options = {"exponential_avg_factor": 0.5, "is_training": is_training}
        case = Case(nn.fused_batch_norm, arrays, options)
        assert_gradients_are_rounded_once(case)

    def test_16_bit_gradients_of_the_layer_are_rounded_once(self):
        def normalise(x, scale, offset):
            bn = BatchNorm(scale=scale, offset=offset, features=2)
            return bn(x, bn.init_state(), training=True)

        arrays = {"x": IMAGE, "scale": np.array([0.5, 2.0]), "offset": np.array([1.0, 2.0])}
        assert_gradients_are_rounded_once(Case(normalise, arrays))

    def test_parameters_of_16_bits_have_float32_moments_too(self):
        x, scale = jnp.ones((1, 2, 2, 1), jnp.bfloat16), jnp.ones(1, jnp.bfloat16)
        result = nn.fused_batch_norm(x, scale, scale, scale, scale, exponential_avg_factor=0.5)
        assert [array.dtype for array in result] == [jnp.bfloat16, jnp.float32, jnp.float32]


class TestWeightedMoments:
    def test_weights_are_repetitions(self):
        x, weights = f32([1, 2, 6]), np.array([3, 0, 1])
        repeated = nn.moments(f32([1, 1, 1, 6]), 0)
        np.testing.assert_array_equal(nn.weighted_moments(x, 0, weights), repeated)

    def test_no_weight_and_no_values_give_zero_as_in_tensorflow(self):
        for shape, axes in (((3, 2), 0), ((3, 0), 1)):
            x, weights = np.ones(shape, np.float32), np.zeros(shape, np.float32)
            expected = oracle.values(
                lambda tf, x, w, axes=axes: tf.nn.weighted_moments(x, axes, w), {"x": x, "w": weights}
            )
            np.testing.assert_array_equal(nn.weighted_moments(x, axes, weights), expected)
            loss = jax.jit(jax.grad(lambda x, w, axes=axes: sum(map(jnp.sum, nn.weighted_moments(x, axes, w))), (0, 1)))
            assert not any(map(np.any, loss(x, weights)))

    def test_weights_may_have_more_axes_than_the_values(self):
        x, weights = np.arange(4, dtype=np.float32), np.arange(12, dtype=np.float32).reshape(3, 4)
        for axes in (0, 1, (0, 1)):
            expected = oracle.values(
                lambda tf, x, w, axes=axes: tf.nn.weighted_moments(x, axes, w), {"x": x, "w": weights}
            )
            for found, wanted in zip(nn.weighted_moments(x, axes, weights), expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-6)

    def test_16_bits_are_summed_in_float32(self):
        mean, variance = nn.weighted_moments(jnp.full(3000, 60000, jnp.float16), 0, jnp.full(3000, 9, jnp.int32))
        assert (mean.dtype, mean, variance) == (jnp.float16, 60000, 0)

    def test_parts_of_a_mapped_axis_are_those_of_the_whole(self):
        x, weights = IMAGE.reshape(6, 8), np.arange(48, dtype=np.float32).reshape(6, 8)
        whole = nn.weighted_moments(x, (0, 1), weights), nn.moments(x, (0, 1))

        def of_parts(x, w):
            return nn.weighted_moments(x, 0, w, axis_name="i"), nn.moments(x, 0, axis_name=["i"])

        parts = jax.jit(jax.vmap(of_parts, axis_name="i"))(x, weights)
        jax.tree.map(lambda part, all_: np.testing.assert_allclose(part, np.full(6, all_), rtol=1e-6), parts, whole)


class TestSufficientStatistics:
    def test_parts_add_up_to_the_whole(self):
        x, shift = IMAGE.reshape(6, 8) + 100, 100.0
        parts = [nn.sufficient_statistics(part, 0, shift) for part in (x[:2], x[2:])]
        counts, mean_ss, variance_ss = (a + b for a, b in zip(parts[0][:3], parts[1][:3], strict=True))
        for found, wanted in zip(
            nn.normalize_moments(counts, mean_ss, variance_ss, shift), nn.moments(x, 0), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=2e-5)

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_sums_of_16_bits_are_float32(self, dtype):
        statistics = nn.sufficient_statistics(jnp.full(70000, 300, dtype), None, dtype(44))
        counts, mean_ss, variance_ss, shift = statistics
        assert {part.dtype for part in jax.tree.leaves(statistics)} == {jnp.dtype(jnp.float32)}
        assert (counts, mean_ss, variance_ss) == (70000, 70000 * 256, 70000 * 65536.0)
        mean, variance = nn.normalize_moments(counts, mean_ss, variance_ss, shift)
        assert (mean, variance) == (300, 0)

    def test_a_variance_that_rounding_makes_negative_is_zero(self):
        def variance(sums):
            return nn.normalize_moments(3, sums[0], sums[1], None).variance

        sums = f32([3, 2.999])
        assert variance(sums) == 0
        assert jax.grad(variance)(sums).tolist() == [0, 0]
        assert np.isnan(nn.normalize_moments(0.0, 0.0, 0.0, None)).all()  # as TensorFlow


class TestLayerNorm:
    def test_values_and_gradients_are_those_of_keras(self):
        arrays = {"x": IMAGE, "scale": np.array([0.5, 2], np.float32), "offset": np.array([-1, 1], np.float32)}

        def keras(tf, x, scale, offset):
            mean, variance = tf.nn.moments(x, -1, keepdims=True)
            return tf.nn.batch_normalization(x, mean, variance, offset, scale, 0.001)

        def ours(x, scale, offset):
            return LayerNorm(scale=scale, offset=offset, features=2)(x)

        weights = f32(oracle.cotangent(IMAGE.shape))
        found = jax.jit(jax.grad(lambda arrays: jnp.vdot(ours(**arrays), weights)))(arrays)
        np.testing.assert_allclose(ours(**arrays), oracle.values(keras, arrays)[0], rtol=1e-5, atol=1e-6)
        for name, gradient in zip(arrays, oracle.gradients(keras, arrays, list(arrays)), strict=True):
            np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-4)

    def test_equal_features_give_the_offset_with_finite_derivatives(self):
        norm = LayerNorm.init(3, epsilon=1e-6)

        def loss(x):
            return jnp.vdot(norm(x), f32([1, 2, 4]))

        x = jnp.full(3, 7.0)
        assert norm(x).tolist() == [0, 0, 0]
        gradient, hessian = jax.jit(lambda x: (jax.grad(loss)(x), jax.hessian(loss)(x)))(x)
        np.testing.assert_allclose(gradient, (np.array([1, 2, 4]) - 7 / 3) * 1e3, rtol=1e-5)
        assert np.isfinite(hessian).all()

    def test_16_bits_keep_their_dtype_and_empty_and_plain_ones_work(self):
        plain = LayerNorm.init(2, use_scale=False, use_offset=False)
        assert jax.tree.leaves(plain) == []
        y = plain(jnp.array([[60000, -60000], [1, 3]], jnp.float16))
        assert (y.dtype, y.tolist()) == (jnp.float16, [[1, -1], [-1 + 2**-11, 1 - 2**-11]])
        assert LayerNorm.init(2)(jnp.zeros((0, 2))).shape == (0, 2)
