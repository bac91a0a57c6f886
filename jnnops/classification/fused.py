"""Cross entropy of a linear layer's outputs that are never in memory all at once."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    FRACTION,
    accumulation_dtype,
    as_float_arrays,
    as_integer_array,
    as_number_array,
    as_scalar,
    as_size,
    as_static_int,
    at_least,
    check_rank,
    check_shape,
    is_traced,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import checked_ids
from jnnops.classification._chunked_scores import scores

# Logits of a chunk, unless its size is given. 32 MB of float32 are large enough for matrix products to run at full
# speed, and small enough to stay near the processor.
_LOGITS = 2**23
_MIN_CHUNK = 256


@answers_tensorflow_names
def fused_linear_cross_entropy(
    labels: ArrayLike,
    features: ArrayLike,
    weights: ArrayLike,
    biases: ArrayLike | None = None,
    *,
    chunk_size: int | None = None,
    label_smoothing: ArrayLike = 0.0,
    ignored_label: int | None = None,
) -> jax.Array:
    r"""Cross entropy of the softmax of ``features @ weights + biases``, without the logits in memory.

    .. math::
        \ell = -\sum_c y_c \log \operatorname{softmax}(x W + b)_c

    Equal to :func:`sparse_softmax_cross_entropy_with_logits` or :func:`softmax_cross_entropy_with_logits` of these
    logits, in values and gradients, up to rounding. The logits of ``chunk_size`` classes exist at a time, in the
    forward pass, in the gradient, which computes them once more, and in derivatives of the second order. With a
    vocabulary of 256,000 and 4,096 tokens that is 32 MB instead of 4 GB. In 16 bits the logits are not rounded:
    products are summed and the loss is computed in float32.

    Args:
        labels: ``[...]``, integers: the class of each example; or ``[..., classes]``, floating point: the probability
            of each class.
        features: ``[..., dim]``, floating point.
        weights: ``[dim, classes]``, floating point.
        biases: ``[classes]``, floating point, or None for 0. A bias of -inf rules a class out.
        chunk_size: How many classes to compute the logits of at a time, at least 1; as many as make 32 MB of logits in
            float32, and at least 256, unless given.
        label_smoothing: The share in [0, 1] of the labels that is spread over all classes evenly:
            ``(1 - label_smoothing) * labels + label_smoothing / classes``.
        ignored_label: Examples with this label, any integer, have a loss of 0 and no gradient. Only for integers.

    Returns:
        The loss of each example, ``[...]``, in the dtype that ``features``, ``weights`` and ``biases`` promote to. A
        label outside ``[0, classes)`` gives a loss and gradients of NaN and is reported by ``checkify``, unless it is
        ``ignored_label``. Logits of -inf are treated as by the functions named above.

    Raises:
        ValueError: If a shape does not fit, there are no classes, ``chunk_size`` is below 1, ``label_smoothing`` not in
            [0, 1], or ``ignored_label`` given with labels that are not integers.
        TypeError: If an array has the wrong kind of dtype.

    Example:
        >>> x, w = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        >>> nn.fused_linear_cross_entropy([2], x, w).tolist()
        [0.1698...]
        >>> nn.sparse_softmax_cross_entropy_with_logits([2], x @ w).tolist()
        [0.1698...]

    References:
        Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2024, for the problem and for chunks. No
        counterpart in TensorFlow.
    """
    op = "fused_linear_cross_entropy"
    arrays = {"features": features, "weights": weights} | ({} if biases is None else {"biases": biases})
    features, weights, *rest = as_float_arrays(op, **arrays)
    labels = as_number_array(op, "labels", labels)
    _check_shapes(op, labels, features, weights, *rest)
    smoothing = as_scalar(op, "label_smoothing", label_smoothing, FRACTION)
    smoothing = None if not is_traced(smoothing) and smoothing == 0 else smoothing
    if ignored_label is not None:
        ignored_label = as_static_int(op, "ignored_label", ignored_label)
        as_integer_array(op, "labels", labels)
    if chunk_size is not None:
        chunk_size = as_size(op, "chunk_size", chunk_size)
    return _fused_linear_cross_entropy(labels, features, weights, rest, smoothing, ignored_label, chunk_size)


def _check_shapes(op: str, labels: jax.Array, features: jax.Array, weights: jax.Array, *biases: jax.Array) -> None:
    check_rank(op, "features", features, at_least(1))
    check_rank(op, "weights", weights, 2)
    dim, classes = weights.shape
    check_shape(op, "features", features, (*features.shape[:-1], dim), "its last axis the first of `weights`")
    if not classes:
        raise ValueError(f"{op}: `weights` must have at least one class, got shape {weights.shape}")
    for each in biases:
        check_shape(op, "biases", each, (classes,), "one for each class")
    if jnp.issubdtype(labels.dtype, jnp.integer):
        check_shape(op, "labels", labels, features.shape[:-1], "that of `features` without its last axis")
    else:
        check_shape(op, "labels", labels, (*features.shape[:-1], classes), "one for each class of each example")


@functools.partial(jax.jit, static_argnames=("ignored_label", "chunk_size"))
def _fused_linear_cross_entropy(
    labels: jax.Array,
    features: jax.Array,
    weights: jax.Array,
    biases: Sequence[jax.Array],
    smoothing: ArrayLike | None,
    ignored_label: int | None,
    chunk_size: int | None,
) -> jax.Array:
    (dim, classes), shape, dtype = weights.shape, features.shape[:-1], features.dtype
    wide, count = accumulation_dtype(dtype), math.prod(shape)
    rows, labels = features.reshape(count, dim), labels.reshape(count, *labels.shape[len(shape) :])
    ignored = jnp.zeros(count, bool)
    if ignored_label is not None and _holds(labels.dtype, ignored_label):
        ignored = labels == ignored_label
        # What is ignored may be anything: its features too must not spoil the gradient of the weights.
        labels, rows = jnp.where(ignored, 0, labels), jnp.where(ignored[:, None], 0, rows)
    if labels.ndim == 1:
        labels, valid = checked_ids("fused_linear_cross_entropy", "labels", labels, classes)
        total = jnp.where(valid, 1, jnp.asarray(jnp.nan, wide))
    else:
        total = jnp.sum(labels.astype(wide), 1)
    normaliser, score = scores(labels, rows, weights, *biases, chunk=chunk_size or _chunk(count, classes))
    if smoothing is not None:
        s = jnp.asarray(smoothing, wide)
        score = (1 - s) * score + s * jnp.where(s == 0, 0, _mean_logits(rows, weights, biases))
        total = (1 - s) * total + s
    # Without any label the loss is 0 where all logits are -inf too.
    is_empty = normaliser == -jnp.inf
    loss = total * jnp.where(is_empty, 0, normaliser) - score + jnp.where(is_empty & (total != 0), jnp.nan, 0)
    return jnp.where(ignored, 0, loss).astype(dtype).reshape(shape)


def _mean_logits(rows: jax.Array, weights: jax.Array, biases: Sequence[jax.Array]) -> jax.Array:
    """The mean over the classes of each row's logits, which is the logit of the mean class."""
    wide = accumulation_dtype(rows.dtype)
    mean = rows.astype(wide) @ jnp.mean(weights.astype(wide), 1)
    return sum((jnp.mean(each.astype(wide)) for each in biases), mean)


def _chunk(rows: int, classes: int) -> int:
    """As many classes as there may be, but such that all chunks are about equal."""
    largest = max(_MIN_CHUNK, _LOGITS // max(rows, 1))
    return -(-classes // -(-classes // largest))


def _holds(dtype: DTypeLike, number: int) -> bool:
    return jnp.iinfo(dtype).min <= number <= jnp.iinfo(dtype).max
