"""Morphology of 8 images of 56 x 56 x 64; PyTorch has none of it, and TensorFlow the first two ops only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal

SHAPE = (8, 56, 56, 64)


def as_maximum_of_patches(input: jax.Array, filters: jax.Array) -> jax.Array:
    """The obvious form: the maximum of shifted copies."""
    height, width, _ = filters.shape
    pads = [(0, 0), ((height - 1) // 2, height // 2), ((width - 1) // 2, width // 2), (0, 0)]
    padded = jnp.pad(input, pads, constant_values=-jnp.inf)
    rows, columns = input.shape[1:3]
    shifted = [padded[:, y : y + rows, x : x + columns] + filters[y, x] for y in range(height) for x in range(width)]
    return jnp.max(jnp.stack(shifted), axis=0)


def plain_erosion(value: jax.Array, filters: jax.Array) -> jax.Array:
    return -as_maximum_of_patches(-value, filters[::-1, ::-1])


def tensorflow_dilation(tf: Any, input: Any, filters: Any) -> Any:
    return tf.nn.dilation2d(input, filters, [1] * 4, "SAME", "NHWC", [1] * 4)


def tensorflow_erosion(tf: Any, value: Any, filters: Any) -> Any:
    return tf.nn.erosion2d(value, filters, [1] * 4, "SAME", "NHWC", [1] * 4)


def morphology(
    op: str, size: int, ours: Callable[..., jax.Array], plain: Callable[..., jax.Array], tensorflow: Callable[..., Any]
) -> Benchmark:
    """With a structuring element of ``size`` x ``size``.

    The plain form shares the gradient where rounding makes a tie.
    """
    return Benchmark(
        op,
        f"{size}x{size}",
        arrays={"input": normal(*SHAPE), "filters": normal(size, size, SHAPE[-1], seed=1)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        differs=("plain",),
        shared=("filters",),
    )


def dilation(size: int) -> Benchmark:
    """With ``SAME`` padding."""
    return morphology(
        "dilation2d", size, lambda x, f: nn.dilation2d(x, f, 1, "SAME"), as_maximum_of_patches, tensorflow_dilation
    )


def erosion(size: int) -> Benchmark:
    """With ``SAME`` padding."""
    return morphology("erosion2d", size, lambda x, f: nn.erosion2d(x, f, 1, "SAME"), plain_erosion, tensorflow_erosion)


BENCHMARKS = [
    dilation(3),
    dilation(5),
    erosion(3),
    erosion(5),
    morphology(
        "opening2d",
        3,
        nn.opening2d,
        lambda x, f: as_maximum_of_patches(plain_erosion(x, f), f),
        lambda tf, x, f: tensorflow_dilation(tf, tensorflow_erosion(tf, x, f), f),
    ),
]
