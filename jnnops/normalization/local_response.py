"""Normalization by the squares of neighbouring channels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_array, as_scalar, as_size, is_traced
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.operation import Operation, differentiable, linear_pair

# The exponents whose powers are roots and reciprocals. A general power takes two to three times as long as all else.
ROOTS = (0.5, 0.75, 1.0)


@answers_tensorflow_names
def local_response_normalization(
    input: ArrayLike, depth_radius: int = 5, bias: ArrayLike = 1.0, alpha: ArrayLike = 1.0, beta: ArrayLike = 0.5
) -> jax.Array:
    r"""Divides each value by a power of the squared sum of its channel neighbours.

    .. math::
        y_c = x_c \Big/ \Big(\text{bias} + \alpha \sum_{j=c-r}^{c+r} x_j^2\Big)^{\beta}

    where channels that do not exist count as 0. For PyTorch's ``local_response_norm`` with ``size = 2 * depth_radius +
    1`` channels, which takes the mean of the squares, ``alpha`` is ``size`` times this one and ``k`` is ``bias``.

    Where what is in brackets is 0, as among zeros with a ``bias`` of 0, ``y`` is 0 and so are its derivatives. Where it
    is negative, ``y`` is NaN unless ``beta`` is a whole number. TensorFlow gives NaN for both, unless ``beta`` is 1.

    Squares overflow of values above 1e19 in float32 and bfloat16. As in TensorFlow, these and their neighbours become 0
    if ``beta`` is positive, with derivatives of 0, and infinities NaN. TensorFlow gives NaN for all other channels of
    that pixel, and squares overflow there in float16, too, from 256 on.

    Args:
        input: ``[batch, height, width, channels]``, floating point.
        depth_radius: The number of neighbours on each side, from 0; may exceed the number of channels.
        bias: A scalar; positive as a rule, so that nothing is divided by 0.
        alpha: The factor of the sum of squares, a scalar.
        beta: The exponent, a scalar.

    Returns:
        The shape and dtype of ``input``; computed in float32 for 16 bits.

    Raises:
        ValueError: If ``input`` is not of rank 4, ``depth_radius`` is negative, or another argument is not a scalar.
        TypeError: If ``input`` is not floating point, ``depth_radius`` not a static integer, or another argument no
            number.

    Example:
        >>> x = jnp.array([1.0, 2.0, 2.0]).reshape(1, 1, 1, 3)
        >>> nn.local_response_normalization(x, depth_radius=1, bias=0.0, beta=1.0).ravel().tolist()
        [0.2..., 0.2222..., 0.25]

    References:
        ``tf.nn.local_response_normalization`` and ``tf.nn.lrn``, the same function. Krizhevsky et al., "ImageNet
        Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
    """
    op = "local_response_normalization"
    x = as_float_array(op, "input", input, rank=4)
    radius = as_size(op, "depth_radius", depth_radius, minimum=0)
    bias, alpha, beta = (
        as_scalar(op, name, value) for name, value in (("bias", bias), ("alpha", alpha), ("beta", beta))
    )
    return divide_by_neighbours(x, radius, bias, alpha, beta)


# TensorFlow's other name for it.
lrn = local_response_normalization


def divide_by_neighbours(
    x: jax.Array, radius: int, bias: float | jax.Array, alpha: float | jax.Array, beta: float | jax.Array
) -> jax.Array:
    """`local_response_normalization` of arguments that are checked; an alpha that is traced may have a derivative."""
    root = float(beta) if isinstance(beta, int | float) and beta in ROOTS else None
    return _divide_by_neighbours(x, bias, alpha, beta, radius, root, is_traced(alpha))


@functools.partial(jax.jit, static_argnames=("radius", "root", "has_slope"))
def _divide_by_neighbours(
    x: jax.Array,
    bias: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    radius: int,
    root: float | None,
    has_slope: bool,
) -> jax.Array:
    wide = x.astype(accumulation_dtype(x.dtype))
    bias, alpha, beta = (jnp.asarray(scalar, wide.dtype) for scalar in (bias, alpha, beta))
    # Neighbours further away than the last channel is from the first do not exist.
    radius = min(radius, max(x.shape[-1] - 1, 0))
    sums = WINDOW_SUM(jnp.square(wide), radius=radius)
    base = bias + alpha * sums
    if has_slope:
        # The derivative by alpha is a product with the sum, which must be finite for it to vanish with the power.
        is_infinite = jnp.isinf(sums)
        base = jnp.where(is_infinite, jnp.sign(alpha) * jnp.inf, bias + alpha * jnp.where(is_infinite, 0, sums))
    factor = NEGATIVE_POWER(base, beta.reshape((1,) * x.ndim), root=root)
    return (wide * factor).astype(x.dtype)


def _window_sum(x: jax.Array, *, radius: int) -> jax.Array:
    """Sums along the last axis over each element and ``radius`` on each side of it."""
    size, width = x.shape[-1], 2 * radius + 1

    def from_(array: jax.Array, start: int, size: int) -> jax.Array:
        return lax.slice_in_dim(array, start, start + size, axis=-1)

    # Sums of 1, 2, 4 ... neighbours, of which those in the binary digits of the width make up a window: the program is
    # short for all widths, and unlike with differences of cumulative sums nothing cancels and no infinity spreads. XLA
    # computes the sums of up to about 16 in one loop.
    sums = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(radius, radius, 0)])
    total, done, length = from_(sums, 0, size), 1, 1
    while 2 * length <= width:
        rest = sums.shape[-1] - length
        sums, length = from_(sums, 0, rest) + from_(sums, length, rest), 2 * length
        if width & length:
            total, done = total + from_(sums, done, size), done + length
    return total


def _batch_sum(operation: Operation, arrays: Any, axes: Any, *, radius: int) -> tuple[jax.Array, int]:
    return operation(jnp.moveaxis(arrays[0], axes[0], 0), radius=radius), 0


# (x, *, radius) -> like x. A window that reaches as far to both sides is its own transpose, which JAX would write as
# many padded arrays.
WINDOW_SUM, _ = linear_pair(_window_sum, _window_sum, _batch_sum)


def _negative_power(base: jax.Array, exponent: jax.Array, *, root: float | None) -> jax.Array:
    """``base ** -exponent``, and 0 for a base of 0 unless the exponent is 0."""
    if root is None:
        return jnp.where((base == 0) & (exponent != 0), 0, lax.pow(base, jnp.broadcast_to(-exponent, base.shape)))
    powers = {0.5: lax.rsqrt, 0.75: _three_quarters, 1.0: jnp.reciprocal}
    return jnp.where(base == 0, 0, powers[root](base))


def _three_quarters(base: jax.Array) -> jax.Array:
    """``base ** -0.75``, from the power of -1.5, for which numbers near the ends of the range are scaled.

    The product of the powers of -0.5 and -0.25 rounds more, and XLA keeps both as arrays for the gradient.
    """
    half = jnp.finfo(base.dtype).maxexp // 2
    is_large, is_small = base > 2.0 ** (half // 2), base < 2.0 ** -(half // 2)
    scaled = base * jnp.where(is_large, 2.0**-half, jnp.where(is_small, 2.0**half, 1)).astype(base.dtype)
    unscale = jnp.where(is_large, 2.0 ** (-3 * half // 4), jnp.where(is_small, 2.0 ** (3 * half // 4), 1))
    return lax.sqrt(lax.rsqrt(scaled) / scaled) * unscale.astype(base.dtype)


def _negative_power_jvp(primals: Any, tangents: Any, *, root: float | None) -> tuple[jax.Array, jax.Array]:
    # Relative to the power, which keeps what is multiplied within the range of the dtype. The power itself is 0 where
    # the rest is wrong: at 0, and at infinity, whose logarithm counts for nothing there.
    (base, exponent), (d_base, d_exponent) = primals, tangents
    power = NEGATIVE_POWER(base, exponent, root=root)
    change = jnp.zeros_like(base)
    if d_base is not None:
        change = change - exponent * (d_base * NEGATIVE_POWER(base, jnp.ones_like(exponent), root=1.0))
    if d_exponent is not None:
        change = change - d_exponent * jnp.log(jnp.where((base == 0) | (base == jnp.inf), 1, base))
    return power, power * change


def _batch_power(operation: Operation, arrays: Any, axes: Any, *, root: float | None) -> tuple[jax.Array, int]:
    base, exponent = (
        array[None] if axis is None else jnp.moveaxis(array, axis, 0) for array, axis in zip(arrays, axes, strict=True)
    )
    size = max(base.shape[0], exponent.shape[0])
    base = jnp.broadcast_to(base, (size, *base.shape[1:]))
    return operation(base, exponent, root=root), 0


# (base, exponent of the same rank with sizes 1, *, root: the exponent if it is one of ROOTS) -> like base
NEGATIVE_POWER = differentiable(_negative_power, _negative_power_jvp, _batch_power)
