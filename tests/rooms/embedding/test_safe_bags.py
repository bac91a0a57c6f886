"""Bags that may be empty or hold negative ids, and how bags are made from lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from machinery import oracle
from rooms.embedding.bags import BAG_WEIGHTS, BAGS, LAYOUTS, TABLE, error_of, f32, from_lists, safe_lookup_sparse

INF, NAN = np.inf, np.nan
COMBINERS = ("mean", "sqrtn", "sum")


class TestSafeEmbeddingLookupSparse:
    def test_negative_ids_do_not_count(self):
        for layout in ("canonical", "by_row", "unknown"):
            sparse = LAYOUTS[layout]([[1, -1, -7, 2], [-1]], [[1.0, 2, 3, 3], [1]])
            safe = safe_lookup_sparse(TABLE, *sparse)
            np.testing.assert_allclose(safe, [TABLE[1] / 4 + 3 * TABLE[2] / 4, 0 * TABLE[0]], rtol=1e-6)
            assert error_of(safe_lookup_sparse, TABLE, *sparse) == ""

    @pytest.mark.parametrize("combiner", COMBINERS)
    def test_weights_not_above_zero_count_for_sums_alone_as_in_tensorflow(self, combiner):
        bags, weights = [[1, 2, 3], [4], [5]], [[1.0, 0, -2], [-1], [NAN]]
        sparse = from_lists(bags, weights)

        def run(tf, params):
            ids, weights = (
                tf.sparse.SparseTensor(np.asarray(m.indices, np.int64), np.asarray(m.data), m.shape) for m in sparse
            )
            return tf.nn.safe_embedding_lookup_sparse(params, ids, weights, combiner=combiner, default_id=6)

        expected = oracle.values(run, {"params": np.asarray(TABLE)})[0]
        actual = safe_lookup_sparse(TABLE, *sparse, combiner=combiner, default_id=6)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_default_row_gets_the_gradient_of_the_empty_bags_in_float32(self):
        ids = from_lists([[1]] + [[]] * 10_000).ids

        def total(table):
            return jnp.sum(safe_lookup_sparse(table, ids, default_id=2).astype(jnp.float32))

        assert jax.jit(jax.grad(total))(jnp.ones((4, 1), jnp.bfloat16)).ravel().tolist() == [
            0,
            1,
            jnp.bfloat16(10_000),
            0,
        ]

    def test_default_row_is_not_looked_up_when_no_bag_is_empty(self):
        table = f32([[1, 2], [NAN, INF]])
        value, pull_back = jax.vjp(
            lambda t: safe_lookup_sparse(t, from_lists([[0]]).ids, default_id=1, max_norm=1.0), table
        )
        assert np.isfinite(value).all()
        assert np.isfinite(pull_back(value)[0]).all()

    def test_default_id_may_be_traced(self):
        ids = from_lists([[], [0]]).ids
        found = jax.jit(lambda default: safe_lookup_sparse(TABLE, ids, default_id=default))
        np.testing.assert_array_equal(found(5), TABLE[jnp.array([5, 0])])
        assert not found(7)[0].any()
        for wrong in (-1, 7):
            assert "safe_embedding_lookup_sparse: `default_id` must be in [0, 7)" in error_of(found, wrong)
        assert error_of(found, 6) == ""

    def test_checkify_reports_ids_too_large(self):
        error = error_of(safe_lookup_sparse, TABLE, from_lists([[7, -1]]).ids)
        assert error.startswith("safe_embedding_lookup_sparse: `sparse_ids` must be in [0, 7)")

    def test_shards_are_blocks_unless_said_otherwise(self):
        ids = from_lists([[0, 3], [6]]).ids
        expected = safe_lookup_sparse(TABLE, ids)
        shards = [TABLE[:4], TABLE[4:]]
        np.testing.assert_array_equal(safe_lookup_sparse(shards, ids), expected)
        shards = [TABLE[::2], TABLE[1::2]]
        np.testing.assert_array_equal(safe_lookup_sparse(shards, ids, partition_strategy="mod"), expected)

    def test_rank_3_by_row_equals_rank_3_in_one_list(self):
        cube = jnp.array([[[1, 2], [3, 0]], [[0, 0], [6, 5]]])
        flat, by_row = (BCOO.fromdense(cube, n_batch=n_batch, nse=nse) for n_batch, nse in ((0, 7), (2, 2)))
        expected = safe_lookup_sparse(TABLE, flat, default_id=4)
        np.testing.assert_allclose(safe_lookup_sparse(TABLE, by_row, default_id=4), expected, rtol=1e-6)
        np.testing.assert_allclose(expected[0, 0], (TABLE[1] + TABLE[2]) / 2, rtol=1e-6)


class TestSparseIds:
    @pytest.mark.parametrize("n_batch", [0, 1])
    def test_from_lists_keeps_the_order(self, n_batch):
        ids, weights = from_lists(BAGS, BAG_WEIGHTS, max_ids=5, nse=5 if n_batch else 9, n_batch=n_batch)
        assert (ids.shape, ids.nse, ids.n_batch) == ((6, 5), 5 if n_batch else 9, n_batch)
        assert [row[: len(bag)] for row, bag in zip(ids.todense().tolist(), BAGS, strict=True)] == BAGS
        assert [row[: len(bag)] for row, bag in zip(weights.todense().tolist(), BAGS, strict=True)] == BAG_WEIGHTS
        assert ids.unique_indices
        assert ids.indices_sorted

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"weights": [[1.0], [2.0]]}, ValueError, "`weights` must be as many as `ids` in each row, got"),
            ({"ids": [[1.5]]}, TypeError, "`ids` must be an integer array, got float"),
            *(
                ({"ids": ids}, TypeError, "`ids` must be a list of ids for each row, got")
                for ids in (None, "12", ["12"], {0: [1]}, [{1: 2}], 3, np.float32(1))
            ),
            ({"ids": [[1]], "weights": 3.0}, TypeError, "`weights` must be a list of weights for each row, got 3.0"),
            ({"ids": [["word"]]}, TypeError, "`ids` must be an array, got list"),
            ({"ids": [1, 2]}, TypeError, "`ids` must be a list of ids for each row, got"),
            ({"max_ids": 1}, ValueError, "`max_ids` must be at least 2, got 1"),
            ({"nse": 2}, ValueError, "`nse` must be at least 3, got 2"),
            ({"nse": 1, "n_batch": 1}, ValueError, "`nse` must be at least 2, got 1"),
            ({"n_batch": 2}, ValueError, "`n_batch` must be 0 or 1, got 2"),
        ],
    )
    def test_bad_arguments_are_refused(self, options, error, message):
        with pytest.raises(error, match=f"SparseIds.from_lists: {message}"):
            from_lists(**{"ids": [[1, 2], [3]], **options})
