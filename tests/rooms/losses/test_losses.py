"""Losses at their edges, and over mapped axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import normal

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
