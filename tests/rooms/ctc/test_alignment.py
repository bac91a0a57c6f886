"""The alignment against the best of all paths, and where none or many are best."""

import itertools

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
# One shape for most tests, so that they share their compilation.
TIME, BATCH, CLASSES, MAX_LABELS = 6, 4, 3, 3
LABELS = np.array([[1, 2, 1], [1, 1, 0], [2, 0, 0], [0, 0, 0]], np.int32)
LABEL_LENGTH = np.array([3, 2, 1, 0], np.int32)
LOGITS = np.random.default_rng(0).standard_normal((TIME, BATCH, CLASSES)).astype(np.float32)
LOGIT_LENGTH = np.array([6, 4, 5, 3], np.int32)
SCALE = np.arange(1, BATCH + 1, dtype=np.float32)


@jax.jit
def align(labels, logits, label_length, logit_length):
    """The alignment, and the gradient of the scores, each row weighted by its number from 1."""

    def scores(logits):
        found = nn.ctc_forced_alignment(labels, logits, label_length, logit_length)
        return jnp.sum(jnp.where(found.scores == -INF, 0, found.scores) * SCALE), found

    gradient, found = jax.grad(scores, has_aux=True)(logits)
    return found, gradient


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def states_of(path):
    """The state of each frame (an odd one is a label), where a new label follows a blank or another label."""
    states, count = [], 0
    for frame, label in enumerate(path):
        count += label != 0 and (frame == 0 or label != path[frame - 1])
        states.append(2 * count - (label != 0))
    return states


def best_path(labels, logits):
    """The best of all paths, and of equal ones that which is furthest at the last frame where they differ."""
    logarithms = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        logarithms = logarithms - np.logaddexp.reduce(logarithms, axis=1, keepdims=True)
    best, best_score = None, -INF
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        if [label for label, _ in itertools.groupby(path) if label] == list(labels):
            score = float(np.sum(logarithms[np.arange(len(logits)), list(path)]))
            if score > best_score or (best is not None and score == best_score and further(path, best)):
                best, best_score = path, score
    return best, best_score


def further(path, other):
    return states_of(path)[::-1] > states_of(other)[::-1]


def spans_of(path):
    """The first frame of each label and the one after its last."""
    ends = np.cumsum([len(list(frames)) for _, frames in itertools.groupby(path)])
    groups = [label for label, _ in itertools.groupby(path)]
    starts = [0, *ends][: len(ends)]
    return [(start, end) for label, start, end in zip(groups, starts, ends, strict=True) if label]


def assert_best(labels, logits, label_length, logit_length):
    found, gradient = align(labels, logits, label_length, logit_length)
    for row in range(BATCH):
        length, frames = label_length[row], logit_length[row]
        path, score = best_path(labels[row, :length], logits[:frames, row])
        np.testing.assert_allclose(found.scores[row], score, rtol=1e-5, atol=1e-6)
        if path is None:
            assert (np.concatenate([found.path[row], found.start[row], found.end[row]]) == -1).all()
            assert (gradient[:, row] == 0).all()
            continue
        np.testing.assert_array_equal(found.path[row], [*path, *[-1] * (TIME - frames)])
        spans = [*spans_of(path), *[(-1, -1)] * (MAX_LABELS - length)]
        np.testing.assert_array_equal(np.stack([found.start[row], found.end[row]], 1), spans)
        distribution = np.exp(logits[:frames, row]) / np.exp(logits[:frames, row]).sum(1, keepdims=True)
        expected = SCALE[row] * (np.eye(CLASSES)[list(path)] - distribution)
        np.testing.assert_allclose(gradient[:frames, row], expected.reshape(frames, CLASSES), atol=1e-5)
        assert (gradient[frames:, row] == 0).all()


class TestAlignment:
    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
    def test_is_the_best_of_all_paths(self, seed, ties):
        rng = np.random.default_rng(seed)
        labels = rng.integers(1, CLASSES, (BATCH, MAX_LABELS))
        label_length = rng.integers(0, MAX_LABELS + 1, BATCH)
        logit_length = rng.integers(0, TIME + 1, BATCH)
        logits = rng.normal(0, 3, (TIME, BATCH, CLASSES)).astype(np.float32)
        if ties:  # all paths are equally probable
            logits[:] = 0
        logits[rng.random(logits.shape) < 0.1] = -INF
        logits[..., 0] = np.maximum(logits[..., 0], 0 if ties else -9)  # leaves every frame a distribution
        assert_best(labels, logits, label_length, logit_length)

    def test_layout_and_blank(self):
        found = nn.ctc_forced_alignment(LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH)
        other = nn.ctc_forced_alignment(
            (LABELS - 1) % CLASSES,
            np.roll(LOGITS.swapaxes(0, 1), -1, axis=2),
            LABEL_LENGTH,
            LOGIT_LENGTH,
            logits_time_major=False,
            blank_index=-1,
        )
        expected = found._replace(path=np.where(found.path < 0, -1, (found.path - 1) % CLASSES))
        for a, b in zip(other, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_a_confident_path_is_its_own_alignment(self):
        path = np.array([0, 1, 1, 0, 1, 2, 2, 0])
        logits = (9 * np.eye(3, dtype=np.float32)[path])[:, None]
        found = nn.ctc_forced_alignment(np.array([[1, 1, 2]]), logits, np.array([3]), np.array([8]))
        np.testing.assert_array_equal(found.path[0], path)
        np.testing.assert_array_equal(found.start[0], [1, 4, 5])
        np.testing.assert_array_equal(found.end[0], [3, 5, 7])

    def test_score_is_at_most_the_likelihood(self):
        # and equal to it where one path alone spells the labels
        labels, lengths = np.array([[1, 1]]), (np.array([2]), np.array([3]))
        logits = LOGITS[:3, :1]
        score = nn.ctc_forced_alignment(labels, logits, *lengths).scores
        np.testing.assert_allclose(score, -nn.ctc_loss(labels, logits, *lengths), rtol=1e-6)
        scores = nn.ctc_forced_alignment(LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH).scores
        assert (scores <= -nn.ctc_loss(LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH) + 1e-6).all()

    @pytest.mark.parametrize("value", [np.nan, INF, -INF, 1e38])
    def test_frames_past_their_length_are_ignored(self, value):
        past = np.arange(TIME)[:, None] >= LOGIT_LENGTH
        found = align(LABELS, np.where(past[..., None], np.float32(value), LOGITS), LABEL_LENGTH, LOGIT_LENGTH)
        expected = align(LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_frame_of_minus_infinity_leaves_no_path(self):
        found, gradient = align(LABELS, changed(LOGITS, np.s_[1, 0], -INF), LABEL_LENGTH, LOGIT_LENGTH)
        np.testing.assert_array_equal(found.scores == -INF, [True, False, False, False])
        assert (found.path[0] == -1).all()
        assert (gradient[:, 0] == 0).all()
        assert np.isfinite(gradient).all()

    def test_nan_makes_its_row_nan(self):
        found, gradient = align(LABELS, changed(LOGITS, np.s_[1, 1, 2], np.nan), LABEL_LENGTH, LOGIT_LENGTH)
        np.testing.assert_array_equal(np.isnan(found.scores), [False, True, False, False])
        assert np.isfinite(np.delete(gradient, 1, axis=1)).all()

    def test_digits_of_long_rows(self):
        # In float32 scores near -7000 differ by 5e-4 at least; the best path must still be that of float64.
        time, batch, classes, max_labels = 1000, 2, 50, 100
        rng = np.random.default_rng(0)
        labels, lengths = rng.integers(1, classes, (batch, max_labels)), (np.array([100, 50]), np.array([time, 900]))
        logits = 4 * rng.standard_normal((time, batch, classes)).astype(np.float32)
        found = nn.ctc_forced_alignment(labels, logits, *lengths)
        with jax.enable_x64(True):
            exact = nn.ctc_forced_alignment(labels, logits.astype(np.float64), *lengths)
        np.testing.assert_array_equal(found.path, exact.path)
        np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-6)

    @pytest.mark.parametrize(
        ("time", "batch", "max_labels"), [(TIME, 0, MAX_LABELS), (TIME, BATCH, 0), (0, BATCH, MAX_LABELS), (0, 0, 0)]
    )
    def test_empty(self, time, batch, max_labels):
        found = nn.ctc_forced_alignment(
            LABELS[:batch, :max_labels],
            LOGITS[:time, :batch],
            np.minimum(LABEL_LENGTH, max_labels)[:batch],
            np.full(batch, time),
        )
        assert [part.shape for part in found] == [(batch, time), *[(batch, max_labels)] * 2, (batch,)]
        if batch:
            np.testing.assert_array_equal(found.path[3], [0] * time)
            assert np.isfinite(found.scores[3])

    def test_batch_may_be_sharded(self):
        mesh = jax.make_mesh((BATCH,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, frames = PartitionSpec("batch"), PartitionSpec(None, "batch")

        def f(logits):  # one row on each device, all with the same labels
            return nn.ctc_forced_alignment(LABELS[:1], logits, LABEL_LENGTH[:1], LOGIT_LENGTH[:1])

        found = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=frames, out_specs=rows))(LOGITS)
        same = [0] * BATCH
        expected = nn.ctc_forced_alignment(LABELS[same], LOGITS, LABEL_LENGTH[same], LOGIT_LENGTH[same])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "value", "requirement"),
    [
        ("labels", changed(LABELS, np.s_[1, 1], 0), r"be in \[0, 3\) and not the blank, 0"),
        ("label_length", changed(LABEL_LENGTH, 1, 4), r"be in \[0, 3\]"),
        ("logit_length", changed(LOGIT_LENGTH, 1, -1), r"be in \[0, 6\]"),
    ],
)
def test_bad_values(argument, value, requirement):
    good = {"labels": LABELS, "logits": LOGITS, "label_length": LABEL_LENGTH, "logit_length": LOGIT_LENGTH}
    found, gradient = align(**{**good, argument: value})
    np.testing.assert_array_equal(np.isnan(found.scores), [False, True, False, False])
    assert (np.concatenate([found.path[1], found.start[1], found.end[1]]) == -1).all()
    assert np.isnan(gradient[:, 1]).any()
    checked = checkify.checkify(nn.ctc_forced_alignment, errors=checkify.user_checks)
    with pytest.raises(checkify.JaxRuntimeError, match=f"ctc_forced_alignment: `{argument}` must {requirement}"):
        checked(**{**good, argument: value})[0].throw()
