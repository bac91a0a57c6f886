"""Activation functions at their kinks and limits, dropout's statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.case import Case, normal
from machinery.rounding import assert_gradients_are_rounded_once

import jnnops as nn

INF = np.inf


def derivative(f, x):
    return jax.vmap(jax.grad(f))(jnp.asarray(x, jnp.float32)).tolist()


class TestKinks:
    @pytest.mark.parametrize(
        ("f", "x", "expected"),
        [
            (nn.relu, [-0.0, 0.0], [0, 0]),
            (nn.relu6, [0.0, 6.0], [0, 0]),
            (nn.elu, [-0.0, 0.0], [1, 1]),
            (nn.selu, [-0.0, 0.0], [1.0507010221481323] * 2),
            (nn.leaky_relu, [-0.0, 0.0], [0.20000000298023224] * 2),
            (lambda x: nn.leaky_relu(x, 2.0), [-1.0, 0.0, 1.0], [2, 2, 1]),
            (nn.softplus, [0.0], [0.5]),
            (nn.softsign, [0.0], [1]),
        ],
    )
    def test_gradient_is_that_of_tensorflow(self, f, x, expected):
        assert derivative(f, x) == expected

    def test_crelu_gradient_at_zero_is_zero(self):
        assert derivative(lambda x: nn.crelu(x[None]).sum(), [0.0, 1.0, -1.0]) == [0, 1, -1]

    def test_softplus_second_derivative_at_zero(self):
        assert jax.jit(jax.grad(jax.grad(nn.softplus)))(0.0) == 0.25


class TestLimits:
    @pytest.mark.parametrize(
        ("f", "low", "high"),
        [
            (nn.relu, 0, INF),
            (nn.relu6, 0, 6),
            (nn.elu, -1, INF),
            (nn.selu, -1.7580993175506592, INF),
            (nn.leaky_relu, -INF, INF),
            (nn.gelu, 0, INF),
            (lambda x: nn.gelu(x, approximate=True), 0, INF),
            (nn.silu, 0, INF),
            (nn.softplus, 0, INF),
            (nn.softsign, -1, 1),
            (nn.sigmoid, 0, 1),
            (nn.tanh, -1, 1),
        ],
    )
    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
    def test_at_infinity(self, f, low, high, dtype):
        limits = f(jnp.array([-INF, INF], dtype))
        np.testing.assert_array_equal(limits, jnp.array([low, high], dtype))
        assert jnp.isnan(f(jnp.array(jnp.nan, dtype)))
        # huge finite values have a finite gradient, and so has -inf where the function is finite
        huge = float(jnp.finfo(dtype).max)
        points = jnp.array([-huge, huge] + ([-INF] if np.isfinite(low) else []), dtype)
        assert jnp.isfinite(jax.jit(jax.vmap(jax.grad(f)))(points)).all()

    def test_lower_tails_keep_their_digits(self):
        # log1p(exp(-30)) and -10 Phi(-10), to 6 digits
        np.testing.assert_allclose(nn.softplus(-30.0), 9.35762e-14, rtol=1e-6)
        np.testing.assert_allclose(nn.gelu(-10.0), -10 * 7.61985e-24, rtol=1e-5)

    def test_float64_constants_are_not_rounded_to_float32(self):
        with jax.enable_x64(True):
            # 1 Phi(1), from tables
            np.testing.assert_allclose(nn.gelu(jnp.float64(1)), 0.84134474606854294859, rtol=1e-15)
            np.testing.assert_allclose(nn.leaky_relu(jnp.float64(-1), 0.1), -0.1, rtol=1e-15)

    def test_parametric_slope_gradient_is_finite_at_infinity(self):
        x = jnp.array([INF, 2.0, -3.0])
        assert jax.jit(jax.grad(lambda slope: nn.leaky_relu(x, slope)[1:].sum()))(0.5) == -3


class TestIntegers:
    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32])
    def test_relu_keeps_the_dtype(self, dtype):
        x = jnp.array([0, 3, 9], dtype)
        assert nn.relu(x).dtype == nn.relu6(x).dtype == dtype
        assert nn.relu6(x).tolist() == [0, 3, 6]

    def test_leaky_relu_takes_integers_as_float32(self):
        y = nn.leaky_relu(jnp.array([-5, 5]))
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(y, [-1, 5])

    def test_zero_fraction_of_nothing_is_nan(self):
        assert jnp.isnan(nn.zero_fraction(jnp.zeros((0, 3))))
        assert nn.zero_fraction(jnp.array([True, False, False])) == jnp.float32(2 / 3)


@pytest.mark.parametrize(
    ("op", "name", "values"),
    [(nn.bias_add, "bias", [1, 2]), (nn.leaky_relu, "alpha", [0.25, 0.5]), (nn.relu_x, "max_value", [0.25, 0.5])],
)
def test_16_bit_gradients_of_what_broadcasts_are_rounded_once(op, name, values):
    first = "value" if op is nn.bias_add else "features"
    assert_gradients_are_rounded_once(Case(op, {first: normal(20, 150, 2), name: np.array(values, np.float64)}))


class TestDropout:
    x = jnp.linspace(1.0, 2.0, 40_000).reshape(200, 200)

    def test_keeps_the_mean_and_scales_what_is_kept(self):
        y = nn.dropout(self.x, 0.3, key=jax.random.key(0))
        kept = y != 0
        # five standard deviations of a binomial of 40,000
        assert abs(float(kept.mean()) - 0.7) < 5 * (0.3 * 0.7 / self.x.size) ** 0.5
        np.testing.assert_allclose(y[kept], self.x[kept] / 0.7, rtol=1e-6)

    def test_static_rate_zero_is_the_identity(self):
        assert nn.dropout(self.x, 0, key=jax.random.key(0)) is self.x

    def test_static_rate_is_known_under_jit(self):
        x, key = jnp.ones(3), jax.random.key(0)
        with pytest.raises(ValueError, match=r"dropout: `rate` must be in \[0, 1\), got 1.5"):
            jax.jit(lambda x: nn.dropout(x, 1.5, key=key))(x)
        jaxpr = jax.make_jaxpr(lambda x: nn.dropout(x, 0.0, key=key))(x)
        assert not jaxpr.eqns

    def test_traced_rate_equals_static_rate(self):
        traced = jax.jit(lambda rate: nn.dropout(self.x, rate, key=jax.random.key(0)))
        np.testing.assert_allclose(traced(0.3), nn.dropout(self.x, 0.3, key=jax.random.key(0)), rtol=1e-6)
        np.testing.assert_array_equal(traced(0.0), self.x)

    @pytest.mark.parametrize("rate", [1.0, -0.5, np.nan])
    def test_traced_rate_out_of_range_gives_nan_and_is_reported(self, rate):
        f = jax.jit(lambda rate: nn.dropout(self.x, rate, key=jax.random.key(0)))
        assert jnp.isnan(f(rate)).all()
        error, _ = checkify.checkify(f, errors=checkify.user_checks)(jnp.float32(rate))
        assert "dropout: `rate` must be in [0, 1)" in (error.get() or "")

    def test_same_elements_are_dropped_in_every_dtype(self):
        masks = [nn.dropout(self.x.astype(t), 0.5, key=jax.random.key(1)) != 0 for t in (jnp.bfloat16, jnp.float32)]
        np.testing.assert_array_equal(masks[0], masks[1])

    @pytest.mark.parametrize("noise_shape", [(200, 1), (None, 1)])
    def test_noise_shape_shares_decisions(self, noise_shape):
        kept = np.asarray(nn.dropout(self.x, 0.5, noise_shape, key=jax.random.key(2)) != 0)
        assert (kept.all(1) | ~kept.any(1)).all()
        assert kept.any()
        assert not kept.all()

    def test_dropped_nan_is_zero(self):
        y = nn.dropout(jnp.full(100, jnp.nan), 0.5, key=jax.random.key(0))
        assert set(np.nan_to_num(y, nan=1.0).tolist()) == {0.0, 1.0}

    def test_raw_and_typed_keys_agree(self):
        a, b = (nn.dropout(self.x, 0.5, key=key) for key in (jax.random.key(5), jax.random.PRNGKey(5)))
        np.testing.assert_array_equal(a, b)

    def test_stateless_dropout_is_a_function_of_the_seed(self):
        a, b, c = (nn.stateless_dropout(self.x, 0.5, seed=np.array(seed)) for seed in ([1, 2], [1, 2], [2, 1]))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
        by_key = nn.stateless_dropout(self.x, 0.5, key=jax.random.key(0))
        np.testing.assert_array_equal(by_key, nn.dropout(self.x, 0.5, key=jax.random.key(0)))

    def test_stateless_dropout_takes_the_generators_of_tensorflow_that_jax_has(self):
        def drop(rng_alg=None, **randomness):
            return nn.stateless_dropout(self.x[:9], 0.5, rng_alg=rng_alg, **randomness)

        with jax.default_prng_impl("rbg"):
            default, threefry = drop(seed=[1, 2]), drop("threefry", seed=[1, 2])
            np.testing.assert_array_equal(drop("AUTO_SELECT", seed=[1, 2]), default)
            np.testing.assert_array_equal(drop(3, seed=[1, 2]), default)
            np.testing.assert_array_equal(drop(2, seed=[1, 2]), threefry)
            assert (default != threefry).any()
        np.testing.assert_array_equal(drop(seed=[1, 2]), threefry)
        with pytest.raises(ValueError, match="stateless_dropout: `rng_alg` must be None or 'auto_select' with a `key`"):
            drop("threefry", key=jax.random.key(0))
