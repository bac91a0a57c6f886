"""A table that is used other than by lookups, or arguments of the wrong kind: no gradient is silently incomplete."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec
from rooms.sparse.losses_of_tables import (
    DIM,
    IDS,
    MESH,
    assert_same,
    classes_and_biases,
    dense,
    one_id,
    parameters,
    several_lookups,
    tables,
)

from jnnops._tables.rows import take_rows
from jnnops.sparse import IndexedSlices, value_and_grad


def use_all(params):
    return jnp.sum(params["kernel"] @ params["classes"].T)


def cast(params):
    return jnp.sum(take_rows(params["classes"].astype(jnp.float16), IDS))


def index(params):
    return jnp.sum(params["classes"][IDS])


def index_by_range(params):
    return jnp.sum(params["classes"][2:5])


def take(params):
    return jnp.sum(jnp.take(params["classes"], IDS, axis=0))


def index_one(params):
    return jnp.sum(jax.jit(lambda table, i: table[i])(params["classes"], IDS[0, 0]))


def tied(params):
    return classes_and_biases(params, IDS) + jax.jit(use_all)(params)


def map_tables(params):
    return jnp.sum(jax.vmap(take_rows, (0, None))(params["classes"], IDS % DIM))


def only_in_a_scan(params):
    return lax.scan(lambda total, _: (total + use_all(params), None), 0.0, None, length=2)[0]


def carried(params):
    return jnp.sum(lax.scan(lambda table, _: (table * 2, take_rows(table, IDS)), params["classes"], None, length=2)[1])


def scanned_over(params):
    return jnp.sum(lax.scan(lambda total, row: (total + row, None), jnp.zeros(DIM), params["classes"])[0])


def in_cond(params):
    return lax.cond(params["kernel"][0, 0] > 0, lambda: jnp.sum(take_rows(params["classes"], IDS)), lambda: 0.0)


def in_while(params):
    return lax.fori_loop(0, IDS[0, 0], lambda _, total: total + jnp.sum(take_rows(params["classes"], IDS)), 0.0)


def in_custom_jvp(params):
    f = jax.custom_jvp(lambda table: jnp.sum(take_rows(table, IDS)))
    f.defjvp(lambda primals, tangents: (f(*primals), f(*tangents)))
    return f(params["classes"])


def in_custom_vjp(params):
    f = jax.custom_vjp(lambda table: jnp.sum(take_rows(table, IDS)))
    f.defvjp(lambda table: (f(table), table), lambda table, g: (g * table,))
    return f(params["classes"])


def in_shard_map(params):
    spec = PartitionSpec("x")
    rows = jax.shard_map(take_rows, mesh=MESH, in_specs=(PartitionSpec(), spec), out_specs=spec)
    return jnp.sum(rows(params["classes"], IDS))


def returned(params):
    return params["classes"]


def returned_from_jit(params):
    return jnp.sum(jax.jit(lambda table: (table, take_rows(table, IDS)))(params["classes"])[1])


class TestErrors:
    @pytest.mark.parametrize(
        ("loss", "reason"),
        [
            (use_all, "`transpose` uses the whole"),
            (cast, "`convert_element_type` uses the whole"),
            *((loss, "nn.embedding_lookup") for loss in (index, index_by_range, index_one, take)),
            (tied, "`transpose` uses the whole"),
            (map_tables, "`transpose` uses the whole"),
            (only_in_a_scan, "`transpose` uses the whole"),
            (carried, "inside `scan`"),
            (scanned_over, "inside `scan`"),
            (in_cond, "inside `cond`"),
            (in_while, "inside `while`"),
            (in_custom_jvp, "inside `custom_jvp_call`"),
            (in_custom_vjp, "inside `custom_vjp_call`"),
            (in_shard_map, "inside `shard_map`"),
            (returned, "the function returns it"),
            (returned_from_jit, "the function returns it"),
        ],
        ids=lambda value: value.__name__ if callable(value) else "",
    )
    def test_other_uses_are_errors_that_name_table_and_place(self, loss, reason):
        with pytest.raises(ValueError, match=reason) as error:
            value_and_grad(loss, tables=tables)(parameters())
        message = str(error.value)
        assert message.startswith("sparse.value_and_grad: `params['classes']` must only be looked up")
        if "returns" not in message:
            assert "leave the table out of `tables`" in message
            assert "test_sparse_gradient_errors.py:" in message
        # without it in `tables` the gradient is dense, and all is well
        if loss is tied:
            _, grads = jax.jit(value_and_grad(loss, tables=lambda params: params["biases"]))(parameters())
            assert_same(dense(grads), jax.jit(jax.grad(loss))(parameters()))

    @pytest.mark.parametrize(
        ("selected", "message"),
        [
            (lambda params: [], "at least one leaf of the parameters, got none"),
            (lambda params: None, "at least one leaf of the parameters, got none"),
            (lambda params: [params["classes"], params["classes"]], r"each leaf once, got `params\['classes'\]` twice"),
            (lambda params: [params["classes"].shape[0]], "leaves of the parameters as they are, got 50"),
            (lambda params: ["classes"], "leaves of the parameters as they are, got 'classes'"),
        ],
        ids=["nothing", "None", "twice", "number", "name"],
    )
    def test_what_tables_may_return(self, selected, message):
        with pytest.raises(ValueError, match=f"sparse.value_and_grad: `tables` must return {message}"):
            value_and_grad(classes_and_biases, tables=selected)(parameters(), IDS)

    def test_leaves_that_look_alike_are_told_apart(self):
        params = {"a": jnp.ones((5, 2)), "b": jnp.ones((5, 2)), "c": jnp.ones((5, 2))}

        def loss(params):
            return jnp.sum(params["a"]) + jnp.sum(take_rows(params["b"], IDS[0])) + jnp.sum(params["c"])

        _, grads = value_and_grad(loss, tables=lambda params: params["b"])(params)
        assert [isinstance(grads[name], IndexedSlices) for name in "abc"] == [False, True, False]

    @pytest.mark.parametrize("table", [jnp.zeros((3, 2), jnp.int32), jnp.zeros(())], ids=["integer", "scalar"])
    def test_tables_that_cannot_be_differentiated(self, table):
        with pytest.raises(TypeError, match="must select floating point arrays of rank at least 1, got params"):
            value_and_grad(lambda params: 0.0, tables=lambda params: params["t"])({"t": table})

    def test_results_of_the_wrong_kind(self):
        for result, got in (
            (lambda p: p["biases"] * 2, r"float32 of shape \(50,\)"),
            (lambda p: None, "NoneType"),
            (lambda p: {"loss": 1.0}, "dict"),
            (lambda p: jnp.sum(p["biases"]).astype(jnp.int32), r"int32 of shape \(\)"),
        ):
            message = f"sparse.value_and_grad: `fun` must return a floating point scalar, got {got}"
            with pytest.raises(TypeError, match=message):
                value_and_grad(result, tables=lambda p: p["classes"])(parameters())
        with pytest.raises(TypeError, match="a pair whose first item is a floating point scalar, got float32 of shape"):
            value_and_grad(lambda p: (p["biases"] * 2, 1), has_aux=True, tables=lambda p: p["classes"])(parameters())
        with pytest.raises(TypeError, match="`fun` must return a pair with `has_aux`, got"):
            value_and_grad(classes_and_biases, has_aux=True, tables=tables)(parameters(), IDS)

    @pytest.mark.parametrize(
        ("fun", "options", "message"),
        [
            (3, {"tables": tables}, r"`fun` must be callable as fun\(params\), got int"),
            (one_id, {"tables": "classes"}, r"`tables` must be callable as tables\(params\), got str"),
            (one_id, {"tables": tables, "argnums": "0"}, "`argnums` must be a static integer, got '0'"),
            (one_id, {"tables": tables, "has_aux": 1}, "`has_aux` must be True or False, got 1"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, fun, options, message):
        with pytest.raises(TypeError, match=f"sparse.value_and_grad: {message}"):
            value_and_grad(fun, **options)

    def test_missing_argument(self):
        with pytest.raises(TypeError, match="`argnums` must name positional arguments, got 2 for 2 of them"):
            value_and_grad(classes_and_biases, argnums=2, tables=tables)(parameters(), IDS)

    @pytest.mark.parametrize("argnums", [(0, 0), (0, -2)])
    def test_argument_named_twice(self, argnums):
        with pytest.raises(ValueError, match="sparse.value_and_grad: `argnums` must name each argument once, got"):
            value_and_grad(classes_and_biases, argnums, tables=lambda chosen: chosen[0]["classes"])(parameters(), IDS)

    def test_name_and_documentation_are_those_of_the_function(self):
        assert value_and_grad(several_lookups, tables=tables).__name__ == "several_lookups"
        assert functools.partial(value_and_grad, tables=tables)(one_id).__name__ == "one_id"
