"""The largest numbers of rows from ten numbers to a million, and whether a class is among them."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal


def top_k(rows: int, size: int, k: int) -> Benchmark:
    return Benchmark(
        "top_k",
        f"{rows}x{size}_k{k}",
        arrays={"input": normal(rows, size)},
        ours=lambda input: nn.top_k(input, k),
        plain=lambda input: jax.lax.top_k(input, k),
        tensorflow=Peer(lambda tf, input: tf.math.top_k(input, k)),
        torch=Peer(lambda torch, input: torch.topk(input, k)),
    )


def plain_in_top_k(targets: jax.Array, predictions: jax.Array, k: int) -> jax.Array:
    return jnp.any(jax.lax.top_k(predictions, k)[1] == targets[:, None], 1)


def torch_in_top_k(torch: Any, targets: Any, predictions: Any, k: int) -> Any:
    return (torch.topk(predictions, k)[1] == targets[:, None]).any(1)


def in_top_k(rows: int, size: int, k: int) -> Benchmark:
    return Benchmark(
        "in_top_k",
        f"{rows}x{size}_k{k}",
        constants={"targets": integers(0, size, rows), "predictions": normal(rows, size)},
        ours=lambda targets, predictions: nn.in_top_k(targets, predictions, k),
        plain=lambda targets, predictions: plain_in_top_k(targets, predictions, k),
        tensorflow=Peer(lambda tf, targets, predictions: tf.math.in_top_k(targets, predictions, k)),
        torch=Peer(lambda torch, targets, predictions: torch_in_top_k(torch, targets, predictions, k)),
    )


BENCHMARKS = [
    top_k(256, 32000, 5),
    top_k(256, 32000, 100),
    top_k(64, 1_000_000, 10),
    top_k(32, 10, 3),
    top_k(512, 10, 3),
    top_k(32, 1000, 5),
    top_k(512, 1000, 5),
    in_top_k(256, 32000, 5),
    in_top_k(512, 1000, 5),
    in_top_k(32, 10, 3),
]
