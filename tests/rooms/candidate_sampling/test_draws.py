"""Draws with replacement follow their distribution, whatever the key."""

import jax
import jax.extend
import numpy as np
import pytest
from rooms.candidate_sampling.distributions import COUNTS, KEY, TRUE, assert_follows, log_uniform_probabilities

import jnnops as nn

DRAWS = 1_000_000
ZERO, ONE = np.array([[0]]), np.array([[1]])


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
        state = jax.jit(nn.LearnedUnigramState.from_counts)(COUNTS)
        ids = nn.learned_unigram_candidate_sampler(TRUE, 2, DRAWS, False, 1000, state=state, key=KEY)[0]
        assert_follows(np.bincount(ids, minlength=1000), COUNTS / COUNTS.sum())

    def test_a_single_id(self):
        table = nn.UnigramTable.from_unigrams([2.0])

        @jax.jit
        def draws(key):
            state = nn.LearnedUnigramState.init(1)
            return (
                nn.uniform_candidate_sampler(ZERO, 1, 3, False, 1, key=key),
                nn.log_uniform_candidate_sampler(ZERO, 1, 3, False, 1, key=key),
                nn.fixed_unigram_candidate_sampler(ZERO, 1, 3, False, 1, unigrams=table, key=key),
                nn.learned_unigram_candidate_sampler(ZERO, 1, 3, False, 1, state=state, key=key),
            ), nn.log_uniform_candidate_sampler(ZERO, 1, 1, True, 1, key=key)

        repeated, unique = draws(KEY)
        for sampled in repeated:
            assert sampled.sampled_candidates.tolist() == [0, 0, 0]
            np.testing.assert_allclose(sampled.true_expected_count, [[3]], rtol=1e-6)
        assert unique.sampled_expected_count.tolist() == [1]


class TestArguments:
    def test_empty_batch(self):
        empty = np.zeros((0, 2), np.int32)

        @jax.jit
        def draws(key):
            state = nn.LearnedUnigramState.init(9)
            return (
                nn.uniform_candidate_sampler(empty, 2, 3, False, 9, key=key),
                nn.all_candidate_sampler(empty, 2, 3, True),
                nn.learned_unigram_candidate_sampler(empty, 2, 3, False, 9, state=state, key=key),
            )

        for sampled in draws(KEY):
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
