"""Losses that are sums, and how those of examples become one number."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_axis_names,
    as_float_array,
    as_number_array,
    as_static_int,
    at_least,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import AxisNames


@answers_tensorflow_names
def l2_loss(t: ArrayLike) -> jax.Array:
    r"""Half of the squared Euclidean norm, :math:`\frac12 \sum t^2`, whose gradient is ``t``.

    Args:
        t: Any shape, floating point.

    Returns:
        A scalar of the dtype of ``t``, summed in float32 at least.

    Raises:
        TypeError: If ``t`` is not floating point.

    Example:
        >>> nn.l2_loss([3.0, 4.0]).item()
        12.5

    References:
        ``tf.nn.l2_loss``.
    """
    return _l2_loss(as_float_array("l2_loss", "t", t))


@jax.jit
def _l2_loss(t: jax.Array) -> jax.Array:
    return (jnp.sum(jnp.square(t.astype(accumulation_dtype(t.dtype)))) / 2).astype(t.dtype)


@answers_tensorflow_names
def compute_average_loss(
    per_example_loss: ArrayLike,
    sample_weight: ArrayLike | None = None,
    global_batch_size: int | None = None,
    *,
    axis_name: AxisNames = None,
) -> jax.Array:
    """The sum of the losses of all examples, divided by their number.

    Where a mapped axis splits the batch, each part is divided by the size of the whole batch, so that the sum over the
    parts is the average of all.

    Args:
        per_example_loss: ``[batch, ...]``, floating point or integer. All of an example's numbers are summed.
        sample_weight: Multiplies the losses: a number, or an array that broadcasts to them; one of a rank less has a
            weight for each example, or for each row of its losses.
        global_batch_size: The number of examples, at least 0: that of ``per_example_loss``, times the size of
            ``axis_name``, unless given.
        axis_name: The mapped axis (of ``shard_map`` or ``vmap``) or axes that split the batch.

    Returns:
        A scalar of the dtype of ``per_example_loss``, float32 for integers; 0 for an empty batch.

    Raises:
        ValueError: If ``per_example_loss`` is a scalar, ``sample_weight`` does not broadcast to it, or
            ``global_batch_size`` is negative.
        TypeError: If an argument is no number, or ``global_batch_size`` not a static integer.

    Example:
        >>> nn.compute_average_loss([1.0, 3.0], sample_weight=[1.0, 0.5]).item()
        1.25

    References:
        ``tf.nn.compute_average_loss``, where ``axis_name`` is the distribution strategy's.
    """
    op = "compute_average_loss"
    losses = as_number_array(op, "per_example_loss", per_example_loss, rank=at_least(1))
    weights = None
    if sample_weight is not None:
        weights = as_number_array(op, "sample_weight", sample_weight)
        if weights.ndim - losses.ndim == 1 and weights.shape[-1] == 1:
            weights = weights.squeeze(-1)
        elif losses.ndim - weights.ndim == 1 and weights.ndim:
            weights = weights[..., None]
        fits = jnp.broadcast_shapes(weights.shape, losses.shape) if _broadcast(weights, losses) else None
        if fits != losses.shape or weights.ndim not in (0, losses.ndim):
            raise ValueError(
                f"{op}: `sample_weight` must broadcast to `per_example_loss` of shape {losses.shape}, with or without "
                f"its last dimension, got shape {jnp.shape(sample_weight)}"
            )
    if global_batch_size is not None:
        global_batch_size = as_static_int(op, "global_batch_size", global_batch_size, minimum=0)
    return _average(losses, weights, global_batch_size, as_axis_names(axis_name))


def _broadcast(weights: jax.Array, losses: jax.Array) -> bool:
    pairs = zip(reversed(weights.shape), reversed(losses.shape), strict=False)
    return all(size in (1, other) for size, other in pairs)


@functools.partial(jax.jit, static_argnames=("size", "axis_name"))
def _average(losses: jax.Array, weights: jax.Array | None, size: int | None, axis_name: AxisNames) -> jax.Array:
    dtype = losses.dtype if jnp.issubdtype(losses.dtype, jnp.floating) else jnp.dtype(jnp.float32)
    wide = accumulation_dtype(dtype)
    weighted = losses.astype(wide)
    if weights is not None:
        weighted = weighted * weights.astype(wide).reshape(weights.shape or (1,) * losses.ndim)
    total = losses.shape[0] if size is None else size
    if size is None and axis_name is not None:
        total *= lax.psum(1, axis_name)
    return (jnp.sum(weighted) / max(total, 1) * min(total, 1)).astype(dtype)


@answers_tensorflow_names
def scale_regularization_loss(regularization_loss: ArrayLike, *, axis_name: AxisNames = None) -> jax.Array:
    """The sum of a regularization loss, divided by how many devices compute it.

    Each device adds the same loss to that of its part of the batch, so that the sum over the devices has it once.

    Args:
        regularization_loss: Any shape, floating point.
        axis_name: The mapped axis (of ``shard_map`` or ``vmap``) or axes over which losses are summed; nothing is
            divided unless given.

    Returns:
        A scalar of the same dtype.

    Raises:
        TypeError: If ``regularization_loss`` is not floating point.

    Example:
        >>> nn.scale_regularization_loss([1.0, 2.0]).item()
        3.0

    References:
        ``tf.nn.scale_regularization_loss``, where ``axis_name`` is the distribution strategy's.
    """
    loss = as_float_array("scale_regularization_loss", "regularization_loss", regularization_loss)
    devices = 1 if axis_name is None else lax.psum(1, as_axis_names(axis_name))
    return _sum_over(loss, devices)


@functools.partial(jax.jit, static_argnames="devices")
def _sum_over(loss: jax.Array, devices: int) -> jax.Array:
    return (jnp.sum(loss.astype(accumulation_dtype(loss.dtype))) / devices).astype(loss.dtype)
