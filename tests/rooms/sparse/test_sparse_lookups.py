"""Every lookup of the library has slices for a gradient, equal to that of ``jax.grad``, and trains at a fixed cost."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.experimental import checkify
from jax.experimental.sparse import BCOO

import jnnops as nn
from jnnops.sparse import IndexedSlices, apply_updates, lazy, value_and_grad

ROWS, DIM, SAMPLED = 24, 4, 6
KEY = jax.random.key(3)
IDS = jnp.array([[3, 7, 3], [22, 0, 7]])
LABELS = jnp.array([[3, 8], [22, 3]])
# repeated ids and an empty bag
BAGS = [[3, 7, 3], [], [22, 0]]
# of the candidates two are repeated and two are labels
GIVEN = (jnp.array([3, 1, 7, 22, 9, 9]), jnp.full(LABELS.shape, 0.5), jnp.linspace(0.3, 0.8, SAMPLED))
SIZES: dict[str, Any] = dict(num_sampled=SAMPLED, num_classes=ROWS, num_true=2)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def parameters():
    return {
        "biases": normal(ROWS, seed=1),
        "inputs": normal(len(LABELS), DIM, seed=2),
        "table": normal(ROWS, DIM, seed=3),
        "weights": jnp.abs(normal(sum(map(len, BAGS)), seed=4)),
    }


def sharded(params):
    """The parameters with a list of shards for each table."""
    return {**params, **{name: jnp.split(params[name], 3) for name in ("table", "biases")}}


def tables(params):
    return params["table"], params["biases"]


def lookup(params):
    return nn.embedding_lookup(params["table"], IDS)


def lookup_in_blocks(params):
    return nn.embedding_lookup(params["table"], IDS, partition_strategy="div")


def lookup_of_limited_norm(params):
    return nn.embedding_lookup(params["table"], IDS, max_norm=1.5)


def lookup_out_of_range(params):
    return nn.embedding_lookup(params["table"], jnp.array([-1, ROWS, 3]))


def lookup_mapped_over_ids(params):
    return jax.vmap(functools.partial(nn.embedding_lookup, params["table"]))(IDS)


def lookup_mapped_over_columns(params):
    return jax.vmap(nn.embedding_lookup, (1, None))(params["table"], IDS)


def bags(params, lists=BAGS):
    ids, _ = nn.SparseIds.from_lists(lists)
    return ids, BCOO((params["weights"], ids.indices), shape=ids.shape)


def mean_of_bags(params):
    return nn.embedding_lookup_sparse(params["table"], nn.SparseIds.from_lists(BAGS).ids, None)


def mean_of_bags_by_rows(params):
    return nn.embedding_lookup_sparse(params["table"], nn.SparseIds.from_lists(BAGS, n_batch=1).ids, None)


def root_of_weighted_bags_of_limited_norm(params):
    return nn.embedding_lookup_sparse(params["table"], *bags(params), combiner="sqrtn", max_norm=1.5)


def safe_bags(params):
    return nn.safe_embedding_lookup_sparse(params["table"], nn.SparseIds.from_lists([[3, -1, 3], [], [22, 0]]).ids)


def safe_bags_with_default(params):
    ids, weights = bags(params, [[3, -1, 3], [], [22, 0]])
    return nn.safe_embedding_lookup_sparse(params["table"], ids, weights, "sum", default_id=5, max_norm=1.0)


def sampled_softmax(params):
    return nn.sampled_softmax_loss(*tables(params), LABELS, params["inputs"], **SIZES, sampled_values=GIVEN)


def sampled_softmax_drawn(params):
    return nn.sampled_softmax_loss(
        *tables(params), LABELS, params["inputs"], **SIZES, partition_strategy="div", key=KEY
    )


def nce(params):
    return nn.nce_loss(*tables(params), LABELS, params["inputs"], **SIZES, sampled_values=GIVEN)


def nce_without_hits(params):
    return nn.nce_loss(*tables(params), LABELS, params["inputs"], **SIZES, remove_accidental_hits=True, key=KEY)


def everything(params):
    """One table for the classes and for what the model takes in."""
    inputs = jnp.tanh(mean_of_bags(params)[:2] + lookup(params)[:, 0])
    return sampled_softmax({**params, "inputs": inputs}) + nce(params) * jnp.sum(safe_bags_with_default(params))


MODELS = [
    lookup,
    lookup_in_blocks,
    lookup_of_limited_norm,
    lookup_out_of_range,
    lookup_mapped_over_ids,
    lookup_mapped_over_columns,
    mean_of_bags,
    mean_of_bags_by_rows,
    root_of_weighted_bags_of_limited_norm,
    safe_bags,
    safe_bags_with_default,
    sampled_softmax,
    sampled_softmax_drawn,
    nce,
    nce_without_hits,
    everything,
]


def total(model, params):
    results = model(params)
    return jnp.vdot(results, jnp.cos(jnp.arange(results.size, dtype=results.dtype)).reshape(results.shape))


def is_slices(leaf):
    return isinstance(leaf, IndexedSlices)


def dense(grads):
    return jax.tree.map(lambda leaf: leaf.to_dense() if is_slices(leaf) else leaf, grads, is_leaf=is_slices)


def assert_same(actual, expected, rtol=2e-5):
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol, err_msg=jax.tree_util.keystr(path))


class TestEqualsGrad:
    @pytest.mark.parametrize("in_shards", [False, True], ids=["table", "shards"])
    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
    def test_of_every_lookup(self, model, in_shards):
        params = sharded(parameters()) if in_shards else parameters()
        loss = functools.partial(total, model)

        @jax.jit
        def both(params):
            value, grads = value_and_grad(loss, tables=tables)(params)
            assert all(map(is_slices, jax.tree.leaves(tables(grads), is_leaf=is_slices)))
            return (value, dense(grads)), jax.value_and_grad(loss)(params)

        actual, expected = both(params)
        assert any(np.any(leaf) for leaf in jax.tree.leaves(tables(expected[1])))
        assert_same(actual, expected)

    def test_of_a_layer(self):
        model = nn.layers.Sequential.init(
            nn.layers.Embedding.init(ROWS, DIM, key=KEY), nn.layers.Dense.init(DIM, 3, key=KEY)
        )

        def loss(model):
            return jnp.sum(model(IDS) ** 3)

        _, grads = jax.jit(value_and_grad(loss, tables=lambda model: model.members[0].table))(model)
        assert is_slices(grads.members[0].table)
        assert_same(dense(grads), jax.jit(jax.grad(loss))(model))

    def test_of_several_arguments_with_aux(self):
        def loss(inputs, tables, labels):
            losses = nn.nce_loss(tables[0], tables[1], labels, inputs, **SIZES, sampled_values=GIVEN)
            return jnp.sum(losses), losses

        given = parameters()["inputs"], tables(parameters()), LABELS
        options: dict[str, Any] = dict(argnums=(1, 0), has_aux=True)
        (value, losses), grads = jax.jit(value_and_grad(loss, **options, tables=lambda chosen: chosen[0]))(*given)
        expected, expected_grads = jax.jit(jax.value_and_grad(loss, **options))(*given)
        assert_same((value, losses), expected)
        assert [is_slices(leaf) for leaf in (*grads[0], grads[1])] == [True, True, False]
        assert_same(dense(grads), expected_grads)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_a_row_of_16_bits_seen_10_000_times_does_not_stop_growing(self, dtype):
        def loss(table):
            return jnp.sum(nn.embedding_lookup(table, jnp.ones(10_000, jnp.int32)).astype(jnp.float32))

        _, grad = jax.jit(value_and_grad(loss, tables=lambda table: table))(jnp.zeros((3, 2), dtype))
        rows = [[0, 0], [float(dtype(10_000))] * 2, [0, 0]]
        assert grad.to_dense().tolist() == rows
        slices = grad.deduplicate()
        assert slices.indices.tolist() == [1, 4, 5]
        assert slices.values[0].tolist() == rows[1]
        assert apply_updates(jnp.zeros((3, 2), dtype), grad).tolist() == rows

    def test_in_scan_where_the_rows_are_looked_up_in_each_step(self):
        def loss(params):
            def step(hidden, key):
                given = {**params, "inputs": hidden + lookup(params)[:, 0]}
                drawn = nn.sampled_softmax_loss(*tables(given), LABELS, given["inputs"], **SIZES, key=key)
                return jnp.tanh(given["inputs"]), jnp.mean(drawn)

            return jnp.sum(lax.scan(step, params["inputs"], jax.random.split(KEY, 3))[1])

        _, grads = jax.jit(value_and_grad(loss, tables=tables))(parameters())
        assert grads["table"].values.shape == (3 * (IDS.size + LABELS.size + SAMPLED), DIM)
        assert_same(dense(grads), jax.jit(jax.grad(loss))(parameters()))

    def test_checkify_still_reports(self):
        def loss(params, ids):
            return jnp.sum(nn.embedding_lookup(params["table"], ids))

        check = checkify.checkify(jax.jit(value_and_grad(loss, tables=tables)), errors=checkify.user_checks)
        assert check(parameters(), jnp.array([3]))[0].get() is None
        report = check(parameters(), jnp.array([ROWS]))[0].get()
        assert (report or "").startswith("embedding_lookup: `ids` must be in [0, 24)")


def tied_to_the_full_softmax(params):
    logits = params["inputs"] @ params["table"].T + params["biases"][None, :]
    return nn.sparse_softmax_cross_entropy_with_logits(LABELS[:, 0], logits) + sampled_softmax(params)


def lookup_mapped_over_tables(params):
    return jax.vmap(nn.embedding_lookup, (0, None))(params["table"].reshape(2, ROWS // 2, DIM), IDS)


def loss_in_cond(params):
    return lax.cond(params["inputs"][0, 0] > 0, sampled_softmax, lambda params: params["inputs"][:, 0], params)


class TestErrors:
    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            (tied_to_the_full_softmax, "but `transpose` uses the whole of it"),
            (lookup_mapped_over_tables, "but `reshape` uses the whole of it"),
            (loss_in_cond, "but is used inside `cond`"),
        ],
        ids=lambda value: value.__name__ if callable(value) else "",
    )
    def test_no_gradient_is_incomplete(self, model, reason):
        with pytest.raises(ValueError, match=reason) as error:
            value_and_grad(functools.partial(total, model), tables=tables)(parameters())
        message = str(error.value)
        assert re.match(r"sparse.value_and_grad: `params\['(table|biases)'\]` must only be looked up", message)
        assert "leave the table out of `tables` to get a dense gradient" in message
        assert "test_sparse_lookups.py:" in message


def step_of(optimizer, loss):
    """A training step that takes and returns parameters and state."""

    def step(carry, *arguments):
        params, state = carry
        value, grads = value_and_grad(loss, tables=tables)(params, *arguments)
        updates, state = optimizer.update(grads, state, params)
        return (apply_updates(params, updates), state), value

    return step


class TestTraining:
    @pytest.mark.parametrize("in_shards", [False, True], ids=["table", "shards"])
    def test_by_rows_with_adagrad_equals_dense(self, in_shards):
        transform, loss = optax.adagrad(0.1), functools.partial(total, everything)
        params = sharded(parameters()) if in_shards else parameters()
        optimizer = lazy(transform, tables=tables)
        by_rows, densely = (params, optimizer.init(params)), (params, transform.init(params))

        @jax.jit
        def dense_step(carry):
            updates, state = transform.update(jax.grad(loss)(carry[0]), carry[1])
            return optax.apply_updates(carry[0], updates), state

        step = jax.jit(step_of(optimizer, loss))
        for _ in range(3):
            by_rows, densely = step(by_rows)[0], dense_step(densely)
        assert_same(by_rows, densely, rtol=1e-4)

    @pytest.mark.parametrize("op", [nn.sampled_softmax_loss, nn.nce_loss])
    @pytest.mark.parametrize("transform", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
    def test_takes_no_memory_for_the_classes(self, op, transform):
        def memory_for(num_classes):
            def loss(params, labels, key):
                inputs = jnp.tanh(nn.embedding_lookup(params["table"], labels[:, 1]))
                return jnp.mean(op(*tables(params), labels, inputs, SAMPLED, num_classes, 2, key=key))

            optimizer = lazy(transform, tables=tables)
            params = {
                "table": jax.ShapeDtypeStruct((num_classes, 64), jnp.float32),
                "biases": jax.ShapeDtypeStruct((num_classes,), jnp.float32),
            }
            carry = params, jax.eval_shape(optimizer.init, params)
            step = jax.jit(step_of(optimizer, loss), donate_argnums=0)
            with jax.numpy_dtype_promotion("standard"):  # optax multiplies counts of steps with floats
                memory = step.lower(carry, LABELS, KEY).compile().memory_analysis()
            assert memory is not None
            return memory, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))

        (small, _), (large, size) = memory_for(10_000), memory_for(1_000_000)
        # the tables are updated where they are, and nothing besides them grows
        assert large.alias_size_in_bytes >= size
        assert large.temp_size_in_bytes < 1.1 * small.temp_size_in_bytes < 2**20
