"""Gradients of tables as slices: equal to jax.grad's, or an error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import source_info_util
from jax.sharding import NamedSharding, PartitionSpec

import jnnops as nn
from jnnops._tables.rows import take_rows
from jnnops.sparse import IndexedSlices, _lookups, value_and_grad
from jnnops.sparse._tables import DENSE

ROWS, DIM = 50, 4
IDS = jnp.array([[3, 7, 3], [49, 0, 7]])
POLICY = jax.checkpoint_policies.dots_saveable
MESH = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("x",))
OUT_OF_RANGE = jnp.array([-1, ROWS, 3, 2**30])


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def parameters(dtype=jnp.float32):
    return {
        "biases": normal(ROWS, seed=1, dtype=dtype),
        "classes": normal(ROWS, DIM, seed=2, dtype=dtype),
        "kernel": normal(DIM, DIM, seed=3, dtype=dtype),
    }


def tables(params):
    return [params["classes"], params["biases"]]


def classes_and_biases(params, ids):
    logits = jnp.tanh(take_rows(params["classes"], ids) @ params["kernel"])
    return jnp.sum(jnp.sin(logits) * take_rows(params["biases"], ids)[..., None])


def several_lookups(params, ids):
    first, second = take_rows(params["classes"], ids), take_rows(params["classes"], ids.ravel()[::-1])
    return jnp.sum(first**2) * jnp.sum(jnp.cos(second)) + classes_and_biases(params, ids)


def one_id(params, ids):
    return jnp.vdot(take_rows(params["classes"], ids[0, 0]), take_rows(params["classes"], ids[1, 1]))


def out_of_range(params, ids):
    return classes_and_biases(params, OUT_OF_RANGE) + classes_and_biases(params, ids)


def no_lookup(params, ids):
    return jnp.sum(params["kernel"] ** 2) * jnp.max(ids).astype(jnp.float32)


def stopped(params, ids):
    mean = jnp.mean(lax.stop_gradient(params["classes"]))
    return classes_and_biases(params, ids) * mean


def jitted(params, ids):
    return jax.jit(jax.jit(classes_and_biases))(params, ids)


def closure_under_jit(params, ids):
    return jax.jit(lambda ids: classes_and_biases(params, ids))(ids)


def checkpointed(params, ids):
    return jax.checkpoint(jax.jit(several_lookups), policy=POLICY, prevent_cse=False)(params, ids) ** 2


def mapped_over_ids(params, ids):
    return jnp.sum(jax.vmap(classes_and_biases, (None, 0))(params, ids) ** 2)


def scanned(params, ids):
    def body(total, row):
        return total * 0.9 + classes_and_biases(params, row), jnp.sum(take_rows(params["biases"], row))

    total, each = lax.scan(jax.checkpoint(body), 0.0, ids, reverse=True)
    return total**2 + jnp.sum(each**3)


def loops_in_loops(params, ids):
    def outer(total, row):
        return total + lax.scan(lambda t, i: (t + one_id(params, row + i), None), 0.0, jnp.arange(3))[0], None

    return lax.scan(outer, 0.0, ids[:, None] * jnp.ones((1, 2, 1), jnp.int32))[0]


def in_another_gradient(params, ids):
    penalty = jax.grad(classes_and_biases)(params, ids)
    return jnp.sum(penalty["kernel"] ** 2) + jnp.sum(penalty["biases"] ** 2)


def with_custom_rules(params, ids):
    rows = jax.nn.relu(take_rows(params["classes"], ids))
    return jnp.sum(jax.nn.logsumexp(nn.softmax(rows), -1) * take_rows(params["biases"], ids))


LOSSES = [
    classes_and_biases,
    several_lookups,
    one_id,
    out_of_range,
    no_lookup,
    stopped,
    jitted,
    closure_under_jit,
    checkpointed,
    mapped_over_ids,
    scanned,
    loops_in_loops,
    in_another_gradient,
    with_custom_rules,
]


def dense(grads):
    return jax.tree.map(
        lambda leaf: leaf.to_dense() if isinstance(leaf, IndexedSlices) else leaf,
        grads,
        is_leaf=lambda leaf: isinstance(leaf, IndexedSlices),
    )


def assert_same(actual, expected, rtol=2e-5):
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol, err_msg=jax.tree_util.keystr(path))


class TestEqualsGrad:
    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
    def test_under_jit(self, loss):
        self.check(loss, jax.jit(value_and_grad(loss, tables=tables)))

    @pytest.mark.parametrize("loss", [classes_and_biases, scanned, checkpointed], ids=lambda loss: loss.__name__)
    def test_eager(self, loss):
        self.check(loss, value_and_grad(loss, tables=tables))

    def check(self, loss, gradient):
        expected_value, expected = jax.jit(jax.value_and_grad(loss))(parameters(), IDS)
        value, grads = gradient(parameters(), IDS)
        assert_same(value, expected_value)
        assert isinstance(grads["classes"], IndexedSlices)
        assert isinstance(grads["biases"], IndexedSlices)
        assert_same(jax.jit(dense)(grads), expected)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_repeated_ids_of_16_bits_are_summed_in_float32(self, dtype):
        # 1000 times 2^-3 on top of 512 would stay at 512 in bfloat16
        ids = jnp.zeros(1001, jnp.int32)
        weights = jnp.asarray(np.r_[512, np.full(1000, 2.0**-3)], dtype)

        def loss(table):
            return jnp.sum(take_rows(table, ids) * weights)

        _, grad = jax.jit(value_and_grad(loss, tables=lambda table: table))(jnp.zeros(3, dtype))
        assert grad.values.dtype == dtype
        assert grad.deduplicate().values[0] == (637 if dtype == jnp.float16 else 636)
        assert grad.to_dense()[0] == jax.grad(loss)(jnp.zeros(3, dtype))[0]

    def test_float64(self):
        with jax.enable_x64(True):
            params = parameters(jnp.float64)
            _, grads = jax.jit(value_and_grad(several_lookups, tables=tables))(params, IDS)
            assert_same(dense(grads), jax.jit(jax.grad(several_lookups))(params, IDS), rtol=1e-12)

    def test_rows_of_any_shape(self):
        table = normal(6, 2, 3)

        def loss(table, ids):
            return jnp.sum(take_rows(table, ids) ** 3)

        _, grad = jax.jit(value_and_grad(loss, tables=lambda table: table))(table, IDS % 8)
        assert grad.values.shape == (6, 2, 3)
        assert_same(grad.to_dense(), jax.grad(loss)(table, IDS % 8))

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.uint32])
    def test_ids_of_any_dtype(self, dtype):
        def loss(table, ids):
            return jnp.sum(take_rows(table, ids))

        _, grad = value_and_grad(loss, tables=lambda table: table)(jnp.zeros(100), jnp.array([7, 100], dtype))
        assert grad.indices.tolist() == [7, 100]
        assert grad.deduplicate().indices.tolist() == [7, 101]

    def test_empty_batch(self):
        _, grads = jax.jit(value_and_grad(classes_and_biases, tables=tables))(parameters(), IDS[:0])
        assert grads["classes"].values.shape == (0, DIM)
        assert_same(dense(grads), jax.tree.map(jnp.zeros_like, parameters()))

    def test_several_arguments(self):
        def loss(classes, ids, others, *, scale):
            return scale * classes_and_biases({"classes": classes, **others}, ids)

        classes, others = parameters()["classes"], {k: v for k, v in parameters().items() if k != "classes"}
        f = value_and_grad(loss, argnums=(0, -1), tables=lambda chosen: {"a": chosen[0], "b": chosen[1]["biases"]})
        _, grads = jax.jit(f)(classes, IDS, others, scale=3.0)
        assert isinstance(grads[1]["biases"], IndexedSlices)
        assert_same(dense(grads), jax.jit(jax.grad(loss, (0, 2)))(classes, IDS, others, scale=3.0))

    def test_aux_and_arguments_that_are_no_arrays(self):
        def loss(params, ids, kind):
            value = {"sum": jnp.sum, "mean": jnp.mean}[kind](take_rows(params["classes"], ids))
            return value, {"ids": ids, "twice": 2 * value}

        f = value_and_grad(loss, has_aux=True, tables=tables)
        (value, aux), grads = f(parameters(), IDS, "mean")
        assert aux["twice"] == 2 * value
        assert_same(dense(grads), jax.grad(loss, has_aux=True)(parameters(), IDS, "mean")[0])

    def test_of_a_layer(self):
        model = nn.layers.Dense.init(DIM, 3, key=jax.random.key(0))

        def loss(model, ids):
            return jnp.sum(take_rows(model.kernel, ids) ** 2) + jnp.sum(model.bias)

        _, grads = jax.jit(value_and_grad(loss, tables=lambda model: model.kernel))(model, IDS % DIM)
        assert_same(dense(grads), jax.jit(jax.grad(loss))(model, IDS % DIM))


class TestTransforms:
    def test_vmap_over_models(self):
        params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), parameters())
        f = value_and_grad(classes_and_biases, tables=tables)
        actual = jax.jit(jax.vmap(lambda params: dense(f(params, IDS)[1])))(params)
        expected = jax.jit(jax.vmap(lambda params: jax.grad(classes_and_biases)(params, IDS)))(params)
        assert_same(actual, expected, rtol=1e-4)

    def test_derivative_of_the_gradient(self):
        def norm(gradient):
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))

        def sparse(params):
            return norm(dense(value_and_grad(classes_and_biases, tables=tables)(params, IDS)[1]))

        expected = jax.jit(jax.grad(lambda params: norm(jax.grad(classes_and_biases)(params, IDS))))(parameters())
        assert_same(jax.jit(jax.grad(sparse))(parameters()), expected, rtol=1e-4)
        tangents = jax.tree.map(jnp.ones_like, parameters())
        tangent = jax.jit(lambda params: jax.jvp(sparse, (params,), (tangents,))[1])(parameters())
        np.testing.assert_allclose(tangent, sum(jnp.sum(leaf) for leaf in jax.tree.leaves(expected)), rtol=1e-4)

    def test_inside_shard_map_with_a_table_for_each_device(self):
        spec = PartitionSpec("x")
        params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), parameters())

        def each(gradient):
            def of_one(params, ids):
                one = jax.tree.map(lambda leaf: leaf[0], params)
                return jax.tree.map(lambda leaf: leaf[None], gradient(one, ids))

            return jax.jit(jax.shard_map(of_one, mesh=MESH, in_specs=(spec, spec), out_specs=spec))(params, IDS)

        actual = each(lambda *args: dense(value_and_grad(classes_and_biases, tables=tables)(*args)[1]))
        assert_same(actual, each(jax.grad(classes_and_biases)), rtol=1e-4)

    def test_calls_keep_their_names_and_options(self):
        sharding = NamedSharding(MESH, PartitionSpec("x"))

        def my_function(params, ids):
            return take_rows(params["classes"], ids)

        def loss(params, ids):
            with jax.named_scope("my_scope"):
                rows = jax.jit(my_function, out_shardings=sharding)(params, ids)
            return jnp.sum(rows) + checkpointed(params, ids)

        closed = jax.make_jaxpr(loss)(parameters(), IDS)
        numbers = [0, 1, DENSE, DENSE]
        probes = jax.tree.map(_lookups.Lookup.probe, _lookups.find_lookups(closed.jaxpr, numbers, str))
        leaves = [*jax.tree.leaves(parameters()), IDS]
        probed = jax.make_jaxpr(lambda probes: _lookups.run_probed(closed, leaves, [True, True, False, False], probes))(
            probes
        )
        call, checkpoint = (
            next(eqn for eqn in probed.eqns if eqn.primitive.name in names) for names in (("jit", "pjit"), ("remat2",))
        )
        assert call.params["name"] == "my_function"
        assert call.params["out_shardings"][0] == sharding
        assert "my_scope" in str(call.source_info.name_stack)
        assert "test_sparse_gradient.py" in source_info_util.summarize(call.source_info)
        assert checkpoint.params["policy"] is POLICY
        assert not checkpoint.params["prevent_cse"]

    def test_eager_calls_compile_a_jitted_loss_once(self):
        f = value_and_grad(jax.jit(classes_and_biases), tables=tables)
        f(parameters(), IDS)
        before = _lookups._probed_jit.cache_info()
        f(parameters(), IDS + 1)
        after = _lookups._probed_jit.cache_info()
        assert (after.misses, after.currsize) == (before.misses, before.currsize)
        assert after.hits > before.hits


def use_all(params):
    return jnp.sum(params["kernel"] @ params["classes"].T)


def cast(params):
    return jnp.sum(take_rows(params["classes"].astype(jnp.float16), IDS))


def index(params):
    return jnp.sum(params["classes"][IDS])


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
            (index, "`gather` uses the whole"),
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
            assert "test_sparse_gradient.py:" in message
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
        with pytest.raises(TypeError, match="scalar-output"):
            value_and_grad(lambda params, ids: params["biases"] * 2, tables=lambda p: p["classes"])(parameters(), IDS)
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

    def test_name_and_documentation_are_those_of_the_function(self):
        assert value_and_grad(several_lookups, tables=tables).__name__ == "several_lookups"
        assert functools.partial(value_and_grad, tables=tables)(one_id).__name__ == "one_id"
