"""Isotonic regression of rows of noise."""

import jax

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal


def isotonic_regression(rows: int, size: int) -> Benchmark:
    def ours(inputs: jax.Array) -> jax.Array:
        return nn.isotonic_regression(inputs).output

    return Benchmark(
        "isotonic_regression",
        f"{rows}x{size}",
        arrays={"inputs": normal(rows, size)},
        ours=ours,
        plain=None,
        tensorflow=Peer(lambda tf, inputs: tf.nn.isotonic_regression(inputs)[0]),
    )


BENCHMARKS = [isotonic_regression(64, 1000), isotonic_regression(1, 100_000)]
