"""Times every case: forward, with its gradient, and both inside ``lax.scan``."""

import dataclasses
from collections.abc import Sequence

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.benchmark import Benchmark
from benchmarks.cases import BENCHMARKS
from benchmarks.implementation import Implementation, Pass
from benchmarks.in_jax import jax_implementation, micro_batch_implementations
from benchmarks.in_peers import peer_implementations
from benchmarks.measure import check_agreement, medians
from benchmarks.report import Row

every_pass = pytest.mark.parametrize(
    ("case", "pass_"),
    [
        pytest.param(case, pass_, id=f"{case.id}-{pass_}")
        for case in BENCHMARKS
        for pass_ in ("forward", "gradient")
        if pass_ == "forward" or case.arrays
    ],
)


@every_pass
def test_time(case: Benchmark, pass_: Pass, benchmark: BenchmarkFixture, rows: list[Row]) -> None:
    sides = [jax_implementation("ours", case.ours, case, pass_)]
    if case.plain is not None:
        sides.append(jax_implementation("plain", case.plain, case, pass_))
    sides += peer_implementations(case, pass_)
    rows.append(measure(sides, case, pass_, benchmark))


@pytest.mark.scan
@every_pass
def test_scan(case: Benchmark, pass_: Pass, benchmark: BenchmarkFixture, rows: list[Row]) -> None:
    rows.append(measure(micro_batch_implementations(case, pass_), case, pass_, benchmark))


def measure(sides: Sequence[Implementation], case: Benchmark, pass_: Pass, benchmark: BenchmarkFixture) -> Row:
    """Takes the times, for the table and for ``--benchmark-json``."""
    check_agreement(sides, case.differs, case.tolerance)
    compiling = {side.name: side.compile_seconds for side in sides if side.compile_seconds is not None}
    row = Row(case.id, pass_, medians(sides, benchmark), compiling)
    benchmark.extra_info.update(dataclasses.asdict(row))
    return row
