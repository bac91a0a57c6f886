"""Pooling of 8 images of 56 x 56 x 64, and of 2 volumes of 16 x 28 x 28 x 32."""

import math
from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import channels_last

INPUT_SHAPES = {2: (8, 56, 56, 64), 3: (2, 16, 28, 28, 32)}


def pooling(kind: str, spatial_rank: int, size: int, strides: int, padding: str = "SAME") -> Benchmark:
    """``avg`` or ``max`` pooling."""
    op = f"{kind}_pool{spatial_rank}d"
    shape = INPUT_SHAPES[spatial_rank]

    def ours(input: jax.Array) -> jax.Array:
        return getattr(nn, op)(input, size, strides, padding)

    def reduce_window(input: jax.Array, start: float, reduce: Any) -> jax.Array:
        window, step = ((1, *(number,) * spatial_rank, 1) for number in (size, strides))
        return jax.lax.reduce_window(input, start, reduce, window, step, padding)

    def plain(input: jax.Array) -> jax.Array:
        if kind == "max":
            return reduce_window(input, -math.inf, jax.lax.max)
        cells = jnp.ones((1, *input.shape[1:-1], 1))
        return reduce_window(input, 0.0, jax.lax.add) / reduce_window(cells, 0.0, jax.lax.add)

    def tensorflow(tf: Any, input: Any) -> Any:
        return getattr(tf.nn, op)(input, size, strides, padding)

    def torch(torch: Any, input: Any) -> Any:
        # a stride of 2 has nothing to pad before and, with ceil_mode, the rest after
        options = {"padding": 0, "ceil_mode": padding == "SAME"}
        if padding == "SAME" and strides == 1:
            options = {"padding": size // 2}
        if kind == "avg":
            options["count_include_pad"] = False
        return getattr(torch.nn.functional, op)(input, size, strides, **options)

    return Benchmark(
        op,
        "x".join([str(size)] * spatial_rank) + f"_s{strides}",
        arrays={"input": normal(*shape)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, lambda input: (jnp.moveaxis(input, -1, 1),), channels_last),
    )


def dilated(size: int, dilation: int) -> Benchmark:
    """Maximum pooling with dilations; lax has no gradient for it, and TensorFlow goes by way of the batch."""

    def ours(input: jax.Array) -> jax.Array:
        return nn.max_pool2d(input, size, 1, "VALID", dilations=dilation)

    def tensorflow(tf: Any, input: Any) -> Any:
        return tf.nn.pool(input, [size] * 2, "MAX", [1, 1], "VALID", dilations=[dilation] * 2)

    def torch(torch: Any, input: Any) -> Any:
        return torch.nn.functional.max_pool2d(input, size, 1, dilation=dilation)

    return Benchmark(
        "max_pool2d",
        f"{size}x{size}_rate{dilation}",
        arrays={"input": normal(*INPUT_SHAPES[2])},
        ours=ours,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, lambda input: (jnp.moveaxis(input, -1, 1),), channels_last),
    )


def with_argmax(size: int, strides: int) -> Benchmark:
    """Forward only: TensorFlow has no gradient on CPU, and ours is that of ``max_pool2d``.

    PyTorch's index leaves out the channels, so only shapes are compared with it.
    """
    shape = INPUT_SHAPES[2]

    def ours(input: jax.Array) -> Any:
        return nn.max_pool_with_argmax(input, size, strides, "VALID")

    def tensorflow(tf: Any, input: Any) -> Any:
        return tf.nn.max_pool_with_argmax(input, size, strides, "VALID", output_dtype=tf.int32)

    def torch(torch: Any, input: Any) -> Any:
        return torch.nn.functional.max_pool2d(input.movedim(-1, 1), size, strides, return_indices=True)

    return Benchmark(
        "max_pool_with_argmax",
        f"{size}x{size}_s{strides}",
        constants={"input": normal(*shape)},
        ours=ours,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, unpack=lambda *outputs: [jnp.moveaxis(output, 1, -1) for output in outputs]),
        differs=("torch",),
    )


BENCHMARKS = [
    pooling("avg", 2, 2, 2),
    pooling("avg", 2, 3, 1),
    pooling("avg", 2, 3, 2),
    pooling("avg", 2, 14, 14, "VALID"),
    pooling("avg", 2, 56, 1, "VALID"),
    pooling("avg", 3, 3, 2),
    pooling("max", 2, 2, 2),
    pooling("max", 2, 3, 1),
    pooling("max", 2, 3, 2),
    pooling("max", 2, 14, 14, "VALID"),
    pooling("max", 2, 56, 1, "VALID"),
    pooling("max", 3, 2, 2),
    pooling("max", 3, 3, 2),
    dilated(3, 2),
    with_argmax(2, 2),
    with_argmax(3, 2),
]
