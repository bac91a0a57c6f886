"""Integers of one range as integers of another."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import debug_check, is_traced
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.quantization._arguments import as_quantized_array, as_quantized_dtype, as_range
from jnnops.quantization._arithmetic import half_away, kept_at_least, kept_at_most, saturate
from jnnops.quantization._ranges import (
    LONG,
    double,
    double_of,
    first_real,
    parts_per_unit,
    real_of,
    real_width,
    steps_of,
)
from jnnops.quantization.convert import Quantized

_FRACTION = 16  # bits, of the fixed point numbers
_LONGEST = 2.0**60


@serializable
class RequantizationRange(NamedTuple):
    """What :func:`requantization_range` returns.

    Attributes:
        output_min: The smallest real number that occurs, or 0, float32.
        output_max: The largest that occurs.
    """

    output_min: jax.Array
    output_max: jax.Array


@answers_tensorflow_names
def requantization_range(input: ArrayLike, input_min: ArrayLike, input_max: ArrayLike) -> RequantizationRange:
    """The range of the real numbers that integers stand for, to the bit TensorFlow's: what to requantize them to.

    There is no gradient.

    Args:
        input: Any shape, uint8, int8, uint16, int16 or int32.
        input_min: The real number that the smallest integer of the dtype stands for, a scalar.
        input_max: The one that the largest stands for. A range that is known only at run time and has its ends in the
            wrong order gives NaN, and ``checkify`` reports it.

    Returns:
        ``RequantizationRange(output_min, output_max)``, of which the first is at most 0.

    Raises:
        ValueError: If the range is out of order, infinite or no scalar.
        TypeError: If ``input`` has none of the dtypes.

    Note:
        TensorFlow has int32 only.

    Example:
        >>> found = nn.requantization_range(jnp.array([0, 2**30], jnp.int32), -1.0, 1.0)
        >>> found.output_max.item()
        0.5

    References:
        ``tf.raw_ops.RequantizationRange``.
    """
    op = "requantization_range"
    q = as_quantized_array(op, "input", input)
    return _requantization_range(q, *as_range(op, "input_min", input_min, "input_max", input_max))


@jax.jit
def _requantization_range(q: jax.Array, low: jax.Array, high: jax.Array) -> RequantizationRange:
    low, high = lax.stop_gradient((low, high))
    limits = np.iinfo(q.dtype)
    least = real_of(jnp.min(q, initial=limits.max), low, high)
    return RequantizationRange(jnp.minimum(least, np.float32(0)), real_of(jnp.max(q, initial=limits.min), low, high))


@answers_tensorflow_names
def requantize(
    input: ArrayLike,
    input_min: ArrayLike,
    input_max: ArrayLike,
    requested_output_min: ArrayLike,
    requested_output_max: ArrayLike,
    out_type: DTypeLike,
) -> Quantized:
    r"""Integers of one range as those of another that stand for the same real numbers, to the bit TensorFlow's.

    They are those of ``quantize(dequantize(input), mode="MIN_FIRST")``: int32 become uint8 in fixed point numbers of 64
    bits, which overflow nowhere, all others by way of float32. There is no gradient.

    Args:
        input: Any shape, uint8, int8, uint16, int16 or int32.
        input_min: The real number that the smallest integer of its dtype stands for, a scalar.
        input_max: The one that the largest stands for.
        requested_output_min: The real number that the smallest integer of ``out_type`` should stand for, at most 0.
        requested_output_max: The one that the largest should stand for, at least 0. Ranges that are known only at run
            time and wrong become NaN, and ``checkify`` reports them.
        out_type: uint8, int8, uint16 or int16.

    Returns:
        ``Quantized(output, output_min, output_max)``: the integers, and the requested range.

    Raises:
        ValueError: If a range is out of order, infinite or no scalar, or the requested one does not hold 0.
        TypeError: If ``input`` or ``out_type`` is none of the dtypes.

    Note:
        TensorFlow has int32 to uint8 and int8 only. Its 64 bits overflow where the requested range is less than
        ``2**-8`` of the input's and an integer near an end of int32.

    Example:
        >>> nn.requantize(jnp.array([-(2**30), 0, 2**30], jnp.int32), -1.0, 1.0, -0.5, 0.5, jnp.uint8).output.tolist()
        [0, 128, 255]

    References:
        ``tf.raw_ops.Requantize``.
    """
    op = "requantize"
    q = as_quantized_array(op, "input", input)
    low, high = as_range(op, "input_min", input_min, "input_max", input_max)
    names = ("requested_output_min", "requested_output_max")
    start, stop = as_range(op, names[0], requested_output_min, names[1], requested_output_max)
    start, stop = _with_zero(op, names[0], start, "most"), _with_zero(op, names[1], stop, "least")
    dtype = as_quantized_dtype(op, "out_type", out_type, ("uint8", "int8", "uint16", "int16"))
    return _requantize(q, low, high, start, stop, dtype)


def _with_zero(op: str, argument: str, end: jax.Array, side: str) -> jax.Array:
    """Checks an end of a range to have 0 on its other side; if it is known only at run time it becomes NaN if not."""
    if not is_traced(end):
        known = np.asarray(end)
        if not (known <= 0 if side == "most" else known >= 0):
            raise ValueError(f"{op}: `{argument}` must be at {side} 0, got {known}")
        return end
    holds = end <= 0 if side == "most" else end >= 0
    return jnp.where(holds, debug_check(op, argument, f"be at {side} 0", end, holds), jnp.nan)


@functools.partial(jax.jit, static_argnames="dtype")
def _requantize(
    q: jax.Array, low: jax.Array, high: jax.Array, start: jax.Array, stop: jax.Array, dtype: np.dtype
) -> Quantized:
    low, high, start, stop = lax.stop_gradient((low, high, start, stop))
    by = _in_fixed_point if (q.dtype, dtype) == (np.int32, np.uint8) else _by_real_numbers
    return Quantized(by(q, low, high, start, stop, dtype), start, stop)


def _in_fixed_point(
    q: jax.Array, low: jax.Array, high: jax.Array, start: jax.Array, stop: jax.Array, dtype: np.dtype
) -> jax.Array:
    """The real number 0 is the middle of the input's range, which is exact where the ends differ in sign only."""
    width, new_width = high - low, stop - start
    is_empty = new_width == 0
    middle = kept_at_least((low + high) * np.float32(0.5), low)
    with jax.enable_x64(True):
        unit, steps, none = double_of(2.0**_FRACTION), double_of(255), double_of(0)
        wide, new_wide = double(width), double(new_width)
        inverse = jnp.where(is_empty, none, steps / new_wide).astype(np.float32)
        scale = _as_long(jnp.where(is_empty, none, kept_at_least(steps * unit * wide, 0) / new_wide))
        before = _as_long((middle * inverse) * np.float32(2.0**_FRACTION))
        first = unit * kept_at_most(double(start) * steps, 0) / new_wide
        after = _as_long(jnp.where(is_empty, none, half_away(first)))
        # TensorFlow's qint32 becomes float32 whatever it is converted to.
        places, half = q.astype(np.float32).astype(LONG), np.asarray(32, LONG)
        # This is q * scale >> 32 in two parts, of which none has more than 63 bits.
        products = places * (scale >> half) + ((places * (scale & np.asarray(2**32 - 1, LONG))) >> half)
        fixed = products + (before - after + np.asarray(1 << (_FRACTION - 1), LONG))
        found = fixed >> np.asarray(_FRACTION, LONG)
        return jnp.clip(found, np.asarray(0, LONG), np.asarray(255, LONG)).astype(dtype)


def _as_long(x: jax.Array) -> jax.Array:
    """Cut off to a whole number, of at most 61 bits; 0 for NaN."""
    limit = np.asarray(_LONGEST, x.dtype)
    return jnp.where(x == x, jnp.clip(x, -limit, limit), np.asarray(0, x.dtype)).astype(LONG)


def _by_real_numbers(
    q: jax.Array, low: jax.Array, high: jax.Array, start: jax.Array, stop: jax.Array, dtype: np.dtype
) -> jax.Array:
    limits = np.iinfo(dtype)
    step = kept_at_least(real_width(low, high, steps_of(q.dtype)), 0)
    before = kept_at_most(np.float32(np.iinfo(q.dtype).min) * step, 0)
    real = (first_real(low, high, step) - before) + kept_at_least(q.astype(jnp.float32) * step, before)
    scale = jnp.where(start == stop, np.float32(0), parts_per_unit(start, stop, steps_of(dtype)))
    places = half_away(real * scale) - (half_away(start * scale) - np.float32(limits.min))
    return saturate(places, dtype)
