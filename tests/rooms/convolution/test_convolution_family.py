"""Transposes against the inner product that defines them, gradients against ``jax.vjp``, integers, errors."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jnnops as nn


def integers(*shape, seed=0):
    """Small integers, of which float32 sums are exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def sizes_that_give(outputs, window, stride, dilation, padding):
    """Every input size of which a convolution gives ``outputs`` cells, found by trying all."""
    w = jax.ShapeDtypeStruct((window, 1, 1), jnp.float32)
    found = []
    for size in range(1, 40):
        x = jax.ShapeDtypeStruct((1, size, 1), jnp.float32)
        try:
            y = jax.eval_shape(lambda x, w: nn.conv1d(x, w, stride, padding, dilations=dilation), x, w)
        except ValueError:
            continue
        if y.shape[1] == outputs:
            found.append(size)
    return found


class TestTranspose:
    @pytest.mark.parametrize("padding", ["SAME", "VALID", [(2, 1)]])
    @pytest.mark.parametrize(("window", "stride", "dilation"), [(3, 1, 1), (2, 3, 1), (3, 2, 3), (1, 2, 1), (4, 2, 2)])
    def test_every_possible_size_is_the_transpose_and_no_other_is_taken(self, window, stride, dilation, padding):
        y, w = integers(2, 4, 3), integers(window, 2, 3, seed=1)
        possible = sizes_that_give(4, window, stride, dilation, padding)
        assert len(possible) == stride

        @jax.jit
        def both(x, y):
            transposed = nn.conv1d_transpose(y, w, x.shape, stride, padding, dilations=dilation)
            return nn.conv1d(x, w, stride, padding, dilations=dilation), transposed

        for size in possible:
            x = integers(2, size, 2, seed=2)
            convolved, transposed = both(x, y)
            assert np.vdot(convolved, y) == np.vdot(x, transposed)
        span = f"{possible[0]} to {possible[-1]}" if stride > 1 else f"{possible[0]}"
        for size in (possible[0] - 1, possible[-1] + 1):
            with pytest.raises(
                ValueError, match=f"conv1d_transpose: `output_shape` must have spatial sizes {span}, of"
            ):
                nn.conv1d_transpose(y, w, (2, size, 2), stride, padding, dilations=dilation)

    def test_groups_are_those_of_the_convolution(self):
        y, w, x = integers(2, 3, 3, 6), integers(3, 2, 2, 6, seed=1), integers(2, 5, 6, 4, seed=2)
        transposed = nn.conv2d_transpose(y, w, x.shape, 2)
        assert np.vdot(nn.conv2d(x, w, 2, "SAME"), y) == np.vdot(x, transposed)

    def test_no_cells_of_input_give_zeros(self):
        y = nn.conv1d_transpose(jnp.ones((2, 0, 3)), jnp.ones((3, 4, 3)), (2,), 1, "VALID")
        np.testing.assert_array_equal(y, np.zeros((2, 2, 4)))

    def test_gradient_in_a_scan_equals_the_gradient(self):
        x, w = integers(4, 2, 3, 2), integers(4, 4, 3, 2, seed=1)
        x = x.reshape(4, 1, 2, 3, 2)

        def loss(w, x):
            return jnp.sum(nn.conv2d_transpose(x, w, (4, 6), 2) ** 2)

        def step(total, x):
            return total + jax.grad(loss)(w, x), None

        scanned = jax.jit(lambda x: jax.lax.scan(step, jnp.zeros_like(w), x)[0])(x)
        np.testing.assert_array_equal(scanned, sum(jax.jit(jax.grad(loss))(w, part) for part in x))


def pulled_back(f, x, w, y):
    """The gradients by ``x`` and ``w`` of a convolution, from one program."""
    return jax.jit(lambda x, w, y: jax.vjp(f, x, w)[1](y))(x, w, y)


class TestGradients:
    def test_of_2d_are_those_of_vjp(self):
        x, w, y = integers(2, 5, 6, 4), integers(3, 2, 2, 6, seed=1), integers(2, 3, 3, 6, seed=2)
        expected = pulled_back(lambda x, w: nn.conv2d(x, w, 2, "SAME"), x, w, y)
        np.testing.assert_array_equal(nn.conv2d_backprop_input(x.shape, w, y, 2, "SAME"), expected[0])
        np.testing.assert_array_equal(nn.conv2d_backprop_filter(x, w.shape, y, 2, "SAME"), expected[1])

    def test_of_3d_are_those_of_vjp(self):
        x, w, y = integers(1, 4, 3, 3, 2), integers(2, 2, 1, 2, 3, seed=1), integers(1, 2, 3, 2, 3, seed=2)
        strides = (2, 1, 2)
        expected = pulled_back(lambda x, w: nn.conv3d(x, w, strides, "SAME"), x, w, y)
        np.testing.assert_array_equal(nn.conv3d_backprop_input(x.shape, w, y, strides, "SAME"), expected[0])
        np.testing.assert_array_equal(nn.conv3d_backprop_filter(x, w.shape, y, strides, "SAME"), expected[1])

    @pytest.mark.parametrize("batch", [2, 11])
    def test_of_depthwise_are_those_of_vjp(self, batch):
        x, w, y = integers(batch, 5, 6, 3), integers(3, 2, 3, 2, seed=1), integers(batch, 3, 3, 6, seed=2)
        expected = pulled_back(lambda x, w: nn.depthwise_conv2d(x, w, 2, "SAME"), x, w, y)
        np.testing.assert_array_equal(nn.depthwise_conv2d_backprop_input(x.shape, w, y, 2, "SAME"), expected[0])
        np.testing.assert_array_equal(nn.depthwise_conv2d_backprop_filter(x, w.shape, y, 2, "SAME"), expected[1])

    def test_for_filters_of_an_empty_batch_are_zero(self):
        x, y = jnp.ones((0, 4, 4, 3)), jnp.ones((0, 4, 4, 6))
        np.testing.assert_array_equal(nn.conv2d_backprop_filter(x, (3, 3, 3, 6), y, 1, "SAME"), np.zeros((3, 3, 3, 6)))
        found = nn.depthwise_conv2d_backprop_filter(x, (3, 3, 3, 2), y, 1, "SAME")
        np.testing.assert_array_equal(found, np.zeros((3, 3, 3, 2)))


class TestDepthwise:
    def test_equals_a_convolution_in_groups(self):
        x, w = integers(2, 5, 6, 3), integers(3, 2, 3, 2, seed=1)
        grouped = nn.conv2d(x, w.reshape(3, 2, 1, 6), (1, 2), "SAME", dilations=(2, 1))
        np.testing.assert_array_equal(nn.depthwise_conv2d(x, w, (1, 2), "SAME", None, (2, 1)), grouped)

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_16_bits_are_summed_in_float32(self, dtype):
        # 4096 + 1 is 4096 in 16 bits
        x = jnp.asarray([4096.0] + [1.0] * 60, dtype).reshape(1, 1, 61, 1).repeat(2, -1)
        y = nn.depthwise_conv2d(x, jnp.ones((1, 61, 2, 1), dtype), 1, "VALID")
        assert y.dtype == dtype
        assert y.ravel().tolist() == [float(jnp.asarray(4156, dtype))] * 2


class TestIntegers:
    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32])
    def test_are_summed_in_int32(self, dtype):
        @jax.jit
        def convolve(x, w):
            return [
                nn.conv2d_transpose(x, w.reshape(3, 3, 1, 2), (5, 5), 1, "VALID")[0, 2:3, 2:3],
                nn.depthwise_conv2d(x, w, 1, "VALID"),
                nn.conv2d_backprop_filter(x, (1, 1, 2, 2), x, 1, "VALID"),
                nn.atrous_conv2d(x, w, 1, "VALID"),
            ]

        results = convolve(np.full((1, 3, 3, 2), 100, dtype), np.full((3, 3, 2, 1), 100, dtype))
        assert [result.dtype for result in results] == [jnp.int32] * 4
        sums = [set(result.ravel().tolist()) for result in results]
        assert sums == [{180_000}, {90_000}, {90_000}, {180_000}]

    @pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
    def test_stay_convolutions_of_integers_on_accelerators(self, platform):
        x, w = jnp.ones((1, 5, 5, 4), jnp.int8), jnp.ones((3, 3, 4, 1), jnp.int8)
        preferred = {"preferred_element_type": jnp.int16}

        def convolve(x, w):
            return [
                nn.depthwise_conv2d(x, w, 1, "SAME"),
                nn.depthwise_conv2d(x, w, 1, "SAME", **preferred),
                nn.conv2d(x, w, 1, "SAME", **preferred),
                nn.conv2d_transpose(x, w.reshape(3, 3, 1, 4), (5, 5), 1),
                nn.depthwise_conv2d_backprop_filter(x, w.shape, x, 1, "SAME"),
            ]

        text = jax.jit(convolve).trace(x, w).lower(lowering_platforms=(platform,)).as_text()
        convolutions = re.findall(r"stablehlo\.convolution\(.*-> tensor<.*x(\w+)>", text)
        assert sorted(convolutions) == ["i16", "i16", "i32", "i32", "i32"]
        assert "multiply" not in text

    def test_preferred_element_type_keeps_the_lowering_on_cpu(self):
        x, w = jnp.ones((2, 8, 8, 4), jnp.bfloat16), jnp.ones((3, 3, 4, 1), jnp.bfloat16)

        def count(**options):
            f = functools.partial(nn.depthwise_conv2d, strides=1, padding="SAME", **options)
            return jax.jit(f).lower(x, w).as_text().count("stablehlo.convolution")

        assert count(preferred_element_type=jnp.float32) == count()

    @pytest.mark.parametrize(("x_shape", "y_shape"), [((0, 8, 8, 4), (0, 6, 6, 8)), ((2, 0, 8, 4), (2, 0, 6, 8))])
    def test_filter_gradients_of_no_integers_are_zero(self, x_shape, y_shape):
        x, y = np.ones(x_shape, np.int8), np.ones(y_shape, np.int8)
        for result, shape in (
            (nn.conv2d_backprop_filter(x, (3, 3, 4, 8), y, 1, "VALID"), (3, 3, 4, 8)),
            (nn.depthwise_conv2d_backprop_filter(x, (3, 3, 4, 2), y, 1, "VALID"), (3, 3, 4, 2)),
        ):
            assert (result.shape, result.dtype) == (shape, jnp.int32)
            assert not result.any()

    def test_preferred_element_type_is_that_of_the_result(self):
        x, w = jnp.ones((1, 3, 3, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16)
        options = {"strides": 1, "padding": "SAME", "preferred_element_type": jnp.float32}
        assert nn.conv2d_transpose(x, w, (3, 3), **options).dtype == jnp.float32
        assert nn.depthwise_conv2d(x, w, **options).dtype == jnp.float32
        assert nn.conv2d_backprop_filter(x, (3, 3, 1, 1), x, **options).dtype == jnp.float32


class TestSpace:
    @pytest.mark.parametrize("dtype", [bool, np.int8, np.complex64])
    def test_any_dtype_moves_there_and_back(self, dtype):
        @jax.jit
        def there_and_back(x):
            moved = nn.space_to_batch(x, 2, [[1, 1], [0, 2]])
            back = nn.batch_to_space(moved, (2, 2), [[1, 1], [0, 2]])
            return moved, back, nn.depth_to_space(nn.space_to_depth(x, 2), 2)

        x = integers(2, 4, 6, 3).astype(dtype)
        moved, *back = there_and_back(x)
        assert moved.dtype == dtype
        for found in back:
            np.testing.assert_array_equal(found, x)

    def test_no_blocked_dimensions_are_the_identity_as_in_tensorflow(self):
        from machinery import oracle

        none, no_pairs, x = np.zeros(0, np.int32), np.zeros((0, 2), np.int32), integers(2, 3)
        for name in ("space_to_batch", "batch_to_space"):
            expected = oracle.values(lambda tf, x, name=name: getattr(tf, name)(x, none, no_pairs), {"x": x})[0]
            for given in ((none, no_pairs), ([], [])):
                found = getattr(nn, name)(x, *given)
                np.testing.assert_array_equal(found, expected)
                np.testing.assert_array_equal(found, x)
