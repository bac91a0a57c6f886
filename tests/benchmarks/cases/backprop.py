"""The gradients of convolutions as ops of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import DIMENSION_NUMBERS, all_channels_first

Shape = tuple[int, ...]


def input_backprop(label: str, input_shape: Shape, filters_shape: Shape, *, strides: int = 1) -> Benchmark:
    """The gradient for the input of a convolution with one zero on every side."""
    out = out_shape(input_shape, filters_shape, strides)

    def plain(filters: jax.Array, out_backprop: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct(input_shape, np.float32)
        return jax.linear_transpose(lambda x: plain_convolution(x, filters, strides), like)(out_backprop)[0]

    def ours(filters: jax.Array, out_backprop: jax.Array) -> jax.Array:
        return nn.conv2d_backprop_input(input_shape, filters, out_backprop, strides, [(1, 1)] * 2)

    def tensorflow(tf: Any, filters: Any, out_backprop: Any) -> Any:
        op = tf.compat.v1.nn.conv2d_backprop_input
        return op(input_shape, filters, out_backprop, [1, strides, strides, 1], [[0, 0], [1, 1], [1, 1], [0, 0]])

    def torch(torch: Any, filters: Any, out_backprop: Any) -> Any:
        batch, *sizes, channels = input_shape
        return torch.nn.grad.conv2d_input([batch, channels, *sizes], filters, out_backprop, strides, 1)

    return Benchmark(
        "conv2d_backprop_input",
        label,
        arrays={"filters": normal(*filters_shape, seed=1), "out_backprop": normal(*out)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, lambda w, y: all_channels_first(y, w)[::-1], lambda x: (jnp.moveaxis(x, 1, -1),)),
        shared=("filters",),
    )


def filter_backprop(label: str, input_shape: Shape, filters_shape: Shape, *, strides: int = 1) -> Benchmark:
    """The gradient for the filters of a convolution with one zero on every side."""
    n = len(input_shape) - 2
    name = f"conv{n}d_backprop_filter"

    def plain(input: jax.Array, out_backprop: jax.Array) -> jax.Array:
        like = jax.ShapeDtypeStruct(filters_shape, np.float32)
        return jax.linear_transpose(lambda w: plain_convolution(input, w, strides), like)(out_backprop)[0]

    def ours(input: jax.Array, out_backprop: jax.Array) -> jax.Array:
        return getattr(nn, name)(input, filters_shape, out_backprop, strides, [(1, 1)] * n)

    def tensorflow(tf: Any, input: Any, out_backprop: Any) -> Any:
        if n == 3:
            op = tf.compat.v1.nn.conv3d_backprop_filter_v2
            return op(input, filters_shape, out_backprop, [1, *[strides] * n, 1], "SAME")
        op = tf.compat.v1.nn.conv2d_backprop_filter
        pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
        return op(input, filters_shape, out_backprop, [1, *[strides] * n, 1], pads)

    def torch(torch: Any, input: Any, out_backprop: Any) -> Any:
        *window, ins, outs = filters_shape
        return getattr(torch.nn.grad, f"conv{n}d_weight")(input, [outs, ins, *window], out_backprop, strides, 1)

    return Benchmark(
        name,
        label,
        arrays={
            "input": normal(*input_shape),
            "out_backprop": normal(*out_shape(input_shape, filters_shape, strides), seed=1),
        },
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(
            torch,
            lambda *arrays: [jnp.moveaxis(array, -1, 1) for array in arrays],
            lambda w: (jnp.moveaxis(w, (0, 1), (-1, -2)),),
        ),
    )


def out_shape(input_shape: Shape, filters_shape: Shape, strides: int) -> Shape:
    batch, *sizes, _ = input_shape
    outputs = [(size + 2 - k) // strides + 1 for size, k in zip(sizes, filters_shape, strict=False)]
    return (batch, *outputs, filters_shape[-1])


def plain_convolution(input: jax.Array, filters: jax.Array, strides: int) -> jax.Array:
    n = input.ndim - 2
    return jax.lax.conv_general_dilated(
        input, filters, (strides,) * n, [(1, 1)] * n, dimension_numbers=DIMENSION_NUMBERS[n + 2]
    )


BENCHMARKS = [
    input_backprop("3x3_56x64", (8, 56, 56, 64), (3, 3, 64, 64)),
    input_backprop("3x3_s2_56x64", (8, 56, 56, 64), (3, 3, 64, 64), strides=2),
    filter_backprop("3x3_56x64", (8, 56, 56, 64), (3, 3, 64, 64)),
    filter_backprop("3x3_s2_56x64", (8, 56, 56, 64), (3, 3, 64, 64), strides=2),
    filter_backprop("3x3x3_2x16x28x28x32", (2, 16, 28, 28, 32), (3, 3, 3, 32, 32)),
]
