"""Lookups: shards, norms, bags in every layout, ids out of range, and that tables reach the primitive as they are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.experimental import checkify
from jax.experimental.sparse import BCOO
from op_case import normal

import jnnops as nn
from jnnops._tables.rows import take_rows_p

INF, NAN = np.inf, np.nan
COMBINERS = ("mean", "sqrtn", "sum")
TABLE = jnp.asarray(normal(7, 3), jnp.float32)
from_lists: Any = nn.SparseIds.from_lists
lookup: Any = nn.embedding_lookup
lookup_sparse: Any = nn.embedding_lookup_sparse
safe_lookup_sparse: Any = nn.safe_embedding_lookup_sparse


def f32(values):
    return jnp.asarray(values, jnp.float32)


def error_of(f, *arguments):
    return checkify.checkify(f, errors=checkify.user_checks)(*arguments)[0].get() or ""


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
        gradient = jax.grad(lambda table: jnp.sum(lookup(table, ids).astype(jnp.float32)))(table)
        assert gradient.tolist() == [[0, 0], [jnp.bfloat16(10_000)] * 2, [0, 0]]


class TestMaxNorm:
    def test_rows_within_are_left_as_they_are(self):
        np.testing.assert_array_equal(lookup(TABLE, [1, 2], 100.0), TABLE[1:3])

    def test_the_limit_zero_and_rows_of_zeros(self):
        # TensorFlow gives NaN for the second
        value, gradient = jax.value_and_grad(lambda t: jnp.sum(lookup(t, [0, 1], 0.0)))(f32([[3, 4], [0, 0]]))
        assert value == 0
        assert gradient.tolist() == [[0, 0], [1, 1]]
        assert lookup(f32([[3, 4], [0, 0]]), [0, 1], 1.0)[1].tolist() == [0, 0]

    @pytest.mark.parametrize("norm", [4.0, 5.0, 6.0])
    def test_gradient_at_the_limit_is_that_of_tensorflow(self, norm):
        arrays = {"params": np.array([[3.0, 4.0], [1.0, 1.0]], np.float32)}
        names, options = ["params"], {"ids": np.array([0, 1, 0]), "max_norm": norm}
        expected = oracle.gradients(lambda tf, params: tf.nn.embedding_lookup(params, **options), arrays, names)[0]
        weights = f32(oracle.cotangent((3, 2)))
        gradient = jax.grad(lambda table: jnp.vdot(lookup(table, **options), weights))(arrays["params"])
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)

    def test_norms_of_16_bits_are_taken_in_float32(self):
        rows = lookup(jnp.full((1, 4), 300, jnp.float16), [0], 300.0)
        assert rows.dtype == jnp.float16
        assert rows.tolist() == [[150] * 4]

    def test_may_be_traced_mapped_and_differentiated(self):
        table = f32([[3, 4]])
        limits = f32([2.5, 10])
        rows = jax.jit(jax.vmap(lambda limit: lookup(table, 0, limit)))(limits)
        assert rows.tolist() == [[1.5, 2], [3, 4]]
        gradient = jax.vmap(jax.grad(lambda limit: jnp.sum(lookup(table, 0, limit))))(limits)
        np.testing.assert_allclose(gradient, [1.4, 0], rtol=1e-6)


def combined(table, bags, weights, combiner, max_norm=None):
    """``embedding_lookup_sparse`` by loops, of lists."""
    table = np.asarray(table, np.float64)
    if max_norm is not None:
        table = table * np.minimum(1, max_norm / np.linalg.norm(table, axis=1, keepdims=True))
    results = []
    for ids, w in zip(bags, weights, strict=True):
        total = sum((a * table[i] for i, a in zip(ids, w, strict=True)), np.zeros(table.shape[1]))
        divisor = {"sum": 1, "mean": sum(w), "sqrtn": np.sqrt(np.sum(np.square(w)))}[combiner]
        results.append(total / divisor if divisor else 0 * total)
    return np.array(results).reshape(len(bags), table.shape[1])


def shuffled(matrix, seed=0):
    """The same entries in another order."""
    order = np.random.default_rng(seed).permutation(matrix.nse)
    entries = (matrix.data[order], matrix.indices[order])
    return BCOO(entries, shape=matrix.shape, unique_indices=matrix.unique_indices)


def without_knowledge(matrix):
    """The same, of whose indices nothing is promised."""
    return BCOO((matrix.data, matrix.indices), shape=matrix.shape)


LAYOUTS: dict[str, Any] = {
    "canonical": lambda *lists: from_lists(*lists),
    "padded": lambda *lists: from_lists(*lists, nse=20, max_ids=6),
    "by_row": lambda *lists: from_lists(*lists, n_batch=1),
    "by_row_padded": lambda *lists: from_lists(*lists, n_batch=1, max_ids=7, nse=6),
    "shuffled": lambda *lists: nn.SparseIds(*map(shuffled, from_lists(*lists, nse=20, max_ids=6))),
    "unknown": lambda *lists: nn.SparseIds(*(without_knowledge(shuffled(m)) for m in from_lists(*lists, max_ids=6))),
}
BAGS = [[], [3, 3, 1], [6], [], [0, 5, 2, 4], []]
BAG_WEIGHTS = [[], [1.5, 0.5, -1.0], [2.0], [], [0.25, -1, 3, 1], []]


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
                gradient = jax.grad(lambda t, w=weights, i=sparse.ids: jnp.sum(lookup_sparse(t, i, w)))(TABLE)
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
        gradient = jax.grad(lambda table: jnp.sum(run(table, "sum").astype(jnp.float32)))(table)
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

        np.testing.assert_allclose(jax.vmap(weigh)(f32([1, -2]))[1], -2 * weigh(1), rtol=1e-5)

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

        assert jax.grad(total)(jnp.ones((4, 1), jnp.bfloat16)).ravel().tolist() == [0, 1, jnp.bfloat16(10_000), 0]

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


def operands_of_lookups(jaxpr, names):
    """What the tables of all lookups are: the names of variables that are arguments of ``jaxpr``, or None."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive is take_rows_p:
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
