"""Convolution of integers that stand for real numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import at_least, check_shape
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.operation import indifferentiable, merging_into
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Window, WindowArguments
from jnnops._windows.layout import batch_shape, channel_count, merge_batch, spatial_shape, split_batch
from jnnops.convolution._bilinear import Sums
from jnnops.convolution._bilinear import convolution as convolve
from jnnops.pooling._reduction import reduce_in_any_order
from jnnops.quantization._arguments import as_quantized_array, as_quantized_dtype, as_range
from jnnops.quantization._ranges import real_width, steps_of, zero_point
from jnnops.quantization.pooling import QuantizedOutput

_BYTES = ("uint8", "int8")
_SUMS = Sums(preferred_element_type=np.dtype("int32"))


@answers_tensorflow_names
def quantized_conv2d(
    input: ArrayLike,
    filter: ArrayLike,
    min_input: ArrayLike,
    max_input: ArrayLike,
    min_filter: ArrayLike,
    max_filter: ArrayLike,
    strides: Ints,
    padding: Padding,
    out_type: DTypeLike = jnp.int32,
    dilations: Ints = 1,
    *,
    data_format: DataFormat = "NHWC",
) -> QuantizedOutput:
    r"""Convolution over two dimensions of integers that stand for real numbers, in integers, to the bit TensorFlow's.

    .. math::
        y_{b, i, j, o} = \sum_{u, v, c} (x_{b,\, s_1 i + d_1 u - p_1,\, s_2 j + d_2 v - p_2,\, c} - z_x) \;
            (w_{u, v, c, o} - z_w)

    where :math:`z` are the integers that stand for 0. Padding stands for 0, whether or not an integer of the dtype
    does. Sums are modulo :math:`2^{32}`, as TensorFlow's: they are exact for ranges that hold 0 and up to 33,025
    products, of which none is above :math:`255^2`. There is no gradient.

    Args:
        input: ``[batch, height, width, in_channels]``, or ``[batch, in_channels, height, width]`` as ``data_format``
            says, uint8 or int8; more batch dimensions may stand in front.
        filter: ``[height, width, in_channels, out_channels]``, uint8 or int8.
        min_input: The real number that the smallest integer of the input's dtype stands for, a scalar.
        max_input: The one that the largest stands for.
        min_filter: The same of the filter.
        max_filter: And its largest. Ranges that are known only at run time and have their ends in the wrong order make
            the range of the result NaN, and ``checkify`` reports them.
        strides: Cells from one window to the next: an int, two or four of them.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        out_type: int32, the only one there can be.
        dilations: Cells from one tap of the window to the next, like ``strides``.
        data_format: ``"NHWC"`` or ``"NCHW"``.

    Returns:
        ``QuantizedOutput(output, min_output, max_output)``: the sums as int32 in the layout of ``input``, and the real
        numbers that the smallest and the largest int32 stand for.

    Raises:
        ValueError: If a range is out of order, infinite or no scalar, or a shape, stride, dilation, padding or
            ``data_format`` does not fit.
        TypeError: If an array has none of the dtypes, or ``out_type`` is not int32.

    Note:
        TensorFlow has uint8 only, no dilations, no unequal strides and no explicit padding. If the input's range is
        wholly negative, its padding does not stand for 0.

    Example:
        >>> q = jnp.full((1, 2, 2, 1), 255, jnp.uint8)
        >>> found = nn.quantized_conv2d(q, q.reshape(2, 2, 1, 1), 0.0, 1.0, 0.0, 1.0, strides=1, padding="VALID")
        >>> round(nn.dequantize(found.output, found.min_output, found.max_output, "SCALED").item(), 4)
        4.0

    References:
        ``tf.compat.v1.nn.quantized_conv2d``. Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", 2018, section 2.3.
    """
    op = "quantized_conv2d"
    arguments = WindowArguments(op, strides, padding, data_format, dilations)
    channels_last = arguments.channels_last(2)
    x = as_quantized_array(op, "input", input, dtypes=_BYTES, rank=at_least(4))
    w = as_quantized_array(op, "filter", filter, dtypes=_BYTES, rank=4)
    as_quantized_dtype(op, "out_type", out_type, ("int32",))
    ranges = (
        *as_range(op, "min_input", min_input, "max_input", max_input),
        *as_range(op, "min_filter", min_filter, "max_filter", max_filter),
    )
    channels = channel_count(x, 2, channels_last)
    check_shape(op, "filter", w, (*w.shape[:2], channels, w.shape[3]), f"the {channels} channels of `input`")
    window = arguments.resolve(input_shape=spatial_shape(x, 2, channels_last), size=w.shape[:2])
    return _quantized_conv2d(x, w, *ranges, window, channels_last)


@functools.partial(jax.jit, static_argnames=("window", "channels_last"))
def _quantized_conv2d(
    x: jax.Array,
    w: jax.Array,
    low_x: jax.Array,
    high_x: jax.Array,
    low_w: jax.Array,
    high_w: jax.Array,
    window: Window,
    channels_last: bool,
) -> QuantizedOutput:
    low_x, high_x, low_w, high_w = lax.stop_gradient((low_x, high_x, low_w, high_w))
    zero_x, zero_w = zero_point(low_x, high_x, x.dtype), zero_point(low_w, high_w, w.dtype)
    signed_x, zero_x = _signed(x, zero_x)
    signed_w, zero_w = _signed(w, zero_w)
    cells = merge_batch(signed_x, 2, channels_last)
    sums = _sums_of_products(cells, signed_w, zero_x, zero_w, window)
    step = real_width(low_x, high_x, steps_of(x.dtype)) * real_width(low_w, high_w, steps_of(w.dtype))
    return QuantizedOutput(
        split_batch(sums, batch_shape(x, 2), 2, channels_last),
        step * np.float32(-(2.0**31)),
        step * np.float32(2.0**31),
    )


def _signed(q: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Integers as int8, less 128 if they have no signs, and what stands for 0 then."""
    if q.dtype == jnp.int8:
        return q, zero
    return lax.bitcast_convert_type(q ^ np.uint8(128), jnp.int8), zero - np.int32(128)


def _sums_of_products(x: jax.Array, w: jax.Array, zero_x: jax.Array, zero_w: jax.Array, window: Window) -> jax.Array:
    """The sums of (x - zero_x) (w - zero_w), of products that are all of 8 bits: four sums, of which one is large."""
    products = convolve(x, w, window, 1, _SUMS)
    of_cells = _window_sums(x, window)
    taps = jnp.sum(w, 2, dtype=jnp.int32)  # [height, width, out_channels]
    count = np.int32(x.shape[-1])
    if window.is_padded:
        rows, columns = ((dim.tap_cells() >= 0).astype(np.int32) for dim in window.dimensions)
        of_taps = jnp.einsum("iu,uvo,jv->ijo", rows, taps, columns)[None]
        count = count * np.outer(rows.sum(1), columns.sum(1))[None, :, :, None].astype(np.int32)
    else:
        of_taps = jnp.sum(taps, (0, 1), dtype=jnp.int32, keepdims=True)[None]
        count = count * np.int32(taps.shape[0] * taps.shape[1])
    # what is small is computed once, and not for every element of the result
    zero_w, constant = lax.optimization_barrier((zero_w, zero_x * (of_taps - count * zero_w)))
    return products - (of_cells * zero_w + constant)


def _window_sums(x: jax.Array, window: Window) -> jax.Array:
    """``[batch, out_height, out_width, 1]``: the sum of all channels in each window."""
    return reduce_in_any_order(_channel_sums(x), window, lax.add, 0, jnp.sum)


def _by_product(x: jax.Array) -> jax.Array:
    """The sum of all channels of int8 as int32, ``[..., 1]``, for which processors have instructions."""
    ones = jnp.ones((x.shape[-1], 1), jnp.int8)
    return lax.dot_general(x, ones, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=jnp.int32)


def _by_words(x: jax.Array) -> jax.Array:
    """The same, of four numbers at once.

    XLA on CPU widens the whole image for a product with one column, and adds single bytes slowly: with 64 channels
    either takes two to four times as long as this ("Quantization" in docs/lowerings.rst).
    """
    channels = x.shape[-1]
    if channels % 4:
        return jnp.sum(x, -1, dtype=jnp.int32, keepdims=True)
    words = lax.bitcast_convert_type(x.reshape(*x.shape[:-1], channels // 4, 4), jnp.uint32)
    # of numbers from 0 to 255, which are 128 more
    words, byte, half = words ^ np.uint32(0x80808080), np.uint32(0x00FF00FF), np.uint32(0xFFFF)
    pairs = (words & byte) + ((words >> np.uint32(8)) & byte)
    sums = jnp.sum((pairs & half) + (pairs >> np.uint32(16)), -1, dtype=jnp.uint32, keepdims=True)
    return sums.astype(jnp.int32) - np.int32(128 * channels)


_channel_sums = indifferentiable(_by_product, merging_into(0), on_cpu=_by_words)
