"""The session's settings: 8 simulated devices, a fast compiler, JAX's strict modes, and the memory of a worker."""

import os
from pathlib import Path

import pytest
from machinery.flags import FAST_FLAGS

# JAX reads this when it is imported, which must come after.
DEVICES = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), DEVICES, *FAST_FLAGS])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A worker that holds more than this drops the programs that it has compiled.
MAX_RESIDENT = 1_300_000_000


def group_of(item: pytest.Item) -> str:
    """The op whose case a test gets, or else its file: one worker runs all of a group, and shares its programs."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec is not None else None
    return case.op.__name__ if case is not None else str(item.path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a group together, on one worker and one after the other."""
    first = {group: number for number, group in reversed(list(enumerate(map(group_of, items))))}
    items.sort(key=lambda item: first[group_of(item)])
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Between two groups, drops compiled programs if there are too many."""
    if nextitem is not None and group_of(item) != group_of(nextitem) and _resident_bytes() > MAX_RESIDENT:
        jax.clear_caches()


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else MAX_RESIDENT + 1
