"""Times a training step of a sampled softmax, and how it grows with the number of classes."""

import dataclasses
from collections.abc import Sequence

import jax
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.implementation import Implementation
from benchmarks.measure import check_agreement, medians
from benchmarks.report import Row
from benchmarks.sparse_step import BATCHES, OPTIMIZERS, in_jax, in_tensorflow

SIZES = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000, "4M": 4_000_000}
SMALLEST, LARGEST = "10k", "4M"
DENSE_SIZES = ("10k", "1M")

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@pytest.mark.parametrize("size", SIZES)
@every_optimizer
def test_step(optimizer: str, size: str, benchmark: BenchmarkFixture, rows: list[Row]) -> None:
    sides = [in_jax("ours", optimizer, SIZES[size])]
    if size in DENSE_SIZES:
        sides.append(in_jax("plain", optimizer, SIZES[size], by_rows=False))
    if jax.default_backend() == "cpu":
        sides.append(in_tensorflow(optimizer, SIZES[size]))
    for _ in range(BATCHES + 1):
        # dense Adam moves all rows in each step; lazy Adam, here as there, those of the step
        check_agreement(sides, ("plain",) if optimizer == "adam" else (), 1e-4)
    rows.append(measure(f"sampled_softmax_{optimizer}-{size}", "step", sides, benchmark))


@every_optimizer
def test_growth(optimizer: str, benchmark: BenchmarkFixture, rows: list[Row]) -> None:
    sides = [in_jax(size, optimizer, SIZES[size]) for size in (SMALLEST, LARGEST)]
    rows.append(measure(f"sampled_softmax_{optimizer}", "growth", sides, benchmark))


def measure(case: str, pass_: str, sides: Sequence[Implementation], benchmark: BenchmarkFixture) -> Row:
    """Takes the times, for the table and for ``--benchmark-json``."""
    compiling = {side.name: side.compile_seconds for side in sides if side.compile_seconds is not None}
    row = Row(case, pass_, medians(sides, benchmark, in_a_row=True), compiling)
    benchmark.extra_info.update(dataclasses.asdict(row))
    return row
