"""What depends on JAX's release: each test fails if the private name or parameter that it is about has moved."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import checkify
from jax.sharding import PartitionSpec

from jnnops._check import debug_check
from jnnops._primitives.releases import bind_again, called_jaxpr, scan_counts, varying_axes


def test_scan_tells_its_constants_and_its_carry():
    def f(a, b, x):
        return lax.scan(lambda carry, y: ((carry[0] * a, carry[1] + y * b), y), (x[0], x[1]), x)

    eqn = next(e for e in jax.make_jaxpr(f)(2.0, 3.0, jnp.ones(4)).eqns if e.primitive.name == "scan")
    assert scan_counts(eqn.params) == (2, 2)
    assert {"length", "reverse", "unroll", "jaxpr"} <= set(eqn.params)
    assert len(called_jaxpr(eqn.params["jaxpr"]).invars) == 5


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: f])
def test_operations_of_a_program_can_be_bound_again(wrap):
    closed = jax.make_jaxpr(wrap(lambda x: jnp.sin(x) * 2))(1.0)
    eqn = closed.eqns[0]
    again = jax.make_jaxpr(lambda x: bind_again(eqn, [x])[0])(0.5).eqns[0]
    assert again.primitive is eqn.primitive
    if eqn.primitive.name in ("jit", "pjit"):
        assert {"jaxpr", "name", "in_shardings", "out_shardings"} <= set(eqn.params)
    if eqn.primitive.name == "remat2":
        assert {"jaxpr", "prevent_cse", "policy"} <= set(eqn.params)


def test_axes_that_a_value_varies_over():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    seen = []

    def f(x):
        whole = jnp.zeros(())
        seen.extend([varying_axes(jax.typeof(x)), varying_axes(jax.typeof(whole))])
        seen.append(varying_axes(jax.typeof(jax.lax.pcast(whole, ("batch",), to="varying"))))
        return x

    jax.jit(jax.shard_map(f, mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec("batch")))(jnp.ones(8))
    assert seen[:3] == [frozenset({"batch"}), frozenset(), frozenset({"batch"})]


def test_checkify_reports_our_primitive():
    def f(x):
        return debug_check("op", "x", "be positive", x, x > 0)

    error, value = checkify.checkify(jax.jit(f), errors=checkify.user_checks)(jnp.array(-1.0))
    assert "op: `x` must be positive" in str(error.get())
    assert value == -1
