"""Samplers by unigram counts: tables, files of words, and the counts that are learned."""

import functools
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery import oracle
from machinery.programs import compile_by_default
from rooms.candidate_sampling.distributions import KEY

import jnnops as nn

ZERO, ONE = np.array([[0]]), np.array([[1]])


def expected_counts_of_fixed(tf, **options):
    size = options["range_max"]
    return tf.random.fixed_unigram_candidate_sampler(np.arange(size)[:, None], 1, 1, False, **options)[1]


class TestFixedUnigram:
    @pytest.mark.parametrize(
        "options",
        [
            {"range_max": 7},
            {"range_max": 7, "distortion": 0.75},
            {"range_max": 7, "distortion": 0.0},
            {"range_max": 9, "num_reserved_ids": 2},
            {"range_max": 3, "num_shards": 3, "shard": 0},
            {"range_max": 2, "num_shards": 3, "shard": 2},
            {"range_max": 6, "num_reserved_ids": 3, "num_shards": 2, "shard": 0},
            {"range_max": 5, "num_reserved_ids": 3, "num_shards": 2, "shard": 1},
        ],
        ids=str,
    )
    def test_probabilities_are_those_of_tensorflow(self, options, tmp_path):
        unigrams = [1.0, 2.0, 0.0, 4.5, 5.0, 0.25, 7.0]
        (expected,) = oracle.values(lambda tf: expected_counts_of_fixed(tf, unigrams=unigrams, **options), {})
        file = tmp_path / "vocab.csv"
        file.write_bytes("".join(f"word {i},{w}\r\n\n" for i, w in enumerate(unigrams)).encode())
        every = np.arange(options["range_max"])[:, None]
        sources: list[dict[str, Any]] = [{"unigrams": unigrams}, {"vocab_file": str(file)}]
        for source in sources:
            sampled = nn.fixed_unigram_candidate_sampler(every, 1, 1, False, key=KEY, **options, **source)
            np.testing.assert_allclose(sampled.true_expected_count, expected, rtol=1e-6)

    def test_table_is_an_argument_of_a_jitted_function(self):
        traced = []

        @jax.jit
        def draw(key, table):
            traced.append(table)
            return nn.fixed_unigram_candidate_sampler(ONE, 1, 20, False, 2, unigrams=table, key=key)

        assert draw(KEY, nn.UnigramTable.from_unigrams([1.0, 1e-9])).sampled_candidates.tolist() == [0] * 20
        assert draw(KEY, nn.UnigramTable.from_unigrams([1e-9, 1.0])).sampled_candidates.tolist() == [1] * 20
        assert len(traced) == 1

    def test_has_no_gradient(self):
        def total(probabilities, unique):
            table = nn.UnigramTable.from_unigrams([1.0, 2.0, 3.0])
            table = nn.UnigramTable(probabilities, table.threshold, table.alias, table.num_possible)
            return sum(nn.fixed_unigram_candidate_sampler(ONE, 1, 2, unique, 3, unigrams=table, key=KEY)[2])

        for unique in (False, True):
            gradient = jax.jit(jax.grad(total), static_argnums=1)(jnp.array([1 / 6, 1 / 3, 1 / 2]), unique)
            assert gradient.tolist() == [0, 0, 0]

    @pytest.mark.parametrize("line", ["c,x", "c,1,", "c,", "c", "c,-1", "c,nan", "c,inf", " "])
    def test_bad_line_is_named(self, line, tmp_path):
        file = tmp_path / "vocab.csv"
        file.write_text(f"a,1\n\n{line}\n")
        message = rf"fixed_unigram_candidate_sampler: `vocab_file` must have .* got '{line}' in line 3 of .*vocab\.csv"
        with pytest.raises(ValueError, match=message):
            nn.fixed_unigram_candidate_sampler(ZERO, 1, 1, True, 2, str(file), key=KEY)
        with pytest.raises(ValueError, match="UnigramTable.from_vocab_file: .* in line 3 of "):
            nn.UnigramTable.from_vocab_file(file)

    @pytest.mark.parametrize(("text", "reason"), [("", "a line with a count, got none"), ("a,0\n", "a positive")])
    def test_file_without_counts(self, text, reason, tmp_path):
        file = tmp_path / "vocab.csv"
        file.write_text(text)
        with pytest.raises(ValueError, match=f"UnigramTable.from_vocab_file: `vocab_file` must have {reason}"):
            nn.UnigramTable.from_vocab_file(file)
        with pytest.raises(ValueError, match=f"fixed_unigram_candidate_sampler: `vocab_file` must have {reason}"):
            nn.fixed_unigram_candidate_sampler(ZERO, 1, 1, True, 2, str(file), key=KEY)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing.csv"):
            nn.UnigramTable.from_vocab_file(tmp_path / "nothing.csv")

    @pytest.mark.parametrize(
        ("make", "options", "message"),
        [
            (nn.UnigramTable.from_unigrams, {"unigrams": ["a", "b"]}, "from_unigrams: `unigrams` must be numbers, got"),
            (
                nn.UnigramTable.from_unigrams,
                {"unigrams": [1.0], "distortion": "1"},
                "`distortion` must be a static number",
            ),
            (nn.UnigramTable.from_vocab_file, {"vocab_file": 3}, "from_vocab_file: `vocab_file` must be a path, got 3"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, make, options, message):
        with pytest.raises(TypeError, match=message):
            make(**options)

    def test_traced_counts_are_refused(self):
        with pytest.raises(TypeError, match="UnigramTable.from_unigrams: `unigrams` and `distortion` must be static"):
            jax.jit(lambda counts: nn.UnigramTable.from_unigrams(counts).probabilities)(np.ones(3))
        with pytest.raises(TypeError, match="fixed_unigram_candidate_sampler: `unigrams` and `distortion` must be"):
            jax.jit(lambda w: nn.fixed_unigram_candidate_sampler(ZERO, 1, 1, True, 3, unigrams=w, key=KEY))(np.ones(3))


class TestLearnedUnigram:
    def test_expected_counts_are_those_of_tensorflow_step_by_step(self):
        batches = np.array([[[0, 0], [1, 3]], [[2, 2], [2, 3]], [[0, 1], [2, 3]]])

        def steps(tf, batches):
            sampler = tf.function(lambda true: tf.random.learned_unigram_candidate_sampler(true, 2, 1, False, 4)[1])
            return [sampler(batch) for batch in batches]

        state = nn.LearnedUnigramState.from_counts(np.ones(4, int))
        for batch, expected in zip(batches, oracle.values(steps, {"batches": batches}), strict=True):
            *_, by_true, _, state = nn.learned_unigram_candidate_sampler(batch, 2, 1, False, 4, state=state, key=KEY)
            np.testing.assert_allclose(by_true, expected, rtol=1e-6)

    @pytest.mark.parametrize("range_max", [1, 2, 5, 64, 100])
    def test_tree_holds_the_counts_and_their_sums(self, range_max):
        @jax.jit
        def count(true):
            state = nn.LearnedUnigramState.init(range_max)
            state = nn.learned_unigram_candidate_sampler(true, 3, 1, False, range_max, state=state, key=KEY).state
            return state.counts, state.tree, nn.LearnedUnigramState.from_counts(state.counts).tree

        true = np.random.default_rng(range_max).integers(-2, range_max + 2, (50, 3))
        valid = true[(true >= 0) & (true < range_max)]
        counts, tree, tree_of_counts = map(np.asarray, count(true))
        np.testing.assert_array_equal(counts, 1 + np.bincount(valid, minlength=range_max))
        np.testing.assert_array_equal(tree, tree_of_counts)
        assert tree[1] == counts.sum()

    def test_state_goes_through_a_scan(self):
        def step(state, inputs):
            true_classes, key = inputs
            sampled = nn.learned_unigram_candidate_sampler(true_classes, 1, 4, False, 10, state=state, key=key)
            return sampled.state, sampled[:3]

        inputs = np.arange(15).reshape(5, 3, 1) % 4, jax.random.split(KEY, 5)
        start = jax.jit(lambda: nn.LearnedUnigramState.init(10))()
        state, found = jax.jit(functools.partial(jax.lax.scan, step))(start, inputs)
        assert state.tree[16:26].tolist() == [5, 5, 5, 4, 1, 1, 1, 1, 1, 1]
        state = start
        for i in range(5):
            state, expected = step(state, jax.tree.map(lambda leaf, i=i: leaf[i], inputs))
            jax.tree.map(lambda all, one, i=i: np.testing.assert_array_equal(np.asarray(all)[i], one), found, expected)

    @pytest.mark.parametrize("unique", [True, False])
    def test_updates_in_place(self, unique):
        def memory(range_max):
            def step(state, key):
                return nn.learned_unigram_candidate_sampler(ZERO, 1, 8, unique, range_max, state=state, key=key)

            state = jax.eval_shape(lambda: nn.LearnedUnigramState.init(range_max))
            return compile_by_default(step, state, KEY, donate_argnames="state").memory_analysis().temp_size_in_bytes

        assert memory(2**16) < memory(2**10) + 2**14  # a copy of the state would have 2**19 bytes

    def test_bad_counts(self):
        with pytest.raises(ValueError, match="LearnedUnigramState.init: `range_max` must be at most 2"):
            nn.LearnedUnigramState.init(2**29 + 1)
        with pytest.raises(ValueError, match="LearnedUnigramState.from_counts: `counts` must hold at least one class"):
            nn.LearnedUnigramState.from_counts(np.zeros(0, int))
        with pytest.raises(
            ValueError, match="LearnedUnigramState.from_counts: `counts` must be at least 1, got 0 at 1"
        ):
            nn.LearnedUnigramState.from_counts(np.array([3, 0, 2]))
        with pytest.raises(TypeError, match="LearnedUnigramState.from_counts: `counts` must be an integer array"):
            nn.LearnedUnigramState.from_counts(np.array([0.5]))
        too_large: list[Any] = [[2**32, 1], [2**32 - 1, 1], [2**70], np.array([2**63], np.uint64)]
        for counts in too_large:
            with pytest.raises(ValueError, match=r"from_counts: `counts` must have a sum of less than 2\*\*32, got"):
                nn.LearnedUnigramState.from_counts(counts)
        with pytest.raises(ValueError, match="`counts` must be at least 1, got 0 at 1"):
            jax.make_jaxpr(lambda: nn.LearnedUnigramState.from_counts(np.array([3, 0])))()
        check = checkify.checkify(jax.jit(nn.LearnedUnigramState.from_counts), errors=checkify.user_checks)
        report = check(jnp.array([3, 0]))[0].get() or ""
        assert report.startswith("LearnedUnigramState.from_counts: `counts` must be at least 1")

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda tree: tree[:4], ValueError, r"must have shape \(32,\) .*, got \(4,\)"),
            (lambda tree: tree[None], ValueError, r"must have shape \(32,\) .*, got \(1, 32\)"),
            (lambda tree: tree.astype(jnp.int32), TypeError, "must be uint32, got int32"),
            (lambda tree: None, ValueError, "must be an array, got None"),
        ],
        ids=["short", "rank", "dtype", "None"],
    )
    def test_malformed_state(self, change, error, message):
        state = nn.LearnedUnigramState(change(nn.LearnedUnigramState.init(10).tree), 10)
        with pytest.raises(error, match=f"learned_unigram_candidate_sampler: `state.tree` {message}"):
            nn.learned_unigram_candidate_sampler(ZERO, 1, 2, False, 10, state=state, key=KEY)
