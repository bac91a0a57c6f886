"""Finds the cases: every module below ``tests/cases`` has a list ``CASES``, and every public op is in one of them."""

import importlib
import pkgutil

import cases

from machinery.case import Case


def _modules() -> list[str]:
    return sorted(info.name for info in pkgutil.walk_packages(cases.__path__, "cases.") if not info.ispkg)


CASES: list[Case] = [case for name in _modules() for case in importlib.import_module(name).CASES]

# The first case of each op goes through what its options cannot change.
FIRST: list[Case] = list({case.op.__name__: case for case in reversed(CASES)}.values())[::-1]
