"""Losses at their edges, and over mapped axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery import oracle
from machinery.case import normal
from sklearn import isotonic

import jnnops as nn

INF = np.inf


class TestLogPoisson:
    def test_a_certain_zero_costs_nothing(self):
        def loss(log_input):
            return jnp.sum(nn.log_poisson_loss(jnp.zeros(3), log_input, compute_full_loss=True))

        log_input = jnp.array([-INF, -100.0, 0.0])
        assert nn.log_poisson_loss(jnp.zeros(3), log_input).tolist() == [0, 0, 1]
        assert jax.grad(loss)(log_input).tolist() == [0, 0, 1]
        assert jax.hessian(loss)(log_input).tolist() == np.diag([0, 0, 1]).tolist()

    def test_gradients_at_targets_of_zero_and_one_are_finite(self):
        def loss(targets):
            return jnp.sum(nn.log_poisson_loss(targets, jnp.array([2.0, 3.0]), compute_full_loss=True))

        assert jax.grad(loss)(jnp.array([0.0, 1.0])).tolist() == [-2, -3]

    def test_full_loss_of_many_is_that_of_the_distribution(self):
        from scipy import stats

        counts, logs = np.array([2.0, 10.0, 1000.0]), np.array([0.5, 2.0, 7.0])
        exact = -stats.poisson.logpmf(counts, np.exp(logs))
        found = nn.log_poisson_loss(counts.astype(np.float32), logs.astype(np.float32), compute_full_loss=True)
        np.testing.assert_allclose(found, exact, atol=0.05)  # of Stirling's approximation

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_16_bits_are_rounded_once(self, dtype):
        targets, logs = (jnp.asarray(np.abs(normal(50, seed=seed)) * 3, dtype) for seed in (0, 1))
        wide = nn.log_poisson_loss(targets.astype(jnp.float32), logs.astype(jnp.float32), compute_full_loss=True)
        np.testing.assert_array_equal(nn.log_poisson_loss(targets, logs, compute_full_loss=True), wide.astype(dtype))


class TestAverage:
    def test_nothing_is_zero(self):
        assert nn.compute_average_loss(jnp.zeros((0, 2))) == 0
        assert nn.compute_average_loss(jnp.ones(1), global_batch_size=0) == 0

    def test_integers_become_float32(self):
        assert nn.compute_average_loss(jnp.array([1, 2])).dtype == jnp.float32

    def test_parts_of_a_batch_add_to_the_average_of_all(self):
        losses, weights = jnp.asarray(normal(8, 3), jnp.float32), jnp.asarray(normal(8, seed=1), jnp.float32)

        def total(losses, weights):
            part = nn.compute_average_loss(losses, weights, axis_name="parts")
            return jax.lax.psum(part + nn.scale_regularization_loss(2.0, axis_name="parts"), "parts")

        parts = jax.vmap(total, axis_name="parts")(losses.reshape(4, 2, 3), weights.reshape(4, 2))
        np.testing.assert_allclose(parts, nn.compute_average_loss(losses, weights) + 2, rtol=1e-6)

    def test_16_bits_are_summed_in_float32(self):
        assert nn.l2_loss(jnp.full(4096, 0.25, jnp.bfloat16)) == 128
        assert nn.compute_average_loss(jnp.full(3000, 60000, jnp.float16)) == 60000


def pooled(row):
    """The decreasing fit of a row, and its segments, by pooling adjacent violators in float64."""
    blocks = []
    for number in row.astype(np.float64):
        blocks.append((number, 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] < blocks[-1][0] * blocks[-2][1]:
            (total, count), (more, others) = blocks[-2:]
            blocks[-2:] = [(total + more, count + others)]
    counts = [count for _, count in blocks]
    return np.repeat([total / count for total, count in blocks], counts), np.repeat(np.arange(len(blocks)), counts)


def sequences(size):
    """Sequences that fit in one segment, in a few and in as many as there are numbers, with ties and without."""
    rng = np.random.default_rng(size)
    noise, places = rng.standard_normal(size), np.arange(size)
    falling = np.sort(noise)[::-1].copy()
    falling[-1] = 100  # pools many that were apart
    rows = [
        noise,
        noise + 4 * places / size,
        np.sort(-noise),
        falling,
        0.999**places,
        np.full(size, 0.1),
        np.round(noise),
    ]
    return np.array([*rows, places % 3 == 2, noise + 1000], np.float32)


class TestIsotonicRegression:
    @pytest.mark.parametrize("size", [1, 2, 57, 12_000])
    def test_is_that_of_tensorflow_of_scikit_learn_and_of_pooling(self, size):
        rows = sequences(size)
        for decreasing, sign in ((True, 1), (False, -1)):
            output, segments = nn.isotonic_regression(sign * rows, decreasing)
            _, expected = oracle.tf.nn.isotonic_regression(sign * rows, decreasing)
            np.testing.assert_array_equal(segments, expected)
            fits, numbers = zip(*map(pooled, rows), strict=True)
            np.testing.assert_array_equal(segments, numbers)
            np.testing.assert_allclose(sign * output, fits, rtol=3e-7, atol=1e-6)
            wide = sign * rows.astype(np.float64)  # in float32 scikit-learn 1.5 is wrong by 1e-5
            of_sklearn = [isotonic.isotonic_regression(row, increasing=not decreasing) for row in wide]
            np.testing.assert_allclose(output, of_sklearn, rtol=3e-6, atol=1e-6)

    def test_small_numbers_between_large_ones_are_pooled(self):
        output, segments = nn.isotonic_regression(jnp.array([1000.0, 0.0, 1e-5, -1000.0]))
        assert segments.tolist() == [0, 1, 1, 2]
        np.testing.assert_allclose(output, [1000, 5e-6, 5e-6, -1000], rtol=1e-6)

    def test_long_segments_are_exact(self):
        row = np.random.default_rng(0).uniform(0, 1, 100_000).astype(np.float32)
        row[:50_000] += 1
        output, segments = nn.isotonic_regression(row)
        fit, numbers = pooled(row)
        np.testing.assert_array_equal(segments, numbers)
        np.testing.assert_allclose(output, fit, rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float16", "bfloat16"])
    def test_dtypes_are_those_of_tensorflow(self, dtype):
        with jax.enable_x64(True):
            x = np.array([[3, 1, 2, 5, 4, 1]])
            actual = nn.isotonic_regression(jnp.asarray(x, dtype))
            expected = oracle.tf.nn.isotonic_regression(oracle.tf.cast(x, dtype))
            assert actual.output.dtype.name == expected.output.dtype.name
            np.testing.assert_array_equal(np.float64(actual.output), oracle.tf.cast(expected.output, "float64"))

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_a_row_that_is_not_finite_is_nan_and_no_other(self, number):
        rows = np.array([[1.0, 2, 3, 1, 0, 2], [1, 2, number, 1, 0, 2], [number, 2, 1, 1, 2, number]], np.float32)
        output, _ = nn.isotonic_regression(rows)
        np.testing.assert_allclose(output[0], [2, 2, 2, 1, 1, 1])
        assert np.all(np.isnan(output[1:]))

    def test_gradient_averages_over_segments(self):
        _, pull = jax.vjp(lambda x: nn.isotonic_regression(x).output, jnp.array([3.0, 1.0, 2.0, 0.0]))
        assert pull(jnp.array([1.0, 2.0, 4.0, 8.0]))[0].tolist() == [1, 3, 3, 8]

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
    def test_no_numbers(self, shape):
        output, segments = nn.isotonic_regression(jnp.zeros(shape))
        assert (output.shape, segments.shape, segments.dtype) == (shape, shape, jnp.int32)
