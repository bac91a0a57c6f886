"""The greedy decoder."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_static_bool
from jnnops._tables.ids import as_lengths, checked_lengths
from jnnops.ctc._arguments import canonical_blank, is_real
from jnnops.ctc.decoded import CTCDecoded, compact


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


@functools.partial(jax.jit, static_argnames=("merge_repeated", "blank_index"))
def _ctc_greedy_decoder(
    inputs: jax.Array, sequence_length: jax.Array, *, merge_repeated: bool, blank_index: int
) -> CTCDecoded:
    time = inputs.shape[0]
    sequence_length, valid = checked_lengths("ctc_greedy_decoder", "sequence_length", sequence_length, time)

    real = is_real(time, jnp.where(valid, sequence_length, 0).astype(jnp.int32)).T
    best = jnp.argmax(inputs, axis=2).astype(jnp.int32).T
    emitted = real & (best != blank_index)
    if merge_repeated:
        emitted &= best != jnp.pad(best[:, :-1], ((0, 0), (min(1, time), 0)), constant_values=-1)
    decoded, lengths = compact(best, emitted)

    top = jnp.take_along_axis(inputs, best.T[:, :, None], axis=2)[:, :, 0].T
    score = -jnp.sum(jnp.where(real, top, 0).astype(accumulation_dtype(inputs.dtype)), axis=1)
    score = jnp.where(valid, score, jnp.nan).astype(inputs.dtype)
    return CTCDecoded(decoded[None], lengths[None], score[:, None])
