"""Candidate sampling: what is drawn follows its distribution, and expected counts are TensorFlow's."""

import collections
import itertools
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.experimental import checkify
from jax.sharding import AxisType, PartitionSpec
from scipy import stats

import jnnops as nn
from jnnops.candidate_sampling._alias import alias_table
from jnnops.candidate_sampling._distinct import Distribution, draw_by_race, draw_by_rejection, first_occurrences
from jnnops.candidate_sampling._random import random_words, scale_words, threefry_2x32
from jnnops.candidate_sampling._sample import expected_count
from jnnops.candidate_sampling.log_uniform import draw_in_piece, log_uniform_pieces

KEY = jax.random.key(11)
DRAWS = 1_000_000
TRUE = np.array([[0, 3], [5, 1]])
ZERO, ONE = np.array([[0]]), np.array([[1]])
COUNTS = np.random.default_rng(0).integers(1, 40, 1000)


def log_uniform_probabilities(range_max):
    return np.log1p(1 / np.arange(1.0, range_max + 1)) / np.log1p(range_max)


def assert_follows(observed, probabilities):
    """Chi-square test, at a level that a right distribution fails once in ten thousand keys; the keys are fixed."""
    observed, expected = np.asarray(observed), np.sum(observed) * np.asarray(probabilities)
    assert not observed[expected == 0].any()
    common = expected > 5
    rare = [observed[~common].sum()], [expected[~common].sum()]
    observed, expected = (
        np.concatenate([values[common], rest]) if rare[1][0] > 5 else values[common]
        for values, rest in zip((observed, expected), rare, strict=True)
    )
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, observed.size - 1) > 1e-4


class TestDraws:
    """A million draws with replacement of each sampler."""

    def test_uniform(self):
        ids = nn.uniform_candidate_sampler(TRUE, 2, DRAWS, False, 1000, key=KEY)[0]
        assert_follows(np.bincount(ids, minlength=1000), np.full(1000, 1e-3))

    def test_uniform_of_a_range_that_divides_no_power_of_two(self):
        # a word modulo this range is twice as likely in the lower third as above
        ids = nn.uniform_candidate_sampler(TRUE, 2, DRAWS, False, 3 * 2**29, key=KEY)[0]
        assert_follows(np.bincount(np.asarray(ids) // 2**22, minlength=384), np.full(384, 1 / 384))
        assert_follows(np.bincount(np.asarray(ids) % 8), np.full(8, 1 / 8))

    @pytest.mark.parametrize("range_max", [1000, 30000])
    def test_log_uniform(self, range_max):
        ids = nn.log_uniform_candidate_sampler(TRUE, 2, DRAWS, False, range_max, key=KEY)[0]
        assert_follows(np.bincount(ids, minlength=range_max), log_uniform_probabilities(range_max))

    def test_log_uniform_of_the_largest_range(self):
        end = 2**31
        ids = np.asarray(nn.log_uniform_candidate_sampler(TRUE, 2, DRAWS, False, end - 1, key=KEY)[0], np.int64)
        edges = np.unique(np.round(np.exp(np.linspace(0, np.log(end), 4000)))).astype(np.int64)
        assert_follows(np.histogram(ids + 1, edges)[0], np.diff(np.log(edges)) / np.log(end))
        large = ids[ids > 2**25]  # where float32 tells apart every fourth id at most
        assert_follows(np.bincount(large % 8), np.full(8, 1 / 8))

    def test_fixed_unigram(self):
        weights = np.concatenate([[0, 0], COUNTS**0.75])
        ids = nn.fixed_unigram_candidate_sampler(
            TRUE, 2, DRAWS, False, 1002, unigrams=COUNTS, distortion=0.75, num_reserved_ids=2, key=KEY
        )[0]
        assert_follows(np.bincount(ids, minlength=1002), weights / weights.sum())

    def test_learned_unigram(self):
        state = nn.LearnedUnigramState.from_counts(COUNTS)
        ids = nn.learned_unigram_candidate_sampler(TRUE, 2, DRAWS, False, 1000, state=state, key=KEY)[0]
        assert_follows(np.bincount(ids, minlength=1000), COUNTS / COUNTS.sum())

    def test_a_single_id(self):
        state, table = nn.LearnedUnigramState.init(1), nn.UnigramTable.from_unigrams([2.0])
        for sampled in (
            nn.uniform_candidate_sampler(ZERO, 1, 3, False, 1, key=KEY),
            nn.log_uniform_candidate_sampler(ZERO, 1, 3, False, 1, key=KEY),
            nn.fixed_unigram_candidate_sampler(ZERO, 1, 3, False, 1, unigrams=table, key=KEY),
            nn.learned_unigram_candidate_sampler(ZERO, 1, 3, False, 1, state=state, key=KEY),
        ):
            assert sampled.sampled_candidates.tolist() == [0, 0, 0]
            np.testing.assert_allclose(sampled.true_expected_count, [[3]], rtol=1e-6)
        assert nn.log_uniform_candidate_sampler(ZERO, 1, 1, True, 1, key=KEY)[2].tolist() == [1]


P = np.array([0.5, 0.2, 0.2, 0.1])


def draw_of_p(key, stream, count):
    thresholds = jnp.asarray(np.cumsum(P)[:-1] * 2.0**32, jnp.uint32)
    return jnp.searchsorted(thresholds, random_words(key, stream, (count,)), side="right").astype(jnp.int32)


OF_P = Distribution(4, draw_of_p, lambda ids: jnp.asarray(P, jnp.float32)[ids])


def sequence_probabilities(p, size):
    """The probability of every sequence of distinct ids."""
    return {
        ids: np.prod([p[ids[i]] / (1 - p[list(ids[:i])].sum()) for i in range(size)])
        for ids in itertools.permutations(range(len(p)), size)
    }


def tries_probabilities(p, size, most):
    """The probability of every number of draws up to ``most`` that so many distinct ids can take."""
    seen: dict[frozenset[int], float] = {frozenset(): 1.0}
    result = np.zeros(most + 1)
    for tries in range(1, most + 1):
        after = collections.defaultdict[frozenset[int], float](float)
        for ids, probability in seen.items():
            for i, p_i in enumerate(p):
                after[ids | {i}] += probability * p_i
        result[tries] = sum(after.pop(ids) for ids in list(after) if len(ids) == size)
        seen = after
    return result


class TestUnique:
    @pytest.mark.parametrize("method", ["rejection", "race"])
    def test_sequences_and_tries_against_enumeration(self, method):
        keys = jax.random.split(KEY, 50_000)
        draw = {
            "rejection": lambda key: draw_by_rejection(OF_P, key, 3, 1),
            "race": lambda key: draw_by_race(OF_P, key, 3),
        }
        ids, tries = jax.jit(jax.vmap(draw[method]))(keys)
        probabilities = sequence_probabilities(P, 3)
        found = collections.Counter(map(tuple, np.asarray(ids).tolist()))
        assert_follows([found[sequence] for sequence in probabilities], list(probabilities.values()))
        most = int(tries.max())
        assert_follows(np.bincount(np.asarray(tries, int)), tries_probabilities(P, 3, most))

    @pytest.mark.parametrize("op", ["uniform", "log_uniform", "fixed_unigram", "learned_unigram"])
    def test_inclusion_probabilities_of_each_sampler(self, op):
        counts = np.array([5, 1, 2, 0, 3, 3, 1, 4])
        options: dict[str, Any]
        options, p = {
            "uniform": ({}, np.full(8, 1 / 8)),
            "log_uniform": ({}, log_uniform_probabilities(8)),
            "fixed_unigram": ({"unigrams": nn.UnigramTable.from_unigrams(counts)}, counts / counts.sum()),
            "learned_unigram": (
                {"state": nn.LearnedUnigramState.from_counts(counts + 1)},
                (counts + 1) / (counts + 1).sum(),
            ),
        }[op]
        sampler = getattr(nn, f"{op}_candidate_sampler")
        draw = jax.vmap(lambda key: sampler(TRUE, 2, 3, True, 8, key=key, **options)[0])
        ids = np.sort(jax.jit(draw)(jax.random.split(KEY, 20_000)))
        expected = collections.defaultdict[Any, float](float)
        for sequence, probability in sequence_probabilities(p, 3).items():
            expected[tuple(sorted(sequence))] += probability
        found = collections.Counter(map(tuple, ids.tolist()))
        assert sum(found[triple] for triple in expected) == 20_000
        assert_follows([found[triple] for triple in expected], list(expected.values()))

    def test_equals_a_loop_over_the_draws(self):
        def draw(key, stream, count):
            high, low = random_words(key, stream, (2, count))
            return scale_words(high, low, np.uint32(400)).astype(jnp.int32)

        # 300 of 400 ids take some 550 draws: a first batch of 128, and four more
        uniform = Distribution(400, draw, jnp.ones_like)
        ids, tries = jax.jit(lambda key: draw_by_rejection(uniform, key, 300, 128))(KEY)
        draws = np.concatenate([draw(KEY, stream, 128) for stream in range(8)])
        expected = list(dict.fromkeys(draws.tolist()))[:300]
        assert ids.tolist() == expected
        assert tries == draws.tolist().index(expected[-1]) + 1
        assert tries > 3 * 128

    def test_first_occurrences(self):
        generator = np.random.default_rng(0)
        find = jax.jit(first_occurrences)
        for high in (1, 2, 50, 700, 2**31 - 1):
            ids = generator.integers(0, high, 500).astype(np.int32)
            active = generator.uniform(size=500) < 0.9
            expected = np.zeros(500, bool)
            expected[np.flatnonzero(active)[np.unique(ids[active], return_index=True)[1]]] = True
            np.testing.assert_array_equal(find(ids, active), expected)
        # all in the same place of the table at first
        ids = (np.arange(500) * pow(0x9E3779B1, -1, 2**32) % 2**32).astype(np.uint32).view(np.int32)
        assert find(ids, np.ones(500, bool)).all()

    @pytest.mark.parametrize("op", [nn.uniform_candidate_sampler, nn.log_uniform_candidate_sampler])
    def test_as_many_as_there_are(self, op):
        sampled = op(TRUE, 2, 700, True, 700, key=KEY)
        assert sorted(sampled.sampled_candidates.tolist()) == list(range(700))
        assert (sampled.sampled_expected_count > 0.5).all()
        assert (sampled.sampled_expected_count <= 1).all()

    def test_few_ids_with_nearly_all_the_probability(self):
        # rejection, and TensorFlow, would take 1e15 draws
        table = nn.UnigramTable.from_unigrams([1e15, 1, 1, 1, 0, 1])
        sampled = nn.fixed_unigram_candidate_sampler(ZERO, 1, 5, True, 6, unigrams=table, key=KEY)
        assert sampled.sampled_candidates[0] == 0
        assert sorted(sampled.sampled_candidates.tolist()) == [0, 1, 2, 3, 5]
        assert np.isfinite(sampled.sampled_expected_count).all()

    def test_takes_no_memory_for_the_range(self):
        draw = jax.jit(lambda key: nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 2**31 - 1, key=key))
        memory = draw.lower(KEY).compile().memory_analysis()
        assert memory is not None
        assert memory.temp_size_in_bytes < 100_000

    def test_each_device_of_a_shard_map_draws_with_its_own_key(self):
        mesh = jax.make_mesh((8,), ("device",), axis_types=(AxisType.Auto,))
        spec = PartitionSpec("device")

        def draw(keys):
            return nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 100, key=keys[0]).sampled_candidates[None]

        keys = jax.random.split(KEY, 8)
        actual = jax.jit(jax.shard_map(draw, mesh=mesh, in_specs=spec, out_specs=spec))(keys)
        np.testing.assert_array_equal(actual, [draw(keys[i : i + 1])[0] for i in range(8)])


class TestExpectedCounts:
    @pytest.mark.parametrize("op", ["uniform", "log_uniform", "fixed_unigram", "learned_unigram"])
    @pytest.mark.parametrize("unique", [False, True])
    def test_are_those_of_tensorflow_for_as_many_tries(self, op, unique):
        range_max, every = 50, np.arange(50)[:, None]
        ours, theirs = {
            "fixed_unigram": ({"unigrams": COUNTS[:50]}, {"unigrams": COUNTS[:50].tolist()}),
            "learned_unigram": ({"state": nn.LearnedUnigramState.init(50)}, {}),
        }.get(op, ({}, {}))
        sampler = getattr(nn, f"{op}_candidate_sampler")
        p = sampler(every, 1, 1, False, range_max, key=KEY, **ours).true_expected_count
        for num_sampled in (3, 11, 25):

            def draw(tf, true, num_sampled=num_sampled):
                of_tf = getattr(tf.random, f"{op}_candidate_sampler")
                return of_tf(true, 1, num_sampled, unique, range_max, seed=num_sampled, **theirs)

            ids, by_true, by_sampled = oracle.values(draw, {"true": every})
            tries = jnp.float32(ids.size)
            if unique and not np.allclose(by_true, ids.size * p):
                tries = jnp.round(jnp.log1p(-by_true[0, 0]) / jnp.log1p(-p[0, 0]))
            np.testing.assert_allclose(expected_count(p, ids.size, tries), by_true, rtol=1e-5)
            np.testing.assert_allclose(expected_count(p[ids, 0], ids.size, tries), by_sampled, rtol=1e-5)

    def test_of_the_candidates_are_those_of_the_true_classes(self):
        every = np.arange(50)[:, None]
        sampled = nn.log_uniform_candidate_sampler(every, 1, 20, True, 50, key=KEY)
        np.testing.assert_array_equal(
            sampled.true_expected_count[sampled.sampled_candidates, 0], sampled.sampled_expected_count
        )

    def test_tell_rare_ids_of_a_large_range_apart(self):
        ids = np.array([[2**24, 2**30, 2**31 - 2]])
        expected = np.log1p(1 / (ids + 1.0)) / np.log(2.0**31)
        actual = nn.log_uniform_candidate_sampler(ids, 3, 1, False, 2**31 - 1, key=KEY).true_expected_count
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_of_an_id_out_of_range_are_zero_and_reported(self):
        table, state = nn.UnigramTable.from_unigrams(np.ones(9)), nn.LearnedUnigramState.init(9)

        def counts(true_classes):
            return (
                nn.uniform_candidate_sampler(true_classes, 1, 3, False, 9, key=KEY)[1],
                nn.log_uniform_candidate_sampler(true_classes, 1, 3, False, 9, key=KEY)[1],
                nn.fixed_unigram_candidate_sampler(true_classes, 1, 3, False, 9, unigrams=table, key=KEY)[1],
                nn.learned_unigram_candidate_sampler(true_classes, 1, 3, False, 9, state=state, key=KEY)[1],
                nn.all_candidate_sampler(true_classes, 1, 9, False)[1],
            )

        for ids in (np.array([[9], [8], [-1]], np.int8), np.array([[9], [8], [2**32 - 1]], np.uint32)):
            for found in jax.jit(counts)(ids):
                assert (found[:, 0] > 0).tolist() == [False, True, False]
        with jax.enable_x64(True):
            assert nn.uniform_candidate_sampler(np.array([[2**32 + 1]]), 1, 3, False, 9, key=KEY)[1].tolist() == [[0]]
        check = checkify.checkify(jax.jit(counts), errors=checkify.user_checks)
        assert check(jnp.array([[8]]))[0].get() is None
        message = "uniform_candidate_sampler: `true_classes` must be in [0, 9)"
        assert (check(jnp.array([[9]]))[0].get() or "").startswith(message)


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
            assert jax.grad(total)(jnp.array([1 / 6, 1 / 3, 1 / 2]), unique).tolist() == [0, 0, 0]

    @pytest.mark.parametrize("line", ["c,x", "c,1,", "c,", "c", "c,-1", "c,nan", "c,inf", " "])
    def test_bad_line_is_named(self, line, tmp_path):
        file = tmp_path / "vocab.csv"
        file.write_text(f"a,1\n\n{line}\n")
        message = rf"fixed_unigram_candidate_sampler: `vocab_file` must have .* got '{line}' in line 3 of .*vocab\.csv"
        with pytest.raises(ValueError, match=message):
            nn.fixed_unigram_candidate_sampler(ZERO, 1, 1, True, 2, str(file), key=KEY)
        with pytest.raises(ValueError, match="UnigramTable.from_vocab_file: .* in line 3 of "):
            nn.UnigramTable.from_vocab_file(file)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing.csv"):
            nn.UnigramTable.from_vocab_file(tmp_path / "nothing.csv")

    @pytest.mark.parametrize(
        ("make", "options", "message"),
        [
            (nn.UnigramTable.from_unigrams, {"unigrams": ["a", "b"]}, "from_unigrams: `unigrams` must be numbers, got"),
            (nn.UnigramTable.from_unigrams, {"unigrams": [1.0], "distortion": "1"}, "`distortion` must be a number"),
            (nn.UnigramTable.from_vocab_file, {"vocab_file": 3}, "from_vocab_file: `vocab_file` must be a path, got 3"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, make, options, message):
        with pytest.raises(TypeError, match=message):
            make(**options)

    def test_traced_counts_are_refused(self):
        with pytest.raises(TypeError, match="UnigramTable.from_unigrams: `unigrams` and `distortion` must be static"):
            jax.jit(lambda counts: nn.UnigramTable.from_unigrams(counts).probabilities)(jnp.ones(3))
        with pytest.raises(TypeError, match="fixed_unigram_candidate_sampler: `unigrams` and `distortion` must be"):
            jax.jit(lambda w: nn.fixed_unigram_candidate_sampler(ZERO, 1, 1, True, 3, unigrams=w, key=KEY))(jnp.ones(3))


class TestLearnedUnigram:
    def test_expected_counts_are_those_of_tensorflow_step_by_step(self):
        batches = np.array([[[0, 0], [1, 3]], [[2, 2], [2, 3]], [[0, 1], [2, 3]]])

        def steps(tf, batches):
            sampler = tf.function(lambda true: tf.random.learned_unigram_candidate_sampler(true, 2, 1, False, 4)[1])
            return [sampler(batch) for batch in batches]

        state = nn.LearnedUnigramState.init(4)
        for batch, expected in zip(batches, oracle.values(steps, {"batches": batches}), strict=True):
            *_, by_true, _, state = nn.learned_unigram_candidate_sampler(batch, 2, 1, False, 4, state=state, key=KEY)
            np.testing.assert_allclose(by_true, expected, rtol=1e-6)

    @pytest.mark.parametrize("range_max", [1, 2, 5, 64, 100])
    def test_tree_holds_the_counts_and_their_sums(self, range_max):
        true = np.random.default_rng(range_max).integers(-2, range_max + 2, (50, 3))
        state = nn.LearnedUnigramState.init(range_max)
        state = nn.learned_unigram_candidate_sampler(true, 3, 1, False, range_max, state=state, key=KEY).state
        valid = true[(true >= 0) & (true < range_max)]
        np.testing.assert_array_equal(state.counts, 1 + np.bincount(valid, minlength=range_max))
        expected = nn.LearnedUnigramState.from_counts(state.counts)
        np.testing.assert_array_equal(state.tree, expected.tree)
        assert state.tree[1] == state.counts.sum()

    def test_state_goes_through_a_scan(self):
        def step(state, inputs):
            true_classes, key = inputs
            sampled = nn.learned_unigram_candidate_sampler(true_classes, 1, 4, False, 10, state=state, key=key)
            return sampled.state, sampled[:3]

        inputs = np.arange(15).reshape(5, 3, 1) % 4, jax.random.split(KEY, 5)
        state, found = jax.lax.scan(step, nn.LearnedUnigramState.init(10), inputs)
        assert state.counts.tolist() == [5, 5, 5, 4, 1, 1, 1, 1, 1, 1]
        state = nn.LearnedUnigramState.init(10)
        for i in range(5):
            state, expected = step(state, jax.tree.map(lambda leaf, i=i: leaf[i], inputs))
            jax.tree.map(lambda all, one, i=i: np.testing.assert_array_equal(all[i], one), found, expected)

    @pytest.mark.parametrize("unique", [True, False])
    def test_updates_in_place(self, unique):
        def memory(range_max):
            def step(state, key):
                return nn.learned_unigram_candidate_sampler(ZERO, 1, 8, unique, range_max, state=state, key=key)

            lowered = jax.jit(step, donate_argnames="state").lower(nn.LearnedUnigramState.init(range_max), KEY)
            analysis = lowered.compile().memory_analysis()
            assert analysis is not None
            return analysis.temp_size_in_bytes

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


class TestAccidentalHits:
    def test_are_those_of_tensorflow_for_unique_candidates(self):
        true = np.array([[7, 2, 9], [4, 11, 5], [2, 0, 7], [20, 21, 22]])
        sampled = np.array([4, 9, 0, 7, 13, 2])
        expected = oracle.values(
            lambda tf, **ids: tf.nn.compute_accidental_hits(**ids, num_true=3),
            {"true_classes": true, "sampled_candidates": sampled},
        )
        hits = nn.compute_accidental_hits(true, sampled, 3, unique=True)
        found = hits.indices < 4
        for actual, wanted in zip(hits, expected, strict=True):
            np.testing.assert_array_equal(actual[found], wanted)
        assert hits.ids.shape == (12,)
        mask = np.zeros((4, 6), np.float32)
        mask[expected[0], expected[1]] = expected[2]
        for unique in (False, True):
            hits = nn.compute_accidental_hits(true, sampled, 3, unique=unique)
            np.testing.assert_array_equal(jnp.zeros((4, 6)).at[hits.indices, hits.ids].add(hits.weights), mask)

    @pytest.mark.parametrize("unique", [False, True])
    def test_padding_is_out_of_range_and_weighs_nothing(self, unique):
        hits = nn.compute_accidental_hits(np.array([[1], [2]]), np.array([3, 2]), 1, unique=unique)
        padding = hits.weights == 0
        assert padding.sum() == hits.weights.size - 1
        assert (hits.indices[padding] == 2).all()
        assert (hits.ids[padding] == 2).all()

    def test_every_occurrence_counts_and_a_repeated_label_once(self):
        hits = nn.compute_accidental_hits(np.array([[3, 3], [0, 1]]), np.array([3, 3, 0, 3]), 2)
        mask = jnp.zeros((2, 4)).at[hits.indices, hits.ids].add(hits.weights)
        lowest = np.finfo(np.float32).min
        assert mask.tolist() == [[lowest, lowest, 0, lowest], [0, 0, lowest, 0]]
        hits = nn.compute_accidental_hits(np.array([[3, 3]]), np.array([0, 3]), 2, unique=True)
        assert hits.weights.tolist() == [lowest, 0]

    @pytest.mark.parametrize("unique", [False, True])
    def test_nothing_to_compare(self, unique):
        assert nn.compute_accidental_hits(np.zeros((0, 2), int), np.array([1, 2]), 2, unique=unique).ids.size == 0
        assert (nn.compute_accidental_hits(ONE, np.zeros(0, int), 1, unique=unique).weights == 0).all()


class TestArguments:
    def test_empty_batch(self):
        empty = np.zeros((0, 2), np.int32)
        state = nn.LearnedUnigramState.init(9)
        for sampled in (
            nn.uniform_candidate_sampler(empty, 2, 3, False, 9, key=KEY),
            nn.all_candidate_sampler(empty, 2, 3, True),
            nn.learned_unigram_candidate_sampler(empty, 2, 3, False, 9, state=state, key=KEY),
        ):
            assert sampled.true_expected_count.shape == (0, 2)
            assert sampled.sampled_candidates.shape == (3,)

    def test_any_kind_of_key(self):
        def draw(key):
            return nn.uniform_candidate_sampler(ZERO, 1, 6, False, 1000, key=key).sampled_candidates.tolist()

        assert draw(jax.random.PRNGKey(4)) == draw(jax.random.key(4))
        assert draw(jax.random.key(4, impl="rbg")) != draw(jax.random.key(5, impl="rbg"))

    def test_keys_can_be_mapped(self):
        keys = jax.random.split(KEY, 3)
        mapped = jax.jit(jax.vmap(lambda key: nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 100, key=key)))(keys)
        for i, key in enumerate(keys):
            expected = nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 100, key=key)
            np.testing.assert_array_equal(mapped.sampled_candidates[i], expected.sampled_candidates)
            np.testing.assert_allclose(mapped.true_expected_count[i], expected.true_expected_count, rtol=1e-6)

    def test_all_candidates_take_the_place_of_another_sampler(self):
        sampled = nn.all_candidate_sampler(TRUE, 2, 8, False, 8, key=KEY)
        assert sampled.sampled_candidates.tolist() == list(range(8))


class TestParts:
    def test_words_are_those_of_threefry(self):
        count = np.concatenate([np.full(5, 3), np.arange(5)]).astype(np.uint32)
        expected = jax.extend.random.threefry_2x32(jax.random.key_data(KEY), count)
        np.testing.assert_array_equal(random_words(KEY, 3, (10,)), expected)
        np.testing.assert_array_equal(random_words(KEY, 3, (3, 3)).ravel(), expected[:9])
        # the known answer of the authors' Random123
        words = jnp.array([0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3], jnp.uint32)
        assert [hex(word) for word in threefry_2x32(*words)] == ["0xc4923a9c", "0x483df7a0"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 65536, 65537, 10**6, 3 * 2**29, 2**31 - 1, 2**32 - 1])
    def test_words_are_scaled_exactly(self, limit):
        high, low = np.random.default_rng(0).integers(0, 2**32, (2, 1000), dtype=np.uint32)
        high[:4], low[:4] = [0, 0, 2**32 - 1, 2**32 - 1], [0, 2**32 - 1, 0, 2**32 - 1]
        expected = [(int(a) << 32 | int(b)) * limit >> 64 for a, b in zip(high, low, strict=True)]
        assert scale_words(jnp.asarray(high), jnp.asarray(low), np.uint32(limit)).tolist() == expected

    @pytest.mark.parametrize("range_max", [1, 2, 511, 512, 513, 1000, 10**6, 2**31 - 1])
    def test_pieces_make_up_the_range(self, range_max):
        start, bits = log_uniform_pieces(range_max)
        end = start + 2**bits
        assert start[0] == 1
        assert end[-1] == range_max + 1
        np.testing.assert_array_equal(start[1:], end[:-1])
        assert (512 * (end - start) <= np.maximum(start, 512)).all()

    def test_density_within_a_piece_falls_from_end_to_end(self):
        # every combination of the lower bits with one in eight of the upper ones
        words = np.stack([grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(8), np.arange(0, 2**22, 512))])
        first, second, upper = words.astype(np.uint32)
        words = jnp.stack([first | (upper >> 11 << 21), second | (upper << 21)])
        start, width = 24, 8
        found = draw_in_piece(jnp.full(first.size, start, jnp.uint32), jnp.full(first.size, width, jnp.uint32), words)
        corners = np.interp(np.arange(9), [0, 8], [1 / start, 1 / (start + width)])
        expected = (corners[1:] + corners[:-1]) / corners[[0, -1]].sum() / width
        np.testing.assert_allclose(np.bincount(found - start) / first.size, expected, rtol=1e-4)

    def test_alias_table_holds_the_weights(self):
        generator = np.random.default_rng(0)
        for size in (*range(1, 40), 1000):
            for weights in (
                generator.uniform(size=size) ** 5,
                generator.integers(0, 2, size) * 1.0,
                np.full(size, 0.1),
                10.0 ** -np.arange(size),
            ):
                weights[0] += 1 - weights.any()
                threshold, alias = alias_table(weights)
                own = np.where(alias == np.arange(alias.size), 1, threshold / 2.0**32)
                found = own + np.bincount(alias, 1 - own, alias.size)
                expected = np.pad(weights, (0, alias.size - size)) * alias.size / weights.sum()
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
                assert not found[expected == 0].any()
                assert found[expected > 0].all()
