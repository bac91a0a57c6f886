"""Fractional pooling of 8 images of 56 x 56 x 64 to 38 x 38 and 39 x 39, and to half and less."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from benchmarks.cases.convolution import channels_last

SIZE = 56


def sequence(key: jax.Array, outputs: int) -> jax.Array:
    """Drawn as ours are."""
    increments = SIZE // outputs + (np.arange(outputs) < SIZE % outputs)
    return jnp.pad(jnp.cumsum(jax.random.permutation(key, increments)), (1, 0))


def pool_axis(x: jax.Array, boundaries: jax.Array, axis: int, kind: str, overlapping: bool) -> jax.Array:
    """All cells of all windows along an axis, and then their maximum or average."""
    last = jnp.minimum(boundaries[1:] - (not overlapping), SIZE - 1)
    longest = -(-SIZE // (len(boundaries) - 1)) + overlapping
    places = boundaries[:-1, None] + jnp.arange(longest)
    inside = jnp.expand_dims(places <= last[:, None], range(2, 5 - axis))
    cells = jnp.where(inside, jnp.take(x, places, axis, mode="clip"), -math.inf if kind == "max" else 0.0)
    if kind == "max":
        return jnp.max(cells, axis + 1)
    return jnp.sum(cells, axis + 1) / jnp.sum(inside, 1)


def fractional(kind: str, ratio: float, overlapping: bool) -> Benchmark:
    op = f"fractional_{kind}_pool"
    outputs = int(SIZE / ratio)

    def ours(value: jax.Array, key: jax.Array) -> jax.Array:
        return getattr(nn, op)(value, ratio, overlapping=overlapping, key=key).output

    def plain(value: jax.Array, key: jax.Array) -> jax.Array:
        for axis, axis_key in enumerate(jax.random.split(key), 1):
            value = pool_axis(value, sequence(axis_key, outputs), axis, kind, overlapping)
        return value

    def tensorflow(tf: Any, value: Any, key: Any) -> Any:
        del key
        return getattr(tf.nn, op)(value, [1.0, ratio, ratio, 1.0], overlapping=overlapping, seed=1)[0]

    def torch(torch: Any, value: Any, key: Any) -> Any:
        # windows all of the same size, which overlap where they must
        del key
        size = math.ceil(ratio) + overlapping
        return torch.nn.functional.fractional_max_pool2d(value, size, output_size=outputs)

    return Benchmark(
        op,
        f"{ratio:.3g}" + ("_overlapping" if overlapping else ""),
        arrays={"value": normal(8, SIZE, SIZE, 64)},
        constants={"key": np.array([0, 7], np.uint32)},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        torch=Peer(torch, lambda value: (jnp.moveaxis(value, -1, 1),), channels_last) if kind == "max" else None,
        differs=("tensorflow", "torch"),
    )


BENCHMARKS = [
    fractional(kind, ratio, overlapping)
    for kind in ("avg", "max")
    for ratio in (1.44, math.sqrt(2), 2.4)
    for overlapping in (False, True)
]
