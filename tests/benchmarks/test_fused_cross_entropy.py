"""Times the cross entropy of a linear layer without its logits in memory, and reads how much memory that takes.

4,096 examples of 512 features, the mean of their losses, and its gradient for features, weights and biases. The plain
form has all logits at once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import jnnops as nn
from benchmarks.benchmark import integers, normal
from benchmarks.implementation import Implementation
from benchmarks.in_jax import to_numpy
from benchmarks.measure import check_agreement, medians
from benchmarks.report import Row

ROWS, DIM = 4096, 512
SIZES = {"32k": 32_000, "256k": 256_000}


def fused(labels: jax.Array, features: jax.Array, weights: jax.Array, biases: jax.Array) -> jax.Array:
    return jnp.mean(nn.fused_linear_cross_entropy(labels, features, weights, biases))


def plain(labels: jax.Array, features: jax.Array, weights: jax.Array, biases: jax.Array) -> jax.Array:
    return jnp.mean(nn.sparse_softmax_cross_entropy_with_logits(labels, features @ weights + biases))


def compiled(loss: Callable[..., Any], pass_: str, arrays: Any) -> Any:
    function = loss if pass_ == "forward" else jax.value_and_grad(loss, (1, 2, 3))
    return jax.jit(function).lower(*arrays).compile()


@pytest.mark.parametrize("pass_", ["forward", "gradient"])
@pytest.mark.parametrize("size", SIZES)
def test_fused_linear_cross_entropy(size: str, pass_: str, benchmark: BenchmarkFixture, rows: list[Row]) -> None:
    classes = SIZES[size]
    given = integers(0, classes, ROWS), normal(ROWS, DIM), normal(DIM, classes, scale=0.05), normal(classes)
    arrays = jax.device_put(given)
    programs = {name: compiled(loss, pass_, arrays) for name, loss in (("ours", fused), ("plain", plain))}

    def side(name: str) -> Implementation:
        return Implementation(
            name, lambda: jax.block_until_ready(programs[name](*arrays)), lambda found: to_numpy(jax.tree.leaves(found))
        )

    sides = [side(name) for name in programs]
    check_agreement(sides, (), 1e-4)
    memory = {name: program.memory_analysis().temp_size_in_bytes / 2**20 for name, program in programs.items()}
    row = Row(f"fused_linear_cross_entropy-{size}", pass_, medians(sides, benchmark), {}, memory)
    benchmark.extra_info.update(dataclasses.asdict(row))
    rows.append(row)
