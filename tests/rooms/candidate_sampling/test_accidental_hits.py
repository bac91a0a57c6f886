"""Candidates that are labels."""

import numpy as np
import pytest
from machinery import oracle

import jnnops as nn

ZERO, ONE = np.array([[0]]), np.array([[1]])


def masked(hits, shape):
    """What is to be added to logits of a shape; padding, which is out of range, adds nothing."""
    indices, ids, weights = map(np.asarray, hits)
    mask, real = np.zeros(shape, np.float32), (indices < shape[0]) & (ids < shape[1])
    np.add.at(mask, (indices[real], ids[real]), weights[real])
    return mask


class TestAccidentalHits:
    def test_are_those_of_tensorflow_for_unique_candidates(self):
        true = np.array([[7, 2, 9], [4, 11, 5], [2, 0, 7], [20, 21, 22]])
        sampled = np.array([4, 9, 0, 7, 13, 2])
        expected = oracle.values(
            lambda tf, **ids: tf.nn.compute_accidental_hits(**ids, num_true=3),
            {"true_classes": true, "sampled_candidates": sampled},
        )
        hits = nn.compute_accidental_hits(true, sampled, 3, unique=True)
        found = np.asarray(hits.indices) < 4
        for actual, wanted in zip(hits, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(actual)[found], wanted)
        assert hits.ids.shape == (12,)
        mask = np.zeros((4, 6), np.float32)
        mask[expected[0], expected[1]] = expected[2]
        for unique in (False, True):
            hits = nn.compute_accidental_hits(true, sampled, 3, unique=unique)
            np.testing.assert_array_equal(masked(hits, (4, 6)), mask)

    @pytest.mark.parametrize("unique", [False, True])
    def test_padding_is_out_of_range_and_weighs_nothing(self, unique):
        hits = nn.compute_accidental_hits(np.array([[1], [2]]), np.array([3, 2]), 1, unique=unique)
        indices, ids, weights = map(np.asarray, hits)
        padding = weights == 0
        assert padding.sum() == weights.size - 1
        assert (indices[padding] == 2).all()
        assert (ids[padding] == 2).all()

    def test_every_occurrence_counts_and_a_repeated_label_once(self):
        hits = nn.compute_accidental_hits(np.array([[3, 3], [0, 1]]), np.array([3, 3, 0, 3]), 2)
        mask = masked(hits, (2, 4))
        lowest = np.finfo(np.float32).min
        assert mask.tolist() == [[lowest, lowest, 0, lowest], [0, 0, lowest, 0]]
        hits = nn.compute_accidental_hits(np.array([[3, 3]]), np.array([0, 3]), 2, unique=True)
        assert hits.weights.tolist() == [lowest, 0]

    @pytest.mark.parametrize("unique", [False, True])
    def test_nothing_to_compare(self, unique):
        assert nn.compute_accidental_hits(np.zeros((0, 2), int), np.array([1, 2]), 2, unique=unique).ids.size == 0
        assert not np.any(nn.compute_accidental_hits(ONE, np.zeros(0, int), 1, unique=unique).weights)
