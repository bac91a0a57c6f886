"""Softmax, and the cross entropies of classes that exclude each other."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_float_arrays,
    as_integer_array,
    at_least,
    canonical_axis,
    check_broadcastable,
    check_rank,
    check_shape,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import checked_ids, in_range


@answers_tensorflow_names
def softmax(logits: ArrayLike, axis: int = -1) -> jax.Array:
    r"""Normalised exponentials, ``exp(logits) / sum(exp(logits))`` along an axis.

    A logit of -inf has probability 0 and no gradient. Where all are -inf there is no distribution: the result is
    NaN, as TensorFlow's, but the gradient is 0, so that such rows can be masked out afterwards.

    Args:
        logits: ``[..., classes, ...]``, floating point, of rank 1 or more.
        axis: The axis of the classes.

    Returns:
        The shape and dtype of ``logits``; sums to 1 along ``axis``.

    Raises:
        ValueError: If ``logits`` is a scalar or has no such axis.
        TypeError: If ``logits`` is not floating point.

    Example:
        >>> nn.softmax([[1000.0, 1000.0], [0.0, -jnp.inf]]).tolist()
        [[0.5, 0.5], [1.0, 0.0]]

    References:
        ``tf.nn.softmax``.
    """
    logits = as_float_array("softmax", "logits", logits, rank=at_least(1))
    return _softmax(logits, canonical_axis("softmax", "axis", axis, logits.ndim))


@functools.partial(jax.jit, static_argnames="axis")
def _softmax(logits: jax.Array, axis: int) -> jax.Array:
    wide = logits.astype(accumulation_dtype(logits.dtype))
    return (_probabilities(wide, axis) + jnp.expand_dims(_undefined(wide, axis), axis)).astype(logits.dtype)


@answers_tensorflow_names
def log_softmax(logits: ArrayLike, axis: int = -1) -> jax.Array:
    r"""Logarithms of the softmax, ``logits - log(sum(exp(logits)))`` along an axis.

    Keeps its precision where the softmax itself would round to 0 or 1. A logit of -inf gives -inf. Where all are
    -inf there is no distribution: the result is NaN, as TensorFlow's, but the derivative of the normaliser is
    taken as 0 there, so that such rows can be masked out afterwards.

    Args:
        logits: ``[..., classes, ...]``, floating point, of rank 1 or more.
        axis: The axis of the classes.

    Returns:
        The shape and dtype of ``logits``; at most 0.

    Raises:
        ValueError: If ``logits`` is a scalar or has no such axis.
        TypeError: If ``logits`` is not floating point.

    Example:
        >>> nn.log_softmax([1000.0, 0.0]).tolist()
        [0.0, -1000.0]

    References:
        ``tf.nn.log_softmax``.
    """
    logits = as_float_array("log_softmax", "logits", logits, rank=at_least(1))
    return _log_softmax(logits, canonical_axis("log_softmax", "axis", axis, logits.ndim))


@functools.partial(jax.jit, static_argnames="axis")
def _log_softmax(logits: jax.Array, axis: int) -> jax.Array:
    wide = logits.astype(accumulation_dtype(logits.dtype))
    return (_log_probabilities(wide, axis) + jnp.expand_dims(_undefined(wide, axis), axis)).astype(logits.dtype)


@answers_tensorflow_names
def softmax_cross_entropy_with_logits(labels: ArrayLike, logits: ArrayLike, axis: int = -1) -> jax.Array:
    """Cross entropy of mutually exclusive classes, ``-sum(labels * log_softmax(logits))`` along an axis.

    The gradient for logits is the true one, ``sum(labels) * softmax(logits) - labels``. TensorFlow leaves the sum
    out, which is the same only for labels that sum to 1. The gradient for labels is ``-log_softmax(logits)``,
    except that it is 0, not infinite, where the label is 0 and the logit -inf.

    Args:
        labels: The probability of each class, floating point; broadcasts to ``logits``.
        logits: ``[..., classes, ...]``, floating point, of rank 1 or more.
        axis: The axis of the classes.

    Returns:
        The shape of ``logits`` less ``axis``, in the dtype that the arguments promote to. A class whose label is
        0 adds nothing, even at a logit of -inf (TensorFlow: NaN); one with another label adds +inf there. Where
        all logits are -inf and some label is not 0, the loss is NaN, with the finite gradient ``-labels``.

    Raises:
        ValueError: If ``logits`` is a scalar or has no such axis, or ``labels`` does not broadcast to it.
        TypeError: If the arguments are not floating point.

    Example:
        >>> loss = nn.softmax_cross_entropy_with_logits([[0.5, 0.5, 0.0]], [[3.0, 3.0, -jnp.inf]])
        >>> np.round(loss, 4)
        Array([0.6931], dtype=float32)

    References:
        ``tf.nn.softmax_cross_entropy_with_logits``; ``softmax_cross_entropy_with_logits_v2`` is the same function.
    """
    op = "softmax_cross_entropy_with_logits"
    labels, logits = as_float_arrays(op, labels=labels, logits=logits)
    check_rank(op, "logits", logits, at_least(1))
    check_broadcastable(op, "labels", labels, logits.shape, "logits")
    return _cross_entropy(labels, logits, canonical_axis(op, "axis", axis, logits.ndim))


softmax_cross_entropy_with_logits_v2 = softmax_cross_entropy_with_logits


@functools.partial(jax.jit, static_argnames="axis")
def _cross_entropy(labels: jax.Array, logits: jax.Array, axis: int) -> jax.Array:
    wide = accumulation_dtype(logits.dtype)
    labels = jnp.broadcast_to(labels.astype(wide), logits.shape)
    return _cross_entropy_of_wide(labels, logits.astype(wide), axis).astype(logits.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _cross_entropy_of_wide(labels: jax.Array, logits: jax.Array, axis: int) -> jax.Array:
    # A label of 0 adds nothing even where the logit is -inf, so that is raised to a finite floor: `lowest / 1` where
    # the label is 0, and `lowest / 0 = -inf`, which raises nothing, elsewhere. A select would do the same, but XLA on
    # CPU would not fuse the products into their sum then; and with the logarithm of the total outside of the sum the
    # gradient needs no array of logarithms, which halves its time (docs/lowerings.rst, "Cross entropies").
    shifted, total = _shift(logits, axis)
    floor = jnp.finfo(logits.dtype).min / (1 - jnp.sign(labels))
    normalizers = jnp.log(jnp.where(total == 0, 1, total)) * jnp.sum(labels, axis)
    loss = normalizers - jnp.sum(labels * jnp.maximum(shifted, floor), axis)
    # Without any label the loss is 0 where all logits are -inf too.
    return jnp.where(loss == 0, 0, loss + _undefined(logits, axis))


@_cross_entropy_of_wide.defjvp
def _cross_entropy_jvp(
    axis: int, primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    labels, logits = primals
    d_labels, d_logits = tangents
    log_p = _log_probabilities(logits, axis)
    by_logits = jnp.sum(labels, axis, keepdims=True) * jnp.exp(log_p) - labels
    by_labels = jnp.where((labels == 0) & (log_p == -jnp.inf), 0, -log_p)
    return _cross_entropy_of_wide(labels, logits, axis), jnp.sum(by_logits * d_logits + by_labels * d_labels, axis)


@answers_tensorflow_names
def sparse_softmax_cross_entropy_with_logits(labels: ArrayLike, logits: ArrayLike) -> jax.Array:
    """Cross entropy of mutually exclusive classes whose labels are class numbers.

    ``-log_softmax(logits)[labels]``, with the gradient ``softmax(logits) - one_hot(labels)``. A label outside
    ``[0, classes)`` gives a loss and a gradient of NaN, as TensorFlow does on accelerators, and is reported by
    ``checkify``. For rows without a label, put any valid one and mask the loss: ``where(labels < 0, 0, labels)``.

    Args:
        labels: ``[...]``, integers.
        logits: ``[..., classes]``, floating point, with at least one class.

    Returns:
        The loss of each row, ``[...]``, in the dtype of ``logits``: +inf where the label's logit is -inf. Where
        all logits are -inf it is NaN, with a finite gradient.

    Raises:
        ValueError: If ``logits`` is a scalar or has no classes, or ``labels.shape`` is not ``logits.shape[:-1]``.
        TypeError: If ``labels`` is not integer or ``logits`` not floating point.

    Example:
        >>> nn.sparse_softmax_cross_entropy_with_logits([1, 0], [[0.0, 100.0], [0.0, 100.0]]).tolist()
        [0.0, 100.0]

    References:
        ``tf.nn.sparse_softmax_cross_entropy_with_logits``.
    """
    op = "sparse_softmax_cross_entropy_with_logits"
    labels = as_integer_array(op, "labels", labels)
    logits = as_float_array(op, "logits", logits, rank=at_least(1))
    if logits.shape[-1] == 0:
        raise ValueError(f"{op}: `logits` must have at least one class, got shape {logits.shape}")
    check_shape(op, "labels", labels, logits.shape[:-1], "that of `logits` without its classes")
    return _sparse_cross_entropy(labels, logits)


@jax.jit
def _sparse_cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    labels, _ = checked_ids("sparse_softmax_cross_entropy_with_logits", "labels", labels, logits.shape[-1])
    wide = logits.astype(accumulation_dtype(logits.dtype))
    return _sparse_cross_entropy_of_wide(labels, wide).astype(logits.dtype)


@jax.custom_jvp
def _sparse_cross_entropy_of_wide(labels: jax.Array, logits: jax.Array) -> jax.Array:
    axis = logits.ndim - 1
    index = labels[..., None]
    valid = in_range(index, logits.shape[axis])
    target = jnp.take_along_axis(logits, index, axis, mode="clip") - _finite_maximum(logits, axis)
    return jnp.where(valid.squeeze(axis), jnp.log(_shift(logits, axis)[1]) - target.squeeze(axis), jnp.nan)


@_sparse_cross_entropy_of_wide.defjvp
def _sparse_cross_entropy_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    # The gradient is one pass over the logits so, and has no gather, whose transpose scatters into an array of zeros
    # (docs/lowerings.rst, "Cross entropies").
    labels, logits = primals
    axis = logits.ndim - 1
    index = labels[..., None]
    valid = in_range(index, logits.shape[axis])
    one_hot = index == lax.broadcasted_iota(labels.dtype, logits.shape, axis)
    by_logits = jnp.where(valid, _probabilities(logits, axis) - one_hot.astype(logits.dtype), jnp.nan)
    return _sparse_cross_entropy_of_wide(labels, logits), jnp.sum(by_logits * tangents[1], axis)


# What the derivatives above are made of is stated in terms of itself below, so every order and both modes exist.


def _finite_maximum(logits: jax.Array, axis: int) -> jax.Array:
    """The maximum along ``axis``, kept with size 1, but the lowest finite number where all are -inf."""
    # The lowest finite number is the initial value of the reduction, which costs nothing; XLA would repeat a select for
    # every element of the logits.
    lowest = jnp.finfo(logits.dtype).min
    return lax.expand_dims(lax.reduce(lax.stop_gradient(logits), lowest, lax.max, (axis,)), (axis,))


def _shift(logits: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The logits less their maximum, and the sum of their exponentials without the axis: -inf and 0 where all are."""
    shifted = logits - _finite_maximum(logits, axis)
    return shifted, jnp.sum(jnp.exp(shifted), axis)


def _undefined(logits: jax.Array, axis: int) -> jax.Array:
    """NaN where all logits are -inf, otherwise 0: added to a result it leaves the gradient alone."""
    return jnp.where(_shift(lax.stop_gradient(logits), axis)[1] == 0, jnp.nan, 0)


def _probabilities(logits: jax.Array, axis: int) -> jax.Array:
    """The softmax, but 0 where all logits are -inf."""
    # JAX's derivative of the quotient needs no array of its own, as `p * (t - sum(p * t))` does: value and gradient of
    # 256x32000 logits take 17 instead of 26 ms, and of 512x1000 about the same (medians on two busy cores with AVX-512,
    # jaxlib 0.10.2).
    shifted, total = _shift(logits, axis)
    return jnp.exp(shifted) / jnp.expand_dims(jnp.where(total == 0, 1, total), axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _log_probabilities(logits: jax.Array, axis: int) -> jax.Array:
    """The logarithm of the softmax, but -inf where all logits are -inf."""
    shifted, total = _shift(logits, axis)
    return shifted - jnp.expand_dims(jnp.log(jnp.where(total == 0, 1, total)), axis)


@_log_probabilities.defjvp
def _log_probabilities_jvp(
    axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    log_p = _log_probabilities(*primals, axis)
    return log_p, tangents[0] - jnp.sum(jnp.exp(log_p) * tangents[0], axis, keepdims=True)
