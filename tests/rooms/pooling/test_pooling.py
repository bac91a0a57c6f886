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

    def test_a_dilated_window_of_padding_only_is_refused(self):
        # SAME pads one cell on each side, and the two cells of the window fall on them
        with pytest.raises(ValueError, match="max_pool1d: `padding` must leave every window a real cell"):
            nn.max_pool1d(row(1.0), 2, 1, "SAME", dilations=2)

    def test_average_does_not_count_padding(self):
        y = nn.avg_pool1d(row(1.0, 2.0, 3.0), 3, 1, [(2, 2)])
        np.testing.assert_allclose(y.ravel(), [1, 1.5, 2, 2.5, 3], rtol=1e-6)


class TestMaximum:
    @pytest.mark.parametrize("ksize", [3, 9, 70])
    def test_nan_propagates_and_takes_the_gradient(self, ksize):
        x = row(*[1.0] * ksize).at[0, 1:3].set(NAN)
        y, pull = jax.vjp(lambda x: nn.max_pool1d(x, ksize, 1, "VALID"), x)
        assert jnp.isnan(y).all()
        assert pull(jnp.ones_like(y))[0].ravel().tolist() == [0, 1] + [0] * (ksize - 2)

    def test_minus_infinity_stays(self):
        assert nn.max_pool1d(row(-INF, -INF), 3, 1, "SAME").ravel().tolist() == [-INF, -INF]

    @pytest.mark.parametrize("shape", [(1, 3, 1), (1, 3, 3, 1), (1, 3, 3, 3, 1)])
    @pytest.mark.parametrize("ksize", [3, 9])
    def test_minus_infinity_gives_its_gradient_to_a_real_cell(self, shape, ksize):
        # the padding before it is equal and comes first
        x = jnp.full(shape, -INF)
        size = ksize if len(shape) == 3 or ksize == 3 else (ksize,) + (3,) * (len(shape) - 3)
        found = jax.jit(jax.grad(lambda x: nn.max_pool(x, size, 3, "SAME").sum()))(x)
        assert found.ravel().tolist() == [1] + [0] * (x.size - 1)

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
        found = jax.jit(jax.grad(lambda x: nn.max_pool(x, ksize, 1, "VALID").sum()))(x)
        expected = np.zeros(shape)
        expected[(0, *(slice(0, 5 - ksize),) * (len(shape) - 2), 0)] = 1
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(("ksize", "strides"), [(9, 9), (9, 13), (7, 7), (21, 40), (49, 2), (9, 4)])
    def test_gradient_of_large_windows_goes_to_the_first_maximum(self, ksize, strides):
        # 9 x 9 with stride 4 overlap, of 49 x 49 there is one; the others are apart, 7 x 7 few enough to be unrolled
        pads = ((3, 2), (1, 4))
        x = np.random.default_rng(0).integers(0, 9, (45, 44)).astype(np.float32)
        y, pull = jax.vjp(lambda x: nn.max_pool2d(x[None, :, :, None], ksize, strides, pads)[0, :, :, 0], x)
        np.testing.assert_array_equal(y, loop(x, "max", ksize, strides, pads))
        expected, weights = np.zeros(x.shape), np.arange(1.0, y.size + 1).reshape(y.shape)
        for (i, j), weight in np.ndenumerate(weights):
            a, b = i * strides - pads[0][0], j * strides - pads[1][0]
            cells = x[max(a, 0) : a + ksize, max(b, 0) : b + ksize]
            u, v = np.unravel_index(np.argmax(cells), cells.shape)
            expected[max(a, 0) + u, max(b, 0) + v] += weight
        np.testing.assert_array_equal(pull(jnp.asarray(weights, jnp.float32))[0], expected)

    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    def test_tied_gradients_are_those_of_tensorflow(self, padding):
        from machinery import oracle

        x = np.random.default_rng(0).integers(0, 3, (3, 7, 8, 2)).astype(np.float32)
        expected = oracle.gradients(lambda tf, x: tf.nn.max_pool2d(x, 3, 2, padding), {"x": x}, ["x"])[0]
        weights = oracle.cotangent(nn.max_pool2d(x, 3, 2, padding).shape)
        found = jax.jit(jax.grad(lambda x: (nn.max_pool2d(x, 3, 2, padding) * weights.astype(np.float32)).sum()))(x)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 5, 6), (2, 3, 5, 6), (1, 2, 3, 2, 6)])
    def test_windows_of_channels_are_those_of_a_sequence(self, shape):
        # with NaN, infinities, ties and integers too
        x = np.random.default_rng(0).integers(-1, 2, shape).astype(np.float32)
        x[0, 0], x[0, 1], x[-1, -1] = -INF, np.where(x[0, 1] > 0, NAN, 1), INF
        window = (1,) * (len(shape) - 1) + (3,)

        def over_channels(x):
            return nn.max_pool(x, window, window, "VALID")

        def over_a_sequence(x):
            return nn.max_pool1d(x.reshape(-1, 6, 1), 3, 3, "VALID").reshape(*shape[:-1], 2)

        weights = np.random.default_rng(1).standard_normal((*shape[:-1], 2)).astype(np.float32)
        results = [jax.vjp(f, jnp.asarray(x)) for f in (over_channels, over_a_sequence)]
        np.testing.assert_array_equal(results[0][0], results[1][0])
        np.testing.assert_array_equal(results[0][1](weights)[0], results[1][1](weights)[0])
        finite = np.nan_to_num(x, posinf=9, neginf=-9).astype(np.int8)
        np.testing.assert_array_equal(over_channels(finite), over_a_sequence(finite))

    @pytest.mark.parametrize(("data_format", "size"), [("NHWC", (1, 2, 3, 2)), ("NCHW", (1, 2, 2, 3))])
    @pytest.mark.parametrize("include_batch", [False, True])
    def test_windows_of_channels_have_places_of_their_maxima(self, data_format, size, include_batch):
        x = np.random.default_rng(0).integers(0, 4, (2, 6, 6, 6)).astype(np.float32)
        strides = (1, 2, 2, 2)
        output, argmax = nn.max_pool_with_argmax(x, size, strides, "SAME", data_format, jnp.int32, include_batch)
        np.testing.assert_array_equal(output, nn.max_pool(x, size, strides, "SAME", data_format))
        flat = [x.ravel()] * 2 if include_batch else x.reshape(2, -1)
        for example, values, places in zip(flat, output, argmax, strict=True):
            np.testing.assert_array_equal(example[places], values)
        gradient = jax.grad(lambda x: nn.max_pool_with_argmax(x, size, strides, "SAME", data_format).output.sum())(x)
        unpooled = nn.max_unpool(jnp.ones(output.shape), argmax, x.shape, include_batch)
        np.testing.assert_array_equal(gradient, unpooled)

    def test_averages_have_no_windows_of_channels(self):
        # TensorFlow's result is empty
        with pytest.raises(ValueError, match="avg_pool: `ksize` must be 1 for the batch and channel dimensions"):
            nn.avg_pool(np.ones((1, 2, 2, 4), np.float32), (1, 1, 1, 2), (1, 1, 1, 2), "VALID")


class TestAverage:
    def test_bfloat16_is_summed_in_float32(self):
        x = jnp.full((1, 28, 28, 1), 1.0, jnp.bfloat16).at[0, 0, 0, 0].set(784.0)
        assert nn.avg_pool2d(x, 28, 1, "VALID").item() == jnp.bfloat16((783 + 784) / 784)

    def test_compiled_size_does_not_depend_on_the_image(self):
        def size(n):
            f = jax.jit(lambda x: nn.avg_pool2d(x, 3, 2, "SAME"))
            return len(f.lower(jax.ShapeDtypeStruct((1, n, n, 1), jnp.float32)).as_text())

        assert size(400) < 2 * size(40)


class TestGradients:
    """What makes them deterministic on every backend, and fast."""

    @pytest.mark.parametrize(
        ("op", "ksize", "strides"),
        [
            (nn.max_pool2d, 2, 2),
            (nn.max_pool2d, 3, 1),
            (nn.max_pool2d, 9, 1),
            (nn.max_pool2d, 9, 9),
            (nn.avg_pool2d, 3, 2),
            (nn.avg_pool2d, 9, 9),
        ],
    )
    def test_nothing_is_scattered(self, op, ksize, strides):
        gradient = jax.jit(jax.grad(lambda x: jnp.square(op(x, ksize, strides, "SAME")).sum()))
        program = gradient.lower(jnp.ones((1, 18, 18, 3))).as_text()
        assert "stablehlo.slice" in program
        assert "stablehlo.scatter" not in program
        assert "stablehlo.select_and_scatter" not in program


class TestPool:
    @pytest.mark.parametrize(("kind", "op"), [("MAX", nn.max_pool), ("AVG", nn.avg_pool)])
    def test_is_either_op(self, kind, op):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 6)), jnp.float32)
        options = {"strides": 2, "padding": "SAME", "data_format": "NCHW"}
        np.testing.assert_array_equal(nn.pool(x, [2, 3], kind, **options), op(x, [2, 3], **options))

    def test_four_dimensions_are_two_by_two(self):
        x = np.random.default_rng(0).standard_normal((1, 4, 4, 4, 4, 2)).astype(np.float32)
        for kind, op in (("MAX", nn.max_pool2d), ("AVG", nn.avg_pool2d)):
            inner = op(x.reshape(16, 4, 4, 2), 2, 2, "VALID").reshape(1, 4, 4, 8)
            expected = op(inner, 2, 2, "VALID").reshape(1, 2, 2, 2, 2, 2)
            np.testing.assert_allclose(nn.pool(x, 2, kind, strides=2), expected, rtol=1e-6, atol=1e-6)


class TestArgmax:
    @pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
    @pytest.mark.parametrize("include_batch", [False, True])
    @pytest.mark.parametrize("ksize", [3, 9])
    def test_names_the_maximum_in_the_flattened_input(self, data_format, include_batch, ksize):
        x = np.random.default_rng(0).integers(-9, 9, (2, 11, 10, 12)).astype(np.float32)
        output, argmax = nn.max_pool_with_argmax(x, ksize, 2, "SAME", data_format, include_batch_in_index=include_batch)
        np.testing.assert_array_equal(output, nn.max_pool(x, ksize, 2, "SAME", data_format))
        if include_batch:
            found = x.ravel()[argmax]
        else:
            found = np.take_along_axis(x.reshape(2, -1), np.asarray(argmax).reshape(2, -1), 1).reshape(argmax.shape)
        np.testing.assert_array_equal(found, output)

    @pytest.mark.parametrize(("ksize", "strides"), [(2, 1), (3, 2), (9, 3)])
    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    def test_ties_are_those_of_tensorflow(self, ksize, strides, padding):
        from machinery import oracle

        x = np.random.default_rng(0).integers(0, 3, (3, 11, 10, 2)).astype(np.float32)
        expected = oracle.values(lambda tf, x: tf.nn.max_pool_with_argmax(x, ksize, strides, padding), {"x": x})
        for actual, wanted in zip(nn.max_pool_with_argmax(x, ksize, strides, padding), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)

    @pytest.mark.parametrize("value", [-INF, NAN])
    def test_names_a_cell_of_the_window_whatever_is_in_it(self, value):
        output, argmax = nn.max_pool_with_argmax(np.full((1, 3, 3, 1), value, np.float32), 2, 1, [(1, 0), (1, 0)])
        np.testing.assert_array_equal(output, np.full((1, 3, 3, 1), value))
        assert argmax.ravel().tolist() == [0, 0, 1, 0, 0, 1, 3, 3, 4]

    def test_dilated_window_of_three_dimensions(self):
        x = np.random.default_rng(0).permutation(5 * 6 * 7).reshape(1, 5, 6, 7, 1).astype(np.float32)
        output, argmax = nn.max_pool_with_argmax(x, (2, 3, 2), 1, "VALID", dilations=(3, 2, 4))
        np.testing.assert_array_equal(x.ravel()[argmax], output)
        np.testing.assert_array_equal(output, nn.max_pool3d(x, (2, 3, 2), 1, "VALID", dilations=(3, 2, 4)))

    def test_int64_indices(self):
        with jax.enable_x64(True):
            argmax = nn.max_pool_with_argmax(np.ones((1, 2, 1), np.int8), 2, 1, "VALID", output_dtype=jnp.int64).argmax
        assert argmax.dtype == jnp.int64

    def test_indices_that_do_not_fit_are_refused(self):
        x = jax.ShapeDtypeStruct((1, 2**16, 2**16, 1), jnp.float32)
        with pytest.raises(ValueError, match="max_pool_with_argmax: `output_dtype` must hold the indices"):
            jax.eval_shape(lambda x: nn.max_pool_with_argmax(x, 2, 2, "VALID"), x)


class TestUnpool:
    @pytest.mark.parametrize(("ksize", "strides"), [(2, 2), (3, 1)])
    @pytest.mark.parametrize("include_batch", [False, True])
    def test_is_the_gradient_of_pooling_and_the_other_way_round(self, ksize, strides, include_batch):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 7, 3)), jnp.float32)

        def pool(x):
            return nn.max_pool_with_argmax(x, ksize, strides, "SAME", include_batch_in_index=include_batch)

        (y, argmax), pull = jax.vjp(lambda x: tuple(pool(x)), x)
        cotangent = jnp.cos(7 * y)
        no_cotangent = np.zeros(argmax.shape, jax.dtypes.float0)
        spread = nn.max_unpool(cotangent, argmax, x.shape, include_batch)
        np.testing.assert_allclose(pull((cotangent, no_cotangent))[0], spread, rtol=1e-5, atol=1e-6)
        pull_back = jax.vjp(lambda y: nn.max_unpool(y, argmax, x.shape, include_batch), y)[1]
        np.testing.assert_array_equal(pull_back(x)[0], y)

    def test_puts_the_maxima_back(self):
        x = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
        expected = np.where((x > 4) & (x % 2 == 1) & ((x // 4) % 2 == 1), x, 0)
        np.testing.assert_array_equal(nn.max_unpool(*nn.max_pool_with_argmax(x, 2, 2, "VALID"), x.shape), expected)

    def test_repeated_indices_are_summed_in_float32(self):
        y = nn.max_unpool(jnp.ones((1, 1000, 1), jnp.bfloat16), jnp.zeros((1, 1000, 1), jnp.int32), (1, 2, 1))
        assert y.dtype == jnp.bfloat16
        assert y.ravel().tolist() == [1000, 0]

    @pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, jnp.int8])
    def test_indices_out_of_range_are_left_out_and_reported(self, dtype):
        from jax.experimental import checkify

        indices = jnp.array([1, 255 if dtype == jnp.uint8 else -1, 100], dtype).reshape(1, 3, 1)
        values = jnp.ones((1, 3, 1))
        assert nn.max_unpool(values, indices, (1, 4, 1)).ravel().tolist() == [0, 1, 0, 0]
        checked = checkify.checkify(lambda i: nn.max_unpool(values, i, (1, 4, 1)), errors=checkify.user_checks)
        error, _ = checked(indices)
        assert "max_unpool: `argmax` must be in [0, 4)" in (error.get() or "")

    def test_more_cells_than_the_indices_can_count(self):
        indices = jnp.array([1, 127], jnp.int8).reshape(1, 2, 1)
        assert nn.max_unpool(jnp.ones((1, 2, 1)), indices, (1, 300, 1)).ravel()[127] == 1

    @pytest.mark.parametrize("shape", [(0, 2, 3, 2), (2, 0, 3, 2)])
    def test_empty(self, shape):
        y = nn.max_unpool(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), (shape[0], 4, 5, 2))
        np.testing.assert_array_equal(y, np.zeros((shape[0], 4, 5, 2)))

    def test_sharded_batch_needs_no_all_gather(self):
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        values, indices = jnp.ones((8, 2, 3, 2)), jnp.zeros((8, 2, 3, 2), jnp.int32)
        f = jax.jit(lambda x, i: nn.max_unpool(x, i, (8, 4, 5, 2)), in_shardings=(sharding, sharding))
        assert "all-gather" not in (f.lower(values, indices).compile().as_text() or "")
