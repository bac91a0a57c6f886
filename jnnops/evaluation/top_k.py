"""The largest numbers of a row, and whether the one of a class is among them."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    as_float_array,
    as_integer_array,
    as_number_array,
    as_static_bool,
    as_static_int,
    at_least,
    canonical_axis,
    check_shape,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import checked_ids
from jnnops.evaluation._places import places_of_largest

_CHUNK = 32
_NOT_FINITE = 2 * _CHUNK


@serializable
class TopK(NamedTuple):
    """What :func:`top_k`, :func:`approx_max_k` and :func:`approx_min_k` return.

    Attributes:
        values: The numbers.
        indices: Where each was found, int32.
    """

    values: jax.Array
    indices: jax.Array


@answers_tensorflow_names
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


@answers_tensorflow_names
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
    larger, are_finite = _larger(predictions, own)
    return valid & are_finite & (larger < k)


def _larger(x: jax.Array, than: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many numbers of each row are larger than one, and whether all of them are finite."""
    # Both in one sum of 16-bit integers, of chunks so short that neither part runs into the other: 256 rows of 32,000
    # take 3 ms, as long as to read them, and 29 as a sum of 32 bits and another reduction, which XLA does not vectorise
    # (jaxlib 0.10.2 and 0.12.0.1, AMD EPYC with AVX2).
    marks = jnp.where(x > than, 1, 0) + jnp.where(jnp.isfinite(x), 0, _NOT_FINITE)
    whole = x.shape[1] // _CHUNK * _CHUNK
    chunks = marks[:, :whole].astype(jnp.int16).reshape(x.shape[0], whole // _CHUNK, _CHUNK)
    sums = [
        jnp.sum(chunks, 2, dtype=jnp.int16),
        jnp.sum(marks[:, whole:].astype(jnp.int16), 1, keepdims=True, dtype=jnp.int16),
    ]
    found = jnp.concatenate(sums, 1).astype(jnp.int32)
    return jnp.sum(found % _NOT_FINITE, 1), jnp.all(found < _NOT_FINITE, 1)
