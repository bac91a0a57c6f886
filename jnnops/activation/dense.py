"""Biases, and layers of a matrix and a bias."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_number_arrays, at_least, broadcast_to_rank, check_rank, check_shape
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat
from jnnops._windows.layout import along, is_channels_last_of_any_rank
from jnnops.activation.rectifiers import relu


@answers_tensorflow_names
def bias_add(value: ArrayLike, bias: ArrayLike, data_format: DataFormat = None) -> jax.Array:
    """Adds a bias to every channel.

    Args:
        value: ``[batch, ..., channels]``, or ``[batch, channels, ...]`` for a ``data_format`` that begins with NC;
            rank 2 or more, floating point or integer.
        bias: ``[channels]``.
        data_format: None or the form ``"N...C"`` for channels last, ``"NC..."`` for channels second.

    Returns:
        The shape of ``value``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a rank, the size of ``bias`` or ``data_format`` is wrong.

    Example:
        >>> nn.bias_add(jnp.zeros((1, 2)), jnp.array([1.0, 2.0])).tolist()
        [[1.0, 2.0]]

    References:
        ``tf.nn.bias_add``.
    """
    x, b = as_number_arrays("bias_add", value=value, bias=bias)
    check_rank("bias_add", "value", x, at_least(2))
    axis = x.ndim - 1 if is_channels_last_of_any_rank("bias_add", data_format) else 1
    check_shape("bias_add", "bias", b, (x.shape[axis],), f"the channels of `value` of shape {x.shape}")
    return add_along(x, b, axis)


@functools.partial(jax.jit, static_argnames="axis")
def add_along(x: jax.Array, bias: jax.Array, axis: int) -> jax.Array:
    """Adds one number for each place on an axis."""
    wide = accumulation_dtype(x.dtype)  # in which the gradient of the bias is summed, too
    return (x.astype(wide) + bias.astype(wide).reshape(along(axis, x.ndim))).astype(x.dtype)


@answers_tensorflow_names
def relu_layer(x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    """A dense layer with a rectifier, ``relu(x @ weights + biases)``.

    The gradient at 0 is 0. 16-bit products are summed in float32.

    Args:
        x: ``[..., in_units]``, rank 2 or more, floating point or integer.
        weights: ``[in_units, out_units]``.
        biases: ``[out_units]``.

    Returns:
        ``[..., out_units]``, with the dtype that ``jax.numpy`` promotes the arguments to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> nn.relu_layer([[1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]).tolist()
        [[1.5, 0.0]]

    References:
        ``tf.compat.v1.nn.relu_layer``.
    """
    return relu(_affine("relu_layer", x, weights, biases))


@answers_tensorflow_names
def xw_plus_b(x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    """A dense layer, ``x @ weights + biases``. 16-bit products are summed in float32.

    Args:
        x: ``[..., in_units]``, rank 2 or more, floating point or integer.
        weights: ``[in_units, out_units]``.
        biases: ``[out_units]``.

    Returns:
        ``[..., out_units]``, with the dtype that ``jax.numpy`` promotes the arguments to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> nn.xw_plus_b([[1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]).tolist()
        [[1.5, -1.5]]

    References:
        ``tf.compat.v1.nn.xw_plus_b``.
    """
    return _affine("xw_plus_b", x, weights, biases)


def _affine(op: str, x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    inputs, matrix, bias = as_number_arrays(op, x=x, weights=weights, biases=biases)
    check_rank(op, "x", inputs, at_least(2))
    check_rank(op, "weights", matrix, 2)
    if inputs.shape[-1] != matrix.shape[0]:
        raise ValueError(
            f"{op}: `weights` must have as many rows as `x` has columns, got shapes {matrix.shape} and {inputs.shape}"
        )
    check_shape(op, "biases", bias, matrix.shape[1:], "the columns of `weights`")
    return _matmul_plus(inputs, matrix, bias)


@jax.jit
def _matmul_plus(x: jax.Array, matrix: jax.Array, bias: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    product = jnp.matmul(x, matrix, preferred_element_type=wide)
    return (product + broadcast_to_rank(bias.astype(wide), x.ndim)).astype(x.dtype)
