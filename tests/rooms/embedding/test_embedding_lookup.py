"""Lookups: shards, norms, ids out of range, and that tables reach the primitive as they are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery import oracle
from machinery.case import Case, normal
from machinery.rounding import assert_gradients_are_rounded_once
from rooms.embedding.bags import BAG_WEIGHTS, BAGS, TABLE, error_of, f32, from_lists, lookup_sparse, safe_lookup_sparse

import jnnops as nn
from jnnops._tables.rows import TAKE

lookup: Any = nn.embedding_lookup


class TestEmbeddingLookup:
    @pytest.mark.parametrize("strategy", ["mod", "div"])
    @pytest.mark.parametrize("num_rows", [2, 7, 9])
    def test_shards_are_one_table(self, num_rows, strategy):
        table = f32(normal(num_rows, 2))
        sizes = [num_rows // 4 + (number < num_rows % 4) for number in range(4)]
        ends = np.cumsum(sizes)
        shards = [
            table[number::4] if strategy == "mod" else table[end - size : end]
            for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
        ]
        ids = jnp.array([*range(-2, num_rows + 5), -(2**31), 2**31 - 1])
        found = lookup(shards, ids, partition_strategy=strategy)
        np.testing.assert_array_equal(found, lookup(table, ids))

    def test_an_id_out_of_range_is_a_row_of_zeros_without_gradient(self):
        ids = jnp.array([-1, 2, 7])
        rows, pull_back = jax.vjp(lambda table: lookup(table, ids), TABLE)
        assert rows[jnp.array([0, 2])].tolist() == [[0, 0, 0]] * 2
        assert pull_back(jnp.ones((3, 3)))[0].sum(1).tolist() == [0, 0, 3, 0, 0, 0, 0]

    @pytest.mark.parametrize("params", [TABLE, [TABLE[:4], TABLE[4:]]], ids=["table", "shards"])
    def test_checkify_reports_ids_out_of_range(self, params):
        found = functools.partial(lookup, partition_strategy="div")
        for ids in ([7], [0, -1]):
            assert error_of(found, params, ids).startswith("embedding_lookup: `ids` must be in [0, 7)")
        assert error_of(found, params, [0, 6]) == ""

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8])
    def test_ids_too_narrow_to_count_the_rows(self, dtype):
        ids, table = np.array([0, 127], dtype), jnp.arange(600.0).reshape(300, 2)
        shards = [table[:150], table[150:]]
        assert lookup(table, ids).tolist() == [[0, 1], [254, 255]]
        assert lookup(shards, ids, partition_strategy="div").tolist() == [[0, 1], [254, 255]]

    @pytest.mark.parametrize("row_shape", [(), (3,), (2, 3)])
    @pytest.mark.parametrize("ids", [2, [], [[[1, 6]]]], ids=str)
    def test_any_rank(self, ids, row_shape):
        table, ids = f32(normal(7, *row_shape)), np.asarray(ids, np.int32)
        np.testing.assert_array_equal(lookup(table, ids), np.asarray(table)[ids])

    def test_lists_of_numbers_are_a_table_and_lists_of_arrays_are_shards(self):
        assert lookup([[1.0, 2.0], [3.0, 4.0]], 1).tolist() == [3, 4]
        assert lookup([np.array([1.0, 2.0]), np.array([3.0, 4.0])], 1).tolist() == 3

    def test_tables_of_integers(self):
        rows = lookup(np.array([[1, 2], [3, 4]], np.int8), [1, 2])
        assert rows.dtype == jnp.int8
        assert rows.tolist() == [[3, 4], [0, 0]]

    def test_gradient_of_a_row_seen_10_000_times_is_summed_in_float32(self):
        table = jnp.ones((3, 2), jnp.bfloat16)
        ids = jnp.ones(10_000, jnp.int32)
        gradient = jax.jit(jax.grad(lambda table: jnp.sum(lookup(table, ids).astype(jnp.float32))))(table)
        assert gradient.tolist() == [[0, 0], [jnp.bfloat16(10_000)] * 2, [0, 0]]


class TestMaxNorm:
    def test_16_bit_gradients_are_rounded_once(self):
        assert_gradients_are_rounded_once(
            Case(lookup, {"params": normal(50, 3)}, {"ids": np.arange(50), "max_norm": 0.5}),
        )

    def test_rows_within_are_left_as_they_are(self):
        np.testing.assert_array_equal(lookup(TABLE, [1, 2], 100.0), TABLE[1:3])

    def test_the_limit_zero_and_rows_of_zeros(self):
        # TensorFlow gives NaN for the second
        value, gradient = jax.jit(jax.value_and_grad(lambda t: jnp.sum(lookup(t, [0, 1], 0.0))))(f32([[3, 4], [0, 0]]))
        assert value == 0
        assert gradient.tolist() == [[0, 0], [1, 1]]
        assert lookup(f32([[3, 4], [0, 0]]), [0, 1], 1.0)[1].tolist() == [0, 0]

    @pytest.mark.parametrize("norm", [4.0, 5.0, 6.0])
    def test_gradient_at_the_limit_is_that_of_tensorflow(self, norm):
        arrays = {"params": np.array([[3.0, 4.0], [1.0, 1.0]], np.float32)}
        names, options = ["params"], {"ids": np.array([0, 1, 0]), "max_norm": norm}
        expected = oracle.gradients(lambda tf, params: tf.nn.embedding_lookup(params, **options), arrays, names)[0]
        weights = f32(oracle.cotangent((3, 2)))
        gradient = jax.jit(jax.grad(lambda table: jnp.vdot(lookup(table, **options), weights)))(arrays["params"])
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)

    def test_norms_of_16_bits_are_taken_in_float32(self):
        rows = lookup(jnp.full((1, 4), 300, jnp.float16), [0], 300.0)
        assert rows.dtype == jnp.float16
        assert rows.tolist() == [[150] * 4]

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    def test_rows_whose_squares_overflow(self, dtype):
        direction, ids = f32([0.6, -0.8, 0]), from_lists([[0, 1], [2]]).ids
        sizes = [3e38, 1.0, 0.25]
        lookups = [
            lambda table, limit: lookup(table, [0, 1, 2], limit),
            lambda table, limit: lookup_sparse(table, ids, None, "sum", max_norm=limit),
            lambda table, limit: safe_lookup_sparse(table, ids, combiner="sum", max_norm=limit),
        ]

        @jax.jit
        def run(table, limit):
            rows = [lookup(table, limit).astype(jnp.float32) for lookup in lookups]
            return rows, [jax.grad(lambda t, f=f: jnp.sum(f(t, limit) * 2))(table) for f in lookups]

        table = jnp.stack([direction * size for size in sizes]).astype(dtype)
        for limit in (0.125, 0.5, 100.0, 3e37):
            scales = [min(limit, size) for size in sizes]
            (rows, *bags), gradients = run(table, limit)
            tolerance = {"rtol": 1e-6 if dtype == jnp.float32 else 1e-2, "atol": 0}
            np.testing.assert_allclose(rows, np.outer(scales, direction), **tolerance)
            for combined in bags:
                np.testing.assert_allclose(combined[0], (scales[0] + scales[1]) * direction, **tolerance)
            assert all(np.isfinite(gradient.astype(np.float32)).all() for gradient in gradients)
            # what is scaled down has no slope along itself, and what is left alone one of 1
            slope = np.asarray(gradients[0].astype(jnp.float32))[2]
            expected = 1 - direction * jnp.sum(direction) if limit < sizes[2] else [2, 2, 2]
            np.testing.assert_allclose(slope, expected, rtol=tolerance["rtol"], atol=1e-2)

    def test_limits_below_0_are_reported_where_they_are_traced(self):
        bag = from_lists([[1]]).ids
        lookups = {
            "embedding_lookup": lambda limit: lookup(TABLE, [1], limit),
            "embedding_lookup_sparse": lambda limit: lookup_sparse(TABLE, bag, None, max_norm=limit),
            "safe_embedding_lookup_sparse": lambda limit: safe_lookup_sparse(TABLE, bag, max_norm=limit),
        }
        for name, found in lookups.items():
            assert error_of(jax.jit(found), 0.0) == ""
            assert error_of(jax.jit(found), -1.0).startswith(f"{name}: `max_norm` must be at least 0")
        assert error_of(jax.jit(lookups["embedding_lookup"]), np.nan)

    def test_may_be_traced_mapped_and_differentiated(self):
        table = f32([[3, 4]])
        limits = f32([2.5, 10])
        rows = jax.jit(jax.vmap(lambda limit: lookup(table, 0, limit)))(limits)
        assert rows.tolist() == [[1.5, 2], [3, 4]]
        gradient = jax.jit(jax.vmap(jax.grad(lambda limit: jnp.sum(lookup(table, 0, limit)))))(limits)
        np.testing.assert_allclose(gradient, [1.4, 0], rtol=1e-6)


def operands_of_lookups(jaxpr, names):
    """What the tables of all lookups are: the names of variables that are arguments of ``jaxpr``, or None."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive is TAKE.primitive:
            found.append(names.get(equation.invars[0]))
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                given = (names.get(v) if not hasattr(v, "val") else None for v in equation.invars)
                found += operands_of_lookups(inner, dict(zip(inner.invars, given, strict=True)))
    return found


class TestRowSparse:
    """What :mod:`jnnops.sparse` needs: every lookup goes to the primitive with the table that was given."""

    @pytest.mark.parametrize(
        ("lookup", "times"),
        [
            (lambda tables: lookup(tables[0], [1], 1.0), 1),
            (lambda tables: lookup(tables, [1]), 2),
            (lambda tables: lookup_sparse(tables[0], *from_lists(BAGS, BAG_WEIGHTS), max_norm=1.0), 1),
            (lambda tables: lookup_sparse(tables, from_lists(BAGS, n_batch=1).ids, None), 2),
            (lambda tables: safe_lookup_sparse(tables[0], from_lists(BAGS).ids, default_id=1), 2),
            (lambda tables: nn.layers.Embedding(table=tables[0])(1), 1),
        ],
    )
    def test_tables_reach_the_primitive_as_they_are(self, lookup, times):
        tables = [TABLE[:4].astype(jnp.bfloat16), TABLE[4:].astype(jnp.bfloat16)]
        jaxpr = jax.make_jaxpr(lookup)(tables).jaxpr
        found = operands_of_lookups(jaxpr, {variable: number for number, variable in enumerate(jaxpr.invars)})
        # the others are lookups of the implementation in arrays of its own
        assert len([number for number in found if number is not None]) == times
