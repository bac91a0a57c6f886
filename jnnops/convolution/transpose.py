"""The transposed convolutions: what a convolution's gradient does to its input."""

import jax
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_array, as_number_arrays, as_static_int, at_least, check_rank
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments
from jnnops._windows.layout import DATA_FORMATS, channel_count
from jnnops.convolution._bilinear import Sums, input_gradient, of_images
from jnnops.convolution._shapes import Sizes, check_transpose_channels, resolve_transpose


@answers_tensorflow_names
def conv1d_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: Ints,
    strides: Ints,
    padding: Padding = "SAME",
    data_format: DataFormat = "NWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The transpose of ``conv1d``: each cell of ``input`` adds a copy of the filters, scaled, to the result.

    Args:
        input: ``[batch, width, in_channels]``, or ``[batch, in_channels, width]`` as ``data_format`` says; more batch
            dimensions may stand in front.
        filters: ``[width, out_channels, in_channels]``, those of the forward convolution: the
            channels of ``output_shape`` may be a multiple of ``out_channels`` (groups).
        output_shape: The shape to return. Its batch may be None or -1, as in ``input``; or its width alone.
        strides: Cells of the result from one window to the next.
        padding: ``"SAME"``, ``"VALID"``, or one or three pairs ``(before, after)``.
        data_format: ``"NWC"`` or ``"NCW"``.
        dilations: Cells from one tap of the window to the next; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, width, out_channels]``, or ``[batch, out_channels, width]``, of the size that ``output_shape`` says.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit, or if no convolution maps
            ``output_shape`` to the shape of ``input``; the message then lists the sizes that are possible.

    Example:
        >>> nn.conv1d_transpose(jnp.array([[[1.0], [10.0]]]), jnp.ones((3, 1, 1)), 5, 2, "VALID").ravel().tolist()
        [1.0, 1.0, 11.0, 10.0, 10.0]

    References:
        ``tf.nn.conv1d_transpose``.
    """
    arguments = WindowArguments("conv1d_transpose", strides, padding, data_format, dilations)
    sizes = Sizes("output_shape", output_shape, "input")
    return transpose(arguments, 1, input, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv2d_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: Ints,
    strides: Ints,
    padding: Padding = "SAME",
    data_format: DataFormat = "NHWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    r"""The transpose of ``conv2d``: each cell of ``input`` adds a copy of the filters, scaled, to the result.

    .. math::
        y_{b,\, s_1 i + d_1 u - p_1,\, s_2 j + d_2 v - p_2,\, o} \mathrel{+}= x_{b, i, j, c} \; w_{u, v, o, c}

    for all positions, with strides :math:`s`, dilations :math:`d`, and :math:`p` the cells that ``padding`` pads before
    in an input of size ``output_shape``.

    Args:
        input: ``[batch, height, width, in_channels]``, or ``[batch, in_channels, height, width]`` as ``data_format``
            says; more batch dimensions may stand in front.
        filters: ``[height, width, out_channels, in_channels]``, those of the forward convolution: the
            channels of ``output_shape`` may be a multiple of ``out_channels`` (groups).
        output_shape: The shape to return. Its batch may be None or -1, as in ``input``; or its height and width alone.
        strides: Cells of the result from one window to the next: an int, two or four of them.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, height, width, out_channels]``, or ``[batch, out_channels, height, width]``, of the size that
        ``output_shape`` says.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit, or if no convolution maps
            ``output_shape`` to the shape of ``input``; the message then lists the sizes that are possible.

    Example:
        >>> x, filters = jnp.ones((1, 2, 2, 1)), jnp.ones((2, 2, 1, 1))
        >>> nn.conv2d_transpose(x, filters, (3, 3), strides=2)[0, :, :, 0]
        Array([[1., 1., 1.],
               [1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
        >>> nn.conv2d_transpose(x, filters, (1, 5, 5, 1), strides=2)
        Traceback (most recent call last):
            ...
        ValueError: conv2d_transpose: `output_shape` must have spatial sizes 3 to 4 x 3 to 4, of which ...

    References:
        ``tf.nn.conv2d_transpose``. Zeiler et al., "Deconvolutional Networks", 2010. Without ``output_shape`` a
        stride leaves open which of several sizes is meant: ``jax.lax.conv_transpose`` reaches one of them.
    """
    arguments = WindowArguments("conv2d_transpose", strides, padding, data_format, dilations)
    sizes = Sizes("output_shape", output_shape, "input")
    return transpose(arguments, 2, input, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv3d_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: Ints,
    strides: Ints,
    padding: Padding = "SAME",
    data_format: DataFormat = "NDHWC",
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The transpose of ``conv3d``: each cell of ``input`` adds a copy of the filters, scaled, to the result.

    Args:
        input: ``[batch, depth, height, width, in_channels]``, or ``[batch, in_channels, depth, height, width]`` as
            ``data_format`` says; more batch dimensions may stand in front.
        filters: ``[depth, height, width, out_channels, in_channels]``, those of the forward convolution: the
            channels of ``output_shape`` may be a multiple of ``out_channels`` (groups).
        output_shape: The shape to return. Its batch may be None or -1, as in ``input``; or its depth, height and
            width alone.
        strides: Cells of the result from one window to the next: an int, three or five of them.
        padding: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Cells from one tap of the window to the next, like ``strides``; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, depth, height, width, out_channels]``, or with the channels second, of the size that ``output_shape``
        says.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit, or if no convolution maps
            ``output_shape`` to the shape of ``input``; the message then lists the sizes that are possible.

    Example:
        >>> nn.conv3d_transpose(jnp.ones((1, 2, 2, 2, 1)), jnp.ones((2, 2, 2, 3, 1)), (1, 4, 3, 4, 3), 2).shape
        (1, 4, 3, 4, 3)

    References:
        ``tf.nn.conv3d_transpose``.
    """
    arguments = WindowArguments("conv3d_transpose", strides, padding, data_format, dilations)
    sizes = Sizes("output_shape", output_shape, "input")
    return transpose(arguments, 3, input, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv_transpose(
    input: ArrayLike,
    filters: ArrayLike,
    output_shape: Ints,
    strides: Ints,
    padding: Padding = "SAME",
    data_format: DataFormat = None,
    dilations: Ints | None = None,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The transpose of ``convolution`` over one, two or three dimensions: as many as the filters have.

    Args:
        input: ``[batch, *spatial, in_channels]``, or ``[batch, in_channels, *spatial]`` as ``data_format`` says; more
            batch dimensions may stand in front.
        filters: ``[*window, out_channels, in_channels]``, those of the forward convolution: the
            channels of ``output_shape`` may be a multiple of ``out_channels`` (groups).
        output_shape: The shape to return. Its batch may be None or -1, as in ``input``; or its spatial sizes alone.
        strides: Cells of the result from one window to the next.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
        data_format: One of the formats of that many dimensions; channels last unless given.
        dilations: Cells from one tap of the window to the next; 1 unless given.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``[batch, *spatial, out_channels]``, or with the channels second, of the size that ``output_shape`` says.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit, or if no convolution maps
            ``output_shape`` to the shape of ``input``; the message then lists the sizes that are possible.

    Example:
        >>> nn.conv_transpose(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 2, 8)), (1, 7, 8, 2), strides=2).shape
        (1, 7, 8, 2)

    References:
        ``tf.nn.conv_transpose``.
    """
    filters = as_number_array("conv_transpose", "filters", filters, rank=[n + 2 for n in DATA_FORMATS])
    arguments = WindowArguments("conv_transpose", strides, padding, data_format, dilations)
    sizes = Sizes("output_shape", output_shape, "input")
    return transpose(arguments, filters.ndim - 2, input, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def atrous_conv2d_transpose(
    value: ArrayLike, filters: ArrayLike, output_shape: Ints, rate: int, padding: Padding
) -> jax.Array:
    """The transpose of ``atrous_conv2d``.

    Args:
        value: ``[batch, height, width, in_channels]``; more batch dimensions may stand in front.
        filters: ``[height, width, out_channels, in_channels]``; the channels of ``output_shape`` may be a multiple of
            ``out_channels`` (groups).
        output_shape: The shape to return. Its batch may be None or -1, as in ``value``; or its height and width alone.
        rate: Cells from one tap of the window to the next, in both dimensions.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.

    Returns:
        ``[batch, height, width, out_channels]``, of the size that ``output_shape`` says.

    Raises:
        TypeError: If an array is neither integer nor floating point, or ``rate`` no static integer.
        ValueError: If a shape, ``rate`` or padding does not fit, or if no convolution maps ``output_shape`` to the
            shape of ``value``.

    Example:
        >>> nn.atrous_conv2d_transpose(jnp.ones((1, 1, 1, 1)), jnp.ones((2, 2, 1, 1)), (3, 3), 2, "VALID")[0, :, :, 0]
        Array([[1., 0., 1.],
               [0., 0., 0.],
               [1., 0., 1.]], dtype=float32)

    References:
        ``tf.nn.atrous_conv2d_transpose``.
    """
    op = "atrous_conv2d_transpose"
    rate = as_static_int(op, "rate", rate, minimum=1)
    arguments = WindowArguments(op, 1, padding, "NHWC", rate)
    return transpose(arguments, 2, value, filters, Sizes("output_shape", output_shape, "value"), Sums())


def transpose(
    arguments: WindowArguments, spatial_rank: int, input: ArrayLike, filters: ArrayLike, sizes: Sizes, sums: Sums
) -> jax.Array:
    """The transposed convolution, of an input that is called ``sizes.like``."""
    op, channels_last = arguments.op, arguments.channels_last(spatial_rank)
    y, w = as_number_arrays(op, **{sizes.like: input, "filters": filters})
    check_rank(op, sizes.like, y, at_least(spatial_rank + 2))
    check_rank(op, "filters", w, spatial_rank + 2)
    window, channels = resolve_transpose(arguments, sizes, y, w.shape[:spatial_rank])
    groups = check_transpose_channels(op, sizes, channels, channel_count(y, spatial_rank, channels_last), w.shape)
    sums = sums.checked(op, y.dtype)
    return of_images(input_gradient, y, w, window=window, groups=groups, sums=sums, channels_last=channels_last)
