r"""Connectionist temporal classification: from a distribution per frame to a shorter sequence of labels.

A path names one class for each frame. It spells the labels that are left when repeated classes are merged and then
blanks dropped: with a blank ``-``, both ``aa-ab`` and ``-a-ab`` spell ``aab``. The classes are the labels and the
blank, whose index is an argument of every op; a negative one counts from the end. Arrays are time-major, ``[time,
batch, classes]``, and ``sequence_length`` or ``logit_length`` says how many frames of each row are real: what the
others hold, even NaN, reaches no result and no gradient.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_integer_array,
    as_static_int,
    check_shape,
    debug_check,
    describe,
)
from jnnops._primitives.varying import vary_with
from jnnops._tables.ids import as_lengths, checked_lengths, in_range, signed

__all__ = ["CTCDecoded", "SparseTensorValue", "ctc_greedy_decoder", "ctc_loss"]


def ctc_loss(
    labels: ArrayLike,
    logits: ArrayLike,
    label_length: ArrayLike,
    logit_length: ArrayLike,
    logits_time_major: bool = True,
    unique: tuple[ArrayLike, ArrayLike] | None = None,
    blank_index: int = 0,
    *,
    zero_infinity: bool = False,
) -> jax.Array:
    r"""Computes the negative log-probability that a path drawn frame by frame spells the labels.

    .. math::
        -\log \sum_{\pi \text{ spells labels}} \; \prod_t \text{softmax}(\text{logits}_t)_{\pi_t}

    Where no path can spell the labels, because there are fewer frames than labels and the blanks needed between
    equal ones, or because some logits are minus infinity, the loss is infinite and its gradient 0. The loss is never
    negative, and derivatives of every order exist.

    Args:
        labels: ``[batch, max_label_length]``, integer. Entries past ``label_length`` may hold anything.
        logits: ``[time, batch, classes]``, floating point: log-probabilities, normalised or not.
        label_length: ``[batch]``, integer: the number of labels of each row; 0 is fine.
        logit_length: ``[batch]``, integer: the number of frames of each row.
        logits_time_major: Whether ``logits`` is ``[time, batch, classes]``; otherwise ``[batch, time, classes]``.
        unique: The pair that TensorFlow's ``ctc_unique_labels(labels)`` returns, both of the shape of ``labels``. It
            makes TensorFlow's op faster; here the cost does not depend on it, nor does the result.
        blank_index: The class of the blank.
        zero_infinity: Whether an infinite loss is replaced by 0.

    Returns:
        ``[batch]`` losses, with the dtype of ``logits``. A row with a label that is the blank or out of
        ``[0, classes)``, or with a length that is negative or beyond its array, gets a loss and a gradient of NaN,
        and ``checkify`` with ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the others or ``blank_index`` is out of range.
        TypeError: If ``logits`` is not floating point, or ``labels`` or a length not integer.

    Note:
        TensorFlow gives about 707, and a gradient, where no path spells the labels, and NaN for logits of minus
        infinity. It takes no float64, and its loss is log 2 too low if ``max_label_length`` is 0.

    Example:
        >>> logits = jnp.zeros((2, 1, 3))  # two frames, each class with probability 1/3
        >>> jnp.exp(-nn.ctc_loss([[1]], logits, [1], [2])).round(4)  # the paths 11, 01 and 10 of 9
        Array([0.3333], dtype=float32)
        >>> nn.ctc_loss([[1, 1]], logits, [2], [2])  # needs a third frame for the blank in between
        Array([inf], dtype=float32)

    References:
        ``tf.nn.ctc_loss``. Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence
        Data with Recurrent Neural Networks", 2006.
    """
    op = "ctc_loss"
    labels = as_integer_array(op, "labels", labels, rank=2)
    logits = as_float_array(op, "logits", logits, rank=3)
    batch, _ = labels.shape
    if logits.shape[1 if logits_time_major else 0] != batch:
        layout = "[time, batch, classes]" if logits_time_major else "[batch, time, classes]"
        raise ValueError(
            f"{op}: `logits` must be {layout} with the batch of `labels`, "
            f"got logits.shape = {logits.shape} for labels.shape = {labels.shape}"
        )
    label_length = as_lengths(op, "label_length", label_length, batch)
    logit_length = as_lengths(op, "logit_length", logit_length, batch)
    if unique is not None:
        if not isinstance(unique, tuple | list) or len(unique) != 2:
            raise ValueError(f"{op}: `unique` must be a pair (unique_labels, indices) or None, got {describe(unique)}")
        for part in unique:
            check_shape(op, "unique", as_integer_array(op, "unique", part), labels.shape, "twice that of `labels`")
    return _ctc_loss(
        labels,
        logits,
        label_length,
        logit_length,
        time_major=bool(logits_time_major),
        blank_index=_canonical_blank(op, blank_index, logits.shape[2]),
        zero_infinity=bool(zero_infinity),
    )


@functools.partial(jax.jit, static_argnames=("time_major", "blank_index", "zero_infinity"))
def _ctc_loss(
    labels: jax.Array,
    logits: jax.Array,
    label_length: jax.Array,
    logit_length: jax.Array,
    *,
    time_major: bool,
    blank_index: int,
    zero_infinity: bool,
) -> jax.Array:
    op, dtype = "ctc_loss", logits.dtype
    logits = (logits if time_major else jnp.swapaxes(logits, 0, 1)).astype(accumulation_dtype(dtype))
    time, _, classes = logits.shape
    max_labels = labels.shape[1]

    label_length, good_label_length = checked_lengths(op, "label_length", label_length, max_labels)
    logit_length, good_logit_length = checked_lengths(op, "logit_length", logit_length, time)
    label_length = jnp.where(good_label_length, label_length, 0).astype(jnp.int32)
    logit_length = jnp.where(good_logit_length, logit_length, time).astype(jnp.int32)
    in_use = _first(max_labels, label_length).T
    labels = signed(labels)
    good_label = (in_range(labels, classes) & (labels != blank_index)) | ~in_use
    requirement = f"be in [0, {classes}) and not the blank, {blank_index}"
    labels = debug_check(op, "labels", requirement, labels, good_label)
    labels = jnp.where(in_use & good_label, labels, blank_index).astype(jnp.int32)
    valid = jnp.all(good_label, axis=1) & good_label_length & good_logit_length

    emissions = _emissions(labels, logits, logit_length, blank_index)
    loss = _negative_log_likelihood(*emissions, _can_skip(labels), label_length)
    if zero_infinity:
        loss = jnp.where(jnp.isposinf(loss), 0, loss)
    return (loss * jnp.where(valid, 1, jnp.nan)).astype(dtype)  # the product makes the gradient NaN too


def _emissions(
    labels: jax.Array, logits: jax.Array, logit_length: jax.Array, blank_index: int
) -> tuple[jax.Array, jax.Array]:
    """The log-probabilities of the blank, ``[time, batch]``, and of the labels, ``[time, max_labels, batch]``.

    Past ``logit_length`` the blank is certain: it leaves complete paths alone, so no step needs a mask.
    """
    real = _first(logits.shape[0], logit_length)
    top = lax.stop_gradient(jnp.max(logits, axis=2))
    possible = real & (top != -jnp.inf)
    # Where there is no distribution, any finite logits will do: they keep NaN out of the gradient.
    logits = jnp.where(possible[:, :, None], logits, 0)
    top = jnp.where(possible, top, 0)
    normalizer = top + jnp.log(jnp.sum(jnp.exp(logits - top[:, :, None]), axis=2))
    blank = logits[:, :, blank_index] - normalizer
    blank = jnp.where(possible, blank, jnp.where(real, -jnp.inf, 0))
    label = jnp.take_along_axis(logits, labels[None], axis=2) - normalizer[:, :, None]
    label = jnp.where(possible[:, :, None], label, -jnp.inf)
    # Lanes before batch: a shift by one lane then moves whole vectors (on CPU twice as fast as lanes last).
    return blank, jnp.swapaxes(label, 1, 2)


def _can_skip(labels: jax.Array) -> jax.Array:
    """Whether label ``k`` may follow ``k - 1`` with no blank in between, ``[max_labels, batch]``."""
    labels = labels.T
    return jnp.pad(labels[1:] != labels[:-1], ((min(1, len(labels)), 0), (0, 0)))


class _Log(NamedTuple):
    """The logarithm of a probability as ``whole + rest``, with an integral ``whole`` that is -inf for 0.

    As one float32 it would lose digits as the loss grows: at a loss of 3000 the gradient has errors of 3e-4. In two
    parts they stay at 1e-6, at 1.3 times the cost. ``whole`` is piecewise constant, so ``rest`` has the derivative.
    """

    whole: jax.Array
    rest: jax.Array


def _normalize(x: _Log) -> _Log:
    """The same number with its ``rest`` in ``[0, 1)``."""
    whole = jnp.floor(x.rest)
    return _Log(x.whole + whole, jnp.where(jnp.isneginf(whole), 0, x.rest - whole))


def _log_sum(*terms: _Log) -> _Log:
    """The logarithm of the sum of the probabilities."""
    terms = tuple(map(_normalize, terms))
    top = functools.reduce(jnp.maximum, (term.whole for term in terms))
    zero = jnp.isneginf(top)
    pivot = jnp.where(zero, 0, top)
    total = functools.reduce(jnp.add, (jnp.exp((term.whole - pivot) + term.rest) for term in terms))
    return _Log(top, jnp.log(jnp.where(zero, 1, total)))


# The probabilities of the lattice's states: of the blank before each label and after the last one,
# [max_labels + 1, batch], and of each label, [max_labels, batch].
_States = tuple[_Log, _Log]


def _lanes(x: _Log, start: int | None, stop: int | None) -> _Log:
    """The lanes from ``start`` to before ``stop``."""
    return _Log(x.whole[start:stop], x.rest[start:stop])


def _pad_lanes(x: _Log, before: int, after: int) -> _Log:
    """Adds lanes of probability 0."""
    padding = ((before, after), (0, 0))
    return _Log(jnp.pad(x.whole, padding, constant_values=-jnp.inf), jnp.pad(x.rest, padding))


def _step_forward(states: _States, can_skip: jax.Array) -> _States:
    """Sums over the states that may precede each one: for a label itself, the blank or the label before it."""
    blank, label = states
    before = _pad_lanes(label, 1, 0)
    skipping = _lanes(before, None, -1)
    skipping = skipping._replace(whole=jnp.where(can_skip, skipping.whole, -jnp.inf))
    return _log_sum(blank, before), _log_sum(label, _lanes(blank, None, -1), skipping)


def _step_backward(states: _States, can_skip_next: jax.Array) -> _States:
    """Sums over the states that may follow each one: for a label itself, the blank or the label after it."""
    blank, label = states
    after = _pad_lanes(label, 0, 1)
    skipping = _lanes(after, 1, None)
    skipping = skipping._replace(whole=jnp.where(can_skip_next, skipping.whole, -jnp.inf))
    return _log_sum(blank, after), _log_sum(label, _lanes(blank, 1, None), skipping)


def _emit(states: _States, emission: tuple[jax.Array, jax.Array]) -> _States:
    """Multiplies by the probabilities of one frame."""
    blank, label = states
    return blank._replace(rest=blank.rest + emission[0][None]), label._replace(rest=label.rest + emission[1])


def _certain(blank_lane: jax.Array, emissions: tuple[jax.Array, jax.Array]) -> _States:
    """The states where each row is certain to be at one blank."""
    _, label = emissions
    lanes = jnp.arange(label.shape[1] + 1, dtype=jnp.int32)[:, None]
    whole = jnp.where(lanes == blank_lane[None], jnp.zeros((), label.dtype), -jnp.inf)
    never = jnp.full_like(whole[1:], -jnp.inf)
    return vary_with((_Log(whole, jnp.zeros_like(whole)), _Log(never, jnp.zeros_like(never))), emissions)


@jax.custom_jvp
def _negative_log_likelihood(
    blank: jax.Array, label: jax.Array, can_skip: jax.Array, label_length: jax.Array
) -> jax.Array:
    """Sums the paths by Graves' forward recursion, equations 6 to 8; ``[batch]``."""
    emissions = blank, label

    def step(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, None]:
        return _emit(_step_forward(states, can_skip), emission), None

    states, _ = lax.scan(step, _certain(jnp.zeros_like(label_length), emissions), emissions)
    return _loss_at_end(states, can_skip, label_length)


@_negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # The derivative by an emission is the probability of its state given the labels. That is one recursion each way,
    # where JAX's own derivative of the scan would save what each logarithm needs; and being differentiable code
    # itself, it gives the higher orders.
    loss, blank, label = _occupancies(*primals)
    return loss, -jnp.sum(blank * tangents[0], axis=0) - jnp.sum(label * tangents[1], axis=(0, 1))


def _loss_at_end(states: _States, can_skip: jax.Array, label_length: jax.Array) -> jax.Array:
    """The loss from the states at the last frame: paths end at the last label or at the blank after it."""
    last_blank, _ = _step_forward(states, can_skip)
    likelihood = jnp.take_along_axis(last_blank.whole + last_blank.rest, label_length[None], axis=0)[0]
    return jnp.maximum(-likelihood, 0)  # rounding can put the sum of probabilities above 1


def _occupancies(
    blank: jax.Array, label: jax.Array, can_skip: jax.Array, label_length: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The loss, and the probabilities, given the labels, to be at any blank and at each label in each frame.

    They have the shapes of ``blank`` and ``label``, and are 0 where no path spells the labels.
    """
    emissions = blank, label
    can_skip_next = jnp.pad(can_skip, ((0, 1), (0, 0)))[1:]

    def forward(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, _States]:
        states = _emit(_step_forward(states, can_skip), emission)
        return states, states

    def backward(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, _States]:
        states = _emit(_step_backward(states, can_skip_next), emission)
        return states, states

    last, before = lax.scan(forward, _certain(jnp.zeros_like(label_length), emissions), emissions)
    _, after = lax.scan(backward, _certain(label_length, emissions), emissions, reverse=True)
    blanks, labels = (
        # both recursions hold the frame's own emission: take it out once
        _normalize(_Log(a.whole + b.whole, a.rest + b.rest - jnp.where(jnp.isneginf(emission), 0, emission)))
        for a, b, emission in zip(before, after, (blank[:, None], label), strict=True)
    )
    top = jnp.maximum(jnp.max(blanks.whole, axis=1), jnp.max(labels.whole, axis=1, initial=-jnp.inf))[:, None]
    pivot = jnp.where(jnp.isneginf(top), 0, top)
    at_blank = jnp.sum(jnp.exp((blanks.whole - pivot) + blanks.rest), axis=1)
    at_label = jnp.exp((labels.whole - pivot) + labels.rest)
    total = at_blank + jnp.sum(at_label, axis=1)
    total = jnp.where(total == 0, 1, total)
    return _loss_at_end(last, can_skip, label_length), at_blank / total, at_label / total[:, None]


class SparseTensorValue(NamedTuple):
    """The parts of TensorFlow's ``SparseTensor``, as int64 numpy arrays."""

    indices: np.ndarray
    values: np.ndarray
    dense_shape: np.ndarray


class CTCDecoded(NamedTuple):
    """The best paths that a CTC decoder found.

    Attributes:
        decoded: ``[top_paths, batch, max_time]``, int32: the labels of each path, then -1.
        lengths: ``[top_paths, batch]``, int32: the number of labels of each path.
        scores: ``[batch, top_paths]``, what the decoder says of each path.
    """

    decoded: jax.Array
    lengths: jax.Array
    scores: jax.Array

    def to_sparse(self) -> list[SparseTensorValue]:
        """Converts ``decoded`` to the form of TensorFlow's decoders; not under ``jit`` or ``vmap``.

        Returns:
            For each of the top paths the triple of a sparse matrix ``[batch, max_decoded_length]``.

        Example:
            >>> logits = jnp.log(jnp.array([[[0.1, 0.8, 0.1]], [[0.2, 0.1, 0.7]], [[0.9, 0.05, 0.05]]]))
            >>> path = nn.ctc_greedy_decoder(logits, [3]).to_sparse()[0]
            >>> path.values, path.dense_shape
            (array([1, 0]), array([1, 2]))
        """
        paths = []
        for decoded, lengths in zip(np.asarray(self.decoded), np.asarray(self.lengths), strict=True):
            indices = np.argwhere(np.arange(decoded.shape[1]) < lengths[:, None])
            shape = len(lengths), lengths.max(initial=0)
            parts = indices, decoded[tuple(indices.T)], shape
            paths.append(SparseTensorValue(*(np.asarray(part, np.int64) for part in parts)))
        return paths


def ctc_greedy_decoder(
    inputs: ArrayLike,
    sequence_length: ArrayLike,
    merge_repeated: bool = True,
    blank_index: int | None = None,
) -> CTCDecoded:
    """Decodes by the likeliest class of each frame: the most probable path, but not always the likeliest labels.

    Of equal logits the first wins. Labels and lengths have no gradient; that of a score is -1 at each frame's winner.

    Args:
        inputs: ``[max_time, batch, classes]``, floating point: logits, normalised or not.
        sequence_length: ``[batch]``, integer: the number of frames of each row.
        merge_repeated: Whether a class that repeats in consecutive frames counts once.
        blank_index: The class of the blank; the last one unless given.

    Returns:
        ``(decoded, lengths, scores)``, see :class:`CTCDecoded`: ``decoded`` is ``[1, batch, max_time]``, ``lengths``
        ``[1, batch]``, and ``scores`` ``[batch, 1]``, with the dtype of ``inputs``, the negated sum of the maximum of
        each frame's logits. A row whose length is negative or beyond ``max_time`` gets no labels and a score of NaN,
        and ``checkify`` with ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the others or ``blank_index`` is out of range.
        TypeError: If ``inputs`` is not floating point or ``sequence_length`` not integer.

    Note:
        TensorFlow returns sparse matrices, which :meth:`CTCDecoded.to_sparse` makes. It ignores NaN among the
        logits; here NaN counts as the maximum.

    Example:
        >>> logits = jnp.log(jnp.array([[[0.1, 0.8, 0.1]], [[0.2, 0.7, 0.1]], [[0.9, 0.05, 0.05]]]))
        >>> result = nn.ctc_greedy_decoder(logits, [3])  # 1 1 0 in the frames
        >>> result.decoded, result.lengths
        (Array([[[ 1,  0, -1]]], dtype=int32), Array([[2]], dtype=int32))

    References:
        ``tf.nn.ctc_greedy_decoder``. Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented
        Sequence Data with Recurrent Neural Networks", 2006, section 3.2.
    """
    op = "ctc_greedy_decoder"
    inputs = as_float_array(op, "inputs", inputs, rank=3)
    sequence_length = as_lengths(op, "sequence_length", sequence_length, inputs.shape[1])
    blank = _canonical_blank(op, -1 if blank_index is None else blank_index, inputs.shape[2])
    return _ctc_greedy_decoder(inputs, sequence_length, merge_repeated=bool(merge_repeated), blank_index=blank)


@functools.partial(jax.jit, static_argnames=("merge_repeated", "blank_index"))
def _ctc_greedy_decoder(
    inputs: jax.Array, sequence_length: jax.Array, *, merge_repeated: bool, blank_index: int
) -> CTCDecoded:
    time = inputs.shape[0]
    sequence_length, valid = checked_lengths("ctc_greedy_decoder", "sequence_length", sequence_length, time)

    real = _first(time, jnp.where(valid, sequence_length, 0).astype(jnp.int32)).T
    best = jnp.argmax(inputs, axis=2).astype(jnp.int32).T
    emitted = real & (best != blank_index)
    if merge_repeated:
        emitted &= best != jnp.pad(best[:, :-1], ((0, 0), (min(1, time), 0)), constant_values=-1)
    position = jnp.where(emitted, jnp.cumsum(emitted, axis=1) - 1, time)
    write = jax.vmap(lambda position, best: jnp.full((time,), -1, best.dtype).at[position].set(best, mode="drop"))

    top = jnp.take_along_axis(inputs, best.T[:, :, None], axis=2)[:, :, 0].T
    score = -jnp.sum(jnp.where(real, top, 0).astype(accumulation_dtype(inputs.dtype)), axis=1)
    score = jnp.where(valid, score, jnp.nan).astype(inputs.dtype)
    lengths = jnp.sum(emitted, axis=1, dtype=jnp.int32)
    return CTCDecoded(write(position, best)[None], lengths[None], score[:, None])


def _first(size: int, lengths: jax.Array) -> jax.Array:
    """Whether each of ``size`` positions is among the first ``lengths`` (int32) of a row, ``[size, batch]``."""
    return jnp.arange(size, dtype=jnp.int32)[:, None] < lengths[None]


def _canonical_blank(op: str, blank_index: int, classes: int) -> int:
    """Resolves a blank index, possibly negative."""
    index = as_static_int(op, "blank_index", blank_index)
    if not -classes <= index < classes:
        raise ValueError(f"{op}: `blank_index` must be in [{-classes}, {classes}), got {index} for {classes} classes")
    return index % classes
