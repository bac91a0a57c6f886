"""Pooling: ties, infinities and NaN, padding, and windows against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jnnops as nn

INF, NAN = np.inf, np.nan


def row(*values, dtype=jnp.float32):
    return jnp.array(values, dtype).reshape(1, -1, 1)


def loop(x, kind, ksize, strides, pads, dilations=1):
    """Pooling of one ``[height, width]`` image, window by window, without padding."""
    height, width = x.shape
    outputs = [
        (size + sum(pad) - (ksize - 1) * dilations - 1) // strides + 1 for size, pad in zip(x.shape, pads, strict=True)
    ]
    result = np.empty(outputs)
    for i, j in itertools.product(*map(range, outputs)):
        cells = [
            x[y, z]
            for y in range(i * strides - pads[0][0], i * strides - pads[0][0] + ksize * dilations, dilations)
            for z in range(j * strides - pads[1][0], j * strides - pads[1][0] + ksize * dilations, dilations)
            if 0 <= y < height and 0 <= z < width
        ]
        result[i, j] = np.max(cells) if kind == "max" else np.mean(cells)
    return result


class TestWindows:
    @pytest.mark.parametrize("kind", ["max", "avg"])
    @pytest.mark.parametrize("ksize", [1, 2, 3, 8, 9, 16, 21])
    @pytest.mark.parametrize(("strides", "dilations"), [(1, 1), (3, 1), (2, 2)])
    def test_equal_a_loop(self, kind, ksize, strides, dilations):
        # 9 and above are reduced by doubling
        pads = ((ksize - 1, min(ksize - 1, 1)), (0, ksize // 2))
        x = np.random.default_rng(ksize).integers(-5, 5, (45, 44)).astype(np.float32)
        op = nn.max_pool2d if kind == "max" else nn.avg_pool2d
        actual = op(x[None, :, :, None], ksize, strides, pads, dilations=dilations)[0, :, :, 0]
        np.testing.assert_allclose(actual, loop(x, kind, ksize, strides, pads, dilations), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("op", [nn.max_pool1d, nn.avg_pool1d])
    def test_no_window_fits(self, op):
        assert op(row(1.0, 2.0), 3, 1, "VALID").shape == (1, 0, 1)

    def test_a_dilated_window_of_padding_only_is_refused(self):
        # SAME pads one cell on each side, and the two cells of the window fall on them
        with pytest.raises(ValueError, match="max_pool1d: `padding` must leave every window a real cell"):
            nn.max_pool1d(row(1.0), 2, 1, "SAME", dilations=2)

    def test_average_does_not_count_padding(self):
        y = nn.avg_pool1d(row(1.0, 2.0, 3.0), 3, 1, [(2, 2)])
        np.testing.assert_allclose(y.ravel(), [1, 1.5, 2, 2.5, 3], rtol=1e-6)


class TestMaximum:
    @pytest.mark.parametrize("ksize", [3, 9])
    def test_nan_propagates_and_takes_the_gradient(self, ksize):
        x = row(*[1.0] * ksize).at[0, 1:3].set(NAN)
        y, pull = jax.vjp(lambda x: nn.max_pool1d(x, ksize, 1, "VALID"), x)
        assert jnp.isnan(y).all()
        assert pull(jnp.ones_like(y))[0].ravel().tolist() == [0, 1] + [0] * (ksize - 2)

    def test_minus_infinity_stays(self):
        assert nn.max_pool1d(row(-INF, -INF), 3, 1, "SAME").ravel().tolist() == [-INF, -INF]

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32])
    def test_lowest_integer_beats_padding(self, dtype):
        low = jnp.iinfo(dtype).min
        y = nn.max_pool1d(row(low, low, 3, dtype=dtype), 2, 1, [(1, 0)])
        assert y.dtype == dtype
        assert y.ravel().tolist() == [low, low, 3]

    @pytest.mark.parametrize("shape", [(1, 4, 1), (1, 4, 4, 1), (1, 4, 4, 4, 1)])
    @pytest.mark.parametrize("ksize", [2, 3])
    def test_gradient_goes_to_the_first_maximum(self, shape, ksize):
        x = jnp.zeros(shape)
        found = jax.grad(lambda x: nn.max_pool(x, ksize, 1, "VALID").sum())(x)
        expected = np.zeros(shape)
        expected[(0, *(slice(0, 5 - ksize),) * (len(shape) - 2), 0)] = 1
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    def test_tied_gradients_are_those_of_tensorflow(self, padding):
        import oracle

        x = np.random.default_rng(0).integers(0, 3, (3, 7, 8, 2)).astype(np.float32)
        expected = oracle.gradients(lambda tf, x: tf.nn.max_pool2d(x, 3, 2, padding), {"x": x}, ["x"])[0]
        weights = oracle.cotangent(nn.max_pool2d(x, 3, 2, padding).shape)
        found = jax.grad(lambda x: (nn.max_pool2d(x, 3, 2, padding) * weights.astype(np.float32)).sum())(x)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


class TestAverage:
    def test_bfloat16_is_summed_in_float32(self):
        x = jnp.full((1, 28, 28, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(784.0)
        assert nn.avg_pool2d(x, 28, 1, "VALID").item() == jnp.bfloat16((783 + 784) / 784)

    def test_compiled_size_does_not_depend_on_the_image(self):
        def size(n):
            f = jax.jit(lambda x: nn.avg_pool2d(x, 3, 2, "SAME"))
            return len(f.lower(jax.ShapeDtypeStruct((1, n, n, 1), jnp.float32)).as_text())

        assert size(400) < 2 * size(40)
