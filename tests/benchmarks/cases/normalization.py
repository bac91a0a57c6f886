"""Normalization of images, of vectors, and of the layers of Krizhevsky et al., 2012."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import channels_last

EPSILON = 0.001


def plain_batch_norm(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
    mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    return (x - mean) * (jax.lax.rsqrt(variance + EPSILON) * scale) + offset


def torch_moments(torch: Any, x: Any) -> Any:
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return mean, variance


def local_response(label: str, shape: tuple[int, ...], radius: int, beta: float) -> Benchmark:
    width, options = 2 * radius + 1, {"bias": 1.0, "alpha": 0.1, "beta": beta}

    def plain(x: jax.Array) -> jax.Array:
        padding = ((0, 0), (0, 0), (0, 0), (radius, radius))
        sums = jax.lax.reduce_window(x * x, 0.0, jax.lax.add, (1, 1, 1, width), (1, 1, 1, 1), padding)
        return x * (1.0 + 0.1 * sums) ** -beta

    return Benchmark(
        "local_response_normalization",
        label,
        arrays={"x": normal(*shape)},
        ours=lambda x: nn.local_response_normalization(x, radius, **options),
        plain=plain,
        tensorflow=Peer(lambda tf, x: tf.nn.local_response_normalization(x, radius, **options)),
        torch=Peer(
            lambda torch, x: torch.nn.functional.local_response_norm(x, width, 0.1 * width, beta, 1.0),
            lambda x: (jnp.moveaxis(x, -1, 1),),
            channels_last,
        ),
    )


def batch_moments(*shape: int) -> list[Benchmark]:
    """Of images, the moments of the batch and the normalization by them."""
    images, label = normal(*shape), "x".join(map(str, shape))
    return [
        Benchmark(
            "moments",
            label,
            arrays={"x": images},
            ours=lambda x: nn.moments(x, (0, 1, 2)),
            plain=lambda x: (jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))),
            tensorflow=Peer(lambda tf, x: tf.nn.moments(x, (0, 1, 2))),
            torch=Peer(torch_moments, lambda x: (jnp.moveaxis(x, -1, 1),)),
        ),
        Benchmark(
            "fused_batch_norm",
            label,
            arrays={"x": images, "scale": normal(shape[-1], seed=1), "offset": normal(shape[-1], seed=2)},
            ours=lambda x, scale, offset: nn.fused_batch_norm(x, scale, offset, epsilon=EPSILON)[0],
            plain=plain_batch_norm,
            tensorflow=Peer(
                lambda tf, x, scale, offset: tf.compat.v1.nn.fused_batch_norm(x, scale, offset, epsilon=EPSILON)[0]
            ),
            torch=Peer(
                lambda torch, x, scale, offset: torch.nn.functional.batch_norm(
                    x, None, None, scale, offset, training=True, eps=EPSILON
                ),
                lambda x, scale, offset: (jnp.moveaxis(x, -1, 1), scale, offset),
                channels_last,
            ),
            shared=("scale", "offset"),
        ),
    ]


def l2_normalize(rows: int, size: int) -> Benchmark:
    return Benchmark(
        "l2_normalize",
        f"{rows}x{size}",
        arrays={"x": normal(rows, size)},
        ours=lambda x: nn.l2_normalize(x, -1),
        plain=lambda x: x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12)),
        tensorflow=Peer(lambda tf, x: tf.nn.l2_normalize(x, -1)),
        torch=Peer(lambda torch, x: torch.nn.functional.normalize(x, dim=-1, eps=1e-6)),
    )


BENCHMARKS = [
    local_response("16x55x55x96_radius5", (16, 55, 55, 96), radius=5, beta=0.5),
    local_response("16x27x27x256_radius2_beta0.75", (16, 27, 27, 256), radius=2, beta=0.75),
    local_response("16x27x27x256_radius2_beta0.6", (16, 27, 27, 256), radius=2, beta=0.6),
    local_response("4x16x16x256_radius100", (4, 16, 16, 256), radius=100, beta=0.5),
    local_response("2x8x8x16_radius5", (2, 8, 8, 16), radius=5, beta=0.5),
    *batch_moments(16, 56, 56, 64),
    *batch_moments(32, 8, 8, 16),
    l2_normalize(8192, 1024),
    l2_normalize(32, 10),
    l2_normalize(512, 1000),
]
