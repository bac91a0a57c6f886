"""Rectified linear units, and how sparse they leave an activation."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    as_array,
    as_float_arrays,
    as_number_array,
    as_number_arrays,
    at_least,
    broadcast_to_rank,
    canonical_axis,
    check_broadcastable,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops.activation._accumulation import in_accumulation_dtype


@answers_tensorflow_names
def relu(features: ArrayLike) -> jax.Array:
    """Rectified linear unit, ``max(features, 0)``.

    The gradient at 0 is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.

    Example:
        >>> nn.relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 2.0]

    References:
        ``tf.nn.relu``. Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.
    """
    return _relu(as_number_array("relu", "features", features))


@jax.jit
def _relu(x: jax.Array) -> jax.Array:
    return jnp.where(x <= 0, 0, x)  # a select, since the gradient of a maximum at 0 is 1/2


@answers_tensorflow_names
def relu6(features: ArrayLike) -> jax.Array:
    """Rectified linear unit with a ceiling of 6, ``min(max(features, 0), 6)``.

    The gradient at 0 and at 6 is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.

    Example:
        >>> nn.relu6(jnp.array([-1.0, 2.0, 7.0])).tolist()
        [0.0, 2.0, 6.0]

    References:
        ``tf.nn.relu6``. Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010.
    """
    return _relu_x(as_number_array("relu6", "features", features), jnp.asarray(6))


@answers_tensorflow_names
def relu_x(features: ArrayLike, max_value: ArrayLike) -> jax.Array:
    """Rectified linear unit with a ceiling, ``min(max(features, 0), max_value)``.

    The gradient with respect to ``features`` at 0 and at ``max_value`` is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.
        max_value: The ceiling: a number, or an array that broadcasts to ``features``.

    Returns:
        The shape of ``features``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If ``max_value`` does not broadcast to ``features``.

    Example:
        >>> nn.relu_x(jnp.array([-1.0, 0.5, 7.0]), max_value=1.0).tolist()
        [0.0, 0.5, 1.0]

    References:
        ``tf.raw_ops.QuantizedReluX``, on plain numbers.
    """
    x, ceiling = as_number_arrays("relu_x", features=features, max_value=max_value)
    check_broadcastable("relu_x", "max_value", ceiling, x.shape, "features")
    return _relu_x(x, ceiling)


@jax.jit
@in_accumulation_dtype
def _relu_x(x: jax.Array, ceiling: jax.Array) -> jax.Array:
    ceiling = broadcast_to_rank(ceiling, x.ndim)
    return jnp.where(x <= 0, 0, jnp.where(x >= ceiling, ceiling, x))


@answers_tensorflow_names
def crelu(features: ArrayLike, axis: int = -1) -> jax.Array:
    """Concatenated rectified linear unit: ``relu`` of ``features`` and of its negative, side by side.

    The gradient at 0 is 0.

    Args:
        features: Any shape of rank 1 or more, floating point or integer.
        axis: The axis to concatenate along, which doubles in size.

    Returns:
        The same shape, twice as large along ``axis``, and the same dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.
        ValueError: If ``axis`` is out of range.

    Example:
        >>> nn.crelu(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0, 1.0, 0.0]

    References:
        ``tf.nn.crelu``. Shang et al., "Understanding and Improving Convolutional Neural Networks via Concatenated
        Rectified Linear Units", 2016.
    """
    x = as_number_array("crelu", "features", features, rank=at_least(1))
    return _relu(jnp.concatenate([x, -x], axis=canonical_axis("crelu", "axis", axis, x.ndim)))


@answers_tensorflow_names
def leaky_relu(features: ArrayLike, alpha: ArrayLike = 0.2) -> jax.Array:
    """Leaky rectified linear unit: ``alpha * features`` up to 0, the identity above.

    The gradient at 0 is ``alpha``.

    Args:
        features: Any shape, floating point, or integer, which is taken as float32.
        alpha: The slope up to 0, also above 1: a number, or an array that broadcasts to ``features`` (one slope for
            each channel is the parametric unit of He et al., 2015). It is differentiable.

    Returns:
        The shape of ``features``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If ``alpha`` does not broadcast to ``features``.

    Note:
        TensorFlow rounds ``alpha`` to float32 for float64 features too; here it has their precision.

    Example:
        >>> nn.leaky_relu(jnp.array([-1.0, 0.0, 2.0]), alpha=0.5).tolist()
        [-0.5, 0.0, 2.0]

    References:
        ``tf.nn.leaky_relu``. Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.
    """
    x = as_number_array("leaky_relu", "features", features)
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = x.astype(jnp.float32)
    x, slope = as_float_arrays("leaky_relu", features=x, alpha=alpha)
    check_broadcastable("leaky_relu", "alpha", slope, x.shape, "features")
    return _leaky_relu(x, slope)


@jax.jit
@in_accumulation_dtype
def _leaky_relu(x: jax.Array, slope: jax.Array) -> jax.Array:
    # The inner select keeps `inf * 0` out of the gradient by the slope.
    return jnp.where(x > 0, x, broadcast_to_rank(slope, x.ndim) * jnp.where(x > 0, 0, x))


@answers_tensorflow_names
def zero_fraction(value: ArrayLike) -> jax.Array:
    """The fraction of elements that are 0, for looking at how sparse an activation is.

    Its derivative is 0 everywhere.

    Args:
        value: Any shape and dtype.

    Returns:
        A float32 scalar; NaN for an empty ``value``.

    Raises:
        TypeError: If ``value`` is no array.

    Example:
        >>> nn.zero_fraction(jnp.array([0.0, 1.0, 0.0, 2.0])).item()
        0.5

    References:
        ``tf.nn.zero_fraction``.
    """
    return _zero_fraction(as_array("zero_fraction", "value", value))


@jax.jit
def _zero_fraction(x: jax.Array) -> jax.Array:
    return jnp.sum(x == jnp.zeros((), x.dtype)).astype(jnp.float32) / jnp.float32(x.size)
