"""The best path of known labels."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._primitives.varying import vary_with
from jnnops.ctc._arguments import canonical_blank, is_real
from jnnops.ctc._frames import Frames, normalize
from jnnops.ctc._transcripts import Transcripts, as_transcripts, checked_transcripts


@serializable
class CTCAlignment(NamedTuple):
    """Where the labels stand on the best path that spells them.

    Attributes:
        path: ``[batch, time]``, int32: the class of each frame, -1 past the length of the row.
        start: ``[batch, max_label_length]``, int32: the first frame of each label, then -1.
        end: ``[batch, max_label_length]``, int32: the frame after the last one of each label, then -1.
        scores: ``[batch]``: the logarithm of the probability of the path.
    """

    path: jax.Array
    start: jax.Array
    end: jax.Array
    scores: jax.Array


@answers_tensorflow_names
def ctc_forced_alignment(
    labels: ArrayLike,
    logits: ArrayLike,
    label_length: ArrayLike,
    logit_length: ArrayLike,
    logits_time_major: bool = True,
    blank_index: int = 0,
) -> CTCAlignment:
    r"""Finds the most probable of all paths that spell the labels, by Viterbi's algorithm.

    .. math::
        \text{path} = \operatorname{argmax}_{\pi \text{ spells labels}} \;
            \prod_t \text{softmax}(\text{logits}_t)_{\pi_t}

    Of several best paths it is the one that has come furthest in the labels at the last frame where they differ. The
    gradient of a score is that of the path's own probability: the class of each frame less its distribution. Path and
    frames have none.

    Args:
        labels: ``[batch, max_label_length]``, integer. Entries past ``label_length`` may hold anything.
        logits: ``[time, batch, classes]``, floating point: log-probabilities, normalised or not.
        label_length: ``[batch]``, integer: the number of labels of each row; 0 is fine.
        logit_length: ``[batch]``, integer: the number of frames of each row.
        logits_time_major: Whether ``logits`` is ``[time, batch, classes]``; otherwise ``[batch, time, classes]``.
        blank_index: The class of the blank.

    Returns:
        ``(path, start, end, scores)``, see :class:`CTCAlignment`, the scores with the dtype of ``logits``. Label ``k``
        of row ``b`` has the frames ``start[b, k]`` to before ``end[b, k]``. Where no path can spell the labels, as
        where :func:`ctc_loss` is infinite, the score is minus infinity with gradient 0, and all else is -1. A row with
        a label that is the blank or out of ``[0, classes)``, or with a length that is negative or beyond its array,
        gets a score of NaN and else -1, and ``checkify`` with ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the others or ``blank_index`` is out of range.
        TypeError: If ``logits`` is not floating point, or ``labels`` or a length not integer.

    Note:
        TensorFlow has no such op.

    Example:
        >>> logits = jnp.log(jnp.array([[[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]], [[0.2, 0.7, 0.1]], [[0.1, 0.1, 0.8]]]))
        >>> alignment = nn.ctc_forced_alignment([[1, 2]], logits, [2], [4])
        >>> alignment.path, alignment.start, alignment.end
        (Array([[0, 1, 1, 2]], dtype=int32), Array([[1, 3]], dtype=int32), Array([[3, 4]], dtype=int32))

    References:
        Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural
        Networks", 2006, whose lattice it is. Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically
        Optimum Decoding Algorithm", 1967.
    """
    op = "ctc_forced_alignment"
    logits, transcripts, time_major = as_transcripts(op, labels, logits, label_length, logit_length, logits_time_major)
    blank = canonical_blank(op, blank_index, logits.shape[2])
    return _ctc_forced_alignment(logits, transcripts, time_major=time_major, blank_index=blank)


@functools.partial(jax.jit, static_argnames=("time_major", "blank_index"))
def _ctc_forced_alignment(
    logits: jax.Array, transcripts: Transcripts, *, time_major: bool, blank_index: int
) -> CTCAlignment:
    dtype = logits.dtype
    logits = (logits if time_major else jnp.swapaxes(logits, 0, 1)).astype(accumulation_dtype(dtype))
    time, _, classes = logits.shape
    transcripts, valid = checked_transcripts(
        "ctc_forced_alignment", transcripts, time=time, classes=classes, blank_index=blank_index
    )
    labels, label_length, logit_length = transcripts
    frames = normalize(logits, logit_length)
    state, possible = _best_states(lax.stop_gradient(logits), transcripts, frames, blank_index)  # [time, batch]

    at_label = state % 2 == 1
    label = jnp.take_along_axis(labels, (state // 2).T, axis=1, mode="clip").T
    path = jnp.where(at_label, label, blank_index) if labels.shape[1] else jnp.full_like(state, blank_index)
    of_path = jnp.take_along_axis(logits, path[:, :, None], axis=2, mode="promise_in_bounds")[:, :, 0]
    # A choice before the sum and none after it, so that nothing that is not used reaches the gradient.
    score = jnp.sum(jnp.where(frames.possible & possible[None], of_path - frames.normalizer, 0), axis=0)
    score = jnp.where(possible, score, -jnp.inf) * jnp.where(valid, 1, jnp.nan)

    found = possible & valid
    position = 2 * jnp.arange(labels.shape[1], dtype=jnp.int32)[None, :, None] + 1
    # States only advance, so a label begins after as many frames as there are before it.
    ahead = jnp.where(frames.real, state, jnp.iinfo(jnp.int32).max)[:, None]
    start, end = (jnp.sum(before, axis=0, dtype=jnp.int32) for before in (ahead < position, ahead <= position))
    in_use = found[None] & is_real(labels.shape[1], label_length)
    return CTCAlignment(
        jnp.where(frames.real & found[None], path, -1).T,
        jnp.where(in_use, start, -1).T,
        jnp.where(in_use, end, -1).T,
        score.astype(dtype),
    )


def _best_states(
    logits: jax.Array, transcripts: Transcripts, frames: Frames, blank_index: int
) -> tuple[jax.Array, jax.Array]:
    """The state of the best path in each frame, ``[time, batch]``, and whether there is a path, ``[batch]``.

    State ``2 k`` is the blank before label ``k`` and state ``2 k + 1`` the label.
    """
    labels, label_length, _ = transcripts
    # What is subtracted from all classes of a frame changes no choice: the largest logit leaves the most digits.
    blank = jnp.where(frames.possible, logits[:, :, blank_index] - frames.top, jnp.where(frames.real, -jnp.inf, 0))
    label = jnp.take_along_axis(logits, labels[None], axis=2, mode="promise_in_bounds")
    label = jnp.where(frames.possible[:, :, None], label - frames.top[:, :, None], -jnp.inf).swapaxes(1, 2)
    lanes, batch = labels.shape[1], labels.shape[0]
    cannot_skip = jnp.pad(labels.T[1:] == labels.T[:-1], ((min(1, lanes), 0), (0, 0)), constant_values=True)
    barrier = jnp.where(cannot_skip, -jnp.inf, 0).astype(logits.dtype)

    def forward(scores: tuple[jax.Array, jax.Array], emission: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        blank, label = scores  # [lanes + 1, batch] and [lanes, batch]
        before = jnp.pad(label, ((1, 0), (0, 0)), constant_values=-jnp.inf)
        best_blank, moved = _better(blank, before, 0, 1)
        best_label, steps = _better(label, blank[:-1], 0, 1)
        best_label, steps = _better(best_label, before[:-1] + barrier, steps, 2)
        return (best_blank + emission[0][None], best_label + emission[1]), (moved, steps)

    def backward(state: jax.Array, steps: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        of_blank, of_label = (_pick(step, state // 2) for step in steps)
        return state - jnp.where(state % 2 == 1, of_label, of_blank).astype(jnp.int32), state

    impossible = jnp.full((lanes, batch), -jnp.inf, logits.dtype)
    start = jnp.pad(impossible, ((1, 0), (0, 0))), impossible  # at the first blank, whose logarithm is 0
    (blank, label), steps = lax.scan(forward, vary_with(start, logits, labels), (blank, label))
    last = _pick(blank, label_length)
    before_last = _pick(jnp.pad(label, ((1, 0), (0, 0)), constant_values=-jnp.inf), label_length)
    state = 2 * label_length - (before_last > last).astype(jnp.int32)
    _, states = lax.scan(backward, state, steps, reverse=True)
    return states, jnp.maximum(last, before_last) != -jnp.inf


def _better(score: jax.Array, other: jax.Array, steps: Any, other_steps: int) -> tuple[jax.Array, jax.Array]:
    """The larger of two scores, and how many states back it comes from."""
    is_better = other > score
    return jnp.where(is_better, other, score), jnp.where(is_better, other_steps, steps).astype(jnp.int8)


def _pick(lanes: jax.Array, at: jax.Array) -> jax.Array:
    """One lane of each row; zeros if there are none."""
    if not lanes.shape[0]:
        return jnp.zeros_like(at, lanes.dtype)
    return jnp.take_along_axis(lanes, at[None], axis=0, mode="clip")[0]
