"""Real numbers rounded as quantization would round them, with a gradient: for training networks to be quantized."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_static_bool,
    as_static_float,
    as_static_int,
    at_least,
    check_shape,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.quantization._arguments import as_range
from jnnops.quantization._arithmetic import divide, kept_at_least
from jnnops.quantization._ranges import nudge
from jnnops.quantization._straight_through import Sides, sides_of, straight_through


@serializable
class FakeQuantGradients(NamedTuple):
    """What the gradient ops of fake quantization with variables return.

    Attributes:
        backprops_wrt_input: The gradient by ``inputs``.
        backprop_wrt_min: The gradient by ``min``.
        backprop_wrt_max: The gradient by ``max``.
    """

    backprops_wrt_input: jax.Array
    backprop_wrt_min: jax.Array
    backprop_wrt_max: jax.Array


@answers_tensorflow_names
def fake_quant_with_min_max_args(
    inputs: ArrayLike, min: float = -6, max: float = 6, num_bits: int = 8, narrow_range: bool = False
) -> jax.Array:
    r"""Numbers rounded to the nearest of those that integers of ``num_bits`` stand for in a fixed range.

    The range is nudged so that it has 0: with :math:`d = (max - min) / (2^{bits} - 1)` it starts at
    :math:`min' = -d\, \mathrm{round}(-min / d)`, and

    .. math::
        y = d \left\lfloor \frac{\mathrm{clip}(x) - min'}{d} - \frac{-min'}{d} + \frac12 \right\rfloor

    The gradient is that of clipping to the nudged range, ends included, without the rounding, in every order and mode;
    values are TensorFlow's to the bit.

    Args:
        inputs: Any shape, floating point; 16-bit numbers are computed with in float32.
        min: The smallest number, static.
        max: The largest, static.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        The shape and dtype of ``inputs``.

    Raises:
        ValueError: If ``min`` is not below ``max``, or ``num_bits`` out of range.
        TypeError: If ``inputs`` is not floating point, or an option not static.

    Example:
        >>> nn.fake_quant_with_min_max_args([-1.0, 0.3, 9.0], min=0, max=3, num_bits=2).tolist()
        [0.0, 0.0, 3.0]

    References:
        ``tf.quantization.fake_quant_with_min_max_args``. Jacob et al., "Quantization and Training of Neural Networks
        for Efficient Integer-Arithmetic-Only Inference", 2018.
    """
    op = "fake_quant_with_min_max_args"
    x = as_float_array(op, "inputs", inputs)
    return _fake_quant(x, *_static_range(op, min, max, x), *_options(op, num_bits, narrow_range))


@answers_tensorflow_names
def fake_quant_with_min_max_args_gradient(
    gradients: ArrayLike,
    inputs: ArrayLike,
    min: float = -6,
    max: float = 6,
    num_bits: int = 8,
    narrow_range: bool = False,
) -> jax.Array:
    """The gradient of :func:`fake_quant_with_min_max_args`: ``gradients`` inside of the nudged range, and 0 outside.

    Args:
        gradients: By the result, of the shape of ``inputs``, floating point.
        inputs: Any shape, floating point.
        min: The smallest number, static.
        max: The largest, static.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        The shape and dtype of ``gradients``.

    Raises:
        ValueError: If shapes differ, ``min`` is not below ``max``, or ``num_bits`` out of range.
        TypeError: If an array is not floating point, or an option not static.

    Example:
        >>> nn.fake_quant_with_min_max_args_gradient([1.0, 2.0, 3.0], [-1.0, 0.3, 9.0], min=0, max=3).tolist()
        [0.0, 2.0, 0.0]

    References:
        ``tf.quantization.fake_quant_with_min_max_args_gradient``.
    """
    op = "fake_quant_with_min_max_args_gradient"
    g, x = _with_gradients(op, gradients, inputs)
    return _pull_back(g, x, *_static_range(op, min, max, x), *_options(op, num_bits, narrow_range))[0]


@answers_tensorflow_names
def fake_quant_with_min_max_vars(
    inputs: ArrayLike, min: ArrayLike, max: ArrayLike, num_bits: int = 8, narrow_range: bool = False
) -> jax.Array:
    """:func:`fake_quant_with_min_max_args` with a range that may be learned.

    The gradient of numbers below the nudged range goes to ``min`` and of those above to ``max``.

    Args:
        inputs: Any shape, floating point; 16-bit numbers are computed with in float32.
        min: The smallest number, a scalar.
        max: The largest. Both 0 give 0, and other equal numbers NaN. A range that is known only at run time and has
            its ends in the wrong order gives NaN, and ``checkify`` reports it.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        The shape and dtype of ``inputs``.

    Raises:
        ValueError: If the range is out of order or no scalar, or ``num_bits`` out of range.
        TypeError: If an array is not floating point, or an option not static.

    Example:
        >>> jax.grad(lambda high: nn.fake_quant_with_min_max_vars([1.0, 5.0], 0.0, high).sum())(3.0).item()
        1.0

    References:
        ``tf.quantization.fake_quant_with_min_max_vars``.
    """
    op = "fake_quant_with_min_max_vars"
    x = as_float_array(op, "inputs", inputs)
    # TensorFlow divides in this op, and multiplies in the others
    return _fake_quant(x, *_range(op, min, max, x), *_options(op, num_bits, narrow_range), by_step=True)


@answers_tensorflow_names
def fake_quant_with_min_max_vars_gradient(
    gradients: ArrayLike,
    inputs: ArrayLike,
    min: ArrayLike,
    max: ArrayLike,
    num_bits: int = 8,
    narrow_range: bool = False,
) -> FakeQuantGradients:
    """The gradients of :func:`fake_quant_with_min_max_vars`.

    Args:
        gradients: By the result, of the shape of ``inputs``, floating point.
        inputs: Any shape, floating point.
        min: The smallest number, a scalar.
        max: The largest. A range that is known only at run time and has its ends in the wrong order has gradients of 0,
            and ``checkify`` reports it.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        ``FakeQuantGradients(backprops_wrt_input, backprop_wrt_min, backprop_wrt_max)``, of the shapes of
        ``inputs``, ``min`` and ``max``, in the dtype of ``gradients``; sums are taken in float32.

    Raises:
        ValueError: If shapes differ, the range is out of order or no scalar, or ``num_bits`` out of range.
        TypeError: If an array is not floating point, or an option not static.

    Example:
        >>> nn.fake_quant_with_min_max_vars_gradient([1.0, 2.0, 4.0], [-1.0, 0.3, 9.0], 0.0, 3.0)[1:]
        (Array(1., dtype=float32), Array(4., dtype=float32))

    References:
        ``tf.quantization.fake_quant_with_min_max_vars_gradient``.
    """
    op = "fake_quant_with_min_max_vars_gradient"
    g, x = _with_gradients(op, gradients, inputs)
    return _pull_back(g, x, *_range(op, min, max, x), *_options(op, num_bits, narrow_range))


@answers_tensorflow_names
def fake_quant_with_min_max_vars_per_channel(
    inputs: ArrayLike, min: ArrayLike, max: ArrayLike, num_bits: int = 8, narrow_range: bool = False
) -> jax.Array:
    """:func:`fake_quant_with_min_max_vars` with a range for each channel, the last axis.

    Args:
        inputs: ``[..., channels]``, floating point; 16-bit numbers are computed with in float32.
        min: The smallest number of each channel, ``[channels]``.
        max: The largest. Both 0 give 0, and other equal numbers NaN. A range that is known only at run time and has
            its ends in the wrong order gives NaN, and ``checkify`` reports it.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        The shape and dtype of ``inputs``.

    Raises:
        ValueError: If a range is out of order or there is not one for each channel, or ``num_bits`` out of range.
        TypeError: If an array is not floating point, or an option not static.

    Example:
        >>> nn.fake_quant_with_min_max_vars_per_channel([[1.0, 1.0]], [0.0, 0.0], [0.5, 2.0], num_bits=2).tolist()
        [[0.5, 1.3333333730697632]]

    References:
        ``tf.quantization.fake_quant_with_min_max_vars_per_channel``.
    """
    op = "fake_quant_with_min_max_vars_per_channel"
    x = as_float_array(op, "inputs", inputs, rank=at_least(1))
    return _fake_quant(x, *_range(op, min, max, x, per_channel=True), *_options(op, num_bits, narrow_range))


@answers_tensorflow_names
def fake_quant_with_min_max_vars_per_channel_gradient(
    gradients: ArrayLike,
    inputs: ArrayLike,
    min: ArrayLike,
    max: ArrayLike,
    num_bits: int = 8,
    narrow_range: bool = False,
) -> FakeQuantGradients:
    """The gradients of :func:`fake_quant_with_min_max_vars_per_channel`.

    Args:
        gradients: By the result, of the shape of ``inputs``, floating point.
        inputs: ``[..., channels]``, floating point.
        min: The smallest number of each channel, ``[channels]``.
        max: The largest. A range that is known only at run time and has its ends in the wrong order has gradients of 0,
            and ``checkify`` reports it.
        num_bits: From 2 to 16.
        narrow_range: Whether to leave out the smallest integer.

    Returns:
        ``FakeQuantGradients(backprops_wrt_input, backprop_wrt_min, backprop_wrt_max)``, of the shapes of
        ``inputs``, ``min`` and ``max``, in the dtype of ``gradients``; sums are taken in float32.

    Raises:
        ValueError: If shapes differ, a range is out of order or there is not one for each channel, or ``num_bits`` out
            of range.
        TypeError: If an array is not floating point, or an option not static.

    Example:
        >>> found = nn.fake_quant_with_min_max_vars_per_channel_gradient([[1.0, 2.0]], [[1.0, 1.0]], [0, 0], [0.5, 2])
        >>> found.backprop_wrt_max.tolist()
        [1.0, 0.0]

    References:
        ``tf.quantization.fake_quant_with_min_max_vars_per_channel_gradient``.
    """
    op = "fake_quant_with_min_max_vars_per_channel_gradient"
    g, x = _with_gradients(op, gradients, inputs)
    ends = _range(op, min, max, x, per_channel=True)
    return _pull_back(g, x, *ends, *_options(op, num_bits, narrow_range))


def _options(op: str, num_bits: int, narrow_range: bool) -> tuple[int, bool]:
    bits = as_static_int(op, "num_bits", num_bits, minimum=2, maximum=16)
    return bits, as_static_bool(op, "narrow_range", narrow_range)


def _static_range(op: str, low: float, high: float, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    start, stop = (as_static_float(op, name, end) for name, end in (("min", low), ("max", high)))
    if not start < stop or stop - start > float(np.finfo(np.float32).max):
        raise ValueError(f"{op}: `min` must be below `max`, and their difference finite, got {start} and {stop}")
    dtype = accumulation_dtype(x.dtype)
    return jnp.asarray(start, dtype), jnp.asarray(stop, dtype)


def _range(
    op: str, low: ArrayLike, high: ArrayLike, x: jax.Array, *, per_channel: bool = False
) -> tuple[jax.Array, jax.Array]:
    shape = x.shape[-1:] if per_channel else ()
    return as_range(op, "min", low, "max", high, shape=shape, dtype=accumulation_dtype(x.dtype))


def _with_gradients(op: str, gradients: ArrayLike, inputs: ArrayLike) -> tuple[jax.Array, jax.Array]:
    x = as_float_array(op, "inputs", inputs)
    g = as_float_array(op, "gradients", gradients)
    check_shape(op, "gradients", g, x.shape, "that of `inputs`")
    return g, x


@functools.partial(jax.jit, static_argnames=("bits", "narrow", "by_step"))
def _fake_quant(
    x: jax.Array, low: jax.Array, high: jax.Array, bits: int, narrow: bool, by_step: bool = False
) -> jax.Array:
    low, high = (_at_rank(end, x.ndim) for end in (low, high))
    return _rounded(x, low, high, bits=bits, narrow=narrow, by_step=by_step)


@functools.partial(jax.jit, static_argnames=("bits", "narrow"))
def _pull_back(
    g: jax.Array, x: jax.Array, low: jax.Array, high: jax.Array, bits: int, narrow: bool
) -> FakeQuantGradients:
    others = tuple(range(x.ndim - low.ndim))
    low, high = (_at_rank(end, x.ndim) for end in (low, high))
    sides = _sides(x.astype(low.dtype), low, high, bits=bits, narrow=narrow)
    below, inside, above = (jnp.where(side, g, np.zeros((), g.dtype)) for side in sides)
    sums = (jnp.sum(each.astype(low.dtype), others).astype(g.dtype) for each in (below, above))
    return FakeQuantGradients(inside, *sums)


def _at_rank(end: jax.Array, rank: int) -> jax.Array:
    return end.reshape((1,) * (rank - end.ndim) + end.shape)


def _limits(bits: int, narrow: bool) -> tuple[int, int]:
    return int(narrow), 2**bits - 1


def _sides(x: jax.Array, low: jax.Array, high: jax.Array, *, bits: int, narrow: bool, by_step: bool = False) -> Sides:
    """Of the nudged range; of one of nothing but 0, which gives 0 and cannot be nudged, all is inside."""
    del by_step
    sides = sides_of(x, *nudge(low, high, *_limits(bits, narrow))[:2])
    return sides._replace(inside=sides.inside | _is_nothing(low, high))


def _is_nothing(low: jax.Array, high: jax.Array) -> jax.Array:
    return (low == 0) & (high == 0)


def _fake_quantized(
    x: jax.Array, low: jax.Array, high: jax.Array, *, bits: int, narrow: bool, by_step: bool
) -> jax.Array:
    nudged = nudge(low, high, *_limits(bits, narrow))
    half = np.asarray(0.5, low.dtype)
    zero = jnp.floor(kept_at_least(-nudged.low * nudged.inverse, 0) + half)
    shifted = jnp.clip(x.astype(low.dtype), nudged.low, nudged.high) - nudged.low
    places = kept_at_least(divide(shifted, nudged.step) if by_step else shifted * nudged.inverse, 0)
    rounded = jnp.floor(places - zero + half) * nudged.step
    return jnp.where(_is_nothing(low, high), np.asarray(0, low.dtype), rounded).astype(x.dtype)


_rounded = straight_through(_fake_quantized, _sides, ends_have_gradients=True)
