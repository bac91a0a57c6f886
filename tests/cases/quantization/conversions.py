"""Cases of the conversions of ``jnnops.quantization``."""

import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

X = normal(3, 4) * 2
LOW, HIGH = np.array(-2.5), np.array(3.25)
LOWS, HIGHS = -1 - np.arange(4.0), 2.5 - np.arange(4.0) / 3
BYTES = np.random.default_rng(0).integers(0, 256, (3, 4)).astype(np.uint8)
WORDS = np.random.default_rng(1).integers(-(2**31), 2**31, (3, 4)).astype(np.int32)
RESULT = ("", "float32", "float32")


def with_integers(tf, tensor):
    """Integers as TensorFlow's kind that stands for real numbers."""
    return tf.bitcast(tensor, getattr(tf, f"q{tensor.dtype.name}"))


def plain(tf, tensor):
    """And back."""
    return tf.bitcast(tensor, getattr(tf, tensor.dtype.name.removeprefix("q")))


def quantize(tf, input, min_range, max_range, T, **options):
    found = tf.quantization.quantize(input, min_range, max_range, getattr(tf, f"q{T}"), **options)
    return plain(tf, found.output), found.output_min, found.output_max


def dequantize(tf, input, min_range, max_range, **options):
    return tf.quantization.dequantize(with_integers(tf, input), min_range, max_range, **options)


def requantize(tf, input, out_type, **ranges):
    found = tf.raw_ops.Requantize(input=with_integers(tf, input), out_type=getattr(tf, f"q{out_type}"), **ranges)
    return plain(tf, found.output), found.output_min, found.output_max


def requantization_range(tf, input, **ranges):
    return tuple(tf.raw_ops.RequantizationRange(input=with_integers(tf, input), **ranges))


def ends(low, high, options):
    """A range, or one for each slice."""
    return {low: LOWS, high: HIGHS} if "axis" in options else {low: LOW, high: HIGH}


def bad_ranges(low, high, match="be of rank 0", **slices):
    return (
        bad(f"`{low}` must be at most `{high}`, and their difference finite", **{low: 3.0, high: 2.0}),
        bad(f"`{low}` must be at most `{high}`, and their difference finite", **{low: np.nan}),
        bad(f"`{low}` must be at most `{high}`, and their difference finite", **{low: -3e38, high: 3e38}),
        bad(f"`{low}` must {match}", **{low: [-1.0]}, **slices),
        bad(f"`{high}` must {match}", **{high: [1.0, 1.0]}, **({low: [-1.0] * 4} if slices else {}), **slices),
        bad(f"`{high}` must be integer or floating point", TypeError, **{high: True}),
    )


BAD_QUANTIZE = (
    *bad_ranges("min_range", "max_range"),
    *bad_ranges("min_range", "max_range", r"have shape \(4,\) \(one for each slice along `axis`\)", axis=1)[3:5],
    bad("`input` must be floating point", TypeError, input=BYTES),
    bad("`T` must be uint8, int8, uint16, int16 or int32, got 'int64'", TypeError, T="int64"),
    bad("`mode` must be 'MIN_COMBINED', 'MIN_FIRST' or 'SCALED', got 'MAX'", mode="MAX"),
    bad("`round_mode` must be 'HALF_AWAY_FROM_ZERO' or 'HALF_TO_EVEN', got 'UP'", round_mode="UP"),
    bad("`round_mode` must be 'HALF_AWAY_FROM_ZERO' with mode 'MIN_COMBINED'", round_mode="HALF_TO_EVEN"),
    bad("`ensure_minimum_range` must be at least 0, got -0.1", ensure_minimum_range=-0.1),
)

BAD_DEQUANTIZE = (
    *bad_ranges("min_range", "max_range"),
    bad("`input` must be uint8, int8, uint16, int16 or int32, got float32", TypeError, input=np.ones(3, np.float32)),
    bad("`mode` must be 'MIN_COMBINED', 'MIN_FIRST' or 'SCALED', got 'MAX'", mode="MAX"),
    bad("`dtype` must be floating point", TypeError, dtype=np.int32),
)

BAD_REQUANTIZE = (
    *bad_ranges("input_min", "input_max"),
    *bad_ranges("requested_output_min", "requested_output_max"),
    bad("`requested_output_min` must be at most 0, got 0.5", requested_output_min=0.5),
    bad("`requested_output_max` must be at least 0, got -0.5", requested_output_min=-1.0, requested_output_max=-0.5),
    bad("`out_type` must be uint8, int8, uint16 or int16, got 'int32'", TypeError, out_type="int32"),
    bad("`input` must be uint8, int8", TypeError, input=np.ones(3, np.uint32)),
)

BAD_BOTH_WAYS = (
    bad("`input_min` must be at most `input_max`, and both finite, got 3.0 and 2.0", input_min=3.0, input_max=2.0),
    bad("`input_min` must be at most `input_max`, and both finite", input_min=-np.inf),
    *bad_ranges("input_min", "input_max")[3:],
    bad("`num_bits` must be at least 2, got 1", num_bits=1),
    bad("`num_bits` must be at most 63, got 64", num_bits=64),
    bad("`round_mode` must be 'HALF_TO_EVEN' or 'HALF_UP', got 'EVEN'", round_mode="EVEN"),
    bad("`input` must be floating point", TypeError, input=BYTES),
)

QUANTIZED = [
    Case(
        nn.quantize,
        {"input": X, **ends("min_range", "max_range", options)},
        {"T": T, **options},
        label=label,
        oracle=lambda tf, T=T, options=options, **arrays: quantize(tf, **arrays, T=T, **options),
        oracle_dtype="float32",
        differentiable=(),
        order=0,
        result_dtypes=RESULT,
        bad=() if label else BAD_QUANTIZE,
    )
    for T, label, options in (
        ("uint8", "", {}),
        ("int8", "min-first", {"mode": "MIN_FIRST"}),
        ("int16", "scaled-even-narrow", dict(mode="SCALED", round_mode="HALF_TO_EVEN", narrow_range=True)),
        ("uint16", "axis", {"axis": 1, "ensure_minimum_range": 0.5}),
        ("int8", "scaled-axis", {"axis": 1, "mode": "SCALED"}),
    )
]

DEQUANTIZED = [
    Case(
        nn.dequantize,
        {"input": input, **ends("min_range", "max_range", options)},
        options,
        label=label,
        oracle=lambda tf, options=options, **arrays: dequantize(tf, **arrays, **options),
        oracle_dtype="float32",
        differentiable=(),
        order=0,
        batched=("input",),
        result_dtypes=("float32",),
        bad=() if label else BAD_DEQUANTIZE,
    )
    for input, label, options in (
        (WORDS, "", {}),
        (BYTES, "min-first", {"mode": "MIN_FIRST"}),
        (BYTES.astype(np.int16), "scaled-narrow", {"mode": "SCALED", "narrow_range": True}),
        (BYTES, "axis", {"axis": 1}),
    )
]

REQUANTIZED = [
    Case(
        nn.requantize,
        {
            "input": input,
            "input_min": LOW,
            "input_max": HIGH,
            "requested_output_min": np.array(-1.0),
            "requested_output_max": np.array(1.5),
        },
        {"out_type": out_type},
        label=label,
        oracle=(lambda tf, out_type=out_type, **arrays: requantize(tf, **arrays, out_type=out_type))
        if input is WORDS
        else None,
        oracle_dtype="float32",
        differentiable=(),
        order=0,
        result_dtypes=RESULT,
        bad=() if label else BAD_REQUANTIZE,
    )
    for input, out_type, label in ((WORDS, "uint8", ""), (WORDS, "int8", "int8"), (BYTES, "int16", "int16-of-uint8"))
]

RANGES = [
    Case(
        nn.requantization_range,
        {"input": WORDS, "input_min": LOW, "input_max": HIGH},
        oracle=requantization_range,
        oracle_dtype="float32",
        differentiable=(),
        order=0,
        result_dtypes=("float32", "float32"),
        bad=(
            *bad_ranges("input_min", "input_max"),
            bad("`input` must be uint8, int8", TypeError, input=np.ones(3, np.uint32)),
        ),
    ),
]

BOTH_WAYS = [
    Case(
        nn.quantize_and_dequantize,
        {"input": X, **ends("input_min", "input_max", options)},
        options,
        label=label,
        oracle=oracle,
        oracle_dtype="float32",
        oracle_gradient=bool("range_given" in options),
        ties=False,  # TensorFlow's gradient is 0 where a number is clipped by a range of nothing but 0
        straight_through=True,
        batched=("input",) if options.get("range_given") else (),
        bad=BAD_BOTH_WAYS if not label else (),
    )
    for label, options, oracle in (
        (
            "",
            {"range_given": True},
            lambda tf, **arrays: tf.quantization.quantize_and_dequantize_v2(**arrays, range_given=True),
        ),
        (
            "half-up-unsigned",
            dict(range_given=True, round_mode="HALF_UP", signed_input=False, num_bits=6),
            lambda tf, **arrays: tf.quantization.quantize_and_dequantize_v2(
                **arrays, range_given=True, round_mode="HALF_UP", signed_input=False, num_bits=6
            ),
        ),
        (
            "own-range-axis",
            {"axis": 1, "narrow_range": True},
            lambda tf, input, input_min, input_max: tf.raw_ops.QuantizeAndDequantizeV3(
                input=input,
                input_min=input_min,
                input_max=input_max,
                num_bits=8,
                axis=1,
                range_given=False,
                narrow_range=True,
            ),
        ),
    )
]

CASES = [*QUANTIZED, *DEQUANTIZED, *REQUANTIZED, *RANGES, *BOTH_WAYS]
