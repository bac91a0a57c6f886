"""Transposed convolutions: of U-Net, image generators, WaveNet's upsampling and video networks."""

from typing import Any

import jax

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import DIMENSION_NUMBERS, all_channels_first, channels_last


def transposed(
    label: str, input_shape: tuple[int, ...], filters_shape: tuple[int, ...], *, strides: int = 1, dilations: int = 1
) -> Benchmark:
    """One transposed convolution, to ``strides`` times the size."""
    batch, *sizes, _ = input_shape
    n = len(sizes)
    op = f"conv{n}d_transpose"
    output_shape = (batch, *(size * strides for size in sizes), filters_shape[-2])
    reach = (filters_shape[0] - 1) * dilations + 1
    # the full result is cut by this on every side, and, if that is too much, grows at its end
    crop = (reach - strides + 1) // 2
    growth = strides - reach + 2 * crop
    pads = [(crop, crop - growth)] * n

    def ours(input: jax.Array, filters: jax.Array) -> jax.Array:
        return getattr(nn, op)(input, filters, output_shape, strides, pads, dilations=dilations)

    def plain(input: jax.Array, filters: jax.Array) -> jax.Array:
        return jax.lax.conv_transpose(
            input,
            filters,
            (strides,) * n,
            [(reach - 1 - crop, reach - 1 - crop + growth)] * n,
            rhs_dilation=(dilations,) * n,
            dimension_numbers=DIMENSION_NUMBERS[n + 2],
            transpose_kernel=True,
        )

    def tensorflow(tf: Any, input: Any, filters: Any) -> Any:
        if dilations > 1:
            return tf.nn.atrous_conv2d_transpose(input, filters, output_shape, dilations, "SAME")
        explicit = [[0, 0], *map(list, pads), [0, 0]]
        return getattr(tf.nn, op)(input, filters, output_shape, strides, explicit if growth else "SAME")

    def torch(torch: Any, input: Any, filters: Any) -> Any:
        function = getattr(torch.nn.functional, f"conv_transpose{n}d")
        return function(input, filters, stride=strides, padding=crop, output_padding=growth, dilation=dilations)

    return Benchmark(
        op,
        label,
        arrays={"input": normal(*input_shape), "filters": normal(*filters_shape, seed=1)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, all_channels_first, channels_last),
        shared=("filters",),
    )


BENCHMARKS = [
    transposed("k4_s2_16x500x64", (16, 500, 64), (4, 64, 64), strides=2),
    transposed("2x2_s2_28x128_64", (8, 28, 28, 128), (2, 2, 64, 128), strides=2),
    transposed("3x3_s2_28x64", (8, 28, 28, 64), (3, 3, 64, 64), strides=2),
    transposed("4x4_s2_28x64", (8, 28, 28, 64), (4, 4, 64, 64), strides=2),
    transposed("3x3_rate2_28x64", (8, 28, 28, 64), (3, 3, 64, 64), dilations=2),
    transposed("4x4x4_s2_2x8x14x14x32", (2, 8, 14, 14, 32), (4, 4, 4, 32, 32), strides=2),
]
