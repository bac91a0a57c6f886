"""What all ops share: converting arguments, wording errors, reporting bad run-time values."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jnnops import _check


def identity(x):
    return _check.debug_check("op", "x", "be positive", x, x > 0)


def error_of(f, *arguments):
    return checkify.checkify(f, errors=checkify.user_checks)(*arguments)[0].get() or "no error"


class TestDebugCheck:
    @pytest.mark.parametrize(
        "f",
        [
            identity,
            jax.jit(identity),
            jax.vmap(identity),
            jax.grad(lambda x: jnp.sum(jax.jit(identity)(x) ** 2)),
            jax.checkpoint(identity),
            lambda x: jax.lax.scan(lambda carry, y: (carry, identity(y)), None, x)[1],
            lambda x: jax.jvp(identity, (x,), (x,))[1] + identity(x),
        ],
    )
    def test_is_reported_by_name_under_every_transform(self, f):
        x = jnp.array([1.0, -1.0, 2.0])
        assert "op: `x` must be positive" in error_of(f, x)
        assert error_of(f, jnp.abs(x)) == "no error"

    def test_is_nothing_otherwise(self):
        x = jnp.array([1.0, -1.0])
        np.testing.assert_array_equal(identity(x), x)
        assert not jax.make_jaxpr(identity)(x).effects
        data = jax.export.export(jax.jit(identity))(x).serialize(vjp_order=1)
        np.testing.assert_array_equal(jax.export.deserialize(data).call(x), x)

    def test_is_silent_when_other_errors_are_asked_for(self):
        checked = checkify.checkify(identity, errors=checkify.float_checks)
        assert checked(jnp.array([-1.0]))[0].get() is None


class TestConversion:
    def test_traced_sizes_are_refused(self):
        with pytest.raises(TypeError, match=r"op: `k` must be a static integer, got a traced array of shape \(\)"):
            jax.jit(lambda k: _check.as_static_int("op", "k", k))(3)

    def test_ragged_lists_are_refused(self):
        with pytest.raises(ValueError, match="op: `x` must be an array"):
            _check.as_array("op", "x", [[1.0], [1.0, 2.0]])

    def test_what_knows_how_to_become_an_array_is_taken(self):
        class Table:
            def __jax_array__(self):
                return jnp.ones(3)

        assert _check.as_float_array("op", "x", Table()).shape == (3,)

    def test_mixed_dtypes_promote_as_in_jax_numpy(self):
        with jax.numpy_dtype_promotion("standard"):
            a, b = _check.as_float_arrays("op", a=jnp.ones(2, jnp.bfloat16), b=jnp.ones(2, jnp.float16))
        assert a.dtype == b.dtype == jnp.float32

    def test_python_numbers_do_not_widen(self):
        a, b = _check.as_float_arrays("op", a=jnp.ones(2, jnp.bfloat16), b=2.0)
        assert a.dtype == b.dtype == jnp.bfloat16

    def test_numbers_that_do_not_fit_are_refused(self):
        for value in (2**70, [2**40], np.array([1, 2**40]), np.int64(-(2**40))):
            with pytest.raises(ValueError, match="op: `x` must hold numbers that fit"):
                _check.as_array("op", "x", value)
        with pytest.raises(ValueError, match="op: `k` must be at most 2147483647"):
            _check.as_size("op", "k", 2**31)
        np.testing.assert_array_equal(_check.as_array("op", "x", np.array([1, 2**31 - 1])), [1, 2**31 - 1])

    def test_static_numbers_are_checked_under_jit_too(self):
        def f(x, rate):
            rate = _check.as_scalar("op", "rate", rate, _check.PROBABILITY_BELOW_1)
            return x * rate

        for bad in (1.5, np.float32(-1), float("nan"), jnp.float32(1)):
            with pytest.raises(ValueError, match=r"op: `rate` must be in \[0, 1\), got"):
                jax.jit(lambda x, bad=bad: f(x, bad))(1.0)
        assert jax.jit(lambda x: f(x, np.float64(0.5)))(1.0) == 0.5
        assert "op: `rate` must be in [0, 1)" in error_of(jax.jit(f), 1.0, 1.5)

    def test_numbers_and_booleans_of_numpy_are_taken(self):
        assert _check.as_static_float("op", "x", np.float16(0.5), _check.FRACTION) == 0.5
        assert _check.as_static_float("op", "x", jnp.int32(1), _check.FRACTION) == 1
        assert _check.as_static_bool("op", "x", np.True_) is True

    def test_dtypes_are_taken_by_name(self):
        assert _check.as_dtype("op", "dtype", "bfloat16", floating=True) == jnp.bfloat16
        assert _check.as_dtype("op", "dtype", float) == jnp.float32
        assert _check.as_dtype("op", "dtype", np.uint8) == np.uint8

    @pytest.mark.parametrize(
        ("rank", "message"), [(2, "of rank 2"), ((2, 3), "of rank 2 or 3"), (_check.at_least(2), "of rank at least 2")]
    )
    def test_a_wrong_rank_is_refused(self, rank, message):
        with pytest.raises(ValueError, match=rf"op: `x` must be {message}, got shape \(3,\)"):
            _check.as_array("op", "x", np.ones(3), rank=rank)

    def test_an_axis_named_twice_is_refused(self):
        assert _check.canonical_axes("op", "axis", (0, -1), 3) == (0, 2)
        with pytest.raises(ValueError, match="op: `axis` must not name an axis twice"):
            _check.canonical_axes("op", "axis", (0, -3), 3)

    @pytest.mark.parametrize("key", [jax.random.key(0), jax.random.PRNGKey(0)])
    def test_typed_and_raw_keys_are_taken(self, key):
        assert _check.as_key("op", key) is not None
