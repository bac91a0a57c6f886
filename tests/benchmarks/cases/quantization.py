"""Quantization of 4 million numbers, and convolution and pooling of 8 quantized images.

A convolution is compared with our own of float32 numbers of the same shapes ("plain").
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal

NUMBERS = (2048, 2048)
RANGE = (-1.5, 2.5)
FILTER_RANGE = (-0.75, 0.5)
BY_ONEDNN = 0.01  # which rounds otherwise than TensorFlow's own kernels, whose bits are ours
KINDS = {"uint8": "quint8", "int8": "qint8", "int32": "qint32"}


def words(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Integers of all sizes."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def as_kind(tf: Any, tensor: Any) -> Any:
    """Integers as TensorFlow's kind that stands for real numbers, which copies nothing."""
    return tf.bitcast(tensor, getattr(tf, KINDS[tensor.dtype.name]))


def convolution(size: int, cells: int) -> Benchmark:
    """A square window on square images of 64 channels, and of as many out."""
    image, filters = (8, cells, cells, 64), (size, size, 64, 64)

    def ours(input: jax.Array, filter: jax.Array, *reals: jax.Array) -> jax.Array:
        del reals
        return nn.quantized_conv2d(input, filter, *RANGE, *FILTER_RANGE, 1, "SAME").output

    def plain(input: jax.Array, filter: jax.Array, *reals: jax.Array) -> jax.Array:
        del input, filter
        return nn.conv2d(reals[0], reals[1], 1, "SAME")

    def tensorflow(tf: Any, input: Any, filter: Any, *reals: Any) -> Any:
        del reals
        ends = dict(zip(("min_input", "max_input", "min_filter", "max_filter"), (*RANGE, *FILTER_RANGE), strict=True))
        found = tf.raw_ops.QuantizedConv2D(
            input=as_kind(tf, input), filter=as_kind(tf, filter), strides=[1] * 4, padding="SAME", **ends
        )
        return tf.bitcast(found.output, tf.int32)

    return Benchmark(
        "quantized_conv2d",
        f"{size}x{size}_{cells}x64",
        constants={
            "input": words("uint8", *image),
            "filter": words("uint8", *filters, seed=1),
            "real_input": normal(*image),
            "real_filter": normal(*filters, seed=1),
        },
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        differs=("plain",),
        tolerance=0,
        shared=("filter", "real_filter"),
    )


def pooling(kind: str, size: int, strides: int) -> Benchmark:
    """``avg`` or ``max`` pooling."""

    def ours(input: jax.Array) -> jax.Array:
        return getattr(nn, f"quantized_{kind}_pool")(input, *RANGE, size, strides, "SAME").output

    def tensorflow(tf: Any, input: Any) -> Any:
        op = getattr(tf.raw_ops, f"Quantized{kind.capitalize()}Pool")
        window = {"ksize": [1, size, size, 1], "strides": [1, strides, strides, 1], "padding": "SAME"}
        found = op(input=as_kind(tf, input), min_input=RANGE[0], max_input=RANGE[1], **window)
        return tf.bitcast(found.output, tf.uint8)

    return Benchmark(
        f"quantized_{kind}_pool",
        f"{size}x{size}_s{strides}",
        constants={"input": words("uint8", 8, 56, 56, 64)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=BY_ONEDNN if kind == "avg" else 0,
    )


def quantize(mode: Any, dtype: str) -> Benchmark:
    """Real numbers as integers."""

    def ours(input: jax.Array) -> jax.Array:
        return nn.quantize(input, *RANGE, dtype, mode).output

    def tensorflow(tf: Any, input: Any) -> Any:
        kind = getattr(tf, KINDS[dtype])
        found = tf.raw_ops.QuantizeV2(input=input, min_range=RANGE[0], max_range=RANGE[1], T=kind, mode=mode)
        return tf.bitcast(found.output, getattr(tf, dtype))

    return Benchmark(
        "quantize",
        f"{mode}_{dtype}",
        constants={"input": normal(*NUMBERS)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=BY_ONEDNN,
    )


def dequantize(mode: Any, dtype: str) -> Benchmark:
    """Integers as real numbers."""

    def ours(input: jax.Array) -> jax.Array:
        return nn.dequantize(input, *RANGE, mode)

    def tensorflow(tf: Any, input: Any) -> Any:
        return tf.raw_ops.Dequantize(input=as_kind(tf, input), min_range=RANGE[0], max_range=RANGE[1], mode=mode)

    return Benchmark(
        "dequantize",
        f"{mode}_{dtype}",
        constants={"input": words(dtype, *NUMBERS)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=BY_ONEDNN,
    )


def requantize() -> Benchmark:
    """Sums as integers of 8 bits."""

    def ours(input: jax.Array) -> jax.Array:
        return nn.requantize(input, -300.0, 300.0, *RANGE, jnp.uint8).output

    def tensorflow(tf: Any, input: Any) -> Any:
        ends = ("input_min", "input_max", "requested_output_min", "requested_output_max")
        ranges = dict(zip(ends, (-300.0, 300.0, *RANGE), strict=True))
        found = tf.raw_ops.Requantize(input=as_kind(tf, input), **ranges, out_type=tf.quint8)
        return tf.bitcast(found.output, tf.uint8)

    return Benchmark(
        "requantize",
        "int32_uint8",
        constants={"input": integers(-(2**24), 2**24, *NUMBERS)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=0,
    )


def rectifier() -> Benchmark:
    """Sums between 0 and 6."""

    def ours(features: jax.Array) -> jax.Array:
        return nn.quantized_relu6(features, -300.0, 300.0).activations

    def tensorflow(tf: Any, features: Any) -> Any:
        found = tf.raw_ops.QuantizedRelu6(
            features=as_kind(tf, features), min_features=-300.0, max_features=300.0, out_type=tf.qint32
        )
        return tf.bitcast(found.activations, tf.int32)

    return Benchmark(
        "quantized_relu6",
        "int32",
        constants={"features": integers(-(2**31), 2**31, *NUMBERS)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=0,
    )


def fake_quantization(per_channel: bool) -> Benchmark:
    """Rounding with a gradient, by a range that is learned."""
    op = "fake_quant_with_min_max_vars" + ("_per_channel" if per_channel else "")
    shape = (NUMBERS[1],) if per_channel else ()
    low, high = (np.full(shape, end, np.float32) for end in RANGE)

    def ours(inputs: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        return getattr(nn, op)(inputs, low, high)

    def tensorflow(tf: Any, inputs: Any, low: Any, high: Any) -> Any:
        return getattr(tf.quantization, op)(inputs, low, high)

    return Benchmark(
        op,
        "4M",
        arrays={"inputs": normal(*NUMBERS), "min": low, "max": high},
        ours=ours,
        tensorflow=Peer(tensorflow),
        tolerance=0.01,  # more than a step, since XLA rounds otherwise in TensorFlow, and than sums are off
        shared=("min", "max"),
    )


BENCHMARKS = [
    *(convolution(size, cells) for size in (1, 3) for cells in (28, 56)),
    *(pooling(kind, size, strides) for kind in ("avg", "max") for size, strides in ((2, 2), (3, 1), (3, 2))),
    quantize("MIN_COMBINED", "uint8"),
    quantize("MIN_FIRST", "uint8"),
    quantize("SCALED", "int8"),
    dequantize("MIN_COMBINED", "uint8"),
    dequantize("MIN_FIRST", "uint8"),
    dequantize("SCALED", "int8"),
    requantize(),
    rectifier(),
    fake_quantization(per_channel=False),
    fake_quantization(per_channel=True),
]
