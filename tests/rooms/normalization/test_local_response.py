"""Local response normalization: accuracy, zeros, overflow, infinities, special exponents, programs and loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from machinery import oracle

import jnnops as nn

INF, NAN = np.inf, np.nan


def pixel(values, dtype=jnp.float32):
    return jnp.asarray(values, dtype).reshape(1, 1, 1, -1)


def reference(x, radius, bias, alpha, beta):
    """In float64, channel by channel."""
    x = np.asarray(x, np.float64)
    sums = [np.sum(np.square(x[..., max(c - radius, 0) : c + radius + 1]), -1) for c in range(x.shape[-1])]
    return x * (bias + alpha * np.stack(sums, -1)) ** -beta


class TestValues:
    @pytest.mark.parametrize("beta", [0.5, 0.6, 0.75, 1.0, 2.0, 0.0, -1.0])
    def test_float32_is_within_4_ulps(self, beta):
        rng = np.random.default_rng(0)
        # sizes from those that vanish beside the bias to those that make it vanish
        x = (rng.standard_normal((2, 8, 8, 70)) * 10.0 ** rng.uniform(-3, 3, (2, 8, 8, 1))).astype(np.float32)
        for radius, bias, alpha in ((0, 1.0, 1.0), (5, 2.0, 1e-4), (20, 1.0, 0.3), (69, 0.25, 5.0)):
            y = np.asarray(nn.local_response_normalization(x, radius, bias, alpha, beta), np.float64)
            exact = reference(x, radius, *(float(np.float32(number)) for number in (bias, alpha, beta)))
            ulps = 4 * max(1, beta)  # the square of a sum has twice the error of the sum
            np.testing.assert_array_less(np.abs(y - exact), ulps * np.spacing(np.abs(exact).astype(np.float32)))

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_16_bits_are_rounded_once(self, dtype):
        x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 4, 4, 40)) * 300, dtype)
        for beta in (0.5, 0.6, 0.75):
            y = nn.local_response_normalization(x, 5, 1.0, 1e-3, beta)
            exact = reference(x, 5, 1.0, *(float(np.float32(number)) for number in (1e-3, beta)))
            # half of the distance to the next number, and what float32 adds to that
            step = np.spacing(np.abs(exact).astype(np.float32)) * 2.0 ** (23 - jnp.finfo(dtype).nmant)
            np.testing.assert_array_less(np.abs(np.asarray(y, np.float64) - exact), 0.501 * step)

    def test_squares_of_float16_do_not_overflow(self):
        y = nn.local_response_normalization(pixel([300.0, 400.0, 0.0, 0.0], jnp.float16), 1)
        np.testing.assert_array_equal(y, pixel([0.6, 0.8, 0, 0], jnp.float16))

    def test_float64_is_not_narrowed(self):
        with jax.enable_x64(True):
            x = np.random.default_rng(2).standard_normal((1, 2, 2, 9))
            for beta in (0.5, 0.6, 0.75):
                y = nn.local_response_normalization(x, 2, 1.1, 0.3, beta)
                np.testing.assert_allclose(y, reference(x, 2, 1.1, 0.3, beta), rtol=1e-14)

    @pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
    def test_special_exponents_are_what_the_power_is(self, beta):
        x = pixel([1.0, -2.0, 3.0, 0.5, -1e-4, 1e4, 1e20, 0, 0, 0])

        def results(beta):
            def loss(x):
                return jnp.vdot(nn.local_response_normalization(x, 1, 0.0, 0.7, beta), jnp.arange(1.0, 11))

            return nn.local_response_normalization(x, 1, 0.0, 0.7, beta), jax.grad(loss)(x), jax.hessian(loss)(x)

        static, traced = jax.jit(lambda: results(beta))(), jax.jit(results)(beta)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-30), static, traced)

    @pytest.mark.parametrize("channels", [1, 2, 3, 8, 13, 40])
    def test_windows_of_every_width(self, channels):
        x = np.random.default_rng(channels).standard_normal((1, 1, 3, channels)).astype(np.float32)
        for radius in (0, 1, 2, 3, 6, 7, 11, 38, 39, 2**31 - 1):
            y = nn.local_response_normalization(x, radius, 0.5, 0.25)
            np.testing.assert_allclose(y, reference(x, radius, 0.5, 0.25, 0.5), rtol=1e-6)


class TestZeros:
    @pytest.mark.parametrize("bias", [0.0, 1.0])
    @pytest.mark.parametrize("beta", [0.25, 0.5, 0.75, 1.0, 3.0, 0.0, -1.0])
    def test_zeros_stay_zeros_with_finite_derivatives(self, bias, beta):
        def loss(x, bias, alpha, beta):
            return jnp.vdot(nn.local_response_normalization(x, 1, bias, alpha, beta), jnp.array([1.0, -2.0, 3.0, 5.0]))

        def derivatives(x, *scalars):
            arguments = (0, 1, 2, 3)
            gradient = jax.grad(loss, arguments)(x, *scalars)
            hessians = [
                outer(inner(loss, arguments), arguments)(x, *scalars)
                for outer, inner in ((jax.jacfwd, jax.jacrev), (jax.jacrev, jax.jacrev), (jax.jacfwd, jax.jacfwd))
            ]
            static = jax.hessian(lambda x: loss(x, bias, 1.0, beta))(x)
            return nn.local_response_normalization(x, 1, *scalars), gradient, hessians, static

        with jax.enable_x64(False):
            # one neighbourhood of zeros alone and one with a number in it
            x = pixel([0, 0, 0, 2.0])
            y, gradient, hessians, static = jax.jit(derivatives)(x, bias, 1.0, beta)
        assert y.ravel()[:2].tolist() == [0, 0]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, gradient, hessians, static)))
        for other in hessians[1:]:
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), hessians[0], other)
        expected = 1.0 if bias or beta == 0 else 0.0  # of what is not divided, or of what is 0 around it
        assert gradient[0].ravel()[0] == expected
        np.testing.assert_allclose(static, hessians[0][0][0], rtol=1e-5, atol=1e-5)

    def test_gradient_at_zero_is_that_of_tensorflow(self):
        x = np.zeros((1, 1, 1, 4), np.float32)
        expected = oracle.gradients(lambda tf, x: tf.nn.lrn(x, 1, 4.0), {"x": x}, ["x"])[0]
        weights = oracle.cotangent(x.shape).astype(np.float32)
        gradient = jax.jit(jax.grad(lambda x: jnp.vdot(nn.lrn(x, 1, 4.0), weights)))(x)
        np.testing.assert_array_equal(gradient, expected)


class TestExtremes:
    def test_overflowing_squares_give_zeros_as_in_tensorflow(self):
        x = np.array([1, 2, 1e20, 3, 4, 0.5], np.float32).reshape(1, 1, 1, 6)
        theirs = oracle.values(lambda tf, x: tf.nn.lrn(x, 1), {"x": x})[0].ravel()
        y, vjp = jax.vjp(lambda x: nn.lrn(x, 1), x)
        expected = reference([[[[1, 2, 0, 3, 4, 0.5]]]], 1, 1, 1, 0.5).ravel() * [1, 0, 0, 0, 1, 1]
        np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)
        np.testing.assert_array_equal(theirs, np.where(expected == 0, 0, NAN))
        gradient = vjp(jnp.ones_like(y))[0].ravel()
        assert np.isfinite(gradient).all()
        assert gradient[2] == 0

    def test_derivatives_by_the_scalars_where_squares_overflow(self):
        kept = jnp.array([1.0, 0, 0, 0, 1.0, 1.0])  # those without an overflowing neighbour

        def gradient(x, weights):
            def loss(*scalars):
                return jnp.vdot(nn.local_response_normalization(x, 1, *scalars), weights)

            return jax.grad(loss, (0, 1, 2))(0.5, 2.0, 0.6)

        actual = jax.jit(gradient)(pixel([1, 2, 1e20, 3, 4, 0.5]), jnp.ones(6))
        expected = jax.jit(gradient)(pixel([1, 2, 0, 3, 4, 0.5]), kept)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_three_quarters_of_sums_near_the_ends_of_the_range(self):
        sizes = 10.0 ** np.arange(-18, 19)
        y = nn.local_response_normalization(pixel(sizes), 0, bias=0.0, beta=0.75)
        np.testing.assert_allclose(y.ravel(), sizes**-0.5, rtol=1e-6)

    def test_derivatives_of_large_values_do_not_vanish(self):
        x = pixel([3e14, 4e14])

        def gradient(x):
            return jax.grad(lambda x: nn.local_response_normalization(x, 1).ravel()[0])(x)

        # y = x / |x|, of which the derivative by x is (|x|^2 - x^2) / |x|^3
        np.testing.assert_allclose(jax.jit(gradient)(x).ravel(), [0.64 / 5e14, -0.48 / 5e14], rtol=1e-5)

    def test_infinities_and_nan_stay_in_their_windows(self):
        for bad in (INF, -INF, NAN):
            y = nn.local_response_normalization(pixel([1, 2, bad, 2, 1, 0]), 1).ravel()
            assert np.isnan(y[2])
            assert np.isnan(y[1:4:2]).all() if np.isnan(bad) else (y[1:4:2] == 0).all()
            np.testing.assert_allclose(y[::4], [1 / 6**0.5] * 2, rtol=1e-6)

    @pytest.mark.parametrize("traced", [True, False])
    def test_negative_bases(self, traced):
        # what the exponents make of a negative base does not depend on whether they are known
        for beta, expected in ((0.5, NAN), (0.6, NAN), (0.75, NAN), (1.0, -0.5), (2.0, 0.25), (-1.0, -2.0)):
            call = functools.partial(nn.local_response_normalization, pixel([1.0]), 0, -3.0, 1.0)
            y = jax.jit(call)(beta) if traced else call(beta)
            np.testing.assert_allclose(y.ravel(), [expected], rtol=1e-6)


class TestPrograms:
    @pytest.mark.parametrize("radius", [2, 5, 1000])
    def test_windows_are_short_programs_without_reductions(self, radius):
        def gradient(x):
            y, vjp = jax.vjp(lambda x: nn.local_response_normalization(x, radius), x)
            return vjp(y)

        text = str(jax.jit(gradient).lower(jnp.ones((2, 2, 2, 2048))).as_text())
        assert "reduce_window" not in text
        assert "dot_general" not in text
        # two windows, each with at most two sums for a binary digit of its width
        assert text.count("stablehlo.slice") <= 2 * (1 + 3 * (2 * radius + 1).bit_length())

    def test_gradients_in_a_scan_of_all_modes(self):
        x = jnp.asarray(np.random.default_rng(3).standard_normal((1, 1, 2, 4)), jnp.float32)

        def loss(x, beta, loop):
            def step(x, _):
                return 2 * nn.local_response_normalization(x, 1, 0.5, 1.0, beta), None

            if loop:
                x, _ = lax.scan(step, x, length=3)
            else:
                for _ in range(3):
                    x, _ = step(x, None)
            return jnp.sum(jnp.sin(x))

        def hessians(x, beta, loop):
            whole = functools.partial(loss, loop=loop)
            return jax.hessian(whole, (0, 1))(x, beta), jax.jacrev(jax.grad(whole, (0, 1)), (0, 1))(x, beta)

        looped, unrolled = (jax.jit(functools.partial(hessians, loop=loop))(x, 0.6) for loop in (True, False))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), looped, unrolled)

    def test_vmap_over_the_scalars_alone(self):
        x = jnp.asarray(np.random.default_rng(4).standard_normal((1, 2, 2, 4)), jnp.float32)
        scalars = jnp.array([0.5, 0.75, 1.0])
        for at in range(3):

            def call(scalar, at=at):
                return nn.local_response_normalization(x, 1, *(scalar if at == i else 1.0 for i in range(3)))

            expected = jnp.stack([call(float(scalar)) for scalar in scalars])
            np.testing.assert_allclose(jax.vmap(call)(scalars), expected, rtol=1e-6)


def test_is_that_of_pytorch_with_another_alpha():
    # torch.nn.functional.local_response_norm(x, size=3, alpha=0.6, beta=0.75, k=2) of channels 1, 2, 3, 4
    expected = [1 / 3.0**0.75, 2 / 4.8**0.75, 3 / 7.8**0.75, 4 / 7.0**0.75]
    y = nn.local_response_normalization(pixel([1, 2, 3, 4]), depth_radius=1, bias=2.0, alpha=0.6 / 3, beta=0.75)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)
