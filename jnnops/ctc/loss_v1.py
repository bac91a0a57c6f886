"""The loss as TensorFlow 1 has it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_integer_array,
    as_static_bool,
    as_static_ints,
    check_shape,
    debug_check,
    describe,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import as_lengths, checked_lengths, in_range, signed
from jnnops.ctc._arguments import is_real
from jnnops.ctc._lattice import negative_log_likelihood
from jnnops.ctc._transcripts import Transcripts
from jnnops.ctc.decoded import SparseTensorValue
from jnnops.ctc.labels import collapse_repeated


@answers_tensorflow_names
def ctc_loss_v1(
    labels: SparseTensorValue,
    inputs: ArrayLike | None = None,
    sequence_length: ArrayLike | None = None,
    preprocess_collapse_repeated: bool = False,
    ctc_merge_repeated: bool = True,
    ignore_longer_outputs_than_inputs: bool = False,
    time_major: bool = True,
    logits: ArrayLike | None = None,
) -> jax.Array:
    r"""Computes the loss of TensorFlow 1, whose labels are sparse and whose blank is the last class.

    That of :func:`ctc_loss` with ``blank_index=-1``, but for two options. Its cost, its derivatives and its memory are
    the same.

    Args:
        labels: The parts of a sparse matrix ``[batch, max_label_length]``: ``indices`` ``[entries, 2]`` in the order of
            rows and columns, integer ``values`` ``[entries]``, of which only the order in a row counts, and
            ``dense_shape``, static. The first two may be traced. Labels that are the blank or greater end their row.
        inputs: ``[time, batch, classes]``, floating point: log-probabilities, normalised or not.
        sequence_length: ``[batch]``, integer: the number of frames of each row.
        preprocess_collapse_repeated: Whether labels that repeat one after the other are merged first.
        ctc_merge_repeated: Whether classes that repeat in consecutive frames count once. Otherwise a label takes one
            frame and needs no blank before one like it, which is no CTC, but a simpler model.
        ignore_longer_outputs_than_inputs: Whether a row with more labels, before any are merged, than frames has a
            loss and a gradient of 0.
        time_major: Whether ``inputs`` is ``[time, batch, classes]``; otherwise ``[batch, time, classes]``.
        logits: Another name of ``inputs``.

    Returns:
        ``[batch]`` losses, with the dtype of ``inputs``; infinite with gradient 0 where no path spells the labels. A
        row with a negative label, or with a label after one that ends the row, or whose length is negative or beyond
        ``time``, gets a loss and a gradient of NaN, and so do all rows if the indices are not in order or beyond
        ``dense_shape``. ``checkify`` with ``user_checks`` reports that, and rows of more labels than frames that are
        not ignored.

    Raises:
        ValueError: If a shape does not fit the others, or not one of ``inputs`` and ``logits`` is given.
        TypeError: If ``labels`` is no triple, ``inputs`` not floating point, or another array not integer.

    Note:
        TensorFlow refuses what is NaN here, rows without labels, and, unless they are ignored, those with more labels
        than frames. Where frames are too few for blanks between equal labels, its loss is infinite with a gradient, and
        that of a row that the blank ends at once is too low.

    Example:
        >>> labels = nn.SparseTensorValue(indices=jnp.array([[0, 0]]), values=jnp.array([1]), dense_shape=(1, 1))
        >>> logits = jnp.zeros((2, 1, 3))  # two frames, each class with probability 1/3
        >>> jnp.exp(-nn.ctc_loss_v1(labels, logits, [2])).round(4)  # the paths 11, 21 and 12 of 9
        Array([0.3333], dtype=float32)

    References:
        ``tf.compat.v1.nn.ctc_loss``. Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented
        Sequence Data with Recurrent Neural Networks", 2006.
    """
    op = "ctc_loss_v1"
    if inputs is not None and logits is not None:
        raise ValueError(f"{op}: `logits` must be None if `inputs` is given, got {describe(logits)}")
    inputs = as_float_array(op, "inputs", logits if inputs is None else inputs, rank=3)
    if sequence_length is None:
        raise ValueError(f"{op}: `sequence_length` must be an array, got None")
    time_major = as_static_bool(op, "time_major", time_major)
    indices, values, shape = _as_sparse(op, labels)
    batch = inputs.shape[1 if time_major else 0]
    if shape[0] != batch:
        raise ValueError(
            f"{op}: `labels.dense_shape` must be (batch, max_label_length) with the batch of `inputs`, got {shape} "
            f"for inputs.shape = {inputs.shape} and time_major={time_major}"
        )
    return _ctc_loss_v1(
        inputs,
        indices,
        values,
        as_lengths(op, "sequence_length", sequence_length, batch),
        max_labels=shape[1],
        collapse=as_static_bool(op, "preprocess_collapse_repeated", preprocess_collapse_repeated),
        merge=as_static_bool(op, "ctc_merge_repeated", ctc_merge_repeated),
        ignore=as_static_bool(op, "ignore_longer_outputs_than_inputs", ignore_longer_outputs_than_inputs),
        time_major=time_major,
    )


def _as_sparse(op: str, labels: Any) -> tuple[jax.Array, jax.Array, tuple[int, int]]:
    """The indices, the values and the shape of a sparse matrix."""
    if not all(hasattr(labels, part) for part in SparseTensorValue._fields):
        raise TypeError(
            f"{op}: `labels` must be a SparseTensorValue(indices, values, dense_shape), got {type(labels).__name__}"
        )
    values = as_integer_array(op, "labels.values", labels.values, rank=1)
    indices = as_integer_array(op, "labels.indices", labels.indices, rank=2)
    check_shape(op, "labels.indices", indices, (len(values), 2), "a row and a column for each of `labels.values`")
    shape = as_static_ints(op, "labels.dense_shape", labels.dense_shape, minimum=0)
    if len(shape) != 2:
        raise ValueError(f"{op}: `labels.dense_shape` must be (batch, max_label_length), got {shape}")
    return indices, values, (shape[0], shape[1])


@functools.partial(jax.jit, static_argnames=("max_labels", "collapse", "merge", "ignore", "time_major"))
def _ctc_loss_v1(
    inputs: jax.Array,
    indices: jax.Array,
    values: jax.Array,
    sequence_length: jax.Array,
    *,
    max_labels: int,
    collapse: bool,
    merge: bool,
    ignore: bool,
    time_major: bool,
) -> jax.Array:
    op, dtype = "ctc_loss_v1", inputs.dtype
    inputs = (inputs if time_major else jnp.swapaxes(inputs, 0, 1)).astype(accumulation_dtype(dtype))
    time, batch, classes = inputs.shape
    frames, valid = checked_lengths(op, "sequence_length", sequence_length, time)
    frames = jnp.where(valid, frames, time).astype(jnp.int32)
    labels, length, in_order = _dense(indices, values, (batch, max_labels))

    has_room = length <= frames
    if not ignore:
        frames = debug_check(op, "sequence_length", "be at least the number of labels", frames, has_room)
    if collapse:
        labels, after = collapse_repeated(labels, length)
    else:
        after = length
    labels, after, good = _end_at_blank(labels, after, classes - 1)
    if ignore:  # neither labels nor frames, which cost nothing and have no gradient
        after, frames = jnp.where(has_room, after, 0), jnp.where(has_room, frames, 0)

    transcripts = Transcripts(labels, after, frames)
    loss = negative_log_likelihood(inputs, *transcripts, classes - 1, merge)
    return (loss * jnp.where(valid & good & in_order, 1, jnp.nan)).astype(dtype)  # NaN in the gradient too


def _dense(indices: jax.Array, values: jax.Array, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Labels padded with 0, how many each row has, and whether the indices are in order."""
    indices = signed(indices)
    row, column = indices[:, 0], indices[:, 1]
    inside = in_range(row, shape[0]) & in_range(column, shape[1])
    advances = (row[1:] > row[:-1]) | ((row[1:] == row[:-1]) & (column[1:] > column[:-1]))
    in_order = jnp.all(inside) & jnp.all(advances)
    requirement = f"be in the order of rows and columns, and less than {shape}"
    row = debug_check("ctc_loss_v1", "labels.indices", requirement, row, in_order).astype(jnp.int32)

    count = jnp.zeros(shape[0], jnp.int32).at[row].add(1, mode="drop")
    before = jnp.cumsum(count, dtype=jnp.int32) - count
    place = jnp.arange(len(values), dtype=jnp.int32) - before.at[row].get(mode="fill", fill_value=0)
    labels = jnp.zeros(shape, values.dtype).at[row, place].set(values, mode="drop")
    return signed(labels), count, in_order


def _end_at_blank(labels: jax.Array, length: jax.Array, blank: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The labels before the first one that is the blank or beyond, how many these are, and which rows are good."""
    in_use = is_real(labels.shape[1], length).T
    goes_on = in_use & (labels < blank)
    left = jnp.sum(jnp.cumprod(goes_on, axis=1, dtype=jnp.int32), axis=1, dtype=jnp.int32)
    good_label = ~in_use | ((labels >= 0) & ~(goes_on & ~is_real(labels.shape[1], left).T))
    requirement = f"be at least 0, and at least {blank} after one that is"
    labels = debug_check("ctc_loss_v1", "labels", requirement, labels, good_label)
    kept = is_real(labels.shape[1], left).T & (labels >= 0)
    return jnp.where(kept, labels, blank).astype(jnp.int32), left, jnp.all(good_label, axis=1)
