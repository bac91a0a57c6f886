"""The convolutions that treat each channel by itself: depthwise and separable."""

import jax
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_arrays, at_least, check_rank
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments
from jnnops._windows.layout import channel_count, spatial_shape
from jnnops.convolution._bilinear import Sums, convolution, of_images


@answers_tensorflow_names
def depthwise_conv2d(
    input: ArrayLike,
    filter: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = None,
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolution of each channel with filters of its own.

    Output ``c * multiplier + m`` is channel ``c`` convolved with ``filter[:, :, c, m]``: ``conv2d`` with as many groups
    as channels.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]`` as ``data_format`` says;
            more batch dimensions may stand in front.
        filter: ``[height, width, channels, multiplier]``.
        strides: Cells from one window to the next: an int, two or four of them, which may differ.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` (unless given) or ``"NCHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, out_height, out_width, channels * multiplier]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        Unequal strides, and strides above 1 together with dilations above 1, work; TensorFlow refuses them.

    Example:
        >>> x = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]).reshape(1, 1, 3, 2)
        >>> nn.depthwise_conv2d(x, jnp.ones((1, 2, 2, 1)), strides=1, padding="VALID")[0, 0]
        Array([[ 3., 30.],
               [ 5., 50.]], dtype=float32)

    References:
        ``tf.nn.depthwise_conv2d``; ``tf.compat.v1.nn.depthwise_conv2d_native`` is the same function.
    """
    arguments = WindowArguments("depthwise_conv2d", strides, padding, data_format, dilations)
    x, w = as_number_arrays(arguments.op, input=input, filter=filter)
    return _depthwise(arguments, x, w, "filter", Sums(precision, preferred_element_type))


depthwise_conv2d_native = depthwise_conv2d


@answers_tensorflow_names
def separable_conv2d(
    input: ArrayLike,
    depthwise_filter: ArrayLike,
    pointwise_filter: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = None,
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolution of each channel by itself, then a mixture of the channels cell by cell.

    Args:
        input: ``[batch, height, width, channels]``, or ``[batch, channels, height, width]`` as ``data_format`` says;
            more batch dimensions may stand in front.
        depthwise_filter: ``[height, width, channels, multiplier]``, as in ``depthwise_conv2d``.
        pointwise_filter: ``[1, 1, channels * multiplier, out_channels]``.
        strides: Cells from one window to the next: an int, two or four of them, which may differ.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` (unless given) or ``"NCHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, out_height, out_width, out_channels]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        16-bit inputs are rounded to their dtype between the two steps, as in TensorFlow.

    Example:
        >>> depthwise, pointwise = jnp.ones((3, 3, 8, 2)), jnp.ones((1, 1, 16, 32))
        >>> nn.separable_conv2d(jnp.ones((1, 16, 16, 8)), depthwise, pointwise, strides=2, padding="SAME").shape
        (1, 8, 8, 32)

    References:
        ``tf.nn.separable_conv2d``. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.
    """
    op = "separable_conv2d"
    arguments, sums = WindowArguments(op, strides, padding, data_format, dilations), Sums(precision)
    x, depthwise, pointwise = as_number_arrays(
        op, input=input, depthwise_filter=depthwise_filter, pointwise_filter=pointwise_filter
    )
    check_rank(op, "pointwise_filter", pointwise, 4)
    check_rank(op, "depthwise_filter", depthwise, 4)
    between = depthwise.shape[2] * depthwise.shape[3]
    if pointwise.shape[:3] != (1, 1, between):
        raise ValueError(
            f"{op}: `pointwise_filter` must have shape (1, 1, {between}, out_channels), of which {between} is channels "
            f"times multiplier of `depthwise_filter` (depthwise_filter.shape = {depthwise.shape}), got "
            f"{pointwise.shape}"
        )
    summed = sums._replace(preferred_element_type=preferred_element_type)
    y = _depthwise(arguments, x, depthwise, "depthwise_filter", summed)
    return mix_channels(arguments, y, pointwise.astype(y.dtype), sums)


def _depthwise(arguments: WindowArguments, x: jax.Array, w: jax.Array, filter_name: str, sums: Sums) -> jax.Array:
    op, channels_last = arguments.op, arguments.channels_last(2)
    check_rank(op, "input", x, at_least(4))
    check_rank(op, filter_name, w, 4)
    check_depthwise_channels(op, filter_name, w.shape, "input", channel_count(x, 2, channels_last))
    return convolve_channels(arguments, x, w, sums.checked(op, x.dtype))


def convolve_channels(arguments: WindowArguments, x: jax.Array, w: jax.Array, sums: Sums) -> jax.Array:
    """The depthwise convolution with ``[*window, channels, multiplier]`` over as many dimensions as that has."""
    rank = w.ndim - 2
    channels_last = arguments.channels_last(rank)
    window = arguments.resolve(input_shape=spatial_shape(x, rank, channels_last), size=w.shape[:rank])
    return of_images(
        convolution, x, as_groups(w), window=window, groups=w.shape[-2], sums=sums, channels_last=channels_last
    )


def mix_channels(arguments: WindowArguments, y: jax.Array, pointwise: jax.Array, sums: Sums) -> jax.Array:
    """The pointwise convolution with ``[1, ..., 1, channels, out_channels]`` that follows it."""
    rank = pointwise.ndim - 2
    channels_last = arguments.channels_last(rank)
    cells = WindowArguments(arguments.op, 1, "VALID")
    window = cells.resolve(input_shape=spatial_shape(y, rank, channels_last), size=(1,) * rank)
    return of_images(convolution, y, pointwise, window=window, sums=sums, channels_last=channels_last)


def check_depthwise_channels(op: str, argument: str, shape: tuple[int, ...], like: str, channels: int) -> None:
    """Raises unless filters of this shape are for so many channels."""
    if channels == 0 or shape[2] != channels:
        raise ValueError(
            f"{op}: `{argument}` must have as many channels as `{like}`, {channels} and at least 1, got {shape[2]} of "
            f"shape {shape}"
        )


def as_groups(w: jax.Array) -> jax.Array:
    """``[*window, channels, multiplier]`` as the filters of a convolution with a group for each channel."""
    return w.reshape(*w.shape[:-2], 1, w.shape[-2] * w.shape[-1])
