"""The greedy decoder."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_static_bool
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import as_lengths
from jnnops.ctc._arguments import canonical_blank, is_real, lengths_of_chunk
from jnnops.ctc.decoded import CTCDecoded, compact


@answers_tensorflow_names
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
    blank = canonical_blank(op, -1 if blank_index is None else blank_index, inputs.shape[2])
    merge_repeated = as_static_bool(op, "merge_repeated", merge_repeated)
    return _ctc_greedy_decoder(inputs, sequence_length, merge_repeated=merge_repeated, blank_index=blank)


@serializable
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("best", "top", "frames", "valid"),
    meta_fields=("num_classes", "blank_index"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class CTCGreedyState:
    """What the greedy decoder remembers of the frames so far; a pytree whose settings are part of its structure.

    Attributes:
        best: ``[batch, max_time]``, int32: the likeliest class of each frame.
        top: ``[batch, max_time]``: its logit. All are kept, as sums of parts are rounded otherwise than the whole.
        frames: ``[batch]``, int32: the number of frames of each row so far.
        valid: ``[batch]``: whether all lengths so far have been proper.
        num_classes: The number of classes.
        blank_index: The class of the blank.
    """

    best: jax.Array
    top: jax.Array
    frames: jax.Array
    valid: jax.Array
    num_classes: int
    blank_index: int


def find_best(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The likeliest class of each frame and its logit, both ``[batch, time]``."""
    best = jnp.argmax(inputs, axis=2).astype(jnp.int32)
    top = jnp.take_along_axis(inputs, best[:, :, None], axis=2)[:, :, 0]
    return best.T, top.T


def conclude(state: CTCGreedyState, *, merge_repeated: bool) -> CTCDecoded:
    """The path of the frames so far."""
    time = state.best.shape[1]
    real = is_real(time, jnp.where(state.valid, state.frames, 0)).T
    emitted = real & (state.best != state.blank_index)
    if merge_repeated:
        emitted &= state.best != jnp.pad(state.best[:, :-1], ((0, 0), (min(1, time), 0)), constant_values=-1)
    decoded, lengths = compact(state.best, emitted)

    score = -jnp.sum(jnp.where(real, state.top, 0).astype(accumulation_dtype(state.top.dtype)), axis=1)
    score = jnp.where(state.valid, score, jnp.nan).astype(state.top.dtype)
    return CTCDecoded(decoded[None], lengths[None], score[:, None])


@functools.partial(jax.jit, static_argnames=("merge_repeated", "blank_index"))
def _ctc_greedy_decoder(
    inputs: jax.Array, sequence_length: jax.Array, *, merge_repeated: bool, blank_index: int
) -> CTCDecoded:
    time, batch, classes = inputs.shape
    before = jnp.zeros(batch, jnp.int32)
    length, valid = lengths_of_chunk("ctc_greedy_decoder", sequence_length, time, before, time)
    state = CTCGreedyState(*find_best(inputs), length, valid, num_classes=classes, blank_index=blank_index)
    return conclude(state, merge_repeated=merge_repeated)
