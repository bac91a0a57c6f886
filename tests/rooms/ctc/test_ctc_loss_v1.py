"""The loss of TensorFlow 1: that of its C++ kernel, and what is done where the kernel refuses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jnnops as nn

TIME, CLASSES = 6, 4
ROWS = [[0, 1], [1, 1, 2], [2], [0, 0, 0, 1], [2, 1, 0]]
LENGTHS = np.array([6, 5, 1, 6, 3])
LOGITS = np.random.default_rng(0).standard_normal((TIME, len(ROWS), CLASSES)).astype(np.float32)
OPTIONS = ("preprocess_collapse_repeated", "ctc_merge_repeated", "ignore_longer_outputs_than_inputs")


def sparse(rows):
    indices = [(row, column) for row, labels in enumerate(rows) for column in range(len(labels))]
    values = [label for labels in rows for label in labels]
    shape = len(rows), max(map(len, rows), default=0)
    return nn.SparseTensorValue(np.array(indices, np.int64).reshape(-1, 2), np.array(values, np.int64), np.array(shape))


@functools.partial(jax.jit, static_argnames=("shape", "options"))
def loss_and_gradient(indices, values, shape, logits, lengths, options):
    def f(logits):
        return nn.ctc_loss_v1(nn.SparseTensorValue(indices, values, shape), logits, lengths, **dict(options))

    loss, pull = jax.vjp(f, logits)
    return loss, pull(jnp.ones_like(loss))[0]


def evaluate(labels, logits=LOGITS, lengths=LENGTHS, **options):
    shape = tuple(map(int, labels.dense_shape))
    return loss_and_gradient(labels.indices, labels.values, shape, logits, lengths, tuple(sorted(options.items())))


def by_tensorflow(labels, logits=LOGITS, lengths=LENGTHS, **options):
    from machinery.oracle import tf

    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        given = tf.SparseTensor(labels.indices, labels.values.astype(np.int32), labels.dense_shape)
        loss = tf.compat.v1.nn.ctc_loss(given, x, lengths.astype(np.int32), **options)
    return loss.numpy(), tf.convert_to_tensor(tape.gradient(loss, x)).numpy()


def assert_as_tensorflow(labels, **arguments):
    (loss, gradient), (expected, expected_gradient) = evaluate(labels, **arguments), by_tensorflow(labels, **arguments)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
    possible = np.isfinite(expected)  # elsewhere TensorFlow has a gradient, of a loss that is infinite
    np.testing.assert_allclose(gradient[:, possible], expected_gradient[:, possible], atol=2e-5)
    assert (np.asarray(gradient)[:, ~possible] == 0).all()


@pytest.mark.parametrize("chosen", list(itertools.product([False, True], repeat=3)))
def test_all_options_are_those_of_tensorflow(chosen):
    assert_as_tensorflow(sparse(ROWS), **dict(zip(OPTIONS, chosen, strict=True)))


def test_rows_of_more_labels_than_frames_are_ignored():
    # even where they would fit once merged
    lengths = np.array([6, 2, 0, 3, 2])
    logits = LOGITS.copy()
    logits[0, 2] = np.nan
    for collapse in (False, True):
        options = dict(ignore_longer_outputs_than_inputs=True, preprocess_collapse_repeated=collapse)
        assert_as_tensorflow(sparse(ROWS), logits=logits, lengths=lengths, **options)
        loss, gradient = evaluate(sparse(ROWS), logits=logits, lengths=lengths, **options)
        np.testing.assert_array_equal(np.asarray(loss) == 0, [False, True, True, True, True])
        assert (np.asarray(gradient)[:, 1:] == 0).all()


def test_the_blank_and_beyond_end_a_row():
    for last in (3, 4, 2**31 - 1):
        assert_as_tensorflow(sparse([[0, 3, 3], [1, last], [0, last, last], [0, 0, 1], [2]]), lengths=np.full(5, 6))


def test_columns_may_be_left_out():
    labels = sparse(ROWS)
    spread = labels._replace(indices=labels.indices * [1, 3], dense_shape=np.array([5, 12]))
    assert_as_tensorflow(spread)
    np.testing.assert_allclose(evaluate(spread)[0], evaluate(labels)[0], rtol=1e-6)


def test_layout_and_the_other_name_of_the_inputs():
    expected, _ = evaluate(sparse(ROWS))
    swapped = LOGITS.swapaxes(0, 1)
    found = nn.ctc_loss_v1(sparse(ROWS), sequence_length=LENGTHS, logits=swapped, time_major=False)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_the_loss_of_tensorflow_2_with_the_blank_last():
    dense = np.array([row + [0] * (4 - len(row)) for row in ROWS])
    expected = nn.ctc_loss(dense, LOGITS, np.array(list(map(len, ROWS))), LENGTHS, blank_index=-1)
    np.testing.assert_allclose(evaluate(sparse(ROWS))[0], expected, rtol=1e-6)


def test_rows_without_labels_and_no_rows():
    loss, _ = evaluate(sparse([[], [3], [0], [], []]))  # TensorFlow refuses the first, and is too low in the second
    blanks = np.asarray(jax.nn.log_softmax(LOGITS))[..., -1]
    np.testing.assert_allclose(loss[:2], [-blanks[:, 0].sum(), -blanks[:5, 1].sum()], rtol=1e-5)
    assert nn.ctc_loss_v1(sparse([]), LOGITS[:, :0], LENGTHS[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [0, 1, -1, 1, 2, 2, 0, 0, 0, 1, 2, 1, 0]}, "`labels` must be at least 0"),
        ({"values": [0, 1, 3, 1, 2, 2, 0, 0, 0, 1, 2, 1, 0]}, "`labels` must be at least 0, and at least 3 after"),
        ({"lengths": [6, 7, 1, 6, 3]}, r"`sequence_length` must be in \[0, 6\]"),
        ({"lengths": [6, 2, 1, 6, 3]}, "`sequence_length` must be at least the number of labels"),
        ({"indices": [1, 0]}, "`labels.indices` must be in the order of rows and columns"),
        ({"indices": [0, 7]}, r"`labels.indices` must be .* less than \(5, 4\)"),
    ],
)
def test_what_tensorflow_refuses(changes, message):
    labels, lengths = sparse(ROWS), np.array(changes.get("lengths", LENGTHS))
    labels = labels._replace(values=np.array(changes.get("values", labels.values)))
    if "indices" in changes:
        labels = labels._replace(indices=np.concatenate([[changes["indices"]], labels.indices[1:]]))
    loss, gradient = evaluate(labels, lengths=lengths)
    if "at least the number" in message:
        assert loss[1] == np.inf
        assert np.isfinite(gradient).all()
    else:
        wrong = [True] * 5 if "indices" in changes else [False, True, False, False, False]
        np.testing.assert_array_equal(np.isnan(loss), wrong)
        np.testing.assert_array_equal(np.isnan(gradient).any(axis=(0, 2)), wrong)
    checked = checkify.checkify(lambda x: nn.ctc_loss_v1(labels, x, lengths), errors=checkify.user_checks)
    with pytest.raises(checkify.JaxRuntimeError, match=f"ctc_loss_v1: {message}"):
        checked(LOGITS)[0].throw()


def test_shape_must_be_static():
    labels = sparse(ROWS)
    with pytest.raises(TypeError, match=r"`labels.dense_shape` must be a static integer"):
        jax.jit(lambda labels: nn.ctc_loss_v1(labels, LOGITS, LENGTHS))(labels)
