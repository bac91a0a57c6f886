"""Which integers stand for which real numbers, computed as TensorFlow's kernels do: in float32, or in float64.

What is in float64, and in integers of 64 bits, is about single numbers, in programs that have neither otherwise. TPUs
have no float64 and come close to it with pairs of float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops.quantization._arithmetic import divide, half_away, kept_at_least, kept_at_most

DOUBLE, LONG = np.dtype("float64"), np.dtype("int64")


def steps_of(dtype: np.dtype) -> int:
    """How many integers there are, less one."""
    return 2 ** (8 * dtype.itemsize) - 1


def real_width(low: jax.Array, high: jax.Array, parts: int) -> jax.Array:
    """The float32 width of one of equal parts of a range, of a quotient in float64."""
    with jax.enable_x64(True):
        return (double(high - low) / double_of(parts)).astype(np.float32)


def parts_per_unit(low: jax.Array, high: jax.Array, parts: int) -> jax.Array:
    """How many of so many equal parts of a range a unit has, in float32, of a quotient in float64."""
    with jax.enable_x64(True):
        return kept_at_least((double_of(parts) / double(high - low)).astype(np.float32), 0)


def unclamped_integer(value: jax.Array | float, low: jax.Array, high: jax.Array, dtype: np.dtype) -> jax.Array:
    """The integer that stands for a real number, or would if there were more of them, as int64."""
    limits, count = np.iinfo(dtype), steps_of(dtype) + 1
    with jax.enable_x64(True):
        width = double(high - low) * double_of(count / (count - 1.0))
        scale = kept_at_least(double_of(count) / kept_at_least(width, 0.0), 0.0)
        real = double(jnp.asarray(value, np.float32))
        number = half_away(real * scale) - half_away(double(low) * scale)
        number = lax.select(low == high, double_of(0), number)
        return number.astype(LONG) + np.asarray(limits.min, LONG)


def integer_of(value: jax.Array | float, low: jax.Array, high: jax.Array, dtype: np.dtype) -> jax.Array:
    """The integer that stands for a real number best."""
    limits = np.iinfo(dtype)
    number = unclamped_integer(value, low, high, dtype)
    with jax.enable_x64(True):
        return jnp.clip(number, np.asarray(limits.min, LONG), np.asarray(limits.max, LONG)).astype(dtype)


def zero_point(low: jax.Array, high: jax.Array, dtype: np.dtype) -> jax.Array:
    """The integer that stands for 0, modulo 2**32, as int32: a range without 0 has its zero outside of ``dtype``."""
    number = unclamped_integer(0.0, low, high, dtype)
    with jax.enable_x64(True):
        return number.astype(np.int32)


def real_of(number: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """The real number that one integer stands for, in float32."""
    limits, count = np.iinfo(number.dtype), steps_of(number.dtype) + 1
    with jax.enable_x64(True):
        width = double(high - low) * double_of(count / (count - 1.0))
        step = kept_at_least(width, 0.0) * double_of(1.0 / count)
        # TensorFlow's qint32 becomes float32 whatever it is converted to
        places = double(number.astype(np.float32)) - double_of(limits.min)
        rounded = kept_at_least(step.astype(np.float32), 0)
        # too small a step for float32 leaves the range where it is
        start = lax.select(rounded >= np.finfo(np.float32).tiny, half_away(low / rounded) * rounded, low)
        real = (double(start) + kept_at_least(places * step, 0.0)).astype(np.float32)
        return lax.select(low == high, low, real)


def first_real(low: jax.Array, high: jax.Array, step: jax.Array) -> jax.Array:
    """The start of a range, moved so that it is whole steps from 0."""
    # half a step away from the start, and a few millionths of it where steps are small
    rounded = kept_at_least(half_away(low / step) * step, -np.float32(2) * jnp.abs(low) - step)
    return jnp.where(low == high, low, rounded)


class Nudged(NamedTuple):
    """A range moved so that an integer stands for 0.

    Attributes:
        low: Where it starts, at most 0.
        high: Where it ends, at least 0.
        step: The width of a step.
        inverse: How many steps a unit has, not rounded from ``step``.
    """

    low: jax.Array
    high: jax.Array
    step: jax.Array
    inverse: jax.Array


def nudge(low: jax.Array, high: jax.Array, first: int, last: int) -> Nudged:
    """Moves a range so that one of the integers from ``first`` to ``last`` stands for 0."""
    start, stop = jnp.asarray(first, low.dtype), jnp.asarray(last, low.dtype)
    width = kept_at_least(high - low, 0)
    step, inverse = kept_at_least(divide(width, stop - start), 0), kept_at_least((stop - start) / width, 0)
    zero = start - low / step
    zero = jnp.where(zero < start, start, jnp.where(zero > stop, stop, half_away(zero)))
    return Nudged(kept_at_most((start - zero) * step, 0), kept_at_least((stop - zero) * step, 0), step, inverse)


def double(x: jax.Array) -> jax.Array:
    """The same numbers in float64, where it is enabled."""
    return lax.convert_element_type(x, DOUBLE)


def double_of(number: float) -> jax.Array:
    """A constant in float64, where it is enabled."""
    return jnp.asarray(number, DOUBLE)
