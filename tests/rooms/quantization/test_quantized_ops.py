"""Ops of quantized numbers equal TensorFlow's reference kernels to the bit, and integers computed one by one."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from machinery.oracle import tf
from machinery.programs import compile_by_default
from rooms.quantization.ranges import QUANTIZED, assert_equal_bits, integers, of_kind, ranges

import jnnops as nn
from jnnops.quantization import convolution

SCALAR = jax.ShapeDtypeStruct((), jnp.float32)


def like(array):
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def numbers(dtype, *shape, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def integer_of(value, low, high, dtype):
    """The documented formula in float64: the place in the range, rounded like the place of its start."""
    limits = np.iinfo(dtype)
    if low == high:
        return int(limits.min)
    steps = 2 ** (8 * np.dtype(dtype).itemsize)
    scale = steps / (float(high - low) * (steps / (steps - 1.0)))
    start, place = (np.copysign(np.floor(abs(n * scale) + 0.5), n) for n in (float(low), float(value)))
    return int(min(max(place - start + int(limits.min), int(limits.min)), int(limits.max)))


class TestRectifiers:
    @pytest.mark.parametrize("dtype", ["uint8", "int32"])
    @pytest.mark.parametrize("name", ["relu", "relu6"])
    def test_are_those_of_tensorflow(self, name, dtype):
        q = integers(dtype)
        run = compile_by_default(getattr(nn, f"quantized_{name}"), like(q), SCALAR, SCALAR)
        theirs = getattr(tf.raw_ops, f"Quantized{name.capitalize()}")
        for low, high in ranges(60, seed=0):
            if 0 < high - low < 1e-18:
                continue  # where 6 is beyond 64 bits
            expected = theirs(features=of_kind(q), min_features=low, max_features=high, out_type=QUANTIZED[dtype])
            assert_equal_bits(run(q, low, high), expected, (low, high))

    @pytest.mark.parametrize("dtype", QUANTIZED)
    def test_of_all_dtypes_are_their_formula(self, dtype):
        q = integers(dtype)
        programs = {
            most: compile_by_default(op, like(q), SCALAR, SCALAR)
            for most, op in (
                (None, nn.quantized_relu),
                (6, nn.quantized_relu6),
                (0.7, lambda q, *ends: nn.quantized_relu_x(q, 0.7, *ends)),
            )
        }
        for low, high in ranges(20, seed=1):
            if 0 < high - low < 1e-18:
                continue
            for most, run in programs.items():
                wanted = np.maximum(q, integer_of(0, low, high, dtype))
                if most:
                    wanted = np.minimum(wanted, integer_of(np.float32(most), low, high, dtype))
                assert_equal_bits(run(q, low, high), [wanted, low, high], (low, high, most))

    def test_six_of_a_tiny_range_is_its_end(self):
        # TensorFlow's integer overflows
        q = integers("uint8")
        assert_equal_bits(
            nn.quantized_relu6(q, -1e-30, 1e-30).activations, nn.quantized_relu(q, -1e-30, 1e-30).activations, ""
        )


class TestPools:
    @pytest.mark.parametrize("dtype", ["uint8", "int8"])
    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    def test_are_those_of_tensorflow(self, dtype, padding):
        q = numbers(dtype, 2, 9, 8, 3)
        for ksize, stride in itertools.product(((2, 2), (1, 4), (9, 8)), (1, 3)):
            window = {"ksize": [1, *ksize, 1], "strides": [1, stride, stride, 1], "padding": padding}
            for name in ("Max", "Avg"):
                ours = getattr(nn, f"quantized_{name.lower()}_pool")
                expected = getattr(tf.raw_ops, f"Quantized{name}Pool")(
                    input=of_kind(q), min_input=-1.5, max_input=2.5, **window
                )
                assert_equal_bits(ours(q, -1.5, 2.5, **window), expected, (name, window))

    @pytest.mark.parametrize("dtype", QUANTIZED)
    @pytest.mark.parametrize("size", [(3, 2), (150, 140)])
    def test_of_all_dtypes_are_those_of_exact_integers(self, dtype, size):
        q = numbers(dtype, 1, 150, 140, 2)
        q[..., 0] = np.iinfo(dtype).max  # the largest sums
        for name, reduce in (
            ("max", max),
            ("avg", lambda cells: int(abs(sum(cells)) // len(cells)) * (1 if sum(cells) >= 0 else -1)),
        ):
            found = np.asarray(getattr(nn, f"quantized_{name}_pool")(q, -1.0, 1.0, size, size, "VALID").output)
            for row, column, channel in ((0, 0, 0), (0, 0, 1), (-1, -1, 0), (-1, -1, 1)):
                start = [
                    number % count * step
                    for number, count, step in zip((row, column), found.shape[1:3], size, strict=True)
                ]
                cells = q[0, start[0] : start[0] + size[0], start[1] : start[1] + size[1], channel]
                assert found[0, row, column, channel] == reduce(cells.ravel().tolist())

    def test_averages_of_every_sum_are_cut_off(self):
        for count in (2, 3, 5, 7, 9, 63):
            sums = np.arange(255 * count + 1)
            cells = np.minimum(np.maximum(sums[:, None] - 255 * np.arange(count), 0), 255).astype(np.uint8)
            found = nn.quantized_avg_pool(cells.reshape(-1, 1, count, 1), 0.0, 1.0, (1, count), 1, "VALID").output
            np.testing.assert_array_equal(found.ravel(), sums // count)


def exact_convolution(x, w, zero_x, zero_w, window_strides, padding, dilations):
    """Integers of Python's size, padded with what stands for 0: ``[batch, height, width, channels]``."""
    (top, bottom), (left, right) = padding
    x = np.pad(x.astype(object) - zero_x, [(0, 0), (top, bottom), (left, right), (0, 0)], constant_values=0)
    w = w.astype(object) - zero_w
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(w.shape, dilations, strict=False)]
    outputs = [
        (size - cells) // stride + 1 for size, cells, stride in zip(x.shape[1:3], reach, window_strides, strict=True)
    ]
    y = np.zeros((len(x), *outputs, w.shape[-1]), object)
    for i, j, u, v in itertools.product(*map(range, (*outputs, *w.shape[:2]))):
        cell = x[:, i * window_strides[0] + u * dilations[0], j * window_strides[1] + v * dilations[1]]
        y[:, i, j] += cell @ w[u, v]
    return y


def zero_of(low, high, dtype):
    """What stands for 0, or would."""
    steps = 2 ** (8 * np.dtype(dtype).itemsize)
    scale = steps / (float(np.float32(high) - np.float32(low)) * (steps / (steps - 1.0)))
    return int(-np.copysign(np.floor(abs(float(np.float32(low)) * scale) + 0.5), low)) + int(np.iinfo(dtype).min)


def wrapped(y):
    return ((y + 2**31) % 2**32 - 2**31).astype(np.int64)


class TestConvolution:
    @pytest.mark.parametrize(
        ("size", "stride", "padding"),
        [((3, 3), 1, "SAME"), ((2, 3), 2, "SAME"), ((1, 1), 1, "VALID"), ((5, 4), 2, "VALID")],
    )
    def test_is_that_of_tensorflow(self, size, stride, padding):
        x, w = numbers("uint8", 2, 9, 8, 3), numbers("uint8", *size, 3, 4, seed=1)
        window = {"strides": [1, stride, stride, 1], "padding": padding}
        run = compile_by_default(functools.partial(nn.quantized_conv2d, **window), like(x), like(w), *[SCALAR] * 4)
        of_inputs, of_filters = ranges(40, seed=2), ranges(40, seed=3)[::-1]
        for (low, high), (first, last) in zip(of_inputs, of_filters, strict=True):
            if padding == "SAME" and high < 0:
                continue  # TensorFlow pads with other numbers
            expected = tf.raw_ops.QuantizedConv2D(
                input=of_kind(x),
                filter=of_kind(w),
                min_input=low,
                max_input=high,
                min_filter=first,
                max_filter=last,
                **window,
            )
            assert_equal_bits(run(x, w, low, high, first, last), expected, (low, high, first, last))

    @pytest.mark.parametrize("of_input", ["uint8", "int8"])
    @pytest.mark.parametrize("of_filter", ["uint8", "int8"])
    @pytest.mark.parametrize("channels_last", [True, False])
    def test_is_that_of_exact_integers(self, of_input, of_filter, channels_last):
        channels = 8 if channels_last else 3  # which are added four at once, and each for itself
        x, w = numbers(of_input, 2, 7, 8, channels), numbers(of_filter, 2, 3, channels, 4, seed=1)
        # the second range has no 0, and the third a negative one only
        for (low, high), strides, dilations, padding in (
            ((-1.5, 2.5), (2, 1), (1, 2), ((1, 0), (2, 3))),
            ((3.0, 4.0), (1, 3), (2, 1), ((0, 2), (1, 1))),
            ((-4.0, -3.0), (1, 1), (1, 1), ((1, 1), (1, 1))),
        ):
            given = x if channels_last else np.moveaxis(x, -1, 1)
            found = nn.quantized_conv2d(
                given[None], w, low, high, -0.75, 0.25, strides, padding, dilations=dilations,
                data_format="NHWC" if channels_last else "NCHW",
            ).output[0]  # fmt: skip
            zeros = zero_of(low, high, of_input), zero_of(-0.75, 0.25, of_filter)
            expected = exact_convolution(x, w, *zeros, strides, padding, dilations)
            np.testing.assert_array_equal(found if channels_last else jnp.moveaxis(found, 1, -1), wrapped(expected))

    def test_padding_of_a_negative_range_stands_for_0(self):
        # that of TensorFlow does not
        x, w = numbers("uint8", 1, 4, 5, 2), numbers("uint8", 3, 3, 2, 1, seed=1)
        found = nn.quantized_conv2d(x, w, -4.0, -3.0, -1.0, 2.0, 1, "SAME").output
        zeros = zero_of(-4, -3, "uint8"), zero_of(-1, 2, "uint8")
        assert zeros[0] > 255
        padded = exact_convolution(x, w, *zeros, (1, 1), ((1, 1), (1, 1)), (1, 1))
        np.testing.assert_array_equal(found, wrapped(padded))

    def test_sums_are_modulo_two_to_the_32(self):
        x, w = np.full((1, 1, 1, 40_000), 255, np.uint8), np.full((1, 1, 40_000, 1), 255, np.uint8)
        found = nn.quantized_conv2d(x, w, 0.0, 1.0, 0.0, 1.0, 1, "VALID").output
        assert found.item() == (40_000 * 255**2 + 2**31) % 2**32 - 2**31

    def test_real_numbers_are_near(self):
        rng = np.random.default_rng(0)
        x, w = rng.normal(size=(2, 6, 6, 8)).astype(np.float32), rng.normal(size=(3, 3, 8, 4)).astype(np.float32)
        q, v = (
            nn.quantize(x, x.min(), x.max(), "uint8", "MIN_FIRST"),
            nn.quantize(w, w.min(), w.max(), "int8", "MIN_FIRST"),
        )
        found = nn.quantized_conv2d(q.output, v.output, *q[1:], *v[1:], 1, "SAME")
        real = found.output.astype(jnp.float32) * (found.max_output / 2.0**31)
        assert jnp.abs(real - nn.conv2d(x, w, 1, "SAME")).max() < 0.3

    @pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
    @pytest.mark.parametrize("size", [1, 3])
    def test_is_an_integer_convolution_on_every_platform(self, platform, size):
        x, w = numbers("uint8", 2, 9, 8, 16), numbers("uint8", size, size, 16, 24)
        traced = jax.jit(lambda *arrays: nn.quantized_conv2d(*arrays, strides=1, padding="SAME")).trace(
            x, w, *[jnp.float32(1)] * 4
        )
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        convolutions = re.findall(r"stablehlo\.convolution.*", text)
        assert len(convolutions) == 1
        types = re.search(r": \((.*)\) -> (.*)", convolutions[0])
        assert types is not None
        assert re.findall(r"x([if]\d+)>", types[0]) == ["i8", "i8", "i32"]
        # only scalars are floating, and no image is widened
        assert not re.search(r"tensor<\d+x[\dx]*f\d+>", text)
        assert "tensor<2x9x8x16xi32>" not in text

    @pytest.mark.parametrize("channels", [4, 36, 1028])
    def test_sums_of_channels_are_those_of_a_product_with_ones(self, channels):
        for x in (numbers("int8", 2, 3, channels), np.full((1, 2, channels), -128, np.int8)):
            expected = x.sum(-1, dtype=np.int32, keepdims=True)
            np.testing.assert_array_equal(convolution._by_words(jnp.asarray(x)), expected)
            np.testing.assert_array_equal(convolution._by_product(jnp.asarray(x)), expected)

    @pytest.mark.parametrize("size", [1, 3])
    def test_compiled_has_no_widened_image(self, size):
        x, w = numbers("uint8", 2, 9, 8, 16), numbers("uint8", size, size, 16, 24)
        text = compile_by_default(
            lambda *arrays: nn.quantized_conv2d(*arrays, strides=1, padding="SAME"), x, w, *[jnp.float32(1)] * 4
        ).as_text()
        entry = (text or "").partition("ENTRY")[2]
        assert not re.search(r"(f16|f32)\[2,9,8,16\]", entry)
        if jax.__version_info__ >= (0, 10):  # before, XLA widens what it convolves on CPU
            assert "s8[2,9,8,16]" in entry
            assert not re.search(r"s32\[(2,9,8|144),16\]", entry)

    def test_batch_needs_no_all_gather(self):
        x, w = numbers("uint8", 8, 9, 8, 16), numbers("uint8", 3, 3, 16, 24)
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
        ends = [jnp.float32(end) for end in (-1, 2, -1, 1)]

        def run(*arrays):
            return nn.quantized_conv2d(*arrays, strides=2, padding="SAME")

        program = compile_by_default(run, x, w, *ends, in_shardings=(split, *[whole] * 5))
        assert "all-gather" not in (program.as_text() or "")
        found = program(jax.device_put(x, split), *(jax.device_put(array, whole) for array in (w, *ends)))
        assert_equal_bits(found, run(x, w, *ends), "")

    def test_no_images_give_none(self):
        for shape, found in (((0, 4, 5, 3), (0, 4, 5, 2)), ((2, 0, 4, 5, 3), (2, 0, 4, 5, 2))):
            y = nn.quantized_conv2d(
                np.zeros(shape, np.uint8), np.ones((3, 3, 3, 2), np.uint8), -1.0, 1.0, -1.0, 1.0, 1, "SAME"
            )
            assert y.output.shape == found
