r"""The decoders for frames that come in chunks: a first state, a step for each chunk, and what is decoded so far.

A chunk may have any number of frames, also none, and each row any number of real ones among them: rows need not keep
pace. However the frames are cut into chunks, the same steps are taken as by the decoder for all of them at once. The
scores are equal but for the rounding of sums, which XLA may order otherwise in programs of other shapes, and with them
which of two prefixes that are likely alike to that precision comes first. ``finish`` leaves the state as it is, so it
may be asked between chunks.

A compiled step serves all chunks of one shape, so the last one is better padded than shorter. With the old state
donated its time does not depend on ``max_time``.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_float_array, as_size, as_static_bool, check_shape
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import as_lengths
from jnnops.ctc import _search as search
from jnnops.ctc import beam, greedy
from jnnops.ctc._arguments import canonical_blank, lengths_of_chunk
from jnnops.ctc.beam import CTCBeamSearchState, as_scorer_state, check_scorer, check_top_paths, is_compilable
from jnnops.ctc.decoded import CTCDecoded
from jnnops.ctc.greedy import CTCGreedyState


@answers_tensorflow_names
def ctc_beam_search_init(
    batch_size: int,
    num_classes: int,
    max_time: int,
    beam_width: int = 100,
    *,
    blank_index: int | None = None,
    dtype: DTypeLike = jnp.float32,
    initial_state: Any = None,
) -> CTCBeamSearchState:
    """The state of :func:`ctc_beam_search_decoder` before the first frame.

    Args:
        batch_size: The number of rows.
        num_classes: The number of classes, the blank included.
        max_time: How many frames a row may have in all. The state takes 8 bytes for each of these and each beam.
        beam_width: How many prefixes are kept.
        blank_index: The class of the blank; the last one unless given.
        dtype: That of the logits, floating point.
        initial_state: The state of the scorer after the empty prefix, a pytree of ``[batch_size, ...]``.

    Returns:
        The state, a pytree of arrays for :func:`ctc_beam_search_step` and :func:`ctc_beam_search_finish`.

    Raises:
        ValueError: If a size is negative, or 0 for ``num_classes`` or ``beam_width``, ``blank_index`` is out of range,
            or ``initial_state`` has another shape.
        TypeError: If a size is not an integer or ``dtype`` not floating point.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_beam_search_init(1, 2, max_time=10, beam_width=4)
        >>> for chunk in jnp.log(jnp.array([[[[0.4, 0.6]]], [[[0.4, 0.6]]]])):  # two chunks of one frame
        ...     state = nn.ctc_beam_search_step(state, chunk, [1])
        >>> nn.ctc_beam_search_finish(state).decoded[0, 0, :2]
        Array([ 0, -1], dtype=int32)

    References:
        As :func:`ctc_beam_search_decoder`.
    """
    op = "ctc_beam_search_init"
    batch_size = as_size(op, "batch_size", batch_size, minimum=0)
    num_classes = as_size(op, "num_classes", num_classes)
    return _begin_beam_search(
        as_scorer_state(op, initial_state, batch_size),
        batch=batch_size,
        num_classes=num_classes,
        max_time=as_size(op, "max_time", max_time, minimum=0),
        beam_width=as_size(op, "beam_width", beam_width),
        blank_index=canonical_blank(op, -1 if blank_index is None else blank_index, num_classes),
        dtype=as_dtype(op, "dtype", dtype, floating=True),
    )


# Compiled, also because what is to be donated must not share an array with another part of the state.
_begin_beam_search = jax.jit(
    beam.begin, static_argnames=("batch", "num_classes", "max_time", "beam_width", "blank_index", "dtype")
)


@answers_tensorflow_names
def ctc_beam_search_step(
    state: CTCBeamSearchState,
    inputs: ArrayLike,
    sequence_length: ArrayLike,
    *,
    scorer: search.Scorer | None = None,
) -> CTCBeamSearchState:
    """Advances a beam search by a chunk of frames; without gradient.

    Args:
        state: What :func:`ctc_beam_search_init` or the step before returned.
        inputs: ``[time, batch, classes]``, of the dtype of the state: the logits of the next frames.
        sequence_length: ``[batch]``, integer: how many of these each row has.
        scorer: A language model as for :func:`ctc_beam_search_decoder`, the same in each step.

    Returns:
        The new state. A row whose length is negative, beyond ``time``, or which has more than ``max_time`` frames over
        all chunks gets no labels and scores of NaN from then on, whatever follows, and ``checkify`` with
        ``user_checks`` reports it; a row with NaN or infinity among its logits gets the same without a report.

    Raises:
        ValueError: If a shape does not fit the state, or the state has one of a scorer but ``scorer`` is not given.
        TypeError: If ``state`` is not one of a beam search, ``inputs`` has another dtype, ``sequence_length`` is not
            integer or ``scorer`` is not as described.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_beam_search_init(2, 3, max_time=10, beam_width=4)
        >>> step = jax.jit(nn.ctc_beam_search_step, donate_argnums=0)
        >>> logits = 9 * jax.nn.one_hot(jnp.array([[0, 1], [2, 1], [0, 0]]), 3)  # 0 blank 0, and 1 1 0
        >>> state = step(state, logits[:2], jnp.array([2, 1]))
        >>> nn.ctc_beam_search_finish(state).decoded[0, :, :3]
        Array([[ 0, -1, -1],
               [ 1, -1, -1]], dtype=int32)
        >>> state = step(state, logits[1:], jnp.array([0, 2]))
        >>> state = step(state, logits[2:], jnp.array([1, 0]))
        >>> nn.ctc_beam_search_finish(state).decoded[0, :, :3]
        Array([[ 0,  0, -1],
               [ 1,  0, -1]], dtype=int32)

    References:
        As :func:`ctc_beam_search_decoder`.
    """
    op = "ctc_beam_search_step"
    _check_state(op, state, CTCBeamSearchState, "ctc_beam_search_init")
    batch = state.beams.total.shape[0]
    inputs, sequence_length = _as_chunk(op, inputs, sequence_length, (batch, state.num_classes), state.dtype)
    memory = state.beams.memory
    if scorer is None and jax.tree.leaves(memory):
        raise ValueError(f"{op}: `scorer` must be that of the `initial_state` of ctc_beam_search_init, got None")
    check_scorer(op, scorer, jax.tree.map(lambda leaf: leaf[:, 0], memory), batch)
    advance = _jitted_advance if is_compilable(scorer) else beam.advance
    return advance(op, state, inputs, sequence_length, scorer)


_jitted_advance = jax.jit(beam.advance, static_argnums=0)


@answers_tensorflow_names
def ctc_beam_search_finish(
    state: CTCBeamSearchState, top_paths: int = 1, *, merge_repeated: bool = False
) -> CTCDecoded:
    """The likeliest paths of a beam search after the frames so far; without gradient.

    Args:
        state: What :func:`ctc_beam_search_step` returned; more steps may follow.
        top_paths: How many paths are returned; at most ``beam_width``.
        merge_repeated: Whether labels that repeat in a returned path count once, as for
            :func:`ctc_beam_search_decoder`.

    Returns:
        ``(decoded, lengths, scores)`` as of :func:`ctc_beam_search_decoder`, with ``decoded`` ``[top_paths, batch,
        max_time]``; what the rows are that it has no answer for, :func:`ctc_beam_search_step` says.

    Raises:
        ValueError: If ``top_paths`` is not in ``[1, beam_width]``.
        TypeError: If ``state`` is not one of a beam search or an option is of another type.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_beam_search_init(1, 2, max_time=3, beam_width=4)
        >>> nn.ctc_beam_search_finish(state, top_paths=2).scores  # of no frames: the empty path, and no other
        Array([[  0., -inf]], dtype=float32)

    References:
        As :func:`ctc_beam_search_decoder`.
    """
    op = "ctc_beam_search_finish"
    _check_state(op, state, CTCBeamSearchState, "ctc_beam_search_init")
    top_paths = check_top_paths(op, top_paths, state.beam_width)
    merge_repeated = as_static_bool(op, "merge_repeated", merge_repeated)
    return _conclude_beam_search(state, top_paths=top_paths, merge_repeated=merge_repeated)


_conclude_beam_search = jax.jit(beam.conclude, static_argnames=("top_paths", "merge_repeated"))


@answers_tensorflow_names
def ctc_greedy_init(
    batch_size: int,
    num_classes: int,
    max_time: int,
    *,
    blank_index: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> CTCGreedyState:
    """The state of :func:`ctc_greedy_decoder` before the first frame.

    Args:
        batch_size: The number of rows.
        num_classes: The number of classes, the blank included.
        max_time: How many frames a row may have in all.
        blank_index: The class of the blank; the last one unless given.
        dtype: That of the logits, floating point.

    Returns:
        The state, a pytree of arrays for :func:`ctc_greedy_step` and :func:`ctc_greedy_finish`.

    Raises:
        ValueError: If a size is negative, or 0 for ``num_classes``, or ``blank_index`` is out of range.
        TypeError: If a size is not an integer or ``dtype`` not floating point.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_greedy_init(1, 3, max_time=10)
        >>> for label in [1, 1, 0]:
        ...     state = nn.ctc_greedy_step(state, jax.nn.one_hot(jnp.array([[label]]), 3), [1])
        >>> nn.ctc_greedy_finish(state).decoded[0, 0, :3]
        Array([ 1,  0, -1], dtype=int32)

    References:
        As :func:`ctc_greedy_decoder`.
    """
    op = "ctc_greedy_init"
    shape = as_size(op, "batch_size", batch_size, minimum=0), as_size(op, "max_time", max_time, minimum=0)
    num_classes = as_size(op, "num_classes", num_classes)
    return CTCGreedyState(
        best=jnp.zeros(shape, jnp.int32),
        top=jnp.zeros(shape, as_dtype(op, "dtype", dtype, floating=True)),
        frames=jnp.zeros(shape[:1], jnp.int32),
        valid=jnp.ones(shape[:1], bool),
        num_classes=num_classes,
        blank_index=canonical_blank(op, -1 if blank_index is None else blank_index, num_classes),
    )


@answers_tensorflow_names
def ctc_greedy_step(state: CTCGreedyState, inputs: ArrayLike, sequence_length: ArrayLike) -> CTCGreedyState:
    """Advances a greedy decoder by a chunk of frames. The gradient is that of :func:`ctc_greedy_decoder`.

    Args:
        state: What :func:`ctc_greedy_init` or the step before returned.
        inputs: ``[time, batch, classes]``, of the dtype of the state: the logits of the next frames.
        sequence_length: ``[batch]``, integer: how many of these each row has.

    Returns:
        The new state. A row whose length is negative, beyond ``time``, or which has more than ``max_time`` frames over
        all chunks gets no labels and a score of NaN from then on, whatever follows, and ``checkify`` with
        ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the state.
        TypeError: If ``state`` is not one of a greedy decoder, ``inputs`` has another dtype or ``sequence_length`` is
            not integer.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_greedy_init(1, 3, max_time=10)
        >>> logits = jax.nn.one_hot(jnp.array([[1], [1], [0], [2]]), 3)
        >>> state = nn.ctc_greedy_step(state, logits, [3])  # the last frame is not real
        >>> nn.ctc_greedy_step(state, logits, [1]).frames
        Array([4], dtype=int32)

    References:
        As :func:`ctc_greedy_decoder`.
    """
    op = "ctc_greedy_step"
    _check_state(op, state, CTCGreedyState, "ctc_greedy_init")
    shape = state.best.shape[0], state.num_classes
    return _advance_greedy(state, *_as_chunk(op, inputs, sequence_length, shape, state.top.dtype))


@jax.jit
def _advance_greedy(state: CTCGreedyState, inputs: jax.Array, sequence_length: jax.Array) -> CTCGreedyState:
    (time, _, _), (_, max_time) = inputs.shape, state.best.shape
    length, valid = lengths_of_chunk("ctc_greedy_step", sequence_length, time, state.frames, max_time)
    valid &= state.valid
    length = jnp.where(valid, length, 0)
    frame = jnp.arange(time, dtype=jnp.int32)[None]
    place = jnp.where(frame < length[:, None], state.frames[:, None] + frame, max_time)
    best, top = greedy.find_best(inputs)
    return dataclasses.replace(
        state,
        best=search.put(state.best, place, best),
        top=search.put(state.top, place, top),
        frames=state.frames + length,
        valid=valid,
    )


@answers_tensorflow_names
def ctc_greedy_finish(state: CTCGreedyState, merge_repeated: bool = True) -> CTCDecoded:
    """The path of a greedy decoder after the frames so far. The gradient is that of :func:`ctc_greedy_decoder`.

    Args:
        state: What :func:`ctc_greedy_step` returned; more steps may follow.
        merge_repeated: Whether a class that repeats in consecutive frames counts once.

    Returns:
        ``(decoded, lengths, scores)`` as of :func:`ctc_greedy_decoder`, with ``decoded`` ``[1, batch, max_time]``; what
        the rows are that it has no answer for, :func:`ctc_greedy_step` says.

    Raises:
        TypeError: If ``state`` is not one of a greedy decoder or ``merge_repeated`` not True or False.

    Note:
        TensorFlow decodes whole sequences only.

    Example:
        >>> state = nn.ctc_greedy_init(1, 3, max_time=4)
        >>> state = nn.ctc_greedy_step(state, jax.nn.one_hot(jnp.array([[1], [1], [0]]), 3), [3])
        >>> nn.ctc_greedy_finish(state).scores
        Array([[-3.]], dtype=float32)

    References:
        As :func:`ctc_greedy_decoder`.
    """
    op = "ctc_greedy_finish"
    _check_state(op, state, CTCGreedyState, "ctc_greedy_init")
    return _conclude_greedy(state, merge_repeated=as_static_bool(op, "merge_repeated", merge_repeated))


_conclude_greedy = jax.jit(greedy.conclude, static_argnames="merge_repeated")


def _check_state(op: str, state: Any, kind: type, init: str) -> None:
    """Raises unless the state is one that ``init`` makes."""
    if not isinstance(state, kind):
        raise TypeError(f"{op}: `state` must be a {kind.__name__} as of {init}, got {type(state).__name__}")


def _as_chunk(
    op: str, inputs: ArrayLike, sequence_length: ArrayLike, shape: tuple[int, int], dtype: Any
) -> tuple[jax.Array, jax.Array]:
    """Converts the logits and lengths of a chunk, and checks that they fit a state of ``[batch, classes]``."""
    inputs = as_float_array(op, "inputs", inputs, rank=3)
    check_shape(op, "inputs", inputs, (inputs.shape[0], *shape), "the batch and classes of `state`")
    if inputs.dtype != dtype:
        raise TypeError(f"{op}: `inputs` must be {dtype}, the dtype of `state`, got {inputs.dtype}")
    return inputs, as_lengths(op, "sequence_length", sequence_length, shape[0])
