"""Statistics, normalized values and gradients keep float32's precision where the mean is 10,000 deviations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jnnops as nn
from jnnops import layers

RNG = np.random.default_rng(0)
SHAPE = (8, 40, 30, 6)
WEIGHTS = RNG.integers(0, 4, SHAPE)
COTANGENT = RNG.standard_normal(SHAPE)
SCALE, OFFSET = np.array([0.5, 1, 2, -1, 3, 1], np.float32), np.arange(6, dtype=np.float32) - 2
PARAMETERS = {"scale": jnp.asarray(SCALE), "offset": jnp.asarray(OFFSET), "features": 6, "epsilon": 1e-3}
BATCH_NORM, LAYER_NORM = layers.BatchNorm(**PARAMETERS), layers.LayerNorm(**PARAMETERS)
BATCH, FEATURES = (0, 1, 2), -1
EPSILON = 1e-3


def moments(x, axes):
    return nn.moments(x, axes, keepdims=True)


def weighted_moments(x, axes):
    return nn.weighted_moments(x, axes, WEIGHTS.astype(x.dtype), keepdims=True)


def fused_batch_norm(x):
    return nn.fused_batch_norm(x, SCALE, OFFSET, epsilon=EPSILON)[0]


def batch_norm(x, **options):
    return BATCH_NORM(x, BATCH_NORM.init_state(), training=True, **options)[0]


def synchronised_batch_norm(x):
    parts = x.reshape(4, 2, *SHAPE[1:])
    return jax.vmap(functools.partial(batch_norm, axis_name="batch"), axis_name="batch")(parts).reshape(SHAPE)


def layer_norm(x):
    return LAYER_NORM(x)


def values(deviation, offset):
    """Numbers whose mean is 10,000 deviations, as float32 has them."""
    return np.float32(deviation * (RNG.standard_normal(SHAPE) + offset))


def normalized(x, axes, weights=None):
    """The reference, with the mean, the variance and the gradient for the cotangent."""
    weights = np.ones_like(x) if weights is None else weights.astype(np.float64)
    total = weights.sum(axes, keepdims=True)
    mean = (weights * x).sum(axes, keepdims=True) / total
    variance = (weights * (x - mean) ** 2).sum(axes, keepdims=True) / total
    factor = 1 / np.sqrt(variance + EPSILON)
    g = COTANGENT * SCALE
    hat = (x - mean) * factor
    average = functools.partial(np.mean, axis=axes, keepdims=True)
    gradient = factor * (g - average(g) - hat * average(g * hat))
    return mean, variance, hat * SCALE + OFFSET, gradient


def assert_near(actual, exact):
    scale = np.abs(exact).max()
    np.testing.assert_allclose(np.asarray(actual, np.float64), exact, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("deviation", "offset"), [(1, 1e4), (1e-3, -1e4), (300, 1e4)])
class TestLargeMeans:
    @pytest.mark.parametrize("op", [moments, weighted_moments])
    @pytest.mark.parametrize("axes", [BATCH, FEATURES])
    def test_moments_and_their_gradients(self, op, axes, deviation, offset):
        x = values(deviation, offset)
        weights = WEIGHTS if op is weighted_moments else np.ones_like(x)
        if axes == FEATURES:  # not all of them 0
            weights = weights + (weights.sum(axes, keepdims=True) == 0)

        def sums(x):
            mean, variance = op(x, axes) if op is moments else nn.weighted_moments(x, axes, np.float32(weights), True)
            return (mean.sum(), variance.sum()), (mean, variance)

        run = jax.jit(jax.jacrev(sums, has_aux=True))
        (by_mean, by_variance), (mean, variance) = run(jnp.asarray(x))
        exact_mean, exact_variance, _, _ = normalized(x.astype(np.float64), axes, weights)
        np.testing.assert_allclose(mean, exact_mean, rtol=1.2e-7)
        np.testing.assert_allclose(variance, exact_variance, rtol=1e-5)
        share = weights / weights.sum(axes, keepdims=True)
        assert_near(by_mean, share)
        assert_near(by_variance, 2 * share * (x - exact_mean))

    @pytest.mark.parametrize("op", [fused_batch_norm, batch_norm, synchronised_batch_norm, layer_norm])
    def test_what_is_normalized_and_its_gradient(self, op, deviation, offset):
        x = values(deviation, offset)
        axes = FEATURES if op is layer_norm else BATCH

        @jax.jit
        def run(x):
            y, pull = jax.vjp(op, x)
            return y, pull(jnp.asarray(COTANGENT, x.dtype))[0]

        y, gradient = run(jnp.asarray(x))
        _, _, exact, exact_gradient = normalized(x.astype(np.float64), axes)
        assert_near(y, exact)
        assert_near(gradient, exact_gradient)
