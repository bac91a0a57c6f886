"""CTC against an enumeration of all paths and TensorFlow on drawn arguments; where nothing or too much is possible."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify
from jax.sharding import PartitionSpec
from machinery.programs import compile_by_default

import jnnops as nn

INF = np.inf


# One shape for most tests, so that they share their compilation.
TIME, BATCH, CLASSES, MAX_LABELS = 5, 4, 3, 3
LABELS = np.array([[1, 2, 1], [1, 1, 0], [2, 0, 0], [0, 0, 0]], np.int32)
LABEL_LENGTH = np.array([3, 2, 1, 0], np.int32)
LOGITS = np.random.default_rng(0).standard_normal((TIME, BATCH, CLASSES)).astype(np.float32)
LOGIT_LENGTH = np.array([5, 4, 5, 3], np.int32)


@functools.partial(jax.jit, static_argnames=("blank_index", "logits_time_major", "zero_infinity"))
def loss_and_gradient(labels, logits, label_length, logit_length, **options):
    def f(logits):
        return nn.ctc_loss(labels, logits, label_length, logit_length, **options)

    loss, pull = jax.vjp(f, logits)
    return loss, pull(jnp.ones_like(loss))[0]


def evaluate(
    labels: Any = LABELS,
    logits: Any = LOGITS,
    label_length: Any = LABEL_LENGTH,
    logit_length: Any = LOGIT_LENGTH,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient; by default of four rows that all have a path."""
    loss, gradient = loss_and_gradient(labels, logits, label_length, logit_length, **options)
    return np.asarray(loss), np.asarray(gradient)


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def spelled(path, blank):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def enumerated_loss(labels, logits, blank):
    """The loss of one row, from the probability of every path, in float64."""
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        if spelled(path, blank) == list(labels):
            total += np.prod(probabilities[np.arange(len(logits)), list(path)])
    with np.errstate(divide="ignore"):
        return -np.log(total)


class TestLoss:
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1), layout=st.sampled_from([(0, True), (1, False), (-3, True)]))
    def test_value_is_that_of_all_paths(self, seed, layout):
        blank, time_major = layout
        rng = np.random.default_rng(seed)
        labels = rng.permuted([label for label in range(CLASSES) if label != blank % CLASSES])[
            rng.integers(0, CLASSES - 1, (BATCH, MAX_LABELS))
        ]
        label_length = rng.integers(0, MAX_LABELS + 1, BATCH)
        logit_length = rng.integers(0, TIME + 1, BATCH)
        logits = rng.normal(0, 3, (TIME, BATCH, CLASSES)).astype(np.float32)
        logits[rng.random(logits.shape) < 0.1] = -INF
        logits[..., 0] = np.maximum(logits[..., 0], -9)  # leaves every frame a distribution
        loss, gradient = evaluate(
            labels,
            logits if time_major else np.swapaxes(logits, 0, 1),
            label_length,
            logit_length,
            blank_index=blank,
            logits_time_major=time_major,
        )
        expected = [
            enumerated_loss(labels[row, : label_length[row]], logits[: logit_length[row], row], blank % CLASSES)
            for row in range(BATCH)
        ]
        np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
        gradient = np.moveaxis(gradient, 1 if time_major else 0, 0)
        assert np.isfinite(gradient).all()
        assert (gradient[np.isinf(loss)] == 0).all()

    @pytest.mark.parametrize(("blank", "time_major"), [(0, True), (2, False)])
    def test_value_and_gradient_are_those_of_tensorflow(self, blank, time_major):
        rng = np.random.default_rng(1)
        time, batch, classes, max_labels = 12, 16, 4, 5
        labels = rng.permutation([label for label in range(classes) if label != blank % classes])[
            rng.integers(0, classes - 1, (batch, max_labels))
        ]
        label_length = rng.integers(0, max_labels + 1, batch)
        logit_length = rng.integers(2 * max_labels, time + 1, batch)
        logits = rng.normal(0, 2, (time, batch, classes) if time_major else (batch, time, classes)).astype(np.float32)
        options = {"blank_index": blank, "logits_time_major": time_major}
        loss, gradient = evaluate(labels, logits, label_length, logit_length, **options)

        from machinery.oracle import tf

        x, *rest = map(tf.constant, (logits, labels, label_length, logit_length))
        with tf.GradientTape() as tape:
            tape.watch(x)
            expected = tf.nn.ctc_loss(rest[0], x, rest[1], rest[2], **options)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient, tf.convert_to_tensor(tape.gradient(expected, x)), atol=2e-5)

    def test_literal_probabilities(self):
        # 3 frames of 2 equally likely classes: 1 is spelled by 100 010 001 110 011 111, and 1 1 by 101 only
        logits = np.zeros((3, 3, 2), np.float32)
        loss = nn.ctc_loss(np.ones((3, 2), int), logits, np.arange(3), np.full(3, 3))
        np.testing.assert_allclose(np.exp(-loss), [1 / 8, 6 / 8, 1 / 8], rtol=1e-6)

    def test_labels_past_their_length_are_ignored(self):
        padded = np.where(np.arange(MAX_LABELS) < LABEL_LENGTH[:, None], LABELS, [[0, -7, 99]])
        loss, gradient = evaluate(padded)
        expected, expected_gradient = evaluate()
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(loss, expected)
        np.testing.assert_array_equal(gradient, expected_gradient)

    @pytest.mark.parametrize("value", [np.nan, INF, -INF, 1e38])
    def test_frames_past_their_length_are_ignored(self, value):
        past = np.arange(TIME)[:, None] >= LOGIT_LENGTH
        loss, gradient = evaluate(logits=np.where(past[..., None], np.float32(value), LOGITS))
        expected, expected_gradient = evaluate()
        np.testing.assert_array_equal(loss, expected)
        np.testing.assert_array_equal(gradient, expected_gradient)
        assert (gradient[past] == 0).all()
        assert (gradient[~past] != 0).any(axis=1).all()

    @pytest.mark.parametrize(
        ("row", "labels", "logit_length"),
        [(0, [1, 2, 1], 2), (1, [1, 1, 0], 2), (2, [2, 0, 0], 0)],
        ids=["more labels than frames", "no frame for the blank between equal labels", "no frames"],
    )
    def test_impossible_alignment(self, row, labels, logit_length):
        labels = changed(LABELS, row, labels)
        logit_length = changed(LOGIT_LENGTH, row, logit_length)
        loss, gradient = evaluate(labels, logit_length=logit_length)
        assert loss[row] == INF
        assert np.isfinite(np.delete(loss, row)).all()
        assert (gradient[:, row] == 0).all()
        zeroed, zeroed_gradient = evaluate(labels, logit_length=logit_length, zero_infinity=True)
        np.testing.assert_array_equal(zeroed, np.where(np.isinf(loss), 0, loss))
        np.testing.assert_array_equal(zeroed_gradient, gradient)

    def test_no_labels_and_no_frames_cost_nothing(self):
        loss, gradient = evaluate(logit_length=changed(LOGIT_LENGTH, 3, 0))
        assert loss[3] == 0
        assert (gradient[:, 3] == 0).all()

    def test_minus_infinity_forbids_a_class(self):
        # in row 0 the third frame of 1 - 2 - 1 or 1 1 2 1 1 may still be a blank or a 2; row 2 can't say 2 at all
        logits = changed(LOGITS, np.s_[2, 0, 1], -INF)
        logits[:, 2, 2] = -INF
        loss, gradient = evaluate(logits=logits)
        np.testing.assert_allclose(loss[0], enumerated_loss([1, 2, 1], logits[:, 0], 0), rtol=1e-5)
        assert loss[2] == INF
        assert np.isfinite(gradient).all()
        assert gradient[2, 0, 1] == 0
        assert (gradient[:, 2] == 0).all()

    def test_a_frame_of_minus_infinity_makes_all_paths_impossible(self):
        loss, gradient = evaluate(logits=changed(LOGITS, 1, -INF))
        assert (loss == INF).all()
        assert (gradient == 0).all()

    @pytest.mark.parametrize("value", [np.nan, INF])
    @pytest.mark.parametrize("zero_infinity", [False, True])
    def test_nan_and_infinity_make_their_row_nan(self, value, zero_infinity):
        loss, gradient = evaluate(logits=changed(LOGITS, np.s_[1, 1, 2], value), zero_infinity=zero_infinity)
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False, False])
        assert np.isfinite(np.delete(gradient, 1, axis=1)).all()

    @pytest.mark.parametrize("scale", [1e4, 1e9, 1e10, 1e20, 1e30])
    def test_huge_logits(self, scale):
        # the best path of row 2, all 2, has to give up 0.5 in one frame and 0.75 in another
        logits = np.zeros((TIME, BATCH, CLASSES), np.float32)
        logits[1, 2], logits[3, 2] = [-0.75, 0, -0.5], [0, -0.5, -0.75]
        loss, gradient = evaluate(logits=logits * np.float32(scale))
        np.testing.assert_allclose(loss[2], 0.5 * scale, rtol=1e-3)
        assert np.isfinite(gradient).all()

    def test_loss_is_never_negative(self):
        # float32 probabilities of 2**-24 apart from 1 add up to more than 1 in some of these rows
        rows = 2000
        logits = np.random.default_rng(0).normal(0, 12, (TIME, rows, CLASSES)).astype(np.float32)
        best = logits.argmax(axis=2).T
        paths = [spelled(row, 0)[:MAX_LABELS] for row in best]
        labels = np.array([path + [0] * (MAX_LABELS - len(path)) for path in paths])
        loss, _ = evaluate(labels, logits, np.array([len(path) for path in paths]), np.full(rows, TIME))
        assert loss.min() == 0
        assert not np.signbit(loss).any()

    def test_gradient_keeps_its_digits_over_a_thousand_frames(self):
        # as one float32, a log-probability of -3000 would be rounded by 1e-4, and the gradient with it
        time, batch, classes, max_labels = 1000, 2, 50, 100
        rng = np.random.default_rng(0)
        arguments = (
            rng.integers(1, classes, (batch, max_labels)),
            rng.standard_normal((time, batch, classes)).astype(np.float32),
            np.array([max_labels, max_labels // 2]),
            np.array([time, time - 100]),
        )
        loss, gradient = evaluate(*arguments)
        with jax.enable_x64(True):
            labels, logits, *lengths = arguments
            exact, exact_gradient = evaluate(labels, logits.astype(np.float64), *lengths)
        np.testing.assert_allclose(loss, exact, rtol=2e-7)
        np.testing.assert_allclose(gradient, exact_gradient, atol=5e-6)

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
    def test_any_integers(self, dtype):
        # 300 classes do not fit into 8 bits, where they would read as 44
        labels = 40 * (LABELS + 1)
        logits = np.random.default_rng(0).standard_normal((TIME, BATCH, 300)).astype(np.float32)
        expected = nn.ctc_loss(labels, logits, LABEL_LENGTH, LOGIT_LENGTH)
        assert np.isfinite(expected).all()
        with jax.enable_x64(np.dtype(dtype).itemsize == 8):
            arguments = labels.astype(dtype), logits, LABEL_LENGTH.astype(dtype), LOGIT_LENGTH.astype(dtype)
            found = nn.ctc_loss(*arguments)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_16_bits_are_computed_in_float32(self, dtype):
        logits = jnp.asarray(LOGITS, dtype)
        found, exact = evaluate(logits=logits), evaluate(logits=logits.astype(jnp.float32))
        for a, b in zip(found, exact, strict=True):
            assert a.dtype == dtype
            np.testing.assert_array_equal(a, b.astype(dtype))

    def test_memory_grows_with_the_labels_and_not_with_the_classes(self):
        time, batch, max_labels = 160, 8, 20
        lanes = 4 * time * batch * (max_labels + 1)  # bytes of an array of float32

        def temporary(f, classes):
            shapes = (batch, max_labels), (time, batch, classes), (batch,), (batch,)
            dtypes = np.int32, np.float32, np.int32, np.int32
            arguments = [jax.ShapeDtypeStruct(*each) for each in zip(shapes, dtypes, strict=True)]
            return compile_by_default(f, *arguments).memory_analysis().temp_size_in_bytes

        def total(*arguments):
            return jnp.sum(nn.ctc_loss(*arguments))

        # Besides the result of the gradient; before jaxlib 0.10 both need an array of its size in temporary memory.
        as_logits = 4 * time * batch * 2000 if jax.__version_info__ < (0, 10) else 0
        assert temporary(jax.grad(total, argnums=1), classes=2000) < 9 * lanes + as_logits
        assert temporary(total, classes=2000) < 5 * lanes + as_logits

    def test_unique_changes_nothing(self):
        unique = nn.ctc_unique_labels(LABELS)
        arguments = LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH
        np.testing.assert_array_equal(nn.ctc_loss(*arguments, unique=unique), nn.ctc_loss(*arguments))

    @pytest.mark.parametrize(
        ("time", "batch", "max_labels"), [(TIME, 0, MAX_LABELS), (TIME, BATCH, 0), (0, BATCH, MAX_LABELS), (0, 0, 0)]
    )
    def test_empty(self, time, batch, max_labels):
        labels, logits = LABELS[:batch, :max_labels], LOGITS[:time, :batch]
        label_length = np.minimum(LABEL_LENGTH, max_labels)[:batch]
        loss, gradient = evaluate(labels, logits, label_length, np.full(batch, time))
        expected = [enumerated_loss(labels[row, : label_length[row]], logits[:, row], 0) for row in range(batch)]
        np.testing.assert_allclose(loss, np.array(expected).reshape(batch), rtol=1e-6)
        assert gradient.shape == (time, batch, CLASSES)
        assert np.isfinite(gradient).all()

    def test_second_derivatives_are_finite_where_the_gradient_is(self):
        logit_length = changed(LOGIT_LENGTH, 0, 2)
        logits = changed(LOGITS, np.s_[1, 1, 2], -INF)

        def f(x):
            return nn.ctc_loss(LABELS, x, LABEL_LENGTH, logit_length, zero_infinity=True).sum()

        def slope(x):
            return jnp.vdot(jax.grad(f)(x), LOGITS)

        curvature = jax.jit(jax.grad(slope))(logits)
        assert np.isfinite(curvature).all()
        assert (curvature[:, 0] == 0).all()
        assert (curvature[:, 1] != 0).any()

    def test_logits_alone_may_be_sharded(self):
        mesh = jax.make_mesh((BATCH,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, frames = PartitionSpec("batch"), PartitionSpec(None, "batch")

        def f(logits):  # one row on each device, all with the same labels
            return loss_and_gradient(LABELS[:1], logits, LABEL_LENGTH[:1], LOGIT_LENGTH[:1])

        found = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=frames, out_specs=(rows, frames)))(LOGITS)
        expected = evaluate(LABELS[[0] * BATCH], LOGITS, LABEL_LENGTH[[0] * BATCH], LOGIT_LENGTH[[0] * BATCH])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


class TestLossOfBadValues:
    BAD = (
        ("labels", changed(LABELS, np.s_[1, 0], 3), r"be in \[0, 3\) and not the blank, 0"),
        ("labels", changed(LABELS, np.s_[1, 1], -1), r"be in \[0, 3\) and not the blank, 0"),
        ("labels", changed(LABELS, np.s_[1, 1], 0), r"be in \[0, 3\) and not the blank, 0"),
        ("label_length", changed(LABEL_LENGTH, 1, 4), r"be in \[0, 3\]"),
        ("label_length", changed(LABEL_LENGTH, 1, -1), r"be in \[0, 3\]"),
        ("logit_length", changed(LOGIT_LENGTH, 1, 6), r"be in \[0, 5\]"),
        ("logit_length", changed(LOGIT_LENGTH, 1, -1), r"be in \[0, 5\]"),
    )

    @pytest.mark.parametrize(("argument", "value", "requirement"), BAD)
    @pytest.mark.parametrize("zero_infinity", [False, True])
    def test_the_row_is_nan(self, argument, value, requirement, zero_infinity):
        loss, gradient = evaluate(**{argument: value}, zero_infinity=zero_infinity)
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False, False])
        np.testing.assert_array_equal(np.isnan(gradient).any(axis=(0, 2)), [False, True, False, False])

    @pytest.mark.parametrize(("argument", "value", "requirement"), BAD)
    def test_checkify_reports_it(self, argument, value, requirement):
        arguments = {"labels": LABELS, "label_length": LABEL_LENGTH, "logit_length": LOGIT_LENGTH, argument: value}
        checked = checkify.checkify(
            lambda **arguments: nn.ctc_loss(logits=LOGITS, **arguments), errors=checkify.user_checks
        )
        with pytest.raises(checkify.JaxRuntimeError, match=f"ctc_loss: `{argument}` must {requirement}"):
            checked(**arguments)[0].throw()

    def test_checkify_is_content_with_good_values(self):
        checked = checkify.checkify(nn.ctc_loss, errors=checkify.user_checks)
        assert checked(LABELS, LOGITS, LABEL_LENGTH, LOGIT_LENGTH)[0].get() is None
