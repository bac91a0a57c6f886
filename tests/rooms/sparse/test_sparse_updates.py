"""Updates of parameters, some of which are slices."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rooms.sparse.slices_of_tables import slices_of

from jnnops.sparse import apply_updates


class TestApplyUpdates:
    @pytest.mark.parametrize(
        ("dtype", "update_dtype"),
        [(jnp.float32, jnp.float32), (jnp.bfloat16, jnp.bfloat16), (jnp.bfloat16, jnp.float32)],
        ids=str,
    )
    def test_equals_optax(self, dtype, update_dtype):
        params = {"table": slices_of(range(10), 10, dtype=dtype, seed=1).values, "bias": jnp.ones(2, dtype), "no": None}
        slices = slices_of([9, 3, 9, -1, 10, 0], 10, dtype=update_dtype)
        bias = jnp.ones(2, update_dtype)
        with jax.numpy_dtype_promotion("standard"):
            actual = apply_updates(params, {"table": slices, "bias": bias, "no": None})
            dense_updates: Any = {"table": slices.to_dense(), "bias": bias, "no": None}
            expected: Any = optax.apply_updates(params, dense_updates)
        assert actual["table"].dtype == dtype
        np.testing.assert_array_equal(actual["table"], expected["table"])
        np.testing.assert_array_equal(actual["bias"], expected["bias"])
        assert actual["no"] is None

    def test_slices_must_fit_the_table(self):
        message = r"sparse.apply_updates: `updates\['table'\]` must be slices of an array of shape \(5, 3\), got "
        with pytest.raises(ValueError, match=message + r"6 rows of shape \(3,\)"):
            apply_updates({"table": jnp.zeros((5, 3))}, {"table": slices_of([1], 6)})
        with pytest.raises(ValueError, match=message + r"5 rows of shape \(2,\)"):
            apply_updates({"table": jnp.zeros((5, 3))}, {"table": slices_of([1], 5, (2,))})
        with pytest.raises(TypeError, match="IndexedSlices: `num_rows` must be a static integer, got '5'"):
            slices_of([1], "5")

    @pytest.mark.parametrize(
        ("param", "update"), [((3,), (1,)), ((), (3,)), ((3,), ()), ((1, 3), (3,)), ((3,), (2, 3))]
    )
    def test_arrays_must_have_the_shape_of_the_parameter(self, param, update):
        message = f"sparse.apply_updates: `updates['b']` must have shape {param} (that of `params['b']`), got {update}"
        with pytest.raises(ValueError, match=re.escape(message)):
            apply_updates({"b": jnp.zeros(param)}, {"b": jnp.ones(update)})

    def test_updates_must_be_a_pytree_like_the_parameters(self):
        with pytest.raises(ValueError, match="sparse.apply_updates: `updates` must be a pytree like `params`, .* got"):
            apply_updates({"table": jnp.zeros((5, 3)), "b": jnp.zeros(2)}, {"table": slices_of([1], 5)})
