"""Pooling of 8 images of 56 x 56 x 64, and of 2 volumes of 16 x 28 x 28 x 32."""

import math
from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import channels_last

INPUT_SHAPES = {2: (8, 56, 56, 64), 3: (2, 16, 28, 28, 32)}


def pooling(kind: str, spatial_rank: int, size: int, strides: int) -> Benchmark:
    """``avg`` or ``max`` pooling with SAME padding."""
    op = f"{kind}_pool{spatial_rank}d"
    shape = INPUT_SHAPES[spatial_rank]

    def ours(input: jax.Array) -> jax.Array:
        return getattr(nn, op)(input, size, strides, "SAME")

    def reduce_window(input: jax.Array, start: float, reduce: Any) -> jax.Array:
        window, step = ((1, *(number,) * spatial_rank, 1) for number in (size, strides))
        return jax.lax.reduce_window(input, start, reduce, window, step, "SAME")

    def plain(input: jax.Array) -> jax.Array:
        if kind == "max":
            return reduce_window(input, -math.inf, jax.lax.max)
        cells = jnp.ones((1, *input.shape[1:-1], 1))
        return reduce_window(input, 0.0, jax.lax.add) / reduce_window(cells, 0.0, jax.lax.add)

    def tensorflow(tf: Any, input: Any) -> Any:
        return getattr(tf.nn, op)(input, size, strides, "SAME")

    def torch(torch: Any, input: Any) -> Any:
        # a stride of 2 has nothing to pad before and, with ceil_mode, the rest after
        options = {"padding": 0, "ceil_mode": True} if strides == 2 else {"padding": size // 2}
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


BENCHMARKS = [
    pooling("avg", 2, 2, 2),
    pooling("avg", 2, 3, 1),
    pooling("avg", 2, 3, 2),
    pooling("avg", 3, 3, 2),
    pooling("max", 2, 2, 2),
    pooling("max", 2, 3, 1),
    pooling("max", 2, 3, 2),
    pooling("max", 3, 2, 2),
    pooling("max", 3, 3, 2),
]
