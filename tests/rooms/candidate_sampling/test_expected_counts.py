"""Expected counts are those of TensorFlow."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery import oracle
from rooms.candidate_sampling.distributions import COUNTS, KEY

import jnnops as nn
from jnnops.candidate_sampling._sample import expected_count

# The function by itself, since TensorFlow does not say how many tries its candidates took.
counts_of = jax.jit(lambda p, num_sampled, tries: expected_count(p, num_sampled, tries))


class TestExpectedCounts:
    @pytest.mark.parametrize("op", ["uniform", "log_uniform", "fixed_unigram", "learned_unigram"])
    @pytest.mark.parametrize("unique", [False, True])
    def test_are_those_of_tensorflow_for_as_many_tries(self, op, unique):
        range_max, every = 50, np.arange(50)[:, None]
        ours, theirs = {
            "fixed_unigram": ({"unigrams": COUNTS[:50]}, {"unigrams": COUNTS[:50].tolist()}),
            "learned_unigram": ({"state": jax.jit(lambda: nn.LearnedUnigramState.init(50))()}, {}),
        }.get(op, ({}, {}))
        sampler = getattr(nn, f"{op}_candidate_sampler")
        p = np.asarray(sampler(every, 1, 1, False, range_max, key=KEY, **ours).true_expected_count)
        for num_sampled in (3, 11, 25):

            def draw(tf, true, num_sampled=num_sampled):
                of_tf = getattr(tf.random, f"{op}_candidate_sampler")
                return of_tf(true, 1, num_sampled, unique, range_max, seed=num_sampled, **theirs)

            ids, by_true, by_sampled = oracle.values(draw, {"true": every})
            tries = np.float32(ids.size)
            if unique and not np.allclose(by_true, ids.size * p):
                tries = np.round(np.log1p(-by_true[0, 0]) / np.log1p(-p[0, 0]))
            np.testing.assert_allclose(counts_of(p, ids.size, tries), by_true, rtol=1e-5)
            np.testing.assert_allclose(counts_of(p, ids.size, tries)[ids, 0], by_sampled, rtol=1e-5)

    def test_of_the_candidates_are_those_of_the_true_classes(self):
        every = np.arange(50)[:, None]
        ids, by_true, by_sampled = map(np.asarray, nn.log_uniform_candidate_sampler(every, 1, 20, True, 50, key=KEY))
        np.testing.assert_array_equal(by_true[ids, 0], by_sampled)

    def test_tell_rare_ids_of_a_large_range_apart(self):
        ids = np.array([[2**24, 2**30, 2**31 - 2]])
        expected = np.log1p(1 / (ids + 1.0)) / np.log(2.0**31)
        actual = nn.log_uniform_candidate_sampler(ids, 3, 1, False, 2**31 - 1, key=KEY).true_expected_count
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_of_an_id_out_of_range_are_zero_and_reported(self):
        table = nn.UnigramTable.from_unigrams(np.ones(9))
        state = jax.jit(lambda: nn.LearnedUnigramState.init(9))()

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
                assert (np.asarray(found)[:, 0] > 0).tolist() == [False, True, False]
        with jax.enable_x64(True):
            assert nn.uniform_candidate_sampler(np.array([[2**32 + 1]]), 1, 3, False, 9, key=KEY)[1].tolist() == [[0]]
        check = checkify.checkify(jax.jit(counts), errors=checkify.user_checks)
        assert check(jnp.array([[8]]))[0].get() is None
        message = "uniform_candidate_sampler: `true_classes` must be in [0, 9)"
        assert (check(jnp.array([[9]]))[0].get() or "").startswith(message)
