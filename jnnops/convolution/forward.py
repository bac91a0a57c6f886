"""The forward convolutions: ``conv1d``, ``conv2d``, ``conv3d``, ``convolution`` and ``atrous_conv2d``."""

import jax
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_array, as_number_arrays, as_static_int, at_least, check_rank
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments
from jnnops._windows.layout import (
    DATA_FORMATS,
    channel_count,
    spatial_shape,
)
from jnnops.convolution._bilinear import Sums, of_images
from jnnops.convolution._bilinear import convolution as convolve
from jnnops.convolution._shapes import check_filter_shape


@answers_tensorflow_names
def conv1d(
    input: ArrayLike,
    filters: ArrayLike,
    stride: Ints,
    padding: Padding,
    data_format: DataFormat = "NWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolution over one dimension.

    Args:
        input: ``[batch, width, in_channels]``, or ``[batch, in_channels, width]`` as ``data_format`` says; more batch
            dimensions may stand in front.
        filters: ``[width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        stride: Cells from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or ``[(before, after)]``.
        data_format: ``"NWC"`` or ``"NCW"``.
        dilations: Cells from one tap of the window to the next; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to accumulate in and to return.

    Returns:
        ``[batch, out_width, out_channels]``, or ``[batch, out_channels, out_width]``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> nn.conv1d(jnp.arange(4.0).reshape(1, 4, 1), jnp.ones((2, 1, 1)), 1, "VALID").ravel().tolist()
        [1.0, 3.0, 5.0]

    References:
        ``tf.nn.conv1d``.
    """
    arguments = WindowArguments("conv1d", stride, padding, data_format, dilations, strides_argument="stride")
    return convolve_as(arguments, 1, input, filters, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv2d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    r"""Convolution over two dimensions.

    .. math::
        y_{b, i, j, o} = \sum_{u, v, c} x_{b,\, s_1 i + d_1 u - p_1,\, s_2 j + d_2 v - p_2,\, c} \; w_{u, v, c, o}

    with strides :math:`s`, dilations :math:`d`, and :math:`p` cells of zeros padded before.

    Args:
        input: ``[batch, height, width, in_channels]``, or ``[batch, in_channels, height, width]`` as ``data_format``
            says; more batch dimensions may stand in front.
        filters: ``[height, width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        strides: Cells from one window to the next: an int, two or four of them.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to accumulate in and to return.

    Returns:
        ``[batch, out_height, out_width, out_channels]``, or ``[batch, out_channels, out_height, out_width]``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        Strides above 1 together with dilations above 1 work, which TensorFlow refuses in places.

    Example:
        >>> nn.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1)), strides=1, padding="SAME")[0, :, :, 0]
        Array([[4., 4., 2.],
               [4., 4., 2.],
               [2., 2., 1.]], dtype=float32)

    References:
        ``tf.nn.conv2d``.
    """
    arguments = WindowArguments("conv2d", strides, padding, data_format, dilations)
    return convolve_as(arguments, 2, input, filters, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv3d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NDHWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolution over three dimensions.

    Args:
        input: ``[batch, depth, height, width, in_channels]``, or ``[batch, in_channels, depth, height, width]`` as
            ``data_format`` says; more batch dimensions may stand in front.
        filters: ``[depth, height, width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        strides: Cells from one window to the next: an int, three or five of them.
        padding: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to accumulate in and to return.

    Returns:
        ``[batch, out_depth, out_height, out_width, out_channels]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        ``"SAME"`` follows its formula always. TensorFlow's CPU kernels start late, with less than no padding, where
        the windows do not reach the last cells.

    Example:
        >>> nn.conv3d(jnp.ones((1, 2, 2, 2, 1)), jnp.ones((2, 2, 2, 1, 4)), 1, "VALID").ravel().tolist()
        [8.0, 8.0, 8.0, 8.0]

    References:
        ``tf.nn.conv3d``.
    """
    arguments = WindowArguments("conv3d", strides, padding, data_format, dilations)
    return convolve_as(arguments, 3, input, filters, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def convolution(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    data_format: DataFormat = None,
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolution over one, two or three dimensions: as many as the filters have.

    Args:
        input: ``[batch, *spatial, in_channels]``, or ``[batch, in_channels, *spatial]`` as ``data_format`` says; more
            batch dimensions may stand in front.
        filters: ``[*window, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        strides: Cells from one window to the next; 1 unless given.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
        data_format: One of the formats of that many dimensions; channels last unless given.
        dilations: Cells from one tap of the window to the next; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to accumulate in and to return.

    Returns:
        ``[batch, *out_spatial, out_channels]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> nn.convolution(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 16)), strides=2).shape
        (1, 3, 3, 16)

    References:
        ``tf.nn.convolution``.
    """
    filters = as_number_array("convolution", "filters", filters, rank=[n + 2 for n in DATA_FORMATS])
    arguments = WindowArguments("convolution", 1 if strides is None else strides, padding, data_format, dilations)
    return convolve_as(arguments, filters.ndim - 2, input, filters, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def atrous_conv2d(value: ArrayLike, filters: ArrayLike, rate: int, padding: Padding) -> jax.Array:
    """Convolution over two dimensions with holes between the taps: ``conv2d`` with stride 1 and dilation ``rate``.

    Args:
        value: ``[batch, height, width, in_channels]``; more batch dimensions may stand in front.
        filters: ``[height, width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        rate: Cells from one tap of the window to the next, in both dimensions.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.

    Returns:
        ``[batch, out_height, out_width, out_channels]``.

    Raises:
        TypeError: If an array is neither integer nor floating point, or ``rate`` no static integer.
        ValueError: If a shape, ``rate`` or padding does not fit.

    Example:
        >>> nn.atrous_conv2d(jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 1)), rate=2, padding="VALID").item()
        9.0

    References:
        ``tf.nn.atrous_conv2d``. Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully
        Connected CRFs", 2015.
    """
    rate = as_static_int("atrous_conv2d", "rate", rate, minimum=1)
    arguments = WindowArguments("atrous_conv2d", 1, padding, "NHWC", rate)
    return convolve_as(arguments, 2, value, filters, Sums(), input_name="value")


def convolve_as(
    arguments: WindowArguments,
    spatial_rank: int,
    input: ArrayLike,
    filters: ArrayLike,
    sums: Sums,
    *,
    input_name: str = "input",
) -> jax.Array:
    """What all these ops do, under the name that the arguments give."""
    op, channels_last = arguments.op, arguments.channels_last(spatial_rank)
    x, w = as_number_arrays(op, **{input_name: input, "filters": filters})
    check_rank(op, input_name, x, at_least(spatial_rank + 2))
    check_rank(op, "filters", w, spatial_rank + 2)
    channels = channel_count(x, spatial_rank, channels_last)
    groups = check_filter_shape(op, "filters", w.shape, input_name, x.shape, channels)
    window = arguments.resolve(input_shape=spatial_shape(x, spatial_rank, channels_last), size=w.shape[:spatial_rank])
    sums = sums.checked(op, x.dtype)
    return of_images(convolve, x, w, window=window, groups=groups, sums=sums, channels_last=channels_last)
