"""Cases of the ops of quantized numbers."""

import numpy as np
from cases.quantization.conversions import bad_ranges, plain, with_integers
from machinery.case import Case, bad

import jnnops as nn

LOW, HIGH = np.array(-1.5), np.array(8.25)


def numbers(dtype, *shape, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


FLOATS = np.ones((1, 2, 2, 1), np.float32)


def op_of_tensorflow(tf, name, integers, **arguments):
    """A raw op of integers, whose first result is one."""
    quantized = {key: with_integers(tf, tensor) for key, tensor in integers.items()}
    first, *ends = getattr(tf.raw_ops, name)(**quantized, **arguments)
    return plain(tf, first), *ends


def case(op, arrays, static=None, **about):
    return Case(
        op,
        arrays,
        static or {},
        oracle_dtype="float32",
        differentiable=(),
        order=0,
        result_dtypes=("", "float32", "float32"),
        **about,
    )


RANGE = {"min_features": LOW, "max_features": HIGH}
BAD_FEATURES = (
    *bad_ranges("min_features", "max_features"),
    bad("`features` must be uint8, int8, uint16, int16 or int32, got float32", TypeError, features=FLOATS),
    bad("`out_type` must be int32, got 'uint8'", TypeError, out_type="uint8"),
)


def rectifier(tf, name, features, **arguments):
    return op_of_tensorflow(
        tf, name, {"features": features}, out_type=getattr(tf, f"q{features.dtype.name}"), **arguments
    )


RECTIFIERS = [
    case(
        nn.quantized_relu,
        {"features": numbers("int32", 3, 4), **RANGE},
        oracle=lambda tf, **arrays: rectifier(tf, "QuantizedRelu", **arrays),
        bad=BAD_FEATURES,
    ),
    case(nn.quantized_relu, {"features": numbers("int8", 3, 4), **RANGE}, label="int8"),
    case(
        nn.quantized_relu6,
        {"features": numbers("int32", 3, 4), **RANGE},
        oracle=lambda tf, **arrays: rectifier(tf, "QuantizedRelu6", **arrays),
        bad=BAD_FEATURES,
    ),
    case(
        nn.quantized_relu_x,
        {"features": numbers("int32", 3, 4), "max_value": np.array(3.5), **RANGE},
        bad=(*BAD_FEATURES, bad("`max_value` must be of rank 0", max_value=[1.0])),
    ),
]

BAD_POOLS = (
    *bad_ranges("min_input", "max_input"),
    bad("`input` must be uint8, int8, uint16, int16 or int32, got float32", TypeError, input=FLOATS),
    bad("`input` must be of rank 4", input=numbers("int32", 3)),
    bad("`ksize` must be at least 1, got 0", ksize=0),
    bad("`strides` must be an int or have length", strides=(1, 2, 3)),
    bad("`padding` must leave every window a real cell", padding=((3, 0), (0, 0))),
    bad("`data_format` must be 'NHWC' or 'NCHW', got 'NWC'", data_format="NWC"),
)


def pools(op, name):
    about = {"min_input": LOW, "max_input": HIGH}

    def oracle(tf, input, padding, **ends):
        window = {"ksize": [1, 2, 3, 1], "strides": [1, 2, 2, 1], "padding": padding}
        return op_of_tensorflow(tf, name, {"input": input}, **ends, **window)

    return [
        case(
            op,
            {"input": numbers("int32", 2, 5, 6, 3), **about},
            dict(ksize=2, strides=1, padding="SAME"),
            bad=BAD_POOLS,
        ),
        case(
            op,
            {"input": numbers("uint8", 2, 5, 6, 3), **about},
            dict(ksize=(2, 3), strides=2, padding="SAME"),
            label="uint8",
            oracle=lambda tf, **arrays: oracle(tf, **arrays, padding="SAME"),
        ),
        case(
            op,
            {"input": numbers("int8", 2, 3, 5, 6), **about},
            dict(ksize=2, strides=(2, 1), padding=((1, 0), (1, 1)), data_format="NCHW"),
            label="NCHW-explicit",
        ),
    ]


RANGES = {"min_input": LOW, "max_input": HIGH, "min_filter": np.array(-0.5), "max_filter": np.array(0.25)}
BAD_CONVOLUTION = (
    *bad_ranges("min_input", "max_input"),
    *bad_ranges("min_filter", "max_filter"),
    bad("`input` must be uint8 or int8, got int32", TypeError, input=numbers("int32", 2, 5, 6, 3)),
    bad("`filter` must be uint8 or int8, got int32", TypeError, filter=numbers("int32", 2, 3, 3, 4)),
    bad("`input` must be of rank at least 4", input=numbers("uint8", 3)),
    bad(r"`filter` must have shape \(2, 3, 3, 4\) \(the 3 channels of `input`\)", filter=numbers("uint8", 2, 3, 2, 4)),
    bad("`out_type` must be int32, got 'uint8'", TypeError, out_type="uint8"),
    bad("`strides` must be an int or have length", strides=(1, 2, 3)),
    bad("`dilations` must be at least 1, got 0", dilations=0),
    bad("`padding` must be 'SAME', 'VALID' or", padding="EXPLICIT"),
    bad("`data_format` must be 'NHWC' or 'NCHW', got 'NWC'", data_format="NWC"),
)


def convolution(tf, input, filter, strides, padding, **ends):
    window = {"strides": [1, strides, strides, 1], "padding": padding}
    return op_of_tensorflow(tf, "QuantizedConv2D", {"input": input, "filter": filter}, **ends, **window)


CONVOLUTIONS = [
    case(
        nn.quantized_conv2d,
        {"input": numbers("uint8", 2, 5, 6, 3), "filter": numbers("uint8", 2, 3, 3, 4, seed=1), **RANGES},
        dict(strides=2, padding="SAME"),
        oracle=lambda tf, **arrays: convolution(tf, **arrays, strides=2, padding="SAME"),
        bad=BAD_CONVOLUTION,
        lists=False,
    ),
    case(
        nn.quantized_conv2d,
        {"input": numbers("uint8", 2, 5, 6, 3), "filter": numbers("uint8", 2, 3, 3, 4, seed=1), **RANGES},
        dict(strides=1, padding="VALID"),
        label="valid",
        oracle=lambda tf, **arrays: convolution(tf, **arrays, strides=1, padding="VALID"),
    ),
    case(
        nn.quantized_conv2d,
        {"input": numbers("int8", 2, 3, 7, 8), "filter": numbers("uint8", 2, 3, 3, 4, seed=1), **RANGES},
        dict(strides=(2, 1), padding=((1, 0), (2, 3)), dilations=(2, 1), data_format="NCHW"),
        label="NCHW-explicit-dilated",
    ),
]

CASES = [
    *RECTIFIERS,
    *pools(nn.quantized_max_pool, "QuantizedMaxPool"),
    *pools(nn.quantized_avg_pool, "QuantizedAvgPool"),
    *CONVOLUTIONS,
]
