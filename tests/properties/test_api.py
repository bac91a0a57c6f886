"""What every public function's signature and docstring have."""

import inspect

import pytest
from machinery.registry import CASES

import jnnops as nn

OPS = [name for name in nn.__all__ if inspect.isfunction(getattr(nn, name))]


def test_every_op_has_a_case():
    assert {getattr(nn, name).__name__ for name in OPS} - {case.op.__name__ for case in CASES} == set()


def test_all_that_is_public_is_exported():
    assert set(nn.__all__) == {name for name, value in vars(nn).items() if not name.startswith("_")} - {
        name for name, value in vars(nn).items() if inspect.ismodule(value) and name not in ("layers", "sparse")
    }


@pytest.mark.parametrize("name", OPS)
def test_signature_and_docstring_follow_the_conventions(name):
    op = getattr(nn, name)
    parameters = inspect.signature(op).parameters
    assert not {"name", "use_cudnn_on_gpu", "parallel_iterations", "swap_memory"} & set(parameters)
    assert "key" not in parameters or parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY
    for section in ("Args:", "Returns:", "Raises:", "Example:", "References:", ">>> "):
        assert section in (op.__doc__ or ""), section
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters.values())
