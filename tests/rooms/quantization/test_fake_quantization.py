"""Fake quantization equals TensorFlow's kernels to the bit, and its gradients at every edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.oracle import tf
from machinery.programs import compile_by_default
from rooms.quantization.ranges import assert_equal_bits, ranges, reals

import jnnops as nn

SCALAR = jax.ShapeDtypeStruct((), jnp.float32)
OPTIONS = [(8, False), (8, True), (2, False), (3, True), (11, False), (16, False), (16, True)]
of_options = pytest.mark.parametrize(("bits", "narrow"), OPTIONS)


def like(array):
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def whole_numbers(shape):
    """Gradients whose sums are exact in any order."""
    return np.random.default_rng(0).integers(-9, 10, shape).astype(np.float32)


class TestVariables:
    @of_options
    def test_values_and_gradients_are_those_of_tensorflow(self, bits, narrow):
        options = {"num_bits": bits, "narrow_range": narrow}

        def run(g, x, low, high):
            y, pull = jax.vjp(lambda *arrays: nn.fake_quant_with_min_max_vars(*arrays, **options), x, low, high)
            return y, *pull(g), *nn.fake_quant_with_min_max_vars_gradient(g, x, low, high, **options)

        x = reals(0, 1)
        program, g = compile_by_default(run, like(x), like(x), SCALAR, SCALAR), whole_numbers(x.shape)
        for low, high in ranges(30, seed=6):
            x = reals(low, high, 2**bits - 1)
            y = tf.quantization.fake_quant_with_min_max_vars(x, low, high, **options)
            gradients = tf.quantization.fake_quant_with_min_max_vars_gradient(g, x, low, high, **options)
            assert_equal_bits(program(g, x, low, high), [y, *gradients, *gradients], (low, high))

    def test_each_channel_has_its_range(self):
        lows, highs = map(np.array, zip(*ranges(30, seed=7), strict=True))
        x = np.random.default_rng(0).uniform(-0.3, 1.3, (40, 3, len(lows))) * (highs - lows) + lows
        x = x.astype(np.float32)
        g = whole_numbers(x.shape)

        def run(g, x, low, high):
            y, pull = jax.vjp(nn.fake_quant_with_min_max_vars_per_channel, x, low, high)
            return y, *pull(g), *nn.fake_quant_with_min_max_vars_per_channel_gradient(g, x, low, high)

        y = tf.quantization.fake_quant_with_min_max_vars_per_channel(x, lows, highs)
        gradients = tf.quantization.fake_quant_with_min_max_vars_per_channel_gradient(g, x, lows, highs)
        found = compile_by_default(run, *map(like, (g, x, lows, highs)))(g, x, lows, highs)
        assert_equal_bits(found, [y, *gradients, *gradients], "")

    def test_a_range_of_nothing_but_0_passes_gradients_through(self):
        y, pull = jax.vjp(nn.fake_quant_with_min_max_vars, jnp.array([-1.0, 0.0, 2.0]), jnp.float32(0), jnp.float32(0))
        assert y.tolist() == [0.0] * 3
        assert [part.tolist() for part in pull(jnp.ones(3))] == [[1.0] * 3, 0.0, 0.0]

    def test_0_is_kept_and_rounding_is_idempotent(self):
        for low, high in ((-1.3, 2.9), (-0.1, 7.0), (-5.0, 0.01)):
            y = nn.fake_quant_with_min_max_vars(jnp.linspace(-6, 8, 999), low, high)
            np.testing.assert_array_equal(nn.fake_quant_with_min_max_vars(y, low, high), y)
            assert nn.fake_quant_with_min_max_vars(0.0, low, high) == 0

    def test_second_derivatives_are_those_of_clipping(self):
        def loss(rounding, x, low, high):
            return jnp.sum(jnp.array([1.0, 2.0, 3.0, 4.0]) * rounding(x, low, high) ** 2)

        arrays = jnp.array([-3.0, 0.4, 1.1, 5.0]), jnp.float32(-1), jnp.float32(2)
        found = jax.hessian(lambda *a: loss(nn.fake_quant_with_min_max_vars, *a), argnums=(0, 1, 2))(*arrays)
        # d2(y**2) = 2 dy dy, as the second derivative of y is 0
        weights, inside = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 1, 0])
        np.testing.assert_array_equal(found[0][0], np.diag(2 * weights * inside))
        assert [found[1][1], found[2][2], found[1][2]] == [2.0, 8.0, 0.0]
        assert not np.any(found[0][1])
        assert not np.any(found[0][2])

    def test_forward_mode_moves_the_ends(self):
        x, arrays = jnp.array([-3.0, 0.4, 5.0]), (jnp.float32(-1), jnp.float32(2))
        tangents = (jnp.array([10.0, 20.0, 30.0]), jnp.float32(7), jnp.float32(8))
        _, tangent = jax.jvp(nn.fake_quant_with_min_max_vars, (x, *arrays), tangents)
        assert tangent.tolist() == [7.0, 20.0, 8.0]

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_16_bits_are_computed_with_in_float32(self, dtype):
        x = jnp.asarray(np.random.default_rng(0).standard_normal(999) * 3, dtype)
        expected = nn.fake_quant_with_min_max_vars(x.astype(jnp.float32), -1.3, 2.9, num_bits=11).astype(dtype)
        assert_equal_bits(nn.fake_quant_with_min_max_vars(x, -1.3, 2.9, num_bits=11), expected, dtype)
        # a sum of 999 ones, which neither dtype counts to
        gradient = jax.grad(lambda high: nn.fake_quant_with_min_max_vars(jnp.full(999, 9, dtype), 0.0, high).sum())
        assert gradient(jnp.float32(2)) == 999


class TestArguments:
    @of_options
    def test_values_and_gradients_are_those_of_tensorflow(self, bits, narrow):
        options = {"num_bits": bits, "narrow_range": narrow}
        for start, stop in ranges(6, seed=8)[3:]:
            if start == stop:
                continue
            low, high = float(start), float(stop)
            x = reals(low, high, 2**bits - 1)
            g = whole_numbers(x.shape)
            y, pull = jax.vjp(lambda x: nn.fake_quant_with_min_max_args(x, low, high, **options), x)  # noqa: B023
            gradient = nn.fake_quant_with_min_max_args_gradient(g, x, low, high, **options)
            expected = tf.quantization.fake_quant_with_min_max_args_gradient(g, x, low, high, **options)
            values = tf.quantization.fake_quant_with_min_max_args(x, low, high, **options)
            assert_equal_bits([y, *pull(g), gradient], [values, expected, expected], (low, high))

    def test_compiled_for_users_is_that_of_tensorflow(self):
        x = reals(-1, 1.7)
        run = compile_by_default(lambda x: nn.fake_quant_with_min_max_args(x, -1, 1.7), like(x))
        assert_equal_bits(run(x), tf.quantization.fake_quant_with_min_max_args(x, -1, 1.7), "")
