"""Functions of float32 numbers to a few units in the last place, in their tails too.

Where a function decays like an exponential, an error of its argument counts as often as the argument is large: rounding
``x ** 2`` makes ``exp(-x ** 2)`` wrong by 80 units in the last place near its end. So arguments are split here into a
part of few bits, whose products are exact, and a small rest. Other dtypes are computed by the plain formulas. (16-bit
numbers come as float32 numbers.) Derivatives are those of the plain formulas.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.operation import Operation, differentiable

# Beyond this the tail of the normal distribution is 0 even in float64, and up to it x**3 is finite in float32.
SATURATION = 40.0


def _element_by_element(operation: Operation, arrays: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    mapped = [
        jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    ]
    return operation(*mapped, **params), 0


def _accurate(
    name: str,
    plain: Callable[..., jax.Array],
    float32: Callable[..., jax.Array],
    slope: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Operation:
    """An operation on arrays of one shape, element by element.

    Args:
        name: What it is called in a program.
        plain: The formula.
        float32: The same for float32, accurate.
        slope: ``slope(value, x)``, the derivative of a function of one array; that of the formula unless given.
    """

    def compute(*arrays: jax.Array) -> jax.Array:
        return (float32 if arrays[0].dtype == jnp.float32 else plain)(*arrays)

    def jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        value = operation(*primals)
        if slope is not None:
            return value, slope(value, *primals) * tangents[0]
        known = [index for index, tangent in enumerate(tangents) if tangent is not None]

        def of_known(*arrays: jax.Array) -> jax.Array:
            given = dict(zip(known, arrays, strict=True))
            return plain(*(given.get(index, primal) for index, primal in enumerate(primals)))

        at = [primals[index] for index in known]
        return value, jax.jvp(of_known, at, [tangents[index] for index in known])[1]

    compute.__name__ = name
    operation = differentiable(compute, jvp, _element_by_element)
    return operation


def _leading_bits(x: jax.Array, bits: int) -> jax.Array:
    """A float32 number cut to so many significant bits."""
    mask = np.int32(-(2 ** (24 - bits)))
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.int32) & mask, jnp.float32)


def _polynomial(x: jax.Array, *coefficients: float) -> jax.Array:
    """By Horner's rule, of coefficients from the lowest order on."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


# exp(x) - 1 up to 0. XLA's is off by 4.4 units (jaxlib 0.10.2 on CPU).


def _expm1_float32(x: jax.Array) -> jax.Array:
    # The polynomials of this module have the least relative error, found by Lawson's iteration.
    near = x + x * x * _polynomial(
        x, 0.4999999986716992, 0.1666665411558781, 0.0416646229111834, 0.0083209455798295, 0.0013544030560429,
        0.0001528908341969,
    )  # fmt: skip
    return jnp.where(x > -0.7, near, jnp.exp(x) - 1)


# (x), at most 0
EXPM1 = _accurate("expm1", jnp.expm1, _expm1_float32, lambda _, x: jnp.exp(x))


# x times the distribution function of a normal or a logistic variable.


def _near(x: jax.Array) -> jax.Array:
    return jnp.clip(x, -SATURATION, SATURATION)


def _normal_density(x: jax.Array) -> jax.Array:
    x = _near(x)
    return (2 * math.pi) ** -0.5 * jnp.exp(-0.5 * x * x)


def _normal_tail(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``P`` and ``exp(-x ** 2 / 2)``; the probability beyond ``abs(x)`` is their product divided by ``abs(x) / 2 + 1``.

    ``P`` is a polynomial in ``(z - 2) / (z + 2)`` with ``z = abs(x)``, after Shepherd and Laframboise, "Chebyshev
    approximation of (1 + 2 x) exp(x ** 2) erfc x", 1981. It takes what rounding the square leaves out of the
    exponential.
    """
    z = jnp.abs(x)
    first = _leading_bits(z, 12)
    exponent = _leading_bits(0.5 * z * z, 16)
    rest = (0.5 * first * first - exponent) + 0.5 * (z - first) * (z + first)
    place = z / (0.5 * z + 1) - 1
    terms = place * _polynomial(
        place, -0.1657022822070458, 0.0143991988729526, 0.0183607978461780, -0.0002416080583033, -0.0033757843925816,
        -0.0009453028780215, 0.0004421035165726, 0.0003620729236840, 0.0000153807867533, -0.0000381533533601,
    )  # fmt: skip
    constant = 0.3362039964242478
    return (terms - (terms + constant) * rest * (1 - 0.5 * rest)) + constant, jnp.exp(-exponent)


def _normal_cdf_plain(x: jax.Array) -> jax.Array:
    return 0.5 * lax.erfc(x * -(0.5**0.5))


def _normal_cdf_float32(x: jax.Array) -> jax.Array:
    polynomial, density = _normal_tail(_near(x))
    tail = polynomial / (0.5 * jnp.abs(_near(x)) + 1) * density
    return jnp.where(x < 0, tail, 1 - tail)


# (x)
NORMAL_CDF = _accurate("normal_cdf", _normal_cdf_plain, _normal_cdf_float32, lambda _, x: _normal_density(x))


def _normal_gate_plain(x: jax.Array) -> jax.Array:
    return jnp.where(x > SATURATION, x, _near(x) * _normal_cdf_plain(_near(x)))


def _normal_gate_float32(x: jax.Array) -> jax.Array:
    polynomial, density = _normal_tail(_near(x))
    # The quotient is that of `place`, so that its error and that of the polynomial cancel for the most part.
    tail = _near(x) / (0.5 * jnp.abs(_near(x)) + 1) * polynomial * density
    return jnp.where(x < 0, tail, x - tail)


def _normal_gate_slope(_: jax.Array, x: jax.Array) -> jax.Array:
    return NORMAL_CDF(x) + _near(x) * _normal_density(x)


# (x) -> x times NORMAL_CDF
NORMAL_GATE = _accurate("normal_gate", _normal_gate_plain, _normal_gate_float32, _normal_gate_slope)


def _times_logistic(x: jax.Array, large: jax.Array, small: jax.Array) -> jax.Array:
    """``x * logistic(large + small)``, where ``small`` is at most a thousandth of ``large``."""
    argument = _leading_bits(large + small, 16)
    rest = (large - argument) + small
    rest = jnp.where(argument < 0, -rest, rest)
    magnitude = jnp.abs(argument)
    # Far out x takes a part of the exponential, which may be no normal number where the product is one.
    is_far = magnitude > 64
    x = jnp.where(is_far & (argument < 0), x * math.exp(-8), x)
    tail = jnp.exp(jnp.where(is_far, 8 - magnitude, -magnitude))
    tail = tail * (1 - rest * (1 - 0.5 * rest))
    return x * jnp.where(argument < 0, tail, 1) / (1 + jnp.where(is_far, 0, tail))


def _times_logistic_plain(x: jax.Array, argument: jax.Array) -> jax.Array:
    # Of the small part of 1, so that the derivatives keep the digits of what is left of it.
    part = lax.logistic(jnp.where(argument < 0, argument, -argument))
    return jnp.where(argument < 0, x * part, x - x * part)


def _swish_plain(x: jax.Array, steepness: jax.Array) -> jax.Array:
    product = steepness * x
    # Beyond 800 the gate is 0 or 1 even in float64, and so it is at infinity, where the derivative would be inf * 0.
    is_far = jnp.abs(product) > 800
    near = jnp.where(is_far, 0, x)
    gated = _times_logistic_plain(near, jnp.where(is_far, 0, steepness) * near)
    return jnp.where(is_far, jnp.where(product > 0, x, 0), gated)


def _swish_float32(x: jax.Array, steepness: jax.Array) -> jax.Array:
    product = steepness * x
    first_x, first_steepness = _leading_bits(x, 12), _leading_bits(steepness, 12)
    small = first_steepness * (x - first_x) + (steepness - first_steepness) * x
    gated = _times_logistic(x, first_steepness * first_x, small)
    return jnp.where(jnp.abs(product) > 120, jnp.where(product > 0, x, 0), gated)


# (x, steepness)
SWISH = _accurate("swish", _swish_plain, _swish_float32)


def _silu_plain(x: jax.Array) -> jax.Array:
    return x * lax.logistic(x)


def _silu_float32(x: jax.Array) -> jax.Array:
    # Far below, the exponential may be no normal number where its product with x is one, so that a part comes last.
    is_far = x < -64
    exponential = jnp.exp(jnp.where(is_far, x + 8, -x))
    return jnp.where(is_far, jnp.maximum(x, -120) * exponential * math.exp(-8), x / (1 + exponential))


def _silu_slope(_: jax.Array, x: jax.Array) -> jax.Array:
    gate = lax.logistic(x)
    return gate * (1 + jnp.clip(x, -800, 800) * (1 - gate))


# (x), swish of steepness 1
SILU = _accurate("silu", _silu_plain, _silu_float32, _silu_slope)

# The argument of the approximate gelu is x (LINEAR + CUBIC x**2).
_LINEAR = 2 * (2 / math.pi) ** 0.5
_CUBIC = 0.044715 * _LINEAR
_FIRST_LINEAR, _FIRST_CUBIC = math.floor(_LINEAR * 2**11) / 2**11, math.floor(_CUBIC * 2**15) / 2**15


def _gelu_tanh_plain(x: jax.Array) -> jax.Array:
    # (1 + tanh(u)) / 2, which would cancel for negative u, is logistic(2 u).
    near = _near(x)
    gated = _times_logistic_plain(near, near * (_LINEAR + _CUBIC * near * near))
    return jnp.where(jnp.abs(x) > SATURATION, jnp.where(x > 0, x, 0), gated)


def _gelu_tanh_float32(x: jax.Array) -> jax.Array:
    first = _leading_bits(x, 12)
    first_square = _leading_bits(x * x, 12)
    square = (first * first - first_square) + (x - first) * (x + first)  # what is left of it
    factor = _leading_bits(_LINEAR + _CUBIC * first_square, 12)
    rest = (_FIRST_LINEAR - factor) + _FIRST_CUBIC * first_square
    rest += (_LINEAR - _FIRST_LINEAR) + (_CUBIC - _FIRST_CUBIC) * first_square + _CUBIC * square
    gated = _times_logistic(x, first * factor, (x - first) * factor + x * rest)
    return jnp.where(jnp.abs(x) > 11, jnp.where(x > 0, x, 0), gated)


# (x)
GELU_TANH = _accurate("gelu_tanh", _gelu_tanh_plain, _gelu_tanh_float32)
