"""Quantization and its inverse in one: real numbers rounded to those that integers stand for."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_static_bool,
    as_static_int,
    canonical_axis,
    check_choice,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._windows.layout import along
from jnnops.quantization._arguments import as_range
from jnnops.quantization._arithmetic import divide, half_to_even, kept_at_least
from jnnops.quantization._straight_through import Sides, sides_of, straight_through


@answers_tensorflow_names
def quantize_and_dequantize(
    input: ArrayLike,
    input_min: ArrayLike,
    input_max: ArrayLike,
    signed_input: bool = True,
    num_bits: int = 8,
    range_given: bool = False,
    round_mode: Literal["HALF_TO_EVEN", "HALF_UP"] = "HALF_TO_EVEN",
    narrow_range: bool = False,
    axis: int | None = None,
) -> jax.Array:
    r"""Numbers rounded to the nearest of those that integers stand for, of which 0 is one.

    .. math::
        y = \mathrm{round}(s\, \mathrm{clip}(x)) / s, \quad s = \min(q_{min} / min, q_{max} / max)

    The gradient is that of clipping to the range, ends included, in every order and mode; that by the range is 0.
    Values are TensorFlow's to the bit.

    Args:
        input: Any shape, floating point; 16-bit numbers are computed with in float32.
        input_min: The smallest number to be told apart, if ``range_given``: a scalar, or one for each slice along
            ``axis``.
        input_max: The largest. A range that is known only at run time and has its ends in the wrong order gives NaN,
            and ``checkify`` reports it.
        signed_input: Whether the integers have signs; otherwise negative numbers become 0 if the range is given.
        num_bits: Of an integer, from 2 to 63 with signs and from 1 without.
        range_given: Whether the range is given, or that of ``input``; then its numbers are not clipped.
        round_mode: ``"HALF_TO_EVEN"`` or ``"HALF_UP"``.
        narrow_range: Whether to leave out the smallest integer.
        axis: The axis along which each slice has its own range.

    Returns:
        The shape and dtype of ``input``.

    Raises:
        ValueError: If the range is out of order, not of the axis's size or infinite, or an option out of range.
        TypeError: If ``input`` is not floating point, or an option not static.

    Note:
        Without ``range_given``, TensorFlow's gradient is 0 outside of the range that is not used.

    Example:
        >>> nn.quantize_and_dequantize([-1.0, 0.3, 2.0], -1.0, 1.0, num_bits=3, range_given=True)
        Array([-1.        ,  0.33333334,  1.        ], dtype=float32)

    References:
        ``tf.quantization.quantize_and_dequantize_v2``.
    """
    op = "quantize_and_dequantize"
    x = as_float_array(op, "input", input)
    at = None if axis is None else canonical_axis(op, "axis", axis, x.ndim)
    shape = () if at is None else (x.shape[at],)
    dtype = accumulation_dtype(x.dtype)
    ends = as_range(op, "input_min", input_min, "input_max", input_max, shape=shape, dtype=dtype, has_width=False)
    signed = as_static_bool(op, "signed_input", signed_input)
    bits = as_static_int(op, "num_bits", num_bits, minimum=1 + signed, maximum=63)
    given = as_static_bool(op, "range_given", range_given)
    check_choice(op, "round_mode", round_mode, ("HALF_TO_EVEN", "HALF_UP"))
    narrow = as_static_bool(op, "narrow_range", narrow_range)
    if not given:
        ends = _range_of(x, at)
    first = -(2 ** (bits - 1)) + narrow if signed else 0
    last = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return _both_ways(x, *ends, first, last, round_mode == "HALF_UP", given, at)


@functools.partial(jax.jit, static_argnames="axis")
def _range_of(x: jax.Array, axis: int | None) -> tuple[jax.Array, jax.Array]:
    wide = lax.stop_gradient(x).astype(accumulation_dtype(x.dtype))
    others = tuple(at for at in range(x.ndim) if at != axis)
    limit = float(jnp.finfo(wide.dtype).max)
    return jnp.min(wide, others, initial=limit), jnp.max(wide, others, initial=-limit)


@functools.partial(jax.jit, static_argnames=("first", "last", "half_up", "given", "axis"))
def _both_ways(
    x: jax.Array,
    low: jax.Array,
    high: jax.Array,
    first: int,
    last: int,
    half_up: bool,
    given: bool,
    axis: int | None,
) -> jax.Array:
    shape = (1,) * x.ndim if axis is None else along(axis, x.ndim)
    low, high = (lax.stop_gradient(end).reshape(shape) for end in (low, high))
    return _rounded(x, low, high, first=first, last=last, half_up=half_up, given=given)


def _quantized_and_back(
    x: jax.Array, low: jax.Array, high: jax.Array, *, first: int, last: int, half_up: bool, given: bool
) -> jax.Array:
    wide, dtype = x.astype(low.dtype), low.dtype
    start, stop, largest = (np.asarray(number, dtype) for number in (first, last, jnp.finfo(dtype).max))
    by_low = jnp.where(start * low > 0, start / low, largest)
    by_high = jnp.where(stop * high > 0, stop / high, largest)
    is_low = by_low < by_high
    scale = kept_at_least(jnp.where(is_low, by_low, by_high), 0)
    step = kept_at_least(jnp.where(is_low, divide(low, first or 1), divide(high, last)), 0)
    least = low
    if given:
        least = jnp.where(is_low, low, start * step)
        wide = jnp.clip(wide, least, jnp.where(is_low, stop * step, high))
    places = kept_at_least(wide * scale, least * scale)
    whole = jnp.floor(places + np.asarray(0.5, dtype)) if half_up else half_to_even(places)
    return (whole * step).astype(x.dtype)


def _sides(x: jax.Array, low: jax.Array, high: jax.Array, **params: int) -> Sides:
    del params
    return sides_of(x, low, high)


_rounded = straight_through(_quantized_and_back, _sides, ends_have_gradients=False)
