"""The beam search decoder: a state before the first frame, one after more frames, and the paths of a state."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_array, as_float_array, as_size, as_static_bool, check_callable
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import as_lengths
from jnnops.ctc import _search as search
from jnnops.ctc._arguments import canonical_blank, is_real, lengths_of_chunk
from jnnops.ctc.decoded import CTCDecoded, merge_repeats


@answers_tensorflow_names
def ctc_beam_search_decoder(
    inputs: ArrayLike,
    sequence_length: ArrayLike,
    beam_width: int = 100,
    top_paths: int = 1,
    *,
    blank_index: int | None = None,
    merge_repeated: bool = False,
    scorer: search.Scorer | None = None,
    initial_state: Any = None,
) -> CTCDecoded:
    r"""Decodes by a beam search over what the paths spell: the likeliest labels, unless they fell out of the beam.

    After each frame the ``beam_width`` likeliest prefixes are kept, each with the probability of all paths found that
    spell it,

    .. math::
        \sum_{\pi \text{ spells labels}} \; \prod_t \text{softmax}(\text{inputs}_t)_{\pi_t}.

    Of equally likely prefixes those that were there before come first, then those that extend a likelier prefix, then
    those by a likelier label or one of a lower class. The result has no gradient; :func:`ctc_loss` of the labels found
    has.

    Args:
        inputs: ``[max_time, batch, classes]``, floating point: logits, normalised or not.
        sequence_length: ``[batch]``, integer: the number of frames of each row.
        beam_width: How many prefixes are kept.
        top_paths: How many of them are returned; at most ``beam_width``.
        blank_index: The class of the blank; the last one unless given.
        merge_repeated: Whether labels that repeat in a returned path count once: ``aab`` becomes ``ab``, with the score
            of ``aab``. What the option is good for is not known; TensorFlow 1 had it on by default.
        scorer: A language model, ``scorer(state, label) -> (log_score, new_state)``, of which each prefix carries a
            state. ``label`` is ``[beams]``, int32, and so is ``log_score``, floating point, which is added where a
            prefix is extended by the label; minus infinity forbids it. The states are a pytree of ``[beams, ...]``.
            Many prefixes, of all rows, are scored in one call, each with any label, the blank included, for which the
            score does not matter. A pytree of arrays that can be called is compiled once for all calls with the same
            shapes; a function is traced again by each call outside ``jit``. The time then grows with the number of
            classes, all of which are tried.
        initial_state: The state of the empty prefix, a pytree of ``[batch, ...]``.

    Returns:
        ``(decoded, lengths, scores)``, see :class:`CTCDecoded`: ``decoded`` is ``[top_paths, batch, max_time]``,
        ``lengths`` ``[top_paths, batch]``, and ``scores`` ``[batch, top_paths]``, with the dtype of ``inputs``, the
        log-probabilities, the likeliest path first. Where there are fewer paths of a probability above 0, the others
        are empty and have a score of minus infinity. A row whose length is negative or beyond ``max_time`` gets no
        labels and scores of NaN, and ``checkify`` with ``user_checks`` reports it; a row with NaN or infinity among its
        logits gets the same without a report.

    Raises:
        ValueError: If a shape does not fit the others, ``blank_index`` is out of range, ``beam_width`` is not positive
            or ``top_paths`` is not in ``[1, beam_width]``.
        TypeError: If ``inputs`` is not floating point, ``sequence_length`` not integer, ``scorer`` cannot be called or
            it returns a score or state of another kind than described.

    Note:
        TensorFlow returns sparse matrices, which :meth:`CTCDecoded.to_sparse` makes. With fewer prefixes than
        ``top_paths``, as in a row without frames, it raises an error. It does not always keep the likeliest prefixes:
        one that falls out of the beam before its parent is extended is itself not extended, even if what it would
        become were likely. In frames where the blank has a logit of minus infinity it loses what a prefix passes on to
        a longer one that is less likely, or keeps that one twice.

    Example:
        >>> logits = jnp.log(jnp.array([[[0.4, 0.6]], [[0.4, 0.6]]]))  # the last class is the blank
        >>> result = nn.ctc_beam_search_decoder(logits, [2], beam_width=4, top_paths=2)
        >>> result.decoded[:, 0]  # three paths spell 0: 0 0, 0 blank and blank 0
        Array([[ 0, -1],
               [-1, -1]], dtype=int32)
        >>> result.scores.round(2)  # the logarithms of 0.64 and 0.36
        Array([[-0.45, -1.02]], dtype=float32)

        A bigram, whose state is the label before:

        >>> bigram = jnp.log(jnp.array([[0.1, 0.9], [0.5, 0.5]]))  # 1 mostly follows 0
        >>> def scorer(state, label):
        ...     return bigram[state, jnp.minimum(label, 1)], label
        >>> logits = jnp.zeros((3, 1, 3))
        >>> result = nn.ctc_beam_search_decoder(logits, [3], 8, scorer=scorer, initial_state=jnp.zeros(1, jnp.int32))
        >>> result.decoded[0, 0]
        Array([ 1, -1, -1], dtype=int32)

        A trigram of digits by which dates are read better is in ``examples/read_digits.py``.

    References:
        ``tf.nn.ctc_beam_search_decoder``; ``tf.compat.v1.nn.ctc_beam_search_decoder_v2`` is the same function. Graves
        and Jaitly, "Towards End-to-End Speech Recognition with Recurrent Neural Networks", 2014, algorithm 1.
    """
    op = "ctc_beam_search_decoder"
    inputs = as_float_array(op, "inputs", inputs, rank=3)
    sequence_length = as_lengths(op, "sequence_length", sequence_length, inputs.shape[1])
    beam_width = as_size(op, "beam_width", beam_width)
    top_paths = check_top_paths(op, top_paths, beam_width)
    check_scorer(op, scorer, initial_state, inputs.shape[1])
    return (_jitted_decode if is_compilable(scorer) else _decode)(
        inputs,
        sequence_length,
        scorer,
        as_scorer_state(op, initial_state, inputs.shape[1]),
        beam_width=beam_width,
        top_paths=top_paths,
        blank_index=canonical_blank(op, -1 if blank_index is None else blank_index, inputs.shape[2]),
        merge_repeated=as_static_bool(op, "merge_repeated", merge_repeated),
    )


ctc_beam_search_decoder_v2 = ctc_beam_search_decoder


def check_top_paths(op: str, top_paths: int, beam_width: int) -> int:
    """Returns the number of paths if there are so many beams, otherwise raises."""
    top_paths = as_size(op, "top_paths", top_paths)
    if top_paths > beam_width:
        raise ValueError(f"{op}: `top_paths` must be at most `beam_width`, {beam_width}, got {top_paths}")
    return top_paths


def as_scorer_state(op: str, initial_state: Any, batch: int) -> Any:
    """Converts the states of the scorer, one for each row."""
    state = jax.tree.map(lambda leaf: as_array(op, "initial_state", leaf), initial_state)
    for leaf in jax.tree.leaves(state):
        if leaf.shape[:1] != (batch,):
            raise ValueError(
                f"{op}: `initial_state` must have shapes [{batch}, ...] (one for each row), got {leaf.shape}"
            )
    return state


def is_compilable(scorer: search.Scorer | None) -> bool:
    """Whether the scorer, or none, is a pytree of arrays, which a compiled function takes as an argument."""
    return all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(scorer))


def check_scorer(op: str, scorer: search.Scorer | None, initial_state: Any, batch: int) -> None:
    """Raises unless the scorer can be called with the state and returns what it must."""
    if scorer is None:
        return
    check_callable(op, "scorer", scorer, "scorer(state, label)")
    state = as_scorer_state(op, initial_state, batch)
    result = jax.eval_shape(scorer, state, jax.ShapeDtypeStruct((batch,), jnp.int32))
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{op}: `scorer` must return (log_score, new_state), got {type(result).__name__}")
    score, after = result
    if getattr(score, "shape", None) != (batch,) or not jnp.issubdtype(score.dtype, jnp.floating):
        raise TypeError(f"{op}: `scorer` must return floating point scores [beams], got {score} for [{batch}] labels")
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree) for tree in (state, after)]
    if kinds[0] != kinds[1]:
        raise TypeError(f"{op}: `scorer` must return a state as it was given, {kinds[0]}, got {kinds[1]}")


@serializable
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("beams", "trie", "frames", "valid"),
    meta_fields=("num_classes", "max_time", "blank_index", "dtype"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class CTCBeamSearchState:
    """What a beam search remembers of the frames so far; a pytree whose settings are part of its structure.

    Attributes:
        beams: The prefixes that are kept.
        trie: What they have spelled.
        frames: ``[batch]``, int32: the number of frames of each row so far.
        valid: ``[batch]``: whether all lengths and logits so far have been proper.
        num_classes: The number of classes.
        max_time: How many frames a row may have.
        blank_index: The class of the blank.
        dtype: That of the logits.
    """

    beams: search.Beams
    trie: search.Trie
    frames: jax.Array
    valid: jax.Array
    num_classes: int
    max_time: int
    blank_index: int
    dtype: np.dtype

    @property
    def beam_width(self) -> int:
        """How many prefixes are kept."""
        return self.beams.total.shape[1]


def begin(
    initial_state: Any,
    *,
    batch: int,
    num_classes: int,
    max_time: int,
    beam_width: int,
    blank_index: int,
    dtype: np.dtype,
) -> CTCBeamSearchState:
    """The state before the first frame."""
    return CTCBeamSearchState(
        search.empty_beams(batch, beam_width, accumulation_dtype(dtype), initial_state),
        search.empty_trie(batch, beam_width, max_time),
        jnp.zeros(batch, jnp.int32),
        jnp.ones(batch, bool),
        num_classes=num_classes,
        max_time=max_time,
        blank_index=blank_index,
        dtype=dtype,
    )


def advance(
    op: str,
    state: CTCBeamSearchState,
    inputs: jax.Array,
    sequence_length: jax.Array,
    scorer: search.Scorer | None,
) -> CTCBeamSearchState:
    """The state after further frames."""
    inputs = jax.lax.stop_gradient(inputs).astype(accumulation_dtype(inputs.dtype))
    length, valid = lengths_of_chunk(op, sequence_length, inputs.shape[0], state.frames, state.max_time)
    valid &= state.valid
    real = is_real(inputs.shape[0], jnp.where(valid, length, 0))

    plain = scorer is None
    if plain:
        grid = search.staircase(state.beam_width, max(state.num_classes - 1, 1))
    else:
        grid = search.whole_grid(state.beam_width, state.num_classes)
    frames = search.make_frames(inputs, real, state.blank_index, grid, sort=plain)
    valid &= jnp.all(search.is_proper(frames), axis=0)
    beams, trie, number = search.search(state.beams, state.trie, state.frames, frames, grid, scorer)
    return dataclasses.replace(state, beams=beams, trie=trie, frames=number, valid=valid)


def conclude(state: CTCBeamSearchState, *, top_paths: int, merge_repeated: bool) -> CTCDecoded:
    """The paths that are likeliest after the frames so far."""
    decoded = search.trace(state.beams, state.trie, top_paths, state.max_time)
    lengths, scores = state.beams.length[:, :top_paths], state.beams.total[:, :top_paths]
    lengths = jnp.where(state.valid[:, None], lengths, 0)
    inside = jnp.arange(state.max_time, dtype=jnp.int32)[None, None] < lengths[:, :, None]
    decoded = jnp.where(inside, decoded, -1)
    if merge_repeated:
        decoded, lengths = merge_repeats(decoded)
    scores = jnp.where(state.valid[:, None], scores, jnp.nan).astype(state.dtype)
    return CTCDecoded(jnp.swapaxes(decoded, 0, 1), lengths.T, scores)


def _decode(
    inputs: jax.Array,
    sequence_length: jax.Array,
    scorer: search.Scorer | None,
    initial_state: Any,
    *,
    beam_width: int,
    top_paths: int,
    blank_index: int,
    merge_repeated: bool,
) -> CTCDecoded:
    time, batch, classes = inputs.shape
    state = begin(
        initial_state,
        batch=batch,
        num_classes=classes,
        max_time=time,
        beam_width=beam_width,
        blank_index=blank_index,
        dtype=inputs.dtype,
    )
    state = advance("ctc_beam_search_decoder", state, inputs, sequence_length, scorer)
    return conclude(state, top_paths=top_paths, merge_repeated=merge_repeated)


_jitted_decode = jax.jit(_decode, static_argnames=("beam_width", "top_paths", "blank_index", "merge_repeated"))
