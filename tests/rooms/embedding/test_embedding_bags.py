"""Bags of ids in every layout: values and gradients, zeros, padding, and ids out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from machinery import oracle
from rooms.embedding.bags import (
    BAG_WEIGHTS,
    BAGS,
    LAYOUTS,
    TABLE,
    combined,
    error_of,
    f32,
    from_lists,
    lookup_sparse,
    safe_lookup_sparse,
)

import jnnops as nn

INF, NAN = np.inf, np.nan
COMBINERS = ("mean", "sqrtn", "sum")


class TestEmbeddingLookupSparse:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_gives_the_same(self, layout):
        combiner = COMBINERS[sorted(LAYOUTS).index(layout) % 3]
        sparse = LAYOUTS[layout](BAGS, BAG_WEIGHTS)
        expected = combined(TABLE, BAGS, BAG_WEIGHTS, combiner)
        actual = lookup_sparse(TABLE, *sparse, combiner)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
        ones = [[1.0] * len(ids) for ids in BAGS]
        actual = lookup_sparse(TABLE, sparse.ids, None, combiner)
        np.testing.assert_allclose(actual, combined(TABLE, BAGS, ones, combiner), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("layout", "combiner", "weighted", "max_norm"),
        [
            ("padded", "mean", True, None),
            ("padded", "sum", False, 1.0),
            ("by_row_padded", "sqrtn", True, 1.0),
            ("by_row_padded", "mean", False, None),
            ("unknown", "sqrtn", False, None),
            ("unknown", "mean", True, 1.0),
        ],
    )
    def test_values_and_gradients_are_those_of_tensorflow(self, layout, combiner, weighted, max_norm):
        options = {"combiner": combiner, "max_norm": max_norm}

        @jax.jit
        def ours(table, sparse):
            def run(table, data):
                weights = BCOO((data, sparse.weights.indices), shape=sparse.weights.shape) if weighted else None
                return lookup_sparse(table, sparse.ids, weights, **options)

            found, pull_back = jax.vjp(run, table, sparse.weights.data)
            by_table, by_weights = pull_back(f32(oracle.cotangent(found.shape)))
            # in the places of the dense matrix, whatever the layout
            by_weights = BCOO((by_weights, sparse.weights.indices), shape=sparse.weights.shape)
            return found, by_table, by_weights.todense()[:, :6]

        for seed in range(3):
            generator = np.random.default_rng(seed)
            bags = [generator.integers(0, 7, size).tolist() for size in generator.permutation([0, 2, 1, 4, 6])]
            weights = [generator.uniform(0.5, 1.5, len(ids)).tolist() for ids in bags]
            canonical = from_lists(bags, weights, max_ids=6)

            def theirs(tf, params, weights, canonical=canonical):
                def matrix(data):
                    return tf.sparse.SparseTensor(np.asarray(canonical.ids.indices, np.int64), data, (5, 6))

                ids, weights = matrix(tf.constant(np.asarray(canonical.ids.data))), matrix(weights)
                found = tf.nn.embedding_lookup_sparse(params, ids, weights if weighted else None, **options)
                return tf.concat([found, tf.zeros((5 - found.shape[0], 3))], 0)

            arrays = {"params": np.asarray(TABLE), "weights": np.asarray(canonical.weights.data)}
            by_table, by_weights = oracle.gradients(theirs, arrays, ["params", "weights"])
            by_weights = BCOO((f32(by_weights), canonical.ids.indices), shape=(5, 6)).todense()
            expected = (*oracle.values(theirs, arrays), by_table, by_weights)
            for a, e in zip(ours(TABLE, LAYOUTS[layout](bags, weights)), expected, strict=True):
                np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("combiner", "zeros"), [("mean", [0, 1]), ("sqrtn", [1])])
    def test_a_denominator_of_zero_gives_zero_and_finite_derivatives(self, combiner, zeros):
        ids, weights = from_lists([[1, 2], [3, 4], [5]], [[1, -1], [0, 0], [2]], n_batch=1)

        def run(table, data):
            weights = BCOO((data, ids.indices), shape=ids.shape)
            return lookup_sparse(table, ids, weights, combiner, 0.5)

        @jax.jit
        def value_and_derivatives(*arguments):
            gradient = jax.grad(lambda *arguments: jnp.sum(run(*arguments)), (0, 1))
            return run(*arguments), jax.jvp(gradient, arguments, arguments)

        value, derivatives = value_and_derivatives(TABLE, weights.data)
        assert not value[np.array(zeros)].any()
        assert value[2].all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(derivatives))

    @pytest.mark.parametrize("n_batch", [0, 1])
    def test_what_the_padding_holds_is_ignored(self, n_batch):
        bags, weights = [[1, 2], [3]], [[1.0, 3.0], [2.0]]
        expected = lookup_sparse(TABLE, *from_lists(bags, weights))
        padded = from_lists(bags, weights, n_batch=n_batch, max_ids=4, nse=4 if n_batch else 7)
        real = np.all(np.asarray(padded.ids.indices) < padded.ids.shape[n_batch:], -1)

        def run(table, weights_data):
            ids, weights = (
                BCOO((data, padded.ids.indices), shape=padded.ids.shape)
                for data in (jnp.where(real, padded.ids.data, 99), jnp.where(real, weights_data, NAN))
            )
            return lookup_sparse(table, ids, weights)

        np.testing.assert_allclose(run(TABLE, padded.weights.data), expected, rtol=1e-6)
        gradient = jax.jit(jax.grad(lambda *arguments: jnp.sum(run(*arguments)), (0, 1)))
        assert all(np.isfinite(leaf).all() for leaf in gradient(TABLE, padded.weights.data))
        assert error_of(run, TABLE, padded.weights.data) == ""

    def test_ids_of_one_place_all_count(self):
        ids = BCOO((jnp.array([1, 2, 3]), jnp.array([[0, 0], [0, 0], [1, 0]])), shape=(2, 1))
        np.testing.assert_allclose(lookup_sparse(TABLE, ids, None, "sum"), [TABLE[1] + TABLE[2], TABLE[3]], rtol=1e-6)

    @pytest.mark.parametrize("indices", [[[0, 5]], [[4, 0]], [[-1, 0]], [[0, -1]]])
    def test_an_entry_out_of_bounds_in_one_dimension_is_padding(self, indices):
        ids = BCOO((jnp.array([1]), jnp.array(indices)), shape=(4, 5))
        for unique in (False, True):
            ids.unique_indices = unique
            assert not lookup_sparse(TABLE, ids, None, "sum").any()

    def test_an_id_out_of_range_counts_as_a_row_of_zeros(self):
        for layout in ("canonical", "by_row", "unknown"):
            sparse = LAYOUTS[layout]([[1, 7, -1, -5]], [[1.0, 1.0, 1.0, 1.0]])
            for weights in sparse.weights, None:
                np.testing.assert_allclose(lookup_sparse(TABLE, sparse.ids, weights), TABLE[1:2] / 4, rtol=1e-6)
                gradient = jax.jit(jax.grad(lambda t, w=weights, i=sparse.ids: jnp.sum(lookup_sparse(t, i, w))))(TABLE)
                np.testing.assert_allclose(gradient.sum(1), [0, 0.75, 0, 0, 0, 0, 0], rtol=1e-6)

    def test_checkify_reports_ids_out_of_range_and_weights_of_other_ids(self):
        op = "embedding_lookup_sparse"
        sparse = from_lists([[1, 2], [6]], [[1, 1], [1]], nse=5)
        assert error_of(lookup_sparse, TABLE, *sparse) == ""
        for wrong in (-1, -2, 7):
            ids = from_lists([[1, 2], [wrong]], nse=5).ids
            assert error_of(lookup_sparse, TABLE, ids, None).startswith(f"{op}: `sp_ids` must be in [0, 7)")
        other = BCOO((sparse.weights.data, sparse.weights.indices[::-1]), shape=sparse.weights.shape)
        error = error_of(lookup_sparse, TABLE, sparse.ids, other)
        assert error.startswith(f"{op}: `sp_weights` must have the indices of `sp_ids`")

    @pytest.mark.parametrize("n_batch", [0, 1])
    def test_sums_of_16_bits_are_taken_in_float32(self, n_batch):
        sparse = from_lists([[0] * 10_000, [1]], n_batch=n_batch)
        table = jnp.ones((3, 2), jnp.bfloat16)

        def run(table, combiner):
            return lookup_sparse(table, sparse.ids, None, combiner)

        found = run(table, "sum")
        assert found.dtype == jnp.bfloat16
        assert found.tolist() == [[jnp.bfloat16(10_000)] * 2, [1, 1]]
        gradient = jax.jit(jax.grad(lambda table: jnp.sum(run(table, "sum").astype(jnp.float32))))(table)
        assert gradient.tolist() == [[jnp.bfloat16(10_000)] * 2, [1, 1], [0, 0]]
        assert run(table, "mean").tolist() == [[1, 1], [1, 1]]

    def test_bags_larger_than_are_unrolled(self):
        bags = np.random.default_rng(0).integers(0, 7, (3, 40)).tolist()
        values = [[1.0] * 40] * 3
        for n_batch in (0, 1):
            sparse = from_lists(bags, values, n_batch=n_batch)
            found, pull_back = jax.vjp(lambda t, s=sparse: lookup_sparse(t, *s), TABLE)
            np.testing.assert_allclose(found, combined(TABLE, bags, values, "mean"), rtol=1e-5)
            expected = np.stack([np.bincount(np.ravel(bags), minlength=7)] * 3, 1) / 40
            np.testing.assert_allclose(pull_back(jnp.ones((3, 3)))[0], expected, rtol=1e-5)

    def test_mapped_over_bags_table_or_weights(self):
        lists = [BAGS, BAGS[::-1]]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(from_lists(b, b, nse=9, max_ids=4) for b in lists))
        mapped = nn.SparseIds(*(BCOO((m.data, m.indices), shape=(2, *m.shape)) for m in stacked))
        tables = jnp.stack([TABLE, TABLE[::-1]])
        expected = [[combined(table, bags, bags, "mean") for bags in lists] for table in tables]
        run = jax.jit(jax.vmap(lookup_sparse))
        np.testing.assert_allclose(run(tables, *mapped), [expected[0][0], expected[1][1]], rtol=1e-5)
        run = jax.vmap(jax.vmap(lookup_sparse, (None, 0, 0)), (0, None, None))
        np.testing.assert_allclose(run(tables, *mapped), expected, rtol=1e-5)
        given = from_lists(BAGS, BAG_WEIGHTS)

        def weigh(factor):
            weights = BCOO((given.weights.data * factor, given.weights.indices), shape=given.weights.shape)
            return lookup_sparse(TABLE, given.ids, weights, "sum")

        np.testing.assert_allclose(jax.jit(jax.vmap(weigh))(f32([1, -2]))[1], -2 * weigh(1), rtol=1e-5)

    def test_gradient_of_a_batch_is_a_broadcast(self):
        ids = from_lists([[1, 2, 3]] * 4, n_batch=1).ids
        gradient = jax.jit(jax.grad(lambda table: jnp.sum(lookup_sparse(table, ids, None) ** 2)))
        assert "stablehlo.pad" not in gradient.lower(TABLE).as_text()

    def test_weights_take_the_precision_of_the_sums(self):
        with jax.enable_x64(True):
            sparse = from_lists([[1, 2]], [[1.0, 1e-9]])
            assert sparse.weights.dtype == jnp.float64
            for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
                found = lookup_sparse(jnp.ones((3, 2), dtype), *sparse, "sum")
                assert found.dtype == dtype
                assert (found == 1).all() == (dtype != jnp.float64)
        ids, weights = from_lists([[1, 2]], [[1, 3]])
        for dtype in (jnp.float32, jnp.int8):
            weights = BCOO((weights.data.astype(dtype), weights.indices), shape=weights.shape)
            assert lookup_sparse(f32([[0], [1], [3]]), ids, weights).tolist() == [[2.5]]

    @pytest.mark.parametrize("n_batch", [0, 1])
    @pytest.mark.parametrize("bags", [[], [[], []]], ids=["no_bags", "empty_bags"])
    def test_without_ids(self, bags, n_batch):
        sparse = from_lists(bags, bags, n_batch=n_batch)
        for weights in (None, sparse.weights):
            np.testing.assert_array_equal(lookup_sparse(TABLE, sparse.ids, weights, "sqrtn"), np.zeros((len(bags), 3)))
        gradient = jax.jit(jax.grad(lambda table: jnp.sum(lookup_sparse(table, *sparse))))(TABLE)
        np.testing.assert_array_equal(gradient, np.zeros((7, 3)))
        found = safe_lookup_sparse(TABLE, sparse.ids, default_id=1)
        np.testing.assert_array_equal(found, jnp.broadcast_to(TABLE[1], (len(bags), 3)))
