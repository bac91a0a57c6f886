"""The greedy decoder: paths of literal frames and, on drawn ones, of TensorFlow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify
from jax.sharding import PartitionSpec

import jnnops as nn

INF = np.inf


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


class TestGreedyDecoder:
    # Rows of 6 frames of 3 classes whose maxima are these; the last class is the blank.
    LENGTHS = np.array([6, 6, 6])
    PATHS = np.array([[0, 0, 2, 0, 1, 1], [2, 2, 1, 1, 1, 2], [2, 2, 2, 2, 2, 2]])
    INPUTS = np.eye(3, dtype=np.float32)[PATHS.T]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [[0, 0, 1, -1, -1, -1], [1, -1, -1, -1, -1, -1], [-1] * 6]),
            ({"merge_repeated": False}, [[0, 0, 0, 1, 1, -1], [1, 1, 1, -1, -1, -1], [-1] * 6]),
            ({"blank_index": 0}, [[2, 1, -1, -1, -1, -1], [2, 1, 2, -1, -1, -1], [2, -1, -1, -1, -1, -1]]),
            ({"blank_index": -2}, [[0, 2, 0, -1, -1, -1], [2, 2, -1, -1, -1, -1], [2, -1, -1, -1, -1, -1]]),
        ],
    )
    def test_literal_paths(self, options, expected):
        decoded, lengths, scores = nn.ctc_greedy_decoder(self.INPUTS, self.LENGTHS, **options)
        np.testing.assert_array_equal(decoded, [expected])
        np.testing.assert_array_equal(lengths, [[sum(label >= 0 for label in row) for row in expected]])
        np.testing.assert_array_equal(scores, [[-6], [-6], [-6]])

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(
        seed=st.integers(0, 2**32 - 1),
        merge_repeated=st.booleans(),
        blank_index=st.sampled_from([None, 0, 2, -1, -3]),
    )
    def test_sparse_paths_and_scores_are_those_of_tensorflow(self, seed, merge_repeated, blank_index):
        from machinery.oracle import tf

        rng = np.random.default_rng(seed)
        inputs = rng.integers(-1, 2, (8, 5, 4)).astype(np.float32)  # with many ties
        inputs[rng.random(inputs.shape) < 0.1] = -INF
        inputs[rng.random(inputs.shape) < 0.02] = INF
        sequence_length = rng.integers(0, 9, 5).astype(np.int32)
        options = {"merge_repeated": merge_repeated, "blank_index": blank_index}
        result = nn.ctc_greedy_decoder(inputs, sequence_length, **options)
        paths, scores = tf.nn.ctc_greedy_decoder(tf.constant(inputs), tf.constant(sequence_length), **options)
        np.testing.assert_array_equal(result.scores, scores)
        for ours, path in zip(result.to_sparse(), paths, strict=True):
            for part, expected in zip(ours, (path.indices, path.values, path.dense_shape), strict=True):
                assert part.dtype == expected.numpy().dtype
                np.testing.assert_array_equal(part, expected)

    def test_gradient_of_the_score_goes_to_the_first_maximum(self):
        gradient = jax.jit(jax.grad(lambda x: nn.ctc_greedy_decoder(x, self.LENGTHS).scores.sum()))(jnp.ones((6, 3, 3)))
        np.testing.assert_array_equal(gradient, np.broadcast_to([-1, 0, 0], (6, 3, 3)))

    def test_frames_past_the_length_are_ignored(self):
        inputs = changed(self.INPUTS, np.s_[3:, 0], np.nan)
        lengths = np.array([3, 0, 6])
        result = nn.ctc_greedy_decoder(inputs, lengths)
        np.testing.assert_array_equal(result.decoded[0, :, 0], [0, -1, -1])
        np.testing.assert_array_equal(result.scores, [[-3], [0], [-6]])
        gradient = jax.jit(jax.grad(lambda x: nn.ctc_greedy_decoder(x, lengths).scores.sum()))(jnp.asarray(inputs))
        np.testing.assert_array_equal(gradient[:3, 0], -self.INPUTS[:3, 0])
        assert (gradient[3:, 0] == 0).all()

    def test_nan_counts_as_the_maximum(self):
        decoded, _, scores = nn.ctc_greedy_decoder(changed(self.INPUTS, np.s_[4, 1, 0], np.nan), self.LENGTHS)
        np.testing.assert_array_equal(decoded[0, 1], [1, 0, -1, -1, -1, -1])
        np.testing.assert_array_equal(np.isnan(scores[:, 0]), [False, True, False])

    @pytest.mark.parametrize(("time", "batch"), [(6, 0), (0, 3), (0, 0)])
    def test_empty(self, time, batch):
        result = nn.ctc_greedy_decoder(self.INPUTS[:time, :batch], np.full(batch, time))
        assert result.decoded.shape == (1, batch, time)
        np.testing.assert_array_equal(result.lengths, np.zeros((1, batch)))
        assert result.scores.shape == (batch, 1)
        assert result.to_sparse()[0].dense_shape.tolist() == [batch, 0]

    def test_batch_may_be_sharded(self):
        mesh = jax.make_mesh((3,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, second = PartitionSpec("batch"), PartitionSpec(None, "batch")
        f = jax.shard_map(
            lambda inputs, lengths: tuple(nn.ctc_greedy_decoder(inputs, lengths)),
            mesh=mesh,
            in_specs=(second, rows),
            out_specs=(second, second, rows),
        )
        expected = nn.ctc_greedy_decoder(self.INPUTS, self.LENGTHS)
        for a, b in zip(jax.jit(f)(self.INPUTS, self.LENGTHS), expected, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("length", [-1, 7])
    def test_length_out_of_range(self, length):
        lengths = np.array([6, length, 6])
        result = nn.ctc_greedy_decoder(self.INPUTS, lengths)
        np.testing.assert_array_equal(result.lengths, [[3, 0, 0]])
        np.testing.assert_array_equal(result.decoded[0, 1], [-1] * 6)
        np.testing.assert_array_equal(np.isnan(result.scores[:, 0]), [False, True, False])
        checked = checkify.checkify(nn.ctc_greedy_decoder, errors=checkify.user_checks)
        with pytest.raises(
            checkify.JaxRuntimeError, match=r"ctc_greedy_decoder: `sequence_length` must be in \[0, 6\]"
        ):
            checked(self.INPUTS, lengths)[0].throw()
