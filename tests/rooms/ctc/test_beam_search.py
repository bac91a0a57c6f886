"""The beam search: prefixes of plain Python and of TensorFlow, and the cases in which TensorFlow errs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import PartitionSpec
from prefix_search import log_softmax, prefix_search

import jnnops as nn

INF = np.inf


def drawn(kind, seed, time, batch, classes):
    """Logits of which TensorFlow makes no NaN."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((time, batch, classes)) * {"flat": 0.3, "peaked": 6}.get(kind, 1)
    if kind == "impossible":
        logits[..., :-1][rng.random((time, batch, classes - 1)) < 0.4] = -INF
    return logits.astype(np.float32)


def found(result, row):
    """The paths of a row and their scores."""
    paths = [tuple(path[:length].tolist()) for path, length in zip(result[0][:, row], result[1][:, row], strict=True)]
    return paths, np.asarray(result[2][row], np.float64)


def found_by_tensorflow(logits, lengths, beam_width, top_paths, *, version_1=False, **options):
    from machinery.oracle import tf

    module = tf.compat.v1.nn if version_1 else tf.nn
    return module.ctc_beam_search_decoder(logits, lengths, beam_width, top_paths, **options)


def spelled_by_all_paths(logits, blank):
    """The log-probability of all that can be spelled, from every path."""
    log_probability = log_softmax(logits)
    spelled = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label != blank)
        score = log_probability[np.arange(len(path)), list(path)].sum()
        spelled[labels] = np.logaddexp(spelled.get(labels, -INF), score)
    return {labels: score for labels, score in spelled.items() if score > -INF}


def assert_same(paths, scores, expected):
    assert paths == [path for path, _ in expected]
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-5, atol=1e-5)


class TestPaths:
    @pytest.mark.parametrize(("beam_width", "classes"), [(1, 4), (3, 3), (8, 6), (21, 9)])
    def test_are_those_of_plain_python_and_of_tensorflow(self, beam_width, classes):
        time, batch, top_paths = 13, 8, min(beam_width, 2)
        lengths = np.array([13] * 5 + [12, 5, 3], np.int32)
        agreeing = 0
        for seed, kind in enumerate(("plain", "flat", "peaked", "impossible")):
            logits = drawn(kind, seed, time, batch, classes)
            ours = nn.ctc_beam_search_decoder(logits, lengths, beam_width, top_paths)
            theirs, scores = found_by_tensorflow(logits, lengths, beam_width, top_paths)
            sparse = ours.to_sparse()
            for row in range(batch):
                frames = logits[: lengths[row], row]
                expected = prefix_search(frames, beam_width)[:top_paths]
                assert_same(*found(ours, row), expected)
                of_tensorflow = prefix_search(frames, beam_width, as_tensorflow=True)[:top_paths]
                values = [path.values.numpy()[path.indices.numpy()[:, 0] == row] for path in theirs]
                assert_same([tuple(value.tolist()) for value in values], scores[row].numpy(), of_tensorflow)
                if expected == of_tensorflow:
                    agreeing += 1
                    for ours_sparse, path in zip(sparse, values, strict=True):
                        np.testing.assert_array_equal(ours_sparse.values[ours_sparse.indices[:, 0] == row], path)
        assert agreeing > 0.7 * 4 * batch

    @pytest.mark.parametrize("blank_index", [0, -1])
    def test_are_all_there_are_in_a_wide_beam(self, blank_index):
        # Few values, so that many prefixes are equally likely, and frames in which the blank is impossible.
        rng = np.random.default_rng(0)
        logits = rng.integers(-1, 2, (4, 8, 3)).astype(np.float32)
        logits[rng.random(logits.shape) < 0.2] = -INF
        logits[..., 1] = np.maximum(logits[..., 1], -1)  # something is possible in every frame
        result = nn.ctc_beam_search_decoder(logits, np.full(8, 4), 64, 64, blank_index=blank_index)
        for row in range(8):
            expected = spelled_by_all_paths(logits[:, row], blank_index % 3)
            paths, scores = found(result, row)
            assert (np.diff(scores[: len(expected)]) <= 0).all()
            assert set(paths[: len(expected)]) == set(expected)
            np.testing.assert_allclose(
                scores[: len(expected)], [expected[path] for path in paths[: len(expected)]], 1e-5
            )
            assert set(paths[len(expected) :]) == {()}
            assert (scores[len(expected) :] == -INF).all()

    def test_equally_likely_ones_in_a_wide_beam_are_those_of_tensorflow(self):
        logits = np.random.default_rng(1).integers(0, 2, (4, 6, 3)).astype(np.float32)
        ours = nn.ctc_beam_search_decoder(logits, np.full(6, 4), 64, 15)
        theirs, scores = found_by_tensorflow(logits, np.full(6, 4), 64, 15)
        np.testing.assert_allclose(ours.scores, scores, rtol=1e-5)
        for row in range(6):
            values = [tuple(path.values.numpy()[path.indices.numpy()[:, 0] == row].tolist()) for path in theirs]
            of_each = dict(zip(values, scores[row].numpy(), strict=True))
            paths, ours_scores = found(ours, row)
            np.testing.assert_allclose(ours_scores, [of_each[path] for path in paths], rtol=1e-5)

    def test_of_equally_likely_ones_the_first_are_kept(self):
        # all 4 classes alike: the empty prefix stays, then it is extended by 0 and by 1
        result = nn.ctc_beam_search_decoder(np.zeros((1, 1, 4)), np.array([1]), 3, 3)
        np.testing.assert_array_equal(result.decoded[:, 0, 0], [-1, 0, 1])

    def test_a_prefix_that_comes_back_passes_on_to_what_continues_it(self):
        # 0 falls out of a beam of 3 while 0 1 and 0 1 0 stay, comes back, and must be known as the beginning of both.
        logits = drawn("plain", 0, 40, 24, 3) * np.array([1, 1, 2], np.float32)
        result = nn.ctc_beam_search_decoder(logits, np.full(24, 40), 6, 6)
        for row in range(24):
            assert_same(*found(result, row), prefix_search(logits[:, row], 6))

    def test_a_prefix_that_comes_back_long_before_what_continues_it(self):
        # A prefix comes back while the beams that continue it are three labels longer and more: the label that follows
        # it there is not the last one. If that is taken instead, 1 0 1 1 0 is found twice and later lost.
        logits = np.array(
            [
                *([-2, 1, 0], [0.5, 1.5, -0.5], [-2, 2.5, 0], [-5, -6, 1.5], [-4, 0, -0.5]),
                *([4.5, -0.5, -1], [-2, 0.5, 1], [-4.5, -5, 1], [-3.5, -0.5, -0.5], [0.5, -2.5, -0.5]),
            ],
            np.float32,
        )
        expected = prefix_search(logits, 7)
        assert expected[-1][0] == (1, 0, 1, 1, 0)
        assert_same(*found(nn.ctc_beam_search_decoder(logits[:, None], np.array([10]), 7, 7), 0), expected)

    def test_many_labels_and_a_wide_beam(self):
        logits = drawn("plain", 2, 4, 1, 200)
        result = nn.ctc_beam_search_decoder(logits, np.array([4]), 1000, 1000)
        paths, scores = found(result, 0)
        assert_same(paths[:20], scores[:20], prefix_search(logits[:, 0], 1000)[:20])
        assert len(set(paths)) == 1000

    def test_repeats_are_merged_in_what_is_returned(self):
        logits = drawn("plain", 3, 12, 6, 3)
        lengths = np.full(6, 12, np.int32)
        ours = nn.ctc_beam_search_decoder(logits, lengths, 80, 2, merge_repeated=True)
        theirs, scores = found_by_tensorflow(logits, lengths, 80, 2, version_1=True, merge_repeated=True)
        np.testing.assert_allclose(ours.scores, scores, rtol=1e-5)
        for sparse, path in zip(ours.to_sparse(), theirs, strict=True):
            np.testing.assert_array_equal(sparse.indices, path.indices)
            np.testing.assert_array_equal(sparse.values, path.values)
            np.testing.assert_array_equal(sparse.dense_shape, path.dense_shape)
        plain = nn.ctc_beam_search_decoder(logits, lengths, 80, 2)
        assert (np.asarray(plain.lengths) > np.asarray(ours.lengths)).any()
        np.testing.assert_array_equal(plain.scores, ours.scores)


class TestScorer:
    LOGITS = drawn("plain", 5, 9, 4, 4)
    LENGTHS = np.array([9, 9, 7, 4])
    TRIGRAM = np.random.default_rng(6).standard_normal((4, 4, 4)).astype(np.float32)
    TRIGRAM[1, 2, 0] = -INF

    @pytest.mark.parametrize("beam_width", [1, 5, 30])
    def test_paths_are_those_of_plain_python(self, beam_width):
        trigram = jnp.asarray(self.TRIGRAM)

        def scorer(state, label):
            first, second = state["labels"]
            return trigram[first, second, label], {"labels": (second, label), "unused": state["unused"]}

        def score(prefix, label):
            first, second = (0, 1, *prefix)[-2:]
            return float(self.TRIGRAM[first, second, label])

        state = {"labels": (jnp.zeros(4, jnp.int32), jnp.ones(4, jnp.int32)), "unused": jnp.zeros((4, 2))}
        result = nn.ctc_beam_search_decoder(
            self.LOGITS, self.LENGTHS, beam_width, min(beam_width, 3), scorer=scorer, initial_state=state
        )
        for row in range(4):
            expected = prefix_search(self.LOGITS[: self.LENGTHS[row], row], beam_width, score=score)
            assert_same(*found(result, row), expected[: min(beam_width, 3)])

    @pytest.mark.parametrize(
        ("scorer", "state", "error", "message"),
        [
            (3, None, TypeError, r"`scorer` must be callable as scorer\(state, label\)"),
            (lambda state, label: label, None, TypeError, r"`scorer` must return \(log_score, new_state\)"),
            (lambda state, label: (label, state), None, TypeError, "`scorer` must return floating point scores"),
            (
                lambda state, label: (jnp.float32(label), label),
                None,
                TypeError,
                "`scorer` must return a state as it was given",
            ),
            (
                lambda state, label: (state, state),
                np.zeros(3, np.float32),
                ValueError,
                r"`initial_state` must have shapes",
            ),
        ],
    )
    def test_bad_ones_are_refused(self, scorer, state, error, message):
        with pytest.raises(error, match=message):
            nn.ctc_beam_search_decoder(self.LOGITS, self.LENGTHS, 4, scorer=scorer, initial_state=state)


class TestEdges:
    LOGITS = drawn("plain", 4, 5, 3, 4)

    def test_row_without_frames_has_the_empty_path_alone(self):
        result = nn.ctc_beam_search_decoder(self.LOGITS, np.array([0, 5, 0]), 6, 2)
        np.testing.assert_array_equal(result.lengths[:, 0], [0, 0])
        np.testing.assert_array_equal(result.scores[0], [0, -INF])
        np.testing.assert_array_equal(result.decoded[:, 2], np.full((2, 5), -1))

    def test_frames_past_the_length_are_ignored(self):
        changed = self.LOGITS.copy()
        changed[3:, 0] = np.nan
        expected = nn.ctc_beam_search_decoder(self.LOGITS, np.array([3, 5, 4]), 6, 2)
        for actual, each in zip(nn.ctc_beam_search_decoder(changed, np.array([3, 5, 4]), 6, 2), expected, strict=True):
            np.testing.assert_array_equal(actual, each)

    def test_classes_of_a_blank_alone(self):
        result = nn.ctc_beam_search_decoder(self.LOGITS[:, :, :1], np.array([5, 5, 0]), 3, 2)
        np.testing.assert_array_equal(result.lengths, np.zeros((2, 3)))
        np.testing.assert_array_equal(result.scores, [[0, -INF]] * 3)

    def test_frame_in_which_nothing_is_possible(self):
        changed = self.LOGITS.copy()
        changed[2, 0] = -INF
        result = nn.ctc_beam_search_decoder(changed, np.array([5, 5, 5]), 4)
        np.testing.assert_array_equal(result.lengths[0, 0], 0)
        np.testing.assert_array_equal(result.scores[0], -INF)

    @pytest.mark.parametrize("bad", [np.nan, INF])
    def test_row_with_nan_or_infinity(self, bad):
        changed = self.LOGITS.copy()
        changed[2, 1, 0] = bad
        result = nn.ctc_beam_search_decoder(changed, np.array([5, 5, 5]), 4)
        np.testing.assert_array_equal(np.isnan(result.scores[:, 0]), [False, True, False])
        np.testing.assert_array_equal(result.decoded[0, 1], [-1] * 5)

    @pytest.mark.parametrize(("time", "batch"), [(5, 0), (0, 3), (0, 0)])
    def test_empty(self, time, batch):
        result = nn.ctc_beam_search_decoder(self.LOGITS[:time, :batch], np.full(batch, time), 4, 2)
        assert result.decoded.shape == (2, batch, time)
        assert result.scores.shape == (batch, 2)
        assert result.to_sparse()[0].dense_shape.tolist() == [batch, 0]

    @pytest.mark.parametrize("length", [-1, 6])
    def test_length_out_of_range(self, length):
        result = nn.ctc_beam_search_decoder(self.LOGITS, np.array([5, length, 5]), 4)
        np.testing.assert_array_equal(np.isnan(result.scores[:, 0]), [False, True, False])
        np.testing.assert_array_equal(result.lengths[0, 1], 0)
        checked = checkify.checkify(
            lambda lengths: nn.ctc_beam_search_decoder(self.LOGITS, lengths, 4), errors=checkify.user_checks
        )
        with pytest.raises(
            checkify.JaxRuntimeError, match=r"ctc_beam_search_decoder: `sequence_length` must be in \[0, 5\]"
        ):
            checked(np.array([5, length, 5]))[0].throw()

    def test_batch_may_be_sharded(self):
        mesh = jax.make_mesh((3,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, second = PartitionSpec("batch"), PartitionSpec(None, "batch")
        f = jax.shard_map(
            lambda inputs, lengths: tuple(nn.ctc_beam_search_decoder(inputs, lengths, 4, 2)),
            mesh=mesh,
            in_specs=(second, rows),
            out_specs=(second, second, rows),
        )
        lengths = np.array([5, 3, 4])
        expected = nn.ctc_beam_search_decoder(self.LOGITS, lengths, 4, 2)
        for a, b in zip(jax.jit(f)(self.LOGITS, lengths), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_has_no_gradient(self):
        gradient = jax.grad(lambda x: nn.ctc_beam_search_decoder(x, np.array([5, 5, 5]), 4).scores.sum())(self.LOGITS)
        assert (gradient == 0).all()
