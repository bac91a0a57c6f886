"""Activations of 4096 x 1024 features."""

import jax
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal

FEATURES = {"features": normal(4096, 1024)}


def plain_dropout(x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.numpy.where(jax.random.bernoulli(key, 0.9, x.shape), x / 0.9, 0)


BENCHMARKS = [
    Benchmark(
        "relu",
        "4096x1024",
        arrays=FEATURES,
        ours=lambda x: nn.relu(x),
        plain=lambda x: jax.nn.relu(x),
        tensorflow=Peer(lambda tf, x: tf.nn.relu(x)),
        torch=Peer(lambda torch, x: torch.relu(x)),
    ),
    Benchmark(
        "gelu",
        "4096x1024",
        arrays=FEATURES,
        ours=lambda x: nn.gelu(x),
        plain=lambda x: jax.nn.gelu(x, approximate=False),
        tensorflow=Peer(lambda tf, x: tf.nn.gelu(x)),
        torch=Peer(lambda torch, x: torch.nn.functional.gelu(x)),
    ),
    Benchmark(
        "gelu",
        "approximate_4096x1024",
        arrays=FEATURES,
        ours=lambda x: nn.gelu(x, approximate=True),
        plain=lambda x: jax.nn.gelu(x, approximate=True),
        tensorflow=Peer(lambda tf, x: tf.nn.gelu(x, approximate=True)),
        torch=Peer(lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh")),
    ),
    Benchmark(
        "softplus",
        "4096x1024",
        arrays=FEATURES,
        ours=lambda x: nn.softplus(x),
        plain=lambda x: jax.nn.softplus(x),
        tensorflow=Peer(lambda tf, x: tf.nn.softplus(x)),
        torch=Peer(lambda torch, x: torch.nn.functional.softplus(x)),
    ),
    Benchmark(
        "dropout",
        "4096x1024",
        arrays=FEATURES,
        constants={"key": np.array([0, 7], np.uint32)},
        ours=lambda x, key: nn.dropout(x, 0.1, key=key),
        plain=plain_dropout,
        tensorflow=Peer(lambda tf, x, key: tf.nn.dropout(x, 0.1)),
        torch=Peer(lambda torch, x, key: torch.nn.functional.dropout(x, 0.1)),
        differs=("plain", "tensorflow", "torch"),
    ),
]
