"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jnnops as nn


def examples():
    names = ["jnnops", *(info.name for info in pkgutil.walk_packages(nn.__path__, "jnnops."))]
    for name in names:
        yield from doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))


@pytest.mark.parametrize("example", [e for e in examples() if e.examples], ids=lambda example: example.name)
def test_example_runs(example):
    example.globs.update(nn=nn, jax=jax, jnp=jnp, np=np)
    output = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(example, out=output.append).failed == 0, "".join(output)
