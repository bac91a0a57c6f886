"""Convolutions: layers of ResNet, ResNeXt, U-Net, WaveNet and video networks, most of them on 8 images."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal

DIMENSION_NUMBERS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
CHANNELS_FIRST = {3: "NCW", 4: "NCHW", 5: "NCDHW"}


def all_channels_first(input: Any, filters: Any) -> tuple[jax.Array, jax.Array]:
    """PyTorch's layout: ``[batch, in_channels, ...]`` and ``[out_channels, in_channels, ...]``."""
    return jnp.moveaxis(input, -1, 1), jnp.moveaxis(filters, (-1, -2), (0, 1))


def filters_channels_first(input: Any, filters: Any) -> tuple[jax.Array, jax.Array]:
    """PyTorch's layout of the filters alone."""
    return input, jnp.moveaxis(filters, (-1, -2), (0, 1))


def channels_last(output: Any) -> tuple[jax.Array]:
    return (jnp.moveaxis(output, 1, -1),)


def convolution(
    label: str,
    input_shape: tuple[int, ...],
    filters_shape: tuple[int, ...],
    *,
    strides: int = 1,
    dilations: int = 1,
    padding: str = "SAME",
    cells: int | tuple[int, ...] = 0,
    channels_first: bool = False,
) -> Benchmark:
    """One convolution, its padding both by name and as the cells on every side, or by these alone ("EXPLICIT").

    With ``channels_first`` the input is in that layout, which TensorFlow does not have on CPU.
    """
    rank = len(input_shape)
    spatial_rank = rank - 2
    op = f"conv{spatial_rank}d"
    sides = (cells,) * spatial_rank if isinstance(cells, int) else cells
    pads: Any = [[0, 0], *([side, side] for side in sides), [0, 0]] if padding == "EXPLICIT" else padding
    groups = input_shape[-1] // filters_shape[-2]
    images, kernels, _ = DIMENSION_NUMBERS[rank]
    data_format = CHANNELS_FIRST[rank] if channels_first else images
    if channels_first:
        label += f"_{data_format}"
        input_shape = (input_shape[0], input_shape[-1], *input_shape[1:-1])

    def ours(input: jax.Array, filters: jax.Array) -> jax.Array:
        return getattr(nn, op)(input, filters, strides, pads, data_format, dilations)

    def plain(input: jax.Array, filters: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            input,
            filters,
            (strides,) * spatial_rank,
            [(side, side) for side in sides],
            rhs_dilation=(dilations,) * spatial_rank,
            dimension_numbers=(data_format, kernels, data_format),
            feature_group_count=groups,
        )

    def tensorflow(tf: Any, input: Any, filters: Any) -> Any:
        step = [1, *[strides] * spatial_rank, 1] if spatial_rank == 3 else strides
        rate = [1, *[dilations] * spatial_rank, 1] if spatial_rank == 3 else dilations
        return getattr(tf.nn, op)(input, filters, step, pads, dilations=rate)

    def torch(torch: Any, input: Any, filters: Any) -> Any:
        function = getattr(torch.nn.functional, op)
        return function(input, filters, stride=strides, padding=sides, dilation=dilations, groups=groups)

    return Benchmark(
        op,
        label,
        arrays={"input": normal(*input_shape), "filters": normal(*filters_shape, seed=1)},
        ours=ours,
        plain=plain,
        tensorflow=None if channels_first else Peer(tensorflow),
        torch=Peer(torch, filters_channels_first) if channels_first else Peer(torch, all_channels_first, channels_last),
        shared=("filters",),
    )


BENCHMARKS = [
    convolution("k5_16x1000x64", (16, 1000, 64), (5, 64, 64), cells=2),
    convolution("k4s2_16x1000x64", (16, 1000, 64), (4, 64, 64), strides=2, cells=1),
    convolution("k2_rate64_8x4000x64", (8, 4000, 64), (2, 64, 128), dilations=64, padding="VALID"),
    convolution("1x1_56x64_256", (8, 56, 56, 64), (1, 1, 64, 256)),
    convolution("1x1_s2_56x256_128", (8, 56, 56, 256), (1, 1, 256, 128), strides=2),
    convolution("3x3_14x256", (8, 14, 14, 256), (3, 3, 256, 256), cells=1),
    convolution("3x3_28x128", (8, 28, 28, 128), (3, 3, 128, 128), cells=1),
    convolution("3x3_rate2_28x128", (8, 28, 28, 128), (3, 3, 128, 128), dilations=2, cells=2),
    convolution("3x3_s1_56x64", (8, 56, 56, 64), (3, 3, 64, 64), cells=1),
    convolution("3x3_s2_56x64", (8, 56, 56, 64), (3, 3, 64, 64), strides=2, padding="EXPLICIT", cells=1),
    convolution("3x3_112x32", (8, 112, 112, 32), (3, 3, 32, 32), cells=1),
    convolution("3x3_32_groups_28x128", (8, 28, 28, 128), (3, 3, 4, 128), cells=1),
    convolution("3x3_2_groups_28x128", (8, 28, 28, 128), (3, 3, 64, 128), cells=1),
    convolution("5x5_28x32", (8, 28, 28, 32), (5, 5, 32, 32), cells=2),
    convolution("7x7_s2_224_stem", (8, 224, 224, 3), (7, 7, 3, 64), strides=2, padding="EXPLICIT", cells=3),
    convolution("k5_16x1000x64", (16, 1000, 64), (5, 64, 64), cells=2, channels_first=True),
    convolution("3x3_28x128", (8, 28, 28, 128), (3, 3, 128, 128), cells=1, channels_first=True),
    convolution("3x3x3_2x16x28x28x32", (2, 16, 28, 28, 32), (3, 3, 3, 32, 32), cells=1),
    convolution("3x3x3_2x16x28x28x32", (2, 16, 28, 28, 32), (3, 3, 3, 32, 32), cells=1, channels_first=True),
    convolution("1x3x3_2x16x28x28x32", (2, 16, 28, 28, 32), (1, 3, 3, 32, 72), cells=(0, 1, 1)),
    convolution("3x1x1_2x16x28x28x72", (2, 16, 28, 28, 72), (3, 1, 1, 72, 32), cells=(1, 0, 0)),
    convolution("3x3x3_s2_2x16x28x28x32", (2, 16, 28, 28, 32), (3, 3, 3, 32, 32), strides=2, padding="VALID"),
]
