"""The loss."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_integer_array, as_static_bool, check_shape, describe
from jnnops._keywords import answers_tensorflow_names
from jnnops.ctc._arguments import canonical_blank
from jnnops.ctc._lattice import negative_log_likelihood
from jnnops.ctc._transcripts import Transcripts, as_transcripts, checked_transcripts


@answers_tensorflow_names
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

    16-bit logits are computed with in float32. On CPU the loss needs memory for less than 5 arrays of the size ``[time,
    batch, max_label_length + 1]``, and with its gradient for less than 9 of them, besides the gradient itself.

    Args:
        labels: ``[batch, max_label_length]``, integer. Entries past ``label_length`` may hold anything.
        logits: ``[time, batch, classes]``, floating point: log-probabilities, normalised or not.
        label_length: ``[batch]``, integer: the number of labels of each row; 0 is fine.
        logit_length: ``[batch]``, integer: the number of frames of each row.
        logits_time_major: Whether ``logits`` is ``[time, batch, classes]``; otherwise ``[batch, time, classes]``.
        unique: What :func:`ctc_unique_labels` of ``labels`` returns, a pair of arrays of their shape. It makes
            TensorFlow's op faster; here the cost does not depend on it, nor does the result.
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
        ``tf.nn.ctc_loss``; ``tf.compat.v1.nn.ctc_loss_v2`` is the same function. Graves et al., "Connectionist Temporal
        Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks", 2006.
    """
    op = "ctc_loss"
    logits, transcripts, time_major = as_transcripts(op, labels, logits, label_length, logit_length, logits_time_major)
    if unique is not None:
        if not isinstance(unique, tuple | list) or len(unique) != 2:
            raise ValueError(f"{op}: `unique` must be a pair (unique_labels, indices) or None, got {describe(unique)}")
        for part in unique:
            check_shape(
                op, "unique", as_integer_array(op, "unique", part), transcripts.labels.shape, "twice that of `labels`"
            )
    return _ctc_loss(
        logits,
        transcripts,
        time_major=time_major,
        blank_index=canonical_blank(op, blank_index, logits.shape[2]),
        zero_infinity=as_static_bool(op, "zero_infinity", zero_infinity),
    )


ctc_loss_v2 = ctc_loss


@functools.partial(jax.jit, static_argnames=("time_major", "blank_index", "zero_infinity"))
def _ctc_loss(
    logits: jax.Array, transcripts: Transcripts, *, time_major: bool, blank_index: int, zero_infinity: bool
) -> jax.Array:
    dtype = logits.dtype
    logits = (logits if time_major else jnp.swapaxes(logits, 0, 1)).astype(accumulation_dtype(dtype))
    time, _, classes = logits.shape
    transcripts, valid = checked_transcripts(
        "ctc_loss", transcripts, time=time, classes=classes, blank_index=blank_index
    )
    loss = negative_log_likelihood(logits, *transcripts, blank_index, True)
    if zero_infinity:
        loss = jnp.where(jnp.isposinf(loss), 0, loss)
    return (loss * jnp.where(valid, 1, jnp.nan)).astype(dtype)  # the product makes the gradient NaN too
