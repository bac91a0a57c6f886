"""Conversions equal TensorFlow's reference kernels to the bit, as users compile them."""

import functools
import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.oracle import tf
from machinery.programs import compile_by_default
from rooms.quantization.ranges import QUANTIZED, assert_equal_bits, integers, of_kind, ranges, ranges_with_0, reals

import jnnops as nn

SCALAR = jax.ShapeDtypeStruct((), jnp.float32)
OPTIONS = [
    {"mode": "MIN_COMBINED"},
    {"mode": "MIN_FIRST"},
    {"mode": "SCALED"},
    {"mode": "SCALED", "round_mode": "HALF_TO_EVEN", "narrow_range": True},
]
of_options = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
of_dtypes = pytest.mark.parametrize("dtype", QUANTIZED)


def like(array):
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


class TestQuantize:
    @of_dtypes
    @of_options
    def test_is_that_of_tensorflow(self, dtype, options):
        run = compile_by_default(
            lambda x, *ends: nn.quantize(x, *ends, T=dtype, **options), like(reals(0, 1)), SCALAR, SCALAR
        )
        for low, high in ranges(20, seed=0):
            x = reals(low, high, 2 ** (8 * min(np.dtype(dtype).itemsize, 2)) - 1)
            expected = [
                part.numpy()
                for part in tf.raw_ops.QuantizeV2(input=x, min_range=low, max_range=high, T=QUANTIZED[dtype], **options)
            ]
            found = run(x, low, high)
            if dtype == "int32":  # whose largest number overflows there
                overflown = (np.asarray(found.output) == 2**31 - 1) & (expected[0] == -(2**31))
                expected[0] = np.where(overflown, 2**31 - 1, expected[0])
            assert_equal_bits(found, expected, (low, high))  # fmt: skip

    @pytest.mark.parametrize(
        "options", [*OPTIONS[::2], {"ensure_minimum_range": 0.0}, {"ensure_minimum_range": 0.7}], ids=str
    )
    def test_each_slice_along_an_axis_has_its_range(self, options):
        lows, highs = map(np.array, zip(*ranges(7, seed=1)[4:20], strict=True))
        x = np.random.default_rng(0).uniform(-0.2, 1.2, (5, 16, 3)) * (highs - lows)[:, None] + lows[:, None]
        x = x.astype(np.float32)
        expected = tf.raw_ops.QuantizeV2(input=x, min_range=lows, max_range=highs, T=tf.qint8, axis=1, **options)
        assert_equal_bits(nn.quantize(x, lows, highs, "int8", axis=1, **options), expected, options)
        back = tf.raw_ops.Dequantize(
            input=expected[0],
            min_range=expected[1],
            max_range=expected[2],
            axis=1,
            mode=options.get("mode", "MIN_COMBINED"),
        )
        found = nn.dequantize(
            expected[0].numpy(), expected[1].numpy(), expected[2].numpy(), options.get("mode", "MIN_COMBINED"), axis=-2
        )
        assert_equal_bits(found, back, options)

    def test_min_first_has_an_axis_too(self):
        x, lows, highs = np.array([[-1.0, 0.3, 2.0]] * 2, np.float32), np.array([-1.0, -2.0]), np.array([1.0, 3.0])
        found = nn.quantize(x, lows, highs, "int8", "MIN_FIRST", axis=0)
        for row, low, high, *of_row in zip(x, lows, highs, *found, strict=True):
            assert_equal_bits(of_row, nn.quantize(row, low, high, "int8", "MIN_FIRST"), (low, high))

    def test_what_overflows_in_tensorflow_is_the_nearest_integer(self):
        assert nn.quantize(np.array([2.0, 9.0, np.inf]), -1.0, 2.0, "int32").output.tolist() == [2**31 - 1] * 3
        assert nn.quantize(np.array([2.0, 9.0]), -1.0, 2.0, "int32", "SCALED").output.tolist() == [2**31 - 1] * 2

    @of_dtypes
    @of_options
    def test_nan_becomes_0(self, dtype, options):
        assert not nn.quantize(np.full(9, np.nan), -1.0, 2.0, dtype, **options).output.any()

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
    def test_other_floats_are_computed_with_in_float32(self, dtype):
        with jax.enable_x64(True):
            x = jnp.asarray(np.random.default_rng(0).standard_normal(999), dtype)
            for mode in ("MIN_COMBINED", "MIN_FIRST", "SCALED"):
                expected = nn.quantize(x.astype(jnp.float32), -1.5, 2.5, "int16", mode)
                assert_equal_bits(nn.quantize(x, -1.5, 2.5, "int16", mode), expected, mode)
                assert nn.quantize(x, -1.5, 2.5, "int16", mode).output_min.dtype == jnp.float32

    def test_has_no_gradient(self):
        gradient = jax.grad(lambda x, low: nn.quantize(x, low, 1.0, "int8", "SCALED").output_max, argnums=(0, 1))
        assert not any(jnp.any(part) for part in gradient(jnp.ones(3), -2.0))


class TestDequantize:
    @of_dtypes
    @of_options
    def test_is_that_of_tensorflow(self, dtype, options):
        options = {key: value for key, value in options.items() if key != "round_mode"}
        q = integers(dtype)
        run = compile_by_default(lambda q, *ends: nn.dequantize(q, *ends, **options), like(q), SCALAR, SCALAR)
        for low, high in ranges(20, seed=2):
            expected = tf.raw_ops.Dequantize(input=of_kind(q), min_range=low, max_range=high, **options).numpy()
            if dtype == "int32" and options["mode"] == "SCALED":  # whose largest number overflows there
                expected = np.where(q > 2**31 - 65, -expected, expected)
            assert_equal_bits(run(q, low, high), expected, (low, high))

    def test_other_floats_are_rounded_from_float32(self):
        q = integers("int16")
        for dtype, mode in itertools.product(("float16", "bfloat16"), ("MIN_COMBINED", "MIN_FIRST", "SCALED")):
            expected = nn.dequantize(q, -1.0, 2.0, mode).astype(dtype)
            assert_equal_bits(nn.dequantize(q, -1.0, 2.0, mode, dtype=dtype), expected, (dtype, mode))


class TestRequantize:
    def test_range_is_that_of_tensorflow(self):
        q = integers("int32")
        run = compile_by_default(nn.requantization_range, like(q), SCALAR, SCALAR)
        for low, high in ranges(60, seed=3):
            for part in (q, np.abs(q // 2), -np.abs(q // 2**20)):
                expected = tf.raw_ops.RequantizationRange(input=of_kind(part), input_min=low, input_max=high)
                assert_equal_bits(run(part, low, high), expected, (low, high))

    def test_range_of_other_dtypes_is_their_formula(self):
        for dtype in ("uint8", "int8", "uint16", "int16"):
            q, limits = integers(dtype)[:50], np.iinfo(dtype)
            found = nn.requantization_range(q, -1.5, 2.5)
            step = 4 / (int(limits.max) - int(limits.min))
            expected = [round(-1.5 / step) * step + (int(end) - int(limits.min)) * step for end in (q.min(), q.max())]
            np.testing.assert_allclose(np.array(found), [min(0, expected[0]), expected[1]], rtol=1e-6, atol=1e-6)

    def test_range_of_nothing_is_reversed_as_in_tensorflow(self):
        empty = np.zeros(0, np.int32)
        expected = tf.raw_ops.RequantizationRange(input=of_kind(empty), input_min=-1.0, input_max=2.0)
        assert_equal_bits(nn.requantization_range(empty, -1.0, 2.0), expected, "")

    @pytest.mark.parametrize("dtype", ["uint8", "int8"])
    def test_is_that_of_tensorflow(self, dtype):
        q = integers("int32")
        run = compile_by_default(functools.partial(nn.requantize, out_type=dtype), like(q), *[SCALAR] * 4)
        rng = np.random.default_rng(0)
        for low, high in ranges(40, seed=4):
            near = [(low * factor, high * factor) for factor in rng.uniform(0.1, 1.5, 3).astype(np.float32)]
            for start, stop in [(low, high), *near, *ranges_with_0(0, seed=0)[:5]]:
                start, stop = min(start, np.float32(0)), max(stop, np.float32(0))
                if dtype == "uint8" and overflows(low, high, start, stop):
                    continue
                expected = tf.raw_ops.Requantize(
                    input=of_kind(q), input_min=low, input_max=high, requested_output_min=start,
                    requested_output_max=stop, out_type=QUANTIZED[dtype],
                )  # fmt: skip
                assert_equal_bits(run(q, low, high, start, stop), expected, (low, high, start, stop))

    def test_what_overflows_in_tensorflow_is_right(self):
        # by exact fractions: the middle of the range is 0 of int32
        q = integers("int32")
        for low, high, start, stop in (
            (-1, 1, -1e-3, 1e-3),
            (-1, 1, -1e-9, 3e-9),
            (-1, 8, -2e-3, 1e-3),
            (2, 3, 0, 1e-3),
        ):
            low, high, start, stop = map(np.float32, (low, high, start, stop))
            found = nn.requantize(q, low, high, start, stop, "uint8").output
            exact = list(map(Fraction, (float(low), float(high), float(start), float(stop))))
            step = (exact[3] - exact[2]) / 255
            wanted = [
                (Fraction(int(n), 2**32) * (exact[1] - exact[0]) + (exact[0] + exact[1]) / 2 - exact[2]) / step
                for n in q
            ]
            off = np.array([float(abs(int(f) - min(max(w, 0), 255))) for f, w in zip(found, wanted, strict=True)])
            assert off.max() <= 0.51

    @pytest.mark.parametrize("of", ["uint8", "int16", "int32"])
    @pytest.mark.parametrize("to", ["uint8", "int8", "uint16", "int16"])
    def test_other_dtypes_are_their_formula(self, of, to):
        if (of, to) == ("int32", "uint8"):
            return
        q, source, target = integers(of), np.iinfo(of), np.iinfo(to)
        found = np.asarray(nn.requantize(q, -1.5, 2.5, -1.25, 2.0, to).output, np.float64)
        step, new_step = 4 / (int(source.max) - int(source.min)), 3.25 / (int(target.max) - int(target.min))
        real = np.round(-1.5 / step) * step + (q.astype(np.float64) - int(source.min)) * step
        wanted = real / new_step - np.round(-1.25 / new_step) + int(target.min)
        assert np.abs(found - np.clip(wanted, target.min, target.max)).max() <= 0.52


def overflows(low, high, start, stop):
    """Whether a product, or a sum of parts, has more bits than TensorFlow keeps."""
    if start == stop:
        return False
    low, high, start, stop = map(float, (low, high, start, stop))
    scale = 255 * 65536 * (high - low) / (stop - start)
    return scale >= 2**31 or 255 * 65536 * max(abs(low), abs(high)) / (stop - start) >= 2**30


class TestBothWays:
    @pytest.mark.parametrize("given", [True, False])
    @pytest.mark.parametrize("round_mode", ["HALF_TO_EVEN", "HALF_UP"])
    @pytest.mark.parametrize(
        ("signed", "bits", "narrow"), [(True, 8, False), (False, 8, False), (True, 4, True), (True, 16, True)]
    )
    def test_is_that_of_tensorflow(self, given, round_mode, signed, bits, narrow):
        options = dict(
            signed_input=signed, num_bits=bits, narrow_range=narrow, range_given=given, round_mode=round_mode
        )
        x = reals(0, 1)[:-8]
        run = compile_by_default(
            lambda x, *ends: nn.quantize_and_dequantize(x, *ends, **options), like(x), SCALAR, SCALAR
        )
        for low, high in ranges(20, seed=5):
            x = reals(low, high, 2**bits - 1)[:-8]
            expected = tf.quantization.quantize_and_dequantize_v2(x, low, high, **options)
            assert_equal_bits(run(x, low, high), expected, (low, high))

    @pytest.mark.parametrize("given", [True, False])
    def test_each_slice_along_an_axis_has_its_range(self, given):
        lows, highs = map(np.array, zip(*ranges(7, seed=1)[4:20], strict=True))
        x = np.random.default_rng(0).uniform(-0.2, 1.2, (5, 16, 3)) * (highs - lows)[:, None] + lows[:, None]
        x = x.astype(np.float32)
        expected = tf.raw_ops.QuantizeAndDequantizeV3(
            input=x, input_min=lows, input_max=highs, num_bits=8, axis=1, range_given=given
        )
        assert_equal_bits(nn.quantize_and_dequantize(x, lows, highs, axis=1, range_given=given), expected, given)

    def test_gradient_of_its_own_range_is_1_everywhere(self):
        # TensorFlow's is 0 outside of the range that it does not use
        gradient = jax.grad(lambda x: nn.quantize_and_dequantize(x, -1.0, 1.0).sum())
        assert gradient(jnp.array([-3.0, 0.5, 2.0])).tolist() == [1.0] * 3

    @pytest.mark.parametrize(("low", "high"), [(-1.0, 1.5), (0.0, 0.0), (1.5, 1.5)])
    def test_gradient_at_the_ends_is_that_of_tensorflow(self, low, high):
        x = tf.constant([-1.01, -1.0, 0.0, 0.3, 1.5, 1.51])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.quantization.quantize_and_dequantize_v2(x, low, high, range_given=True)
        gradient = jax.grad(lambda x: nn.quantize_and_dequantize(x, low, high, range_given=True).sum())
        assert_equal_bits(gradient(x.numpy()), tape.gradient(y, x), "")


class TestWrongRanges:
    """Known only at run time, they are NaN, and reported by name."""

    @pytest.mark.parametrize(
        ("name", "call"),
        [
            ("quantize: `min_range`", lambda low, high: nn.quantize(jnp.ones(2), low, high, "uint8").output_min),
            ("dequantize: `min_range`", lambda low, high: nn.dequantize(jnp.ones(2, jnp.uint8), low, high, "SCALED")),
            ("dequantize: `min_range`", lambda low, high: nn.dequantize(jnp.ones(2, jnp.int8), low, high, "MIN_FIRST")),
            (
                "requantize: `requested_output_min`",
                lambda low, high: nn.requantize(jnp.ones(2, jnp.int32), -1.0, 1.0, low, high, "uint8").output_max,
            ),
            (
                "requantization_range: `input_min`",
                lambda low, high: nn.requantization_range(jnp.ones(2, jnp.int32), low, high).output_max,
            ),
            (
                "quantize_and_dequantize: `input_min`",
                lambda low, high: nn.quantize_and_dequantize(jnp.ones(2), low, high, range_given=True),
            ),
            (
                "fake_quant_with_min_max_vars: `min`",
                lambda low, high: nn.fake_quant_with_min_max_vars(jnp.ones(2), low, high),
            ),
            (
                "fake_quant_with_min_max_vars_per_channel: `min`",
                lambda low, high: nn.fake_quant_with_min_max_vars_per_channel(
                    jnp.ones(2), jnp.stack([-1.0, low]), jnp.stack([1.0, high])
                )[1],
            ),
            (
                "quantized_relu: `min_features`",
                lambda low, high: nn.quantized_relu(jnp.ones(2, jnp.int8), low, high).min_activations,
            ),
            (
                "quantized_max_pool: `min_input`",
                lambda low, high: nn.quantized_max_pool(jnp.ones((1, 2, 2, 1), jnp.int8), low, high, 1, 1, "SAME")[1],
            ),
            (
                "quantized_conv2d: `min_filter`",
                lambda low, high: nn.quantized_conv2d(
                    jnp.ones((1, 2, 2, 1), jnp.int8), jnp.ones((1, 1, 1, 1), jnp.int8), -1.0, 1.0, low, high, 1, "SAME"
                ).max_output,
            ),
        ],
    )  # fmt: skip
    def test_are_reported_by_checkify(self, name, call):
        checked = jax.jit(checkify.checkify(call, errors=checkify.user_checks))
        for low, high in ((2.0, 1.0), (np.nan, 1.0), (-np.inf, 1.0)):
            error, found = checked(low, high)
            assert f"{name} must be at most `" in (error.get() or "")
            assert np.all(np.isnan(found))
        error, found = checked(-1.0, 2.0)
        assert error.get() is None
        assert np.all(np.isfinite(found))

    def test_requested_range_without_0_is_reported(self):
        checked = jax.jit(
            checkify.checkify(
                lambda low, high: nn.requantize(jnp.ones(2, jnp.int32), -1.0, 1.0, low, high, "uint8"),
                errors=checkify.user_checks,
            )
        )
        assert "requantize: `requested_output_min` must be at most 0" in (checked(1.0, 2.0)[0].get() or "")
        assert "requantize: `requested_output_max` must be at least 0" in (checked(-2.0, -1.0)[0].get() or "")
