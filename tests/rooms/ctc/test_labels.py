"""What is done to labels, on literal and drawn ones, and where a length is out of range."""

import jax
import numpy as np
import pytest
from jax.experimental import checkify

import jnnops as nn

LABELS = np.array([[1, 1, 2], [2, 3, 3]])


def test_drawn_labels_are_treated_as_by_tensorflow():
    from machinery.oracle import tf

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (200, 9)).astype(np.int32)
    lengths = rng.integers(0, 10, 200).astype(np.int32)
    unique, expected_unique = nn.ctc_unique_labels(labels), tf.nn.ctc_unique_labels(tf.constant(labels))
    collapsed = nn.collapse_repeated(labels, lengths)
    expected, expected_lengths = map(np.asarray, tf.nn.collapse_repeated(tf.constant(labels), tf.constant(lengths)))
    for found, wanted in zip((*unique, collapsed.lengths), (*expected_unique, expected_lengths), strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(collapsed.labels[:, : expected.shape[1]], expected)
    assert not collapsed.labels[:, expected.shape[1] :].any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint32])
def test_dtypes_are_kept(dtype):
    labels = (100 * LABELS % 256).astype(np.uint8).astype(dtype)
    unique, collapsed = nn.ctc_unique_labels(labels), nn.collapse_repeated(labels, np.array([3, 2], dtype))
    assert [array.dtype for array in (*unique, *collapsed)] == [dtype, np.int32, dtype, dtype]
    np.testing.assert_array_equal(np.take_along_axis(*map(np.asarray, unique), axis=1), labels)
    np.testing.assert_array_equal(collapsed.lengths, [2, 2])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_empty(shape):
    labels = np.zeros(shape, np.int32)
    assert [part.shape for part in nn.ctc_unique_labels(labels)] == [shape, shape]
    collapsed = nn.collapse_repeated(labels, np.zeros(shape[0], np.int32))
    assert [part.shape for part in collapsed] == [shape, shape[:1]]
    assert not collapsed.lengths.any()


@pytest.mark.parametrize("length", [-1, 4])
def test_length_out_of_range(length):
    lengths = np.array([3, length])
    collapsed = nn.collapse_repeated(LABELS, lengths)
    np.testing.assert_array_equal(collapsed.labels, [[1, 2, 0], [0, 0, 0]])
    np.testing.assert_array_equal(collapsed.lengths, [2, length])
    losses = nn.ctc_loss(collapsed.labels, np.zeros((4, 2, 4), np.float32), collapsed.lengths, np.array([4, 4]))
    np.testing.assert_array_equal(np.isnan(losses), [False, True])
    checked = checkify.checkify(jax.jit(nn.collapse_repeated), errors=checkify.user_checks)
    with pytest.raises(checkify.JaxRuntimeError, match=r"collapse_repeated: `seq_length` must be in \[0, 3\]"):
        checked(LABELS, lengths)[0].throw()
