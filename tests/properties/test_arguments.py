"""Lists are taken like arrays, and bad arguments are refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import Bad, Case
from machinery.numbers import assert_same
from machinery.registry import CASES, FIRST, each


@each(case for case in FIRST if case.lists)
def test_lists_are_taken_like_arrays(case):
    arrays = case.cast(jnp.float32)
    lists = {name: np.asarray(array).tolist() for name, array in arrays.items()}
    assert_same(case(**lists), case(**arrays))


@pytest.mark.parametrize(
    ("case", "wrong"),
    [(case, wrong) for case in CASES for wrong in case.bad],
    ids=lambda value: value.id if isinstance(value, Case) else "-".join(value.change),
)
def test_bad_argument_is_refused(case: Case, wrong: Bad):
    arguments = {**case.cast(case.first_dtype), **case.static, **wrong.change}
    with pytest.raises(wrong.error, match=wrong.match) as raised:
        case.op(**arguments)
    assert str(raised.value).startswith(f"{case.op.__name__}: ")
