"""Finds the cases: every module below ``tests/cases`` has a list ``CASES``, and every public op a case."""

import importlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from machinery.case import Case

_FOLDER = Path(__file__).parents[1] / "cases"
_FILES = sorted(path for path in _FOLDER.rglob("*.py") if path.name != "__init__.py")
_MODULES = [".".join(("cases", *path.relative_to(_FOLDER).with_suffix("").parts)) for path in _FILES]

CASES: list[Case] = [case for module in _MODULES for case in importlib.import_module(module).CASES]
# The first case of each op has all options at their plainest.
FIRST = list({case.op.__name__: case for case in reversed(CASES)}.values())[::-1]
DIFFERENTIABLE = [case for case in CASES if case.is_differentiable]


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Runs a test with each of the cases."""
    return pytest.mark.parametrize("case", list(cases), ids=lambda case: case.id)


every_case = each(CASES)
first_case = each(FIRST)
differentiable_case = each(DIFFERENTIABLE)
