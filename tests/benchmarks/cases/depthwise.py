"""Depthwise and separable convolutions: of MobileNet, EfficientNet and Xception, on 8 images."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import DIMENSION_NUMBERS, channels_last


def depthwise(label: str, size: int, channels: int, *, window: int, multiplier: int = 1, strides: int = 1) -> Benchmark:
    """One depthwise convolution with ``window // 2`` zeros on every side."""
    cells = window // 2
    pads = [[0, 0], [cells, cells], [cells, cells], [0, 0]]

    def tensorflow(tf: Any, input: Any, filter: Any) -> Any:
        return tf.nn.depthwise_conv2d(input, filter, (1, strides, strides, 1), pads)

    def torch(torch: Any, input: Any, filter: Any) -> Any:
        return torch.nn.functional.conv2d(input, filter, stride=strides, padding=cells, groups=channels)

    def plain(input: jax.Array, filter: jax.Array) -> jax.Array:
        return plain_depthwise(input, filter, strides, cells)

    return Benchmark(
        "depthwise_conv2d",
        label,
        arrays={
            "input": normal(8, size, size, channels),
            "filter": normal(window, window, channels, multiplier, seed=1),
        },
        ours=lambda input, filter: nn.depthwise_conv2d(input, filter, strides, pads),
        plain=plain if multiplier == 1 else None,  # with more its gradient takes half a minute
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, depthwise_channels_first, channels_last),
        shared=("filter",),
    )


def plain_depthwise(input: jax.Array, filter: jax.Array, strides: int, cells: int) -> jax.Array:
    *window, channels, multiplier = filter.shape
    return jax.lax.conv_general_dilated(
        input,
        filter.reshape(*window, 1, channels * multiplier),
        (strides, strides),
        [(cells, cells)] * 2,
        dimension_numbers=DIMENSION_NUMBERS[4],
        feature_group_count=channels,
    )


def depthwise_channels_first(input: Any, filter: Any) -> tuple[jax.Array, jax.Array]:
    """PyTorch's layout, in which the filters of a channel's outputs stand one after the other."""
    *window, _, _ = filter.shape
    return jnp.moveaxis(input, -1, 1), filter.transpose(2, 3, 0, 1).reshape(-1, 1, *window)


def separable(label: str, size: int, channels: int, outputs: int) -> Benchmark:
    """One separable convolution, 3x3 with one output for each channel."""

    def plain(input: jax.Array, depthwise_filter: jax.Array, pointwise_filter: jax.Array) -> jax.Array:
        filtered = plain_depthwise(input, depthwise_filter, 1, 1)
        return jax.lax.conv_general_dilated(
            filtered, pointwise_filter, (1, 1), "SAME", dimension_numbers=DIMENSION_NUMBERS[4]
        )

    def tensorflow(tf: Any, input: Any, depthwise_filter: Any, pointwise_filter: Any) -> Any:
        return tf.nn.separable_conv2d(input, depthwise_filter, pointwise_filter, (1, 1, 1, 1), "SAME")

    def torch(torch: Any, input: Any, depthwise_filter: Any, pointwise_filter: Any) -> Any:
        filtered = torch.nn.functional.conv2d(input, depthwise_filter, padding=1, groups=channels)
        return torch.nn.functional.conv2d(filtered, pointwise_filter)

    def pack(input: Any, depthwise_filter: Any, pointwise_filter: Any) -> tuple[jax.Array, ...]:
        return *depthwise_channels_first(input, depthwise_filter), jnp.transpose(pointwise_filter, (3, 2, 0, 1))

    return Benchmark(
        "separable_conv2d",
        label,
        arrays={
            "input": normal(8, size, size, channels),
            "depthwise_filter": normal(3, 3, channels, 1, seed=1),
            "pointwise_filter": normal(1, 1, channels, outputs, seed=2),
        },
        ours=lambda input, first, second: nn.separable_conv2d(input, first, second, 1, "SAME"),
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, pack, channels_last),
        shared=("depthwise_filter", "pointwise_filter"),
    )


BENCHMARKS = [
    depthwise("3x3_112x32", 112, 32, window=3),
    depthwise("3x3_56x128", 56, 128, window=3),
    depthwise("3x3_s2_56x128", 56, 128, window=3, strides=2),
    depthwise("3x3_14x512", 14, 512, window=3),
    depthwise("5x5_56x128", 56, 128, window=5),
    depthwise("3x3_56x128_multiplier2", 56, 128, window=3, multiplier=2),
    separable("3x3_56x64_128", 56, 64, 128),
]
