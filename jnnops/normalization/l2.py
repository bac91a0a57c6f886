"""Normalization by the Euclidean norm."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_number_array, canonical_axes
from jnnops._types import Axes


def l2_normalize(x: ArrayLike, axis: Axes = None, epsilon: ArrayLike = 1e-12) -> jax.Array:
    r"""Divides by the Euclidean norm along one or several axes.

    .. math::
        y = x \Big/ \sqrt{\max\big(\textstyle\sum x^2, \epsilon\big)}

    Vectors shorter than :math:`\sqrt\epsilon` are divided by that instead, so 0 stays 0 with the finite gradient
    :math:`1 / \sqrt\epsilon`; at the kink itself the gradient is that of longer vectors. In float16 that slope would
    overflow, so :math:`\epsilon` is taken as at least ``finfo(float16).max ** -2``, about 2.3e-10. As in TensorFlow
    a vector whose sum of squares overflows gives 0.

    Args:
        x: Any shape, floating point.
        axis: The axis or axes of a vector; all of them if None.
        epsilon: Lower bound of the squared norm, a scalar.

    Returns:
        The shape and dtype of ``x``.

    Raises:
        ValueError: If ``axis`` is out of range or named twice, or ``epsilon`` is not a scalar.
        TypeError: If ``x`` is not floating point or ``axis`` not a static integer.

    Example:
        >>> nn.l2_normalize([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], axis=-1).tolist()
        [[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]

    References:
        ``tf.nn.l2_normalize``, ``tf.math.l2_normalize``.
    """
    op = "l2_normalize"
    x = as_float_array(op, "x", x)
    axes = tuple(range(x.ndim)) if axis is None else canonical_axes(op, "axis", axis, x.ndim)
    return _l2_normalize(x, as_number_array(op, "epsilon", epsilon, rank=0), axes)


@functools.partial(jax.jit, static_argnames="axes")
def _l2_normalize(x: jax.Array, epsilon: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    wide = x.astype(accumulation_dtype(x.dtype))
    epsilon = jnp.maximum(epsilon.astype(wide.dtype), float(jnp.finfo(x.dtype).max) ** -2)
    squared_norm = jnp.sum(jnp.square(wide), axes, keepdims=True)
    # A select, since a maximum would share the gradient at a tie between its arguments.
    return (wide * lax.rsqrt(jnp.where(squared_norm < epsilon, epsilon, squared_norm))).astype(x.dtype)
