"""The largest numbers of a row, and whether a class is among them."""

import functools
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    MAX_SIZE,
    Interval,
    as_float_array,
    as_integer_array,
    as_number_array,
    as_static_bool,
    as_static_float,
    as_static_int,
    at_least,
    canonical_axis,
    check_shape,
    is_traced,
)
from jnnops._largest import places_of_largest
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import checked_ids

_RECALL = Interval("be above 0 and at most 1", low=sys.float_info.min, high=1)


@serializable
class TopK(NamedTuple):
    """What :func:`top_k`, :func:`approx_max_k` and :func:`approx_min_k` return.

    Attributes:
        values: The numbers.
        indices: Where each was found, int32.
    """

    values: jax.Array
    indices: jax.Array


def top_k(input: ArrayLike, k: int = 1, sorted: bool = True, *, axis: int = -1) -> TopK:
    """The ``k`` largest numbers of each row and where they are.

    Of equal numbers the first one comes first. -0 equals 0, and each is returned as it is. NaN counts as larger than
    all numbers, where TensorFlow gives it any place; subnormal numbers count, which TensorFlow takes for 0. The
    gradient of the values goes to the numbers that they are.

    Args:
        input: Rank 1 or more, floating point or integer.
        k: How many, from 0 to the size of ``axis``.
        sorted: Whether the largest must come first. They do in any case.
        axis: The axis of a row; TensorFlow has the last one only.

    Returns:
        ``TopK(values, indices)``: the shape of ``input`` with ``k`` along ``axis``, in its dtype and as int32, in
        descending order.

    Raises:
        ValueError: If ``k`` does not fit the row, or ``axis`` is out of range.
        TypeError: If ``input`` is neither integer nor floating point, or an option not static.

    Example:
        >>> values, indices = nn.top_k([1.0, 5.0, 2.0, 5.0], k=3)
        >>> values.tolist(), indices.tolist()
        ([5.0, 5.0, 2.0], [1, 3, 2])

    References:
        ``tf.math.top_k``, ``tf.nn.top_k``.
    """
    op = "top_k"
    x = as_number_array(op, "input", input, rank=at_least(1))
    along = canonical_axis(op, "axis", axis, x.ndim)
    as_static_bool(op, "sorted", sorted)
    return _top_k(x, as_static_int(op, "k", k, minimum=0, maximum=x.shape[along]), along)


@functools.partial(jax.jit, static_argnames=("k", "axis"))
def _top_k(x: jax.Array, k: int, axis: int) -> TopK:
    rows = jnp.moveaxis(x, axis, -1)
    places = places_of_largest(rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1]), k=k)
    indices = jnp.moveaxis(places.reshape(*rows.shape[:-1], k), -1, axis)
    return TopK(jnp.take_along_axis(x, indices, axis, mode="promise_in_bounds"), indices)


def in_top_k(targets: ArrayLike, predictions: ArrayLike, k: ArrayLike) -> jax.Array:
    """Whether the target class of each row is among those with the ``k`` largest predictions.

    It is if fewer than ``k`` predictions are larger than its own, so that all classes that tie for the last place are
    in. Nothing is sorted. A row with a prediction that is not finite has no top.

    Args:
        targets: ``[batch]``, integers: a class for each row.
        predictions: ``[batch, classes]``, floating point.
        k: How many classes to look at, an integer, which may be traced.

    Returns:
        ``[batch]``, bool: False for a target out of range, which ``checkify`` reports.

    Raises:
        TypeError: If ``targets`` or ``k`` are not integers, or ``predictions`` not floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> nn.in_top_k([1, 2], [[0.1, 0.5, 0.4], [0.6, 0.3, 0.1]], k=1).tolist()
        [True, False]

    References:
        ``tf.nn.in_top_k``, ``tf.math.in_top_k``.
    """
    op = "in_top_k"
    predictions = as_float_array(op, "predictions", predictions, rank=2)
    targets = as_integer_array(op, "targets", targets, rank=1)
    check_shape(op, "targets", targets, predictions.shape[:1], "one for each row of `predictions`")
    return _in_top_k(targets, predictions, as_integer_array(op, "k", k, rank=0))


@jax.jit
def _in_top_k(targets: jax.Array, predictions: jax.Array, k: jax.Array) -> jax.Array:
    classes = predictions.shape[1]
    targets, valid = checked_ids("in_top_k", "targets", targets, classes)
    if not classes:
        return jnp.zeros(targets.shape, bool)
    own = jnp.take_along_axis(predictions, jnp.where(valid, targets, 0)[:, None], 1)
    larger = jnp.sum(predictions > own, 1, dtype=jnp.int32)
    return valid & jnp.all(jnp.isfinite(predictions), 1) & (larger < k)


def nth_element(input: ArrayLike, n: ArrayLike, reverse: bool = False) -> jax.Array:
    """The number that would be at place ``n`` of each row if it were sorted.

    The gradient goes to all numbers of the row that are equal to it, in equal parts. NaN counts as larger than all
    numbers.

    Args:
        input: Rank 1 or more, floating point or integer.
        n: A place, from 0 to the size of the last axis less 1. It may be traced; one out of range then gives NaN, or 0
            for integers, and ``checkify`` reports it.
        reverse: Whether to sort in descending order.

    Returns:
        The shape of ``input`` without its last axis, with its dtype.

    Raises:
        ValueError: If ``n`` is known to be out of range.
        TypeError: If ``input`` is neither integer nor floating point, or ``n`` not an integer.

    Example:
        >>> nn.nth_element([3.0, 1.0, 2.0], 1).item()
        2.0

    References:
        ``tf.raw_ops.NthElement``, formerly ``tf.contrib.nn.nth_element``.
    """
    op = "nth_element"
    x = as_number_array(op, "input", input, rank=at_least(1))
    place = as_integer_array(op, "n", n, rank=0)
    size = x.shape[-1]
    if not is_traced(place) and not 0 <= int(place) < size:
        raise ValueError(f"{op}: `n` must be in [0, {size}), got {int(place)}")
    return _nth_element(x, place, as_static_bool(op, "reverse", reverse))


@functools.partial(jax.jit, static_argnames="reverse")
def _nth_element(x: jax.Array, n: jax.Array, reverse: bool) -> jax.Array:
    n, valid = checked_ids("nth_element", "n", n, x.shape[-1])
    place = x.shape[-1] - 1 - n if reverse else n
    found = jnp.take(jnp.sort(lax.stop_gradient(x), axis=-1), place, axis=-1, mode="clip")
    found = jnp.where(valid, found, jnp.asarray(jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else 0, x.dtype))
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return found
    # What is added is 0, the mean of all equal numbers less the same mean without a derivative: its gradient counts.
    equal = (x == found[..., None]) & valid
    share = equal.astype(x.dtype) / jnp.maximum(jnp.sum(equal, -1, keepdims=True), 1).astype(x.dtype)
    finite = jnp.where(equal & jnp.isfinite(x), x, 0)
    return found + jnp.sum(share * (finite - lax.stop_gradient(finite)), -1)


def approx_max_k(
    operand: ArrayLike,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> TopK:
    """The ``k`` largest numbers of each row, most of them: on TPU much faster than all of them.

    Elsewhere they are those of :func:`top_k`, but for NaN, which may have any place. The gradient of the values goes to
    the numbers that they are.

    Args:
        operand: Rank 1 or more, floating point.
        k: How many, from 1 to the size of ``reduction_dimension``.
        reduction_dimension: The axis of a row.
        recall_target: The fraction of the largest that must be among those found, above 0 and at most 1.
        reduction_input_size_override: The size of the row of which ``operand`` has a part, for the recall; -1 for its
            own.
        aggregate_to_topk: Whether to choose ``k`` of the candidates of all parts of a row, or to return all.

    Returns:
        ``TopK(values, indices)``, in descending order.

    Raises:
        ValueError: If ``k`` does not fit the row, or ``recall_target`` is out of range.
        TypeError: If ``operand`` is not floating point, or an option no static number.

    Example:
        >>> nn.approx_max_k([1.0, 5.0, 2.0], k=2).indices.tolist()
        [1, 2]

    References:
        ``tf.nn.approx_max_k``, ``jax.lax.approx_max_k``. Chern et al., "TPU-KNN: K Nearest Neighbor Search at Peak
        FLOP/s", 2022.
    """
    return _approximate(
        "approx_max_k", lax.approx_max_k, operand, k, reduction_dimension, recall_target,
        reduction_input_size_override, aggregate_to_topk,
    )  # fmt: skip


def approx_min_k(
    operand: ArrayLike,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> TopK:
    """The ``k`` smallest numbers of each row, most of them, as :func:`approx_max_k`.

    Args:
        operand: Rank 1 or more, floating point.
        k: How many, from 1 to the size of ``reduction_dimension``.
        reduction_dimension: The axis of a row.
        recall_target: The fraction of the smallest that must be among those found, above 0 and at most 1.
        reduction_input_size_override: The size of the row of which ``operand`` has a part, for the recall; -1 for its
            own.
        aggregate_to_topk: Whether to choose ``k`` of the candidates of all parts of a row, or to return all.

    Returns:
        ``TopK(values, indices)``, in ascending order.

    Raises:
        ValueError: If ``k`` does not fit the row, or ``recall_target`` is out of range.
        TypeError: If ``operand`` is not floating point, or an option no static number.

    Example:
        >>> nn.approx_min_k([1.0, 5.0, 2.0], k=2).indices.tolist()
        [0, 2]

    References:
        ``tf.nn.approx_min_k``, ``jax.lax.approx_min_k``.
    """
    return _approximate(
        "approx_min_k", lax.approx_min_k, operand, k, reduction_dimension, recall_target,
        reduction_input_size_override, aggregate_to_topk,
    )  # fmt: skip


def _approximate(
    op: str,
    search: Callable[..., tuple[jax.Array, jax.Array]],
    operand: ArrayLike,
    k: int,
    reduction_dimension: int,
    recall_target: float,
    reduction_input_size_override: int,
    aggregate_to_topk: bool,
) -> TopK:
    x = as_float_array(op, "operand", operand, rank=at_least(1))
    axis = canonical_axis(op, "reduction_dimension", reduction_dimension, x.ndim)
    whole = as_static_int(
        op, "reduction_input_size_override", reduction_input_size_override, minimum=-1, maximum=MAX_SIZE
    )
    return TopK(
        *search(
            x,
            as_static_int(op, "k", k, minimum=1, maximum=x.shape[axis]),
            axis,
            as_static_float(op, "recall_target", recall_target, _RECALL),
            whole,
            as_static_bool(op, "aggregate_to_topk", aggregate_to_topk),
        )
    )
