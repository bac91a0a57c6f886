"""The session's settings: 8 simulated devices, fast compiling, JAX's strict modes, and who runs which tests."""

import importlib.util
import os
import re
from pathlib import Path
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


# The folder and the file whose tests are run for many ops or cells.
_GENERIC = {"properties", "test_cell_table.py"}


def group_of(nodeid: str) -> str:
    """The op or cell of a generic test, with which its parameters begin; the file of any other test."""
    file, _, test = nodeid.partition("::")
    op = re.search(r"\[(\w+)", test)
    return op[1] if op and _GENERIC.intersection(Path(file).parts) else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of a group next to each other."""
    order = {group: number for number, group in enumerate(dict.fromkeys(group_of(item.nodeid) for item in items))}
    items.sort(key=lambda item: order[group_of(item.nodeid)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps a group on one worker of pytest-xdist, so that its programs are compiled once.

    ``--dist=loadgroup`` would do, but the groups of pytest-xdist 3.8.0 have no effect with pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Frees the programs of an op, or of a file, once its tests are over."""
    if nextitem is None or group_of(nextitem.nodeid) != group_of(item.nodeid):
        programs.forget()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells how much memory this process took at most."""
    if importlib.util.find_spec("resource") is None:  # which Windows has not
        return
    resource: Any = importlib.import_module("resource")
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
    peaks = ", ".join(f"{name} {peak:.2f} GB" for name, peak in sorted(_peaks.items()))
    terminalreporter.write_line(f"peak memory: {peaks}")
