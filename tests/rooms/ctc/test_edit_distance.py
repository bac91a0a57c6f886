"""The distance: that of TensorFlow on drawn labels, and where labels or lengths are extreme."""

import jax
import numpy as np
import pytest
from jax.experimental import checkify

import jnnops as nn


def drawn(batch, most, most_of_truth, symbols, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, symbols, (batch, most)).astype(np.int32),
        rng.integers(0, symbols, (batch, most_of_truth)).astype(np.int32),
        rng.integers(0, most + 1, batch).astype(np.int32),
        rng.integers(0, most_of_truth + 1, batch).astype(np.int32),
    )


def by_tensorflow(hypothesis, truth, hypothesis_length, truth_length, normalize):
    from machinery.oracle import tf

    def sparse(labels, length):
        places = tf.where(tf.sequence_mask(length, labels.shape[1]))
        return tf.SparseTensor(places, tf.gather_nd(labels, places), labels.shape)

    pair = sparse(hypothesis, hypothesis_length), sparse(truth, truth_length)
    return tf.edit_distance(*pair, normalize=normalize).numpy()


@pytest.mark.parametrize("normalize", [True, False])
def test_drawn_labels_are_as_far_as_for_tensorflow(normalize):
    for most, most_of_truth in ((9, 12), (12, 9)):
        arguments = drawn(300, most, most_of_truth, symbols=3)
        found = nn.edit_distance(*arguments, normalize=normalize)
        np.testing.assert_array_equal(found, by_tensorflow(*arguments, normalize))


def test_known_distance():
    kitten, sitting = (np.array([[ord(letter) for letter in word]]) for word in ("kitten", "sitting"))
    found = nn.edit_distance(kitten, sitting, np.array([6]), np.array([7]), normalize=False)
    np.testing.assert_array_equal(found, [3])


def test_empty_truth_is_infinitely_far_from_all_but_itself():
    labels = np.ones((2, 3), np.int32)
    found = nn.edit_distance(labels, labels, np.array([2, 0]), np.array([0, 0]))
    np.testing.assert_array_equal(found, [np.inf, 0])


def test_any_integers_and_what_is_past_the_length():
    hypothesis = np.array([[200, 44, 7, 7]], np.uint8)
    truth = np.array([[200, -212, 7, -1, -1]], np.int16)  # -212 is 44 in 8 bits
    found = nn.edit_distance(hypothesis, truth, np.array([4], np.uint32), np.array([3], np.int8), normalize=False)
    np.testing.assert_array_equal(found, [2])


@pytest.mark.parametrize(("batch", "most", "most_of_truth"), [(0, 3, 3), (2, 0, 3), (2, 3, 0), (2, 0, 0)])
def test_empty(batch, most, most_of_truth):
    arguments = np.ones((batch, most), np.int32), np.ones((batch, most_of_truth), np.int32)
    found = nn.edit_distance(*arguments, np.full(batch, most), np.full(batch, most_of_truth), normalize=False)
    np.testing.assert_array_equal(found, np.full(batch, abs(most - most_of_truth)))


def test_paths_of_a_decoder_by_vmap():
    hypothesis, truth, hypothesis_length, truth_length = drawn(4, 6, 5, symbols=2)
    f = jax.vmap(nn.edit_distance, in_axes=(0, None, 0, None))
    found = f(np.stack([hypothesis, hypothesis[::-1]]), truth, np.stack([hypothesis_length] * 2), truth_length)
    np.testing.assert_array_equal(found[0], nn.edit_distance(hypothesis, truth, hypothesis_length, truth_length))
    np.testing.assert_array_equal(found[1], nn.edit_distance(hypothesis[::-1], truth, hypothesis_length, truth_length))


@pytest.mark.parametrize(("argument", "length"), [("hypothesis_length", 7), ("truth_length", -1)])
def test_length_out_of_range(argument, length):
    arguments = dict(zip(("hypothesis", "truth", "hypothesis_length", "truth_length"), drawn(3, 6, 5, 2), strict=True))
    arguments[argument][1] = length
    found = nn.edit_distance(**arguments)
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])
    checked = checkify.checkify(nn.edit_distance, errors=checkify.user_checks)
    with pytest.raises(checkify.JaxRuntimeError, match=rf"edit_distance: `{argument}` must be in \[0, [56]\]"):
        checked(**arguments)[0].throw()
