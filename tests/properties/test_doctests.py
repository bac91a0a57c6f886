"""The examples in the docstrings and in the documentation run and print what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jnnops as nn


def examples():
    names = ["jnnops", *(info.name for info in pkgutil.walk_packages(nn.__path__, "jnnops."))]
    for name in names:
        yield from doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    for page in sorted((Path(__file__).parents[2] / "docs").glob("*.rst")):
        yield doctest.DocTestParser().get_doctest(page.read_text("utf-8"), {}, f"docs/{page.name}", str(page), 0)


@pytest.mark.parametrize("example", [e for e in examples() if e.examples], ids=lambda example: example.name)
def test_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where examples write files
    example.globs.update(nn=nn, jax=jax, jnp=jnp, np=np)
    output = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(example, out=output.append).failed == 0, "".join(output)
