"""Normalization by the Euclidean norm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import NOT_NEGATIVE, accumulation_dtype, as_inexact_array, as_scalar, canonical_axes
from jnnops._types import Axes


def l2_normalize(x: ArrayLike, axis: Axes = None, epsilon: ArrayLike = 1e-12) -> jax.Array:
    r"""Divides by the Euclidean norm along one or several axes.

    .. math::
        y = x \Big/ \sqrt{\max\big(\textstyle\sum x^2, \epsilon\big)}

    with :math:`|x|^2` in place of :math:`x^2` for complex numbers. Vectors shorter than :math:`\sqrt\epsilon` are
    divided by that instead, so 0 stays 0 with the finite gradient :math:`1 / \sqrt\epsilon`; at the kink itself the
    gradient is that of longer vectors. In float16 that slope would overflow, so :math:`\epsilon` is taken as at least
    ``finfo(float16).max ** -2``, about 2.3e-10.

    Huge and tiny vectors, whose squares are no numbers of the dtype, are normalized like all others, with their
    derivatives. TensorFlow gives 0 for the huge ones.

    Args:
        x: Any shape, floating point or complex.
        axis: The axis or axes of a vector; all of them if None.
        epsilon: Lower bound of the squared norm, a scalar.

    Returns:
        The shape and dtype of ``x``.

    Raises:
        ValueError: If ``axis`` is out of range or named twice, or ``epsilon`` is not a scalar.
        TypeError: If ``x`` is neither floating point nor complex, or ``axis`` not a static integer.

    Example:
        >>> nn.l2_normalize([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], axis=-1).tolist()
        [[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]

    References:
        ``tf.nn.l2_normalize``, ``tf.math.l2_normalize``.
    """
    op = "l2_normalize"
    x = as_inexact_array(op, "x", x)
    axes = tuple(range(x.ndim)) if axis is None else canonical_axes(op, "axis", axis, x.ndim)
    return _l2_normalize(x, as_scalar(op, "epsilon", epsilon, NOT_NEGATIVE), axes)


@functools.partial(jax.jit, static_argnames="axes")
def _l2_normalize(x: jax.Array, epsilon: ArrayLike, axes: tuple[int, ...]) -> jax.Array:
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        parts = _normalize(jnp.stack([x.real, x.imag], -1), epsilon, (*axes, x.ndim))
        return lax.complex(parts[..., 0], parts[..., 1])
    wide = x.astype(accumulation_dtype(x.dtype))
    least = float(jnp.finfo(x.dtype).max) ** -2
    return _normalize(wide, jnp.maximum(jnp.asarray(epsilon, wide.dtype), least), axes).astype(x.dtype)


def _normalize(x: jax.Array, epsilon: ArrayLike, axes: tuple[int, ...]) -> jax.Array:
    # Of scaled vectors neither the squares nor the powers of the norm in derivatives overflow or vanish. The direction
    # does not depend on the scale, which therefore has no derivative.
    scale = _scale(jnp.sum(jnp.square(lax.stop_gradient(x)), axes, keepdims=True))
    scaled, epsilon = _times(x, scale), jnp.asarray(epsilon, x.dtype)
    squared_norm = jnp.sum(jnp.square(scaled), axes, keepdims=True)
    # A choice, since a maximum would share the gradient at a tie, and another before each root, whose slope may be
    # infinite where it does not count.
    is_short = squared_norm < epsilon * scale * scale
    of_short = lax.rsqrt(jnp.where(is_short, epsilon, 1)) / scale
    return scaled * jnp.where(is_short, of_short, lax.rsqrt(jnp.where(is_short, 1, squared_norm)))


def _scale(squared_norm: jax.Array) -> jax.Array:
    """A power of two that brings a norm near 1, or where its square is out of range, to where it has a square."""
    info = jnp.finfo(squared_norm.dtype)
    # By 2**88 float32's least number becomes 2**-61 and by 2**-88 its largest 2**40, whose squares are in range.
    most = 11 * info.maxexp // 16
    _, exponent = jnp.frexp(squared_norm)
    exponent = jnp.where(squared_norm < info.smallest_normal, -2 * most, exponent)
    exponent = jnp.where(jnp.isfinite(squared_norm), exponent, 2 * most)
    return jnp.ldexp(jnp.ones_like(squared_norm), -exponent // 2)


def _times(x: jax.Array, factor: jax.Array) -> jax.Array:
    """``x * factor``, where subnormal numbers count, too, which XLA takes for 0 on CPU."""
    info, product = jnp.finfo(x.dtype), x * factor
    bits = lax.bitcast_convert_type(lax.stop_gradient(x), jnp.dtype(f"int{info.bits}"))
    one, mantissa = np.ones((), x.dtype).view(bits.dtype), np.array(2**info.nmant - 1, bits.dtype)
    exponent = np.array(2 ** (info.bits - 1) - 2**info.nmant, bits.dtype)
    # The number in units of the smallest normal one. As a product of the mantissa with constants, XLA would compute it
    # with a constant that is subnormal itself.
    fraction = lax.bitcast_convert_type(bits & mantissa | one, x.dtype) - 1
    magnitude = fraction * (factor * info.smallest_normal)
    missing = jnp.where(bits < 0, -magnitude, magnitude) - product
    return product + lax.stop_gradient(jnp.where(bits & exponent == 0, missing, 0))
