"""Normalization by the Euclidean norm."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import NOT_NEGATIVE, accumulation_dtype, as_inexact_array, as_scalar, canonical_axes_or_all
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.operation import Operation, differentiable
from jnnops._types import Axes


@answers_tensorflow_names
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
    axes = canonical_axes_or_all(op, "axis", axis, x.ndim)
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
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    return DIRECTION(x, jnp.broadcast_to(jnp.asarray(epsilon, x.dtype), shape), axes=axes)


def _direction(x: jax.Array, epsilon: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    return _of_any_length(x, epsilon, axes)[0]


def _factor(x: jax.Array, epsilon: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    """What a vector is multiplied by, which overflows or vanishes where the norm does."""
    return _of_any_length(x, epsilon, axes)[1]


def _of_any_length(x: jax.Array, epsilon: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The direction and the factor, of scaled vectors, whose squares neither overflow nor vanish."""
    scale = _scale(_squared_norm(x, axes))
    scaled = _times(x, scale)
    squared_norm = _squared_norm(scaled, axes)
    is_short = squared_norm < epsilon * scale * scale
    factor = jnp.where(is_short, lax.rsqrt(epsilon) / scale, lax.rsqrt(squared_norm))
    return scaled * factor, factor * scale


def _direction_on_cpu(x: jax.Array, epsilon: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    # To scale all vectors takes 1.5 to 3 times as long (jaxlib 0.10.2, AVX-512), so it is done only if one needs it. An
    # accelerator would have to wait for the answer.
    squared_norm = _squared_norm(x, axes)
    return lax.cond(
        _is_extreme(squared_norm, epsilon),
        lambda: _direction(x, epsilon, axes=axes),
        lambda: x * _plain_factor(squared_norm, epsilon),
    )


def _factor_on_cpu(x: jax.Array, epsilon: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    squared_norm = _squared_norm(x, axes)
    return lax.cond(
        _is_extreme(squared_norm, epsilon),
        lambda: _factor(x, epsilon, axes=axes),
        lambda: _plain_factor(squared_norm, epsilon),
    )


def _is_extreme(squared_norm: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Whether the square of any norm has overflowed, or has lost digits that count besides epsilon."""
    enough = jnp.finfo(squared_norm.dtype).smallest_normal ** 0.75
    return jnp.any(~(jnp.maximum(squared_norm, epsilon) >= enough) | ~jnp.isfinite(squared_norm))


def _plain_factor(squared_norm: jax.Array, epsilon: jax.Array) -> jax.Array:
    return lax.rsqrt(jnp.maximum(squared_norm, epsilon))


def _is_short(x: jax.Array, epsilon: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return _squared_norm(lax.stop_gradient(x), axes) < epsilon


def _squared_norm(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return jnp.sum(jnp.square(x), axes, keepdims=True)


def _slopes(
    primals: tuple[jax.Array, jax.Array], tangents: Sequence[jax.Array | None], axes: tuple[int, ...]
) -> tuple[jax.Array | None, jax.Array | None]:
    """By ``x``, its change in units of the norm; by epsilon, half of its change in units of itself where it counts."""
    (x, epsilon), (dx, d_epsilon) = primals, tangents
    is_short = _is_short(x, epsilon, axes)
    by_x = None if dx is None else FACTOR(x, epsilon, axes=axes) * dx
    if d_epsilon is not None:
        d_epsilon = jnp.where(is_short, d_epsilon / (2 * jnp.where(is_short, epsilon, 1)), 0)
    return by_x, d_epsilon


def _along(primals: tuple[jax.Array, jax.Array], change: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """How much of a change is along the vector, which makes it longer; 0 for short ones, whose factor stays."""
    is_short = _is_short(*primals, axes)
    along = jnp.sum(DIRECTION(*primals, axes=axes) * change, axes, keepdims=True)
    return jnp.where(is_short, 0, along)


def _direction_jvp(primals: Any, tangents: Any, *, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    y = DIRECTION(*primals, axes=axes)
    change, shrinkage = _slopes(primals, tangents, axes)
    tangent = jnp.zeros_like(y)
    if change is not None:
        tangent = change - y * _along(primals, change, axes)
    return y, tangent if shrinkage is None else tangent - y * shrinkage


def _factor_jvp(primals: Any, tangents: Any, *, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    factor = FACTOR(*primals, axes=axes)
    change, shrinkage = _slopes(primals, tangents, axes)
    relative = jnp.zeros_like(factor)
    if change is not None:
        relative = _along(primals, change, axes)
    return factor, -factor * (relative if shrinkage is None else relative + shrinkage)


def _batch(operation: Operation, arrays: Any, places: Any, *, axes: tuple[int, ...]) -> tuple[jax.Array, int]:
    size = next(array.shape[at] for array, at in zip(arrays, places, strict=True) if at is not None)
    x, epsilon = (
        jnp.broadcast_to(array, (size, *array.shape)) if at is None else jnp.moveaxis(array, at, 0)
        for array, at in zip(arrays, places, strict=True)
    )
    return operation(x, epsilon, axes=tuple(axis + 1 for axis in axes)), 0


# (x, epsilon of the shape of the norms, *, axes) -> like x, and of the shape of the norms
DIRECTION = differentiable(_direction, _direction_jvp, _batch, on_cpu=_direction_on_cpu)
FACTOR = differentiable(_factor, _factor_jvp, _batch, on_cpu=_factor_on_cpu)


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
    bits = lax.bitcast_convert_type(x, jnp.dtype(f"int{info.bits}"))
    one, mantissa = np.ones((), x.dtype).view(bits.dtype), np.array(2**info.nmant - 1, bits.dtype)
    exponent = np.array(2 ** (info.bits - 1) - 2**info.nmant, bits.dtype)
    # The number in units of the smallest normal one. As a product of the mantissa with constants, XLA would compute it
    # with a constant that is subnormal itself.
    fraction = lax.bitcast_convert_type(bits & mantissa | one, x.dtype) - 1
    magnitude = fraction * (factor * info.smallest_normal)
    missing = jnp.where(bits < 0, -magnitude, magnitude) - product
    return product + jnp.where(bits & exponent == 0, missing, 0)
