"""Rectifiers of integers that stand for real numbers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_array
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.quantization._arguments import as_quantized_array, as_quantized_dtype, as_range
from jnnops.quantization._ranges import integer_of


@serializable
class QuantizedActivations(NamedTuple):
    """What the quantized rectifiers return.

    Attributes:
        activations: Integers, with the shape and dtype of the features.
        min_activations: The real number that the smallest integer stands for: that of the features.
        max_activations: The one that the largest stands for.
    """

    activations: jax.Array
    min_activations: jax.Array
    max_activations: jax.Array


@answers_tensorflow_names
def quantized_relu(
    features: ArrayLike, min_features: ArrayLike, max_features: ArrayLike, out_type: DTypeLike | None = None
) -> QuantizedActivations:
    """The maximum of integers and the one that stands for 0, to the bit TensorFlow's. There is no gradient.

    Args:
        features: Any shape, uint8, int8, uint16, int16 or int32.
        min_features: The real number that the smallest integer of the dtype stands for, a scalar.
        max_features: The one that the largest stands for. A range that is known only at run time and has its ends in
            the wrong order becomes NaN, and ``checkify`` reports it.
        out_type: The dtype of ``features``, the only one there can be.

    Returns:
        ``QuantizedActivations(activations, min_activations, max_activations)``; the range stays what it was.

    Raises:
        ValueError: If the range is out of order, infinite or no scalar.
        TypeError: If ``features`` has none of the dtypes, or ``out_type`` is another.

    Note:
        TensorFlow has uint8 and int32 only.

    Example:
        >>> nn.quantized_relu(jnp.array([0, 100, 200], jnp.uint8), -1.0, 1.0).activations.tolist()
        [128, 128, 200]

    References:
        ``tf.raw_ops.QuantizedRelu``.
    """
    q, low, high = _converted("quantized_relu", features, min_features, max_features, out_type)
    return _rectify(q, None, low, high)


@answers_tensorflow_names
def quantized_relu6(
    features: ArrayLike, min_features: ArrayLike, max_features: ArrayLike, out_type: DTypeLike | None = None
) -> QuantizedActivations:
    """Integers between the ones that stand for 0 and for 6, to the bit TensorFlow's. There is no gradient.

    Args:
        features: Any shape, uint8, int8, uint16, int16 or int32.
        min_features: The real number that the smallest integer of the dtype stands for, a scalar.
        max_features: The one that the largest stands for. A range that is known only at run time and has its ends in
            the wrong order becomes NaN, and ``checkify`` reports it.
        out_type: The dtype of ``features``, the only one there can be.

    Returns:
        ``QuantizedActivations(activations, min_activations, max_activations)``; the range stays what it was.

    Raises:
        ValueError: If the range is out of order, infinite or no scalar.
        TypeError: If ``features`` has none of the dtypes, or ``out_type`` is another.

    Note:
        TensorFlow has uint8 and int32 only.

    Example:
        >>> nn.quantized_relu6(jnp.array([0, 100, 200], jnp.uint8), -12.0, 12.0).activations.tolist()
        [128, 128, 192]

    References:
        ``tf.raw_ops.QuantizedRelu6``.
    """
    q, low, high = _converted("quantized_relu6", features, min_features, max_features, out_type)
    return _rectify(q, jnp.float32(6), low, high)


@answers_tensorflow_names
def quantized_relu_x(
    features: ArrayLike,
    max_value: ArrayLike,
    min_features: ArrayLike,
    max_features: ArrayLike,
    out_type: DTypeLike | None = None,
) -> QuantizedActivations:
    """Integers between the ones that stand for 0 and for ``max_value``. There is no gradient.

    Args:
        features: Any shape, uint8, int8, uint16, int16 or int32.
        max_value: The real number to clip at, a scalar.
        min_features: The real number that the smallest integer of the dtype stands for, a scalar.
        max_features: The one that the largest stands for. A range that is known only at run time and has its ends in
            the wrong order becomes NaN, and ``checkify`` reports it.
        out_type: The dtype of ``features``, the only one there can be.

    Returns:
        ``QuantizedActivations(activations, min_activations, max_activations)``; the range stays what it was.

    Raises:
        ValueError: If the range is out of order or infinite, or an argument no scalar.
        TypeError: If ``features`` has none of the dtypes, ``max_value`` is no number, or ``out_type`` another dtype.

    Note:
        TensorFlow 2.21 has the op but no kernel for it on CPU.

    Example:
        >>> nn.quantized_relu_x(jnp.array([0, 100, 200], jnp.uint8), 0.5, -1.0, 1.0).activations.tolist()
        [128, 128, 192]

    References:
        ``tf.compat.v1.nn.quantized_relu_x``.
    """
    op = "quantized_relu_x"
    q, low, high = _converted(op, features, min_features, max_features, out_type)
    return _rectify(q, as_number_array(op, "max_value", max_value, rank=0), low, high)


def _converted(
    op: str, features: ArrayLike, low: ArrayLike, high: ArrayLike, out_type: DTypeLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    q = as_quantized_array(op, "features", features)
    if out_type is not None:
        as_quantized_dtype(op, "out_type", out_type, (str(q.dtype),))
    return q, *as_range(op, "min_features", low, "max_features", high)


@jax.jit
def _rectify(q: jax.Array, most: jax.Array | None, low: jax.Array, high: jax.Array) -> QuantizedActivations:
    low, high = lax.stop_gradient((low, high))
    found = lax.max(q, jnp.broadcast_to(integer_of(0.0, low, high, q.dtype), q.shape))
    if most is not None:
        most = lax.stop_gradient(most).astype(jnp.float32)
        found = lax.min(found, jnp.broadcast_to(integer_of(most, low, high, q.dtype), q.shape))
    return QuantizedActivations(found, low, high)
