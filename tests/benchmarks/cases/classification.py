"""Softmax and the cross entropies of rows of 10 to 32,000 classes, and of 4096 x 1024 independent ones."""

import jax
import jax.numpy as jnp
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal

INDEPENDENT = "4096x1024"
INDEPENDENT_ARRAYS = {
    "labels": np.random.default_rng(1).uniform(size=(4096, 1024)).astype(np.float32),
    "logits": normal(4096, 1024),
}


def plain_cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    return -jnp.sum(labels * jax.nn.log_softmax(logits), -1)


def plain_sparse_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], -1)[:, 0]


def plain_sigmoid_cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    return jax.nn.softplus(logits) - labels * logits


def plain_weighted_cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    return 3 * labels * jax.nn.softplus(-logits) + (1 - labels) * jax.nn.softplus(logits)


def of_exclusive_classes(rows: int, classes: int) -> list[Benchmark]:
    """The softmaxes and their cross entropies."""
    size = f"{rows}x{classes}"
    logits, numbers = normal(rows, classes), integers(0, classes, rows)
    distributions = np.asarray(jax.nn.softmax(normal(rows, classes, seed=1)))
    return [
        Benchmark(
            "softmax",
            size,
            arrays={"logits": logits},
            ours=lambda logits: nn.softmax(logits),
            plain=lambda logits: jax.nn.softmax(logits),
            tensorflow=Peer(lambda tf, logits: tf.nn.softmax(logits)),
            torch=Peer(lambda torch, logits: torch.softmax(logits, -1)),
        ),
        Benchmark(
            "log_softmax",
            size,
            arrays={"logits": logits},
            ours=lambda logits: nn.log_softmax(logits),
            plain=lambda logits: jax.nn.log_softmax(logits),
            tensorflow=Peer(lambda tf, logits: tf.nn.log_softmax(logits)),
            torch=Peer(lambda torch, logits: torch.log_softmax(logits, -1)),
        ),
        Benchmark(
            "softmax_cross_entropy_with_logits",
            size,
            arrays={"labels": distributions, "logits": logits},
            ours=lambda labels, logits: nn.softmax_cross_entropy_with_logits(labels, logits),
            plain=plain_cross_entropy,
            tensorflow=Peer(lambda tf, labels, logits: tf.nn.softmax_cross_entropy_with_logits(labels, logits)),
            torch=Peer(
                lambda torch, labels, logits: torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            ),
        ),
        Benchmark(
            "softmax_cross_entropy_with_logits",
            f"logits_only_{size}",
            arrays={"logits": logits},
            constants={"labels": distributions},
            ours=lambda logits, labels: nn.softmax_cross_entropy_with_logits(labels, logits),
            plain=lambda logits, labels: plain_cross_entropy(labels, logits),
            tensorflow=Peer(lambda tf, logits, labels: tf.nn.softmax_cross_entropy_with_logits(labels, logits)),
            torch=Peer(
                lambda torch, logits, labels: torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            ),
        ),
        Benchmark(
            "sparse_softmax_cross_entropy_with_logits",
            size,
            arrays={"logits": logits},
            constants={"labels": numbers},
            ours=lambda logits, labels: nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
            plain=plain_sparse_cross_entropy,
            tensorflow=Peer(lambda tf, logits, labels: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)),
            torch=Peer(
                lambda torch, logits, labels: torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
            ),
        ),
    ]


BENCHMARKS = [
    *of_exclusive_classes(32, 10),
    *of_exclusive_classes(512, 1000),
    *of_exclusive_classes(256, 32000),
    Benchmark(
        "sigmoid_cross_entropy_with_logits",
        INDEPENDENT,
        arrays=INDEPENDENT_ARRAYS,
        ours=lambda labels, logits: nn.sigmoid_cross_entropy_with_logits(labels, logits),
        plain=plain_sigmoid_cross_entropy,
        tensorflow=Peer(lambda tf, labels, logits: tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)),
        torch=Peer(
            lambda torch, labels, logits: torch.nn.functional.binary_cross_entropy_with_logits(
                logits, labels, reduction="none"
            )
        ),
    ),
    Benchmark(
        "weighted_cross_entropy_with_logits",
        INDEPENDENT,
        arrays=INDEPENDENT_ARRAYS,
        ours=lambda labels, logits: nn.weighted_cross_entropy_with_logits(labels, logits, 3.0),
        plain=plain_weighted_cross_entropy,
        tensorflow=Peer(lambda tf, labels, logits: tf.nn.weighted_cross_entropy_with_logits(labels, logits, 3.0)),
        torch=Peer(
            lambda torch, labels, logits: torch.nn.functional.binary_cross_entropy_with_logits(
                logits, labels, reduction="none", pos_weight=torch.tensor(3.0)
            )
        ),
    ),
]
