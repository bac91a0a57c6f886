"""Draws without replacement: sequences, numbers of tries, and what they cost."""

import collections
import itertools
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from machinery.programs import compile_by_default
from rooms.candidate_sampling.distributions import KEY, TRUE, assert_follows, log_uniform_probabilities

import jnnops as nn
from jnnops.candidate_sampling._distinct import Distribution, draw_by_race, draw_by_rejection, first_occurrences
from jnnops.candidate_sampling._random import random_words, scale_words

ZERO, ONE = np.array([[0]]), np.array([[1]])
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
                {"state": jax.jit(nn.LearnedUnigramState.from_counts)(counts + 1)},
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

        @jax.jit
        def both(key):
            draws = [draw(key, stream, 128) for stream in range(8)]
            return draw_by_rejection(uniform, key, 300, 128), jnp.concatenate(draws)

        (ids, tries), draws = both(KEY)
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
        expected_count = np.asarray(sampled.sampled_expected_count)
        assert (expected_count > 0.5).all()
        assert (expected_count <= 1).all()

    def test_few_ids_with_nearly_all_the_probability(self):
        # rejection, and TensorFlow, would take 1e15 draws
        table = nn.UnigramTable.from_unigrams([1e15, 1, 1, 1, 0, 1])
        sampled = nn.fixed_unigram_candidate_sampler(ZERO, 1, 5, True, 6, unigrams=table, key=KEY)
        assert sampled.sampled_candidates[0] == 0
        assert sorted(sampled.sampled_candidates.tolist()) == [0, 1, 2, 3, 5]
        assert np.isfinite(sampled.sampled_expected_count).all()

    def test_takes_no_memory_for_the_range(self):
        draw = compile_by_default(
            lambda key: nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 2**31 - 1, key=key), KEY
        )
        assert draw.memory_analysis().temp_size_in_bytes < 100_000

    def test_each_device_of_a_shard_map_draws_with_its_own_key(self):
        mesh = jax.make_mesh((8,), ("device",), axis_types=(AxisType.Auto,))
        spec = PartitionSpec("device")

        def draw(keys):
            return nn.log_uniform_candidate_sampler(TRUE, 2, 5, True, 100, key=keys[0]).sampled_candidates[None]

        keys = jax.random.split(KEY, 8)
        actual = jax.jit(jax.shard_map(draw, mesh=mesh, in_specs=spec, out_specs=spec))(keys)
        one = jax.jit(draw)
        np.testing.assert_array_equal(actual, [one(key[None])[0] for key in keys])
