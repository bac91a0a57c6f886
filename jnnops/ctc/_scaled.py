"""Probabilities of any size, as ``mantissa * 2**exponent`` of two floats, the exponent integral.

A product of thousands of probabilities underflows as one float, and as its logarithm it loses a digit for each tenfold
of the loss and costs an exponential for each addition. Here numbers of any size are added by multiplying them with
powers of two, which are made of bits. Each number has its own exponent, so none is lost because others are larger.

Exponents are piecewise constant, so the mantissa alone has the derivative.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Scaled(NamedTuple):
    """``mantissa * 2**exponent``; 0 has the lowest exponent, so that it is never what others are scaled to."""

    mantissa: jax.Array
    exponent: jax.Array


class _Format(NamedTuple):
    """What there is to know of a floating point dtype."""

    integer: Any
    shift: int  # of the exponent among the bits
    bias: int
    ln2: tuple[float, float]  # in two parts, so that small integral multiples of the first are exact


_FORMATS = {
    "float32": _Format(jnp.int32, 23, 127, (0.693359375, -2.1219444005469057e-4)),
    "float64": _Format(jnp.int64, 52, 1023, (0.6931471803691238, 1.9082149292705877e-10)),
}


def _format(dtype: Any) -> _Format:
    return _FORMATS[jnp.dtype(dtype).name]


def lowest(dtype: Any) -> np.ndarray:
    """The exponent of 0, half of what may be added to the exponent of another number to make it 0 beside any other."""
    return np.asarray(-jnp.finfo(dtype).max / 4, dtype)


def zeros_like(x: jax.Array) -> Scaled:
    """Zeros of a shape and dtype."""
    return Scaled(jnp.zeros_like(x), jnp.full_like(x, lowest(x.dtype)))


def where(condition: jax.Array, dtype: Any) -> Scaled:
    """1 where a condition holds, and else 0."""
    return Scaled(jnp.where(condition, 1, 0).astype(dtype), jnp.where(condition, 0, lowest(dtype)).astype(dtype))


def power_of_two(exponent: jax.Array) -> jax.Array:
    """``2**exponent`` as a float; 0 where that is not a normal number."""
    form = _format(exponent.dtype)
    bits = jnp.maximum(exponent, -form.bias).astype(form.integer) + form.bias
    return lax.bitcast_convert_type(bits << form.shift, exponent.dtype)


def exp(logarithm: jax.Array) -> Scaled:
    """The exponential of numbers up to 0, minus infinity included, with mantissas in ``[1, 2)`` up to rounding."""
    dtype = logarithm.dtype
    high, low = (np.asarray(part, dtype) for part in _format(dtype).ln2)
    possible = jnp.logical_not(logarithm <= 2 * lowest(dtype))  # NaN is, and stays
    logarithm = jnp.where(possible, logarithm, 0)
    fixed = lax.stop_gradient(logarithm)
    exponent = jnp.maximum(jnp.floor(fixed * np.asarray(np.log2(np.e), dtype)), lowest(dtype))
    # The rest of a logarithm that is too large to have one is anything: 0 keeps it finite.
    rest = (fixed - exponent * high) - exponent * low
    rest = jnp.where(jnp.abs(rest) < 1, rest, 0) + (logarithm - fixed)
    return Scaled(jnp.where(possible, jnp.exp(rest), 0), jnp.where(possible, exponent, lowest(dtype)))


def log(x: Scaled) -> jax.Array:
    """The logarithm, minus infinity with derivative 0 for 0."""
    zero = x.mantissa == 0
    logarithm = jnp.log(jnp.where(zero, 1, x.mantissa)) + x.exponent * np.asarray(np.log(2), x.exponent.dtype)
    return jnp.where(zero, -jnp.inf, logarithm)


def add(*terms: Scaled) -> Scaled:
    """The sum."""
    top = functools.reduce(jnp.maximum, (term.exponent for term in terms))
    scaled = (term.mantissa * power_of_two(term.exponent - top) for term in terms)
    return Scaled(functools.reduce(jnp.add, scaled), top)


def multiply(x: Scaled, y: Scaled) -> Scaled:
    """The product."""
    exponent = jnp.maximum(x.exponent + y.exponent, lowest(x.exponent.dtype))
    return Scaled(x.mantissa * y.mantissa, exponent)


def normalize(x: Scaled) -> Scaled:
    """The same number with its mantissa in ``[1, 2)``, or 0. Sums and products let mantissas grow."""
    form = _format(x.mantissa.dtype)
    bits = lax.bitcast_convert_type(lax.stop_gradient(x.mantissa), form.integer)
    power = (bits >> form.shift) - form.bias
    down = lax.bitcast_convert_type((form.bias - power) << form.shift, x.mantissa.dtype)
    zero = x.mantissa == 0
    exponent = jnp.where(zero, lowest(x.exponent.dtype), x.exponent + power.astype(x.exponent.dtype))
    return Scaled(jnp.where(zero, 0, x.mantissa * down), exponent)
