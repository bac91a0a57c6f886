"""Gradients of tables as slices are those of jax.grad, under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import source_info_util
from jax.sharding import NamedSharding, PartitionSpec
from rooms.sparse.losses_of_tables import (
    DIM,
    IDS,
    LOSSES,
    MESH,
    POLICY,
    assert_same,
    checkpointed,
    classes_and_biases,
    dense,
    normal,
    parameters,
    scanned,
    several_lookups,
    tables,
)

import jnnops as nn
from jnnops._tables.rows import take_rows
from jnnops.sparse import IndexedSlices, _lookups, value_and_grad
from jnnops.sparse._tables import DENSE


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
