"""The session: names the versions it runs, collects the rows and prints the tables at the end."""

import os
import platform
from importlib import metadata
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax

from benchmarks import in_jax, in_peers, report

ROWS = pytest.StashKey[list[report.Row]]()


def pytest_configure(config: pytest.Config) -> None:
    in_peers.use_all_cores()
    config.stash[ROWS] = []


def environment() -> dict[str, str]:
    """All that the times depend on."""
    packages = ("jax", "jaxlib", "tensorflow-cpu", "tensorflow", "torch")
    found = {package: version(package) for package in packages}
    return {
        **{package: number for package, number in found.items() if number},
        "backend": jax.default_backend(),
        "devices": str(jax.device_count()),
        "cores": str(os.cpu_count()),
        "machine": platform.machine(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def pytest_report_header() -> str:
    return ", ".join(f"{name} {value}" for name, value in environment().items() if value)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["benchmarks"] = environment()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[report.Row]:
    return request.config.stash[ROWS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    compared = [row for row in rows if "ours" in row.milliseconds]
    measured = [row for row in rows if row.megabytes]
    scanned = [row for row in rows if "scan" in row.milliseconds]
    growing = [row for row in rows if row.pass_ == "growth"]
    if compared:
        terminalreporter.section("medians")
        terminalreporter.write("\n".join(report.comparison(compared)) + "\n")
    if measured:
        terminalreporter.section("memory of temporaries")
        terminalreporter.write("\n".join(report.memory(measured)) + "\n")
    if scanned:
        terminalreporter.section("inside lax.scan")
        terminalreporter.write("\n".join(report.scans(scanned, in_jax.MICRO_BATCHES)) + "\n")
    if growing:
        terminalreporter.section("growth with the number of classes")
        terminalreporter.write("\n".join(report.growth(growing)) + "\n")
