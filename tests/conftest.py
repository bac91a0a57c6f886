"""The session's settings: 8 simulated devices, fast compiling, JAX's strict modes, and who runs which tests."""

import os
import resource
from collections.abc import Iterable
from typing import Any

import pytest
from machinery.flags import with_test_flags

os.environ["XLA_FLAGS"] = with_test_flags(os.environ.get("XLA_FLAGS", ""))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
from machinery import programs

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_peaks: dict[str, float] = {}


def group_of(item: pytest.Item) -> str:
    """The op of a generic test, whose programs a worker keeps; the file of any other test."""
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # pyright: ignore
    return case.op.__name__ if hasattr(case, "op") else str(item.path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of an op next to each other and on one worker."""
    order = {group: number for number, group in enumerate(dict.fromkeys(map(group_of, items)))}
    items.sort(key=lambda item: order[group_of(item)])
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Frees the programs of an op, or of a file, once its tests are over."""
    if nextitem is None or group_of(nextitem) != group_of(item):
        programs.forget()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells how much memory this process took at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        _peaks["this process"] = peak
    else:
        output["peak"] = peak


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the figure of a worker of pytest-xdist."""
    output = getattr(node, "workeroutput", None) or {}
    if "peak" in output:
        _peaks[node.gateway.id] = output["peak"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the peak of every process."""
    peaks: Iterable[str] = (f"{name} {peak:.2f} GB" for name, peak in sorted(_peaks.items()))
    terminalreporter.write_line(f"peak memory: {', '.join(peaks)}")
