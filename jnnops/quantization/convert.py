"""Real numbers as integers of a range, and back."""

import functools
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    NOT_NEGATIVE,
    as_dtype,
    as_float_array,
    as_static_bool,
    as_static_float,
    canonical_axis,
    check_choice,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._windows.layout import along
from jnnops.quantization._arguments import as_quantized_array, as_quantized_dtype, as_range
from jnnops.quantization._arithmetic import as_integers, half_away, half_to_even, kept_at_least, kept_at_most, saturate
from jnnops.quantization._ranges import first_real, parts_per_unit, real_width, steps_of

Mode: TypeAlias = Literal["MIN_COMBINED", "MIN_FIRST", "SCALED"]
MODES = ("MIN_COMBINED", "MIN_FIRST", "SCALED")
_LARGEST = np.finfo(np.float32).max
# The largest float32 below 2**31.
_LAST_INT32 = 2.0**31 - 128


@serializable
class Quantized(NamedTuple):
    """What :func:`quantize` and :func:`requantize` return.

    Attributes:
        output: Integers.
        output_min: The real number that the smallest integer stands for, float32.
        output_max: The one that the largest stands for.
    """

    output: jax.Array
    output_min: jax.Array
    output_max: jax.Array


@answers_tensorflow_names
def quantize(
    input: ArrayLike,
    min_range: ArrayLike,
    max_range: ArrayLike,
    T: DTypeLike,
    mode: Mode = "MIN_COMBINED",
    round_mode: Literal["HALF_AWAY_FROM_ZERO", "HALF_TO_EVEN"] = "HALF_AWAY_FROM_ZERO",
    narrow_range: bool = False,
    axis: int | None = None,
    ensure_minimum_range: float = 0.01,
) -> Quantized:
    r"""Real numbers as the integers that stand for the nearest ones in a range, to the bit TensorFlow's.

    The range is first widened to hold 0 and to be at least ``ensure_minimum_range`` times
    :math:`\max(1, |min|, |max|)` wide. With :math:`s = steps / (max - min)`, where the integers are from :math:`q_0` to
    :math:`q_0 + steps`, and :math:`x` clipped to the range:

    .. math::
        \text{MIN\_COMBINED: } & q_0 + \mathrm{round}((x - min) s) \\
        \text{MIN\_FIRST: } & q_0 + \mathrm{round}(x s) - \mathrm{round}(min\, s) \\
        \text{SCALED: } & \mathrm{round}(x s'), \quad s' = \min(q_{min} / min, q_{max} / max)

    The results are integers, without a gradient; :func:`fake_quant_with_min_max_vars` has one.

    Args:
        input: Any shape, floating point, computed with in float32. NaN gives the integer 0.
        min_range: The smallest real number to be told apart: a scalar, or one for each slice along ``axis``.
        max_range: The largest. A range that is known only at run time and has its ends in the wrong order becomes NaN,
            and ``checkify`` reports it.
        T: uint8, int8, uint16, int16 or int32.
        mode: ``"MIN_COMBINED"``, ``"MIN_FIRST"`` or ``"SCALED"``, in which 0 is 0 and the range symmetrical.
        round_mode: ``"HALF_AWAY_FROM_ZERO"`` or, for SCALED only, ``"HALF_TO_EVEN"``.
        narrow_range: Whether SCALED leaves out the smallest integer, so that int8 is from -127 to 127.
        axis: The axis along which each slice has its own range.
        ensure_minimum_range: The least width of a range, as above.

    Returns:
        ``Quantized(output, output_min, output_max)``: the integers, and the ends of the range that they are of.

    Raises:
        ValueError: If a range is out of order, not of the axis's size or infinite, or an option unknown.
        TypeError: If ``input`` is not floating point, ``T`` none of the dtypes, or an option not static.

    Note:
        In TensorFlow the largest numbers overflow to the smallest int32 with MIN_COMBINED and SCALED, NaN becomes this
        or that, and MIN_FIRST has no ``axis``.

    Example:
        >>> nn.quantize([-1.0, 0.0, 2.0], -1.0, 2.0, jnp.uint8).output.tolist()
        [0, 85, 255]

    References:
        ``tf.quantization.quantize``.
    """
    op = "quantize"
    x = as_float_array(op, "input", input)
    dtype = as_quantized_dtype(op, "T", T)
    check_choice(op, "mode", mode, MODES)
    check_choice(op, "round_mode", round_mode, ("HALF_AWAY_FROM_ZERO", "HALF_TO_EVEN"))
    if round_mode == "HALF_TO_EVEN" and mode != "SCALED":
        raise ValueError(f"{op}: `round_mode` must be 'HALF_AWAY_FROM_ZERO' with mode {mode!r}, got 'HALF_TO_EVEN'")
    at = None if axis is None else canonical_axis(op, "axis", axis, x.ndim)
    shape = () if at is None else (x.shape[at],)
    has_width = mode != "SCALED"
    low, high = as_range(op, "min_range", min_range, "max_range", max_range, shape=shape, has_width=has_width)
    least = as_static_float(op, "ensure_minimum_range", ensure_minimum_range, NOT_NEGATIVE)
    narrow = as_static_bool(op, "narrow_range", narrow_range)
    return _quantize(x, low, high, dtype, mode, round_mode == "HALF_TO_EVEN", narrow, at, least)


@functools.partial(jax.jit, static_argnames=("dtype", "mode", "to_even", "narrow", "axis", "least"))
def _quantize(
    x: jax.Array,
    low: jax.Array,
    high: jax.Array,
    dtype: np.dtype,
    mode: Mode,
    to_even: bool,
    narrow: bool,
    axis: int | None,
    least: float,
) -> Quantized:
    x, low, high = lax.stop_gradient((x.astype(jnp.float32), low, high))
    low, high = _widened(low, high, least)
    if mode == "SCALED":
        scale, low, high = _symmetrical(low, high, dtype, narrow)
        to_slices = functools.partial(_to_slices, rank=x.ndim, axis=axis)
        scaled = jnp.clip(x, to_slices(low), to_slices(high)) * to_slices(scale)
        return Quantized(as_integers((half_to_even if to_even else half_away)(scaled), dtype), low, high)
    scale = parts_per_unit(low, high, steps_of(dtype))
    lows, highs, scales = (_to_slices(each, x.ndim, axis) for each in (low, high, scale))
    if mode == "MIN_COMBINED":
        return Quantized(_min_combined(x, lows, highs, scales, dtype), low, high)
    scales = jnp.where(lows == highs, np.float32(0), scales)
    return Quantized(_min_first(x, lows, scales, dtype), low, high)


def _widened(low: jax.Array, high: jax.Array, least: float) -> tuple[jax.Array, jax.Array]:
    """The range with 0 in it and no narrower than ``least`` asks for."""
    width = kept_at_least(lax.max(jnp.ones_like(low), lax.max(jnp.abs(low), jnp.abs(high))) * np.float32(least), 0)
    low = kept_at_most(jnp.minimum(low, np.float32(0)), 0)
    return low, kept_at_least(lax.max(high, low + width), 0)


def _min_combined(x: jax.Array, low: jax.Array, high: jax.Array, scale: jax.Array, dtype: np.dtype) -> jax.Array:
    places = kept_at_least((jnp.clip(x, low, high) - low) * scale, 0)
    if np.issubdtype(dtype, np.unsignedinteger):
        return as_integers(jnp.floor(places + np.float32(0.5)), dtype)
    return as_integers(half_away(places + np.float32(np.iinfo(dtype).min)), dtype)


def _min_first(x: jax.Array, low: jax.Array, scale: jax.Array, dtype: np.dtype) -> jax.Array:
    limits = np.iinfo(dtype)
    first = half_away(low * scale) - np.float32(limits.min)
    places = half_away(x * scale) - first
    return saturate(jnp.minimum(places, np.float32(min(limits.max, _LAST_INT32))), dtype)


def _symmetrical(
    low: jax.Array, high: jax.Array, dtype: np.dtype, narrow: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The scale of SCALED and the range that is whole with it."""
    first, last = (np.float32(number) for number in _scaled_limits(dtype, narrow))
    from_low = jnp.where(first * low > 0, first / low, _LARGEST)
    from_high = jnp.where(last * high > 0, last / high, _LARGEST)
    scale = kept_at_least(jnp.minimum(from_low, from_high), 0)
    # a subnormal number, of a narrow range without positive ones, is 0 in TensorFlow
    start = first / scale
    return scale, jnp.where(jnp.abs(start) < np.finfo(np.float32).tiny, np.float32(0), start), last / scale


def _scaled_limits(dtype: np.dtype, narrow: bool) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min) + narrow, int(limits.max)


def _to_slices(ends: jax.Array, rank: int, axis: int | None) -> jax.Array:
    return ends if axis is None else ends.reshape(along(axis, rank))


@answers_tensorflow_names
def dequantize(
    input: ArrayLike,
    min_range: ArrayLike,
    max_range: ArrayLike,
    mode: Mode = "MIN_COMBINED",
    axis: int | None = None,
    narrow_range: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    r"""The real numbers that integers stand for, to the bit TensorFlow's.

    With :math:`d = (max - min) / steps`, where the integers are from :math:`q_0` to :math:`q_0 + steps`:

    .. math::
        \text{MIN\_COMBINED: } & min + (q - q_0) d \\
        \text{MIN\_FIRST: } & d\, \mathrm{round}(min / d) + (q - q_0) d \\
        \text{SCALED: } & q \max(min / q_{min}, max / q_{max})

    There is no gradient.

    Args:
        input: Any shape, uint8, int8, uint16, int16 or int32.
        min_range: The end of the range that :func:`quantize` returned: a scalar, or one for each slice along ``axis``.
        max_range: The other one. A range that is known only at run time and has its ends in the wrong order gives NaN,
            and ``checkify`` reports it.
        mode: ``"MIN_COMBINED"``, ``"MIN_FIRST"`` or ``"SCALED"``.
        axis: The axis along which each slice has its own range.
        narrow_range: Whether SCALED has left out the smallest integer.
        dtype: Of the result; it is computed in float32.

    Returns:
        The shape of ``input``.

    Raises:
        ValueError: If a range is out of order, not of the axis's size or infinite, or ``mode`` unknown.
        TypeError: If ``input`` has none of the dtypes, ``dtype`` is not floating point, or an option not static.

    Note:
        TensorFlow has MIN_FIRST without ``axis`` only, and bfloat16 with MIN_COMBINED only.

    Example:
        >>> nn.dequantize(jnp.array([0, 85, 255], jnp.uint8), -1.0, 2.0).tolist()
        [-1.0, 0.0, 2.0]

    References:
        ``tf.quantization.dequantize``.
    """
    op = "dequantize"
    q = as_quantized_array(op, "input", input)
    check_choice(op, "mode", mode, MODES)
    at = None if axis is None else canonical_axis(op, "axis", axis, q.ndim)
    shape = () if at is None else (q.shape[at],)
    has_width = mode != "SCALED"
    low, high = as_range(op, "min_range", min_range, "max_range", max_range, shape=shape, has_width=has_width)
    narrow = as_static_bool(op, "narrow_range", narrow_range)
    return _dequantize(q, low, high, mode, narrow, at, as_dtype(op, "dtype", dtype, floating=True))


@functools.partial(jax.jit, static_argnames=("mode", "narrow", "axis", "dtype"))
def _dequantize(
    q: jax.Array, low: jax.Array, high: jax.Array, mode: Mode, narrow: bool, axis: int | None, dtype: np.dtype
) -> jax.Array:
    low, high = (_to_slices(end, q.ndim, axis) for end in lax.stop_gradient((low, high)))
    limits, number = np.iinfo(q.dtype), q.astype(jnp.float32)
    start = np.float32(limits.min)
    if mode == "MIN_COMBINED":
        step = kept_at_least(real_width(low, high, int(np.float32(steps_of(q.dtype)))), 0)
        real = kept_at_least((number - start) * step, 0) + low
    elif mode == "MIN_FIRST":
        step = kept_at_least(real_width(low, high, steps_of(q.dtype)), 0)
        before = kept_at_most(start * step, 0)
        real = (first_real(low, high, step) - before) + kept_at_least(number * step, before)
    else:
        real = number * _scaled_step(low, high, q.dtype, narrow)
    return real.astype(dtype)


def _scaled_step(low: jax.Array, high: jax.Array, dtype: np.dtype, narrow: bool) -> jax.Array:
    first, last = _scaled_limits(dtype, narrow)
    from_high = real_width(jnp.zeros_like(high), high, int(np.float32(last)))
    if np.issubdtype(dtype, np.unsignedinteger):
        return jnp.where(low == low, from_high, jnp.nan)
    return lax.max(real_width(jnp.zeros_like(low), low, int(np.float32(first))), from_high)
