"""The gradients of the convolutions, as functions of their own."""

import functools
from collections.abc import Sequence

import jax
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_arrays, as_static_ints, at_least, check_rank
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import Window, WindowArguments
from jnnops._windows.layout import batch_shape, channel_count, merge_batch, spatial_shape
from jnnops.convolution._bilinear import Sums, filter_gradient, input_gradient, of_images
from jnnops.convolution._shapes import Sizes, check_filter_shape, resolve_transpose
from jnnops.convolution.depthwise import as_groups, check_depthwise_channels
from jnnops.convolution.transpose import transpose


@answers_tensorflow_names
def conv2d_backprop_filter(
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``conv2d`` for its filters.

    Args:
        input: ``[batch, height, width, in_channels]``, or with the channels second, as the convolution takes it.
        filter_sizes: ``(height, width, in_channels, out_channels)``, the shape of the filters; its
            ``in_channels`` may divide the input's (groups).
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, two or four of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``filter_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> x, y = jnp.ones((1, 3, 3, 1)), jnp.ones((1, 2, 2, 1))
        >>> nn.conv2d_backprop_filter(x, (2, 2, 1, 1), y, strides=1, padding="VALID").ravel().tolist()
        [4.0, 4.0, 4.0, 4.0]

    References:
        ``tf.compat.v1.nn.conv2d_backprop_filter``.
    """
    arguments = WindowArguments("conv2d_backprop_filter", strides, padding, data_format, dilations)
    sums = Sums(precision, preferred_element_type)
    return _filter_gradient(arguments, 2, input, filter_sizes, out_backprop, sums)


@answers_tensorflow_names
def conv2d_backprop_input(
    input_sizes: Ints,
    filters: ArrayLike,
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``conv2d`` for its input: ``conv2d_transpose`` with its arguments in another order.

    Args:
        input_sizes: The shape of the convolution's input. Its batch may be None or -1, as in ``out_backprop``; or its
            height and width alone.
        filters: ``[height, width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, two or four of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``input_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> filters, y = jnp.ones((2, 2, 1, 1)), jnp.ones((1, 2, 2, 1))
        >>> nn.conv2d_backprop_input((1, 3, 3, 1), filters, y, strides=1, padding="VALID").sum().item()
        16.0

    References:
        ``tf.compat.v1.nn.conv2d_backprop_input``.
    """
    arguments = WindowArguments("conv2d_backprop_input", strides, padding, data_format, dilations)
    sizes = Sizes("input_sizes", input_sizes, "out_backprop")
    return transpose(arguments, 2, out_backprop, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def conv3d_backprop_filter(
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NDHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``conv3d`` for its filters.

    Args:
        input: ``[batch, depth, height, width, in_channels]``, or with the channels second, as the convolution takes it.
        filter_sizes: ``(depth, height, width, in_channels, out_channels)``, the shape of the filters; its
            ``in_channels`` may divide the input's (groups).
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, three or five of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``filter_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> x, y = jnp.ones((1, 3, 3, 3, 1)), jnp.ones((1, 2, 2, 2, 1))
        >>> nn.conv3d_backprop_filter(x, (2, 2, 2, 1, 1), y, strides=1, padding="VALID").ravel().tolist()
        [8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]

    References:
        ``tf.compat.v1.nn.conv3d_backprop_filter``; ``conv3d_backprop_filter_v2`` is the same function.
    """
    arguments = WindowArguments("conv3d_backprop_filter", strides, padding, data_format, dilations)
    sums = Sums(precision, preferred_element_type)
    return _filter_gradient(arguments, 3, input, filter_sizes, out_backprop, sums)


conv3d_backprop_filter_v2 = conv3d_backprop_filter


@answers_tensorflow_names
def conv3d_backprop_input(
    input_sizes: Ints,
    filters: ArrayLike,
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NDHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``conv3d`` for its input: ``conv3d_transpose`` with its arguments in another order.

    Args:
        input_sizes: The shape of the convolution's input. Its batch may be None or -1, as in ``out_backprop``; or its
            depth, height and width alone.
        filters: ``[depth, height, width, in_channels, out_channels]``; ``in_channels`` may divide the input's (groups).
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, three or five of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or three or five pairs ``(before, after)``.
        data_format: ``"NDHWC"`` or ``"NCDHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``input_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> filters, y = jnp.ones((2, 2, 2, 1, 1)), jnp.ones((1, 2, 2, 2, 1))
        >>> nn.conv3d_backprop_input((1, 3, 3, 3, 1), filters, y, strides=1, padding="VALID").sum().item()
        64.0

    References:
        ``tf.compat.v1.nn.conv2d_backprop_input``, in three dimensions.
    """
    arguments = WindowArguments("conv3d_backprop_input", strides, padding, data_format, dilations)
    sizes = Sizes("input_sizes", input_sizes, "out_backprop")
    return transpose(arguments, 3, out_backprop, filters, sizes, Sums(precision, preferred_element_type))


@answers_tensorflow_names
def depthwise_conv2d_backprop_filter(
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``depthwise_conv2d`` for its filter.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, as the convolution takes it.
        filter_sizes: ``(height, width, channels, multiplier)``, the shape of the filter.
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, two or four of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``filter_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> x, y = jnp.ones((1, 4, 4, 3)), jnp.ones((1, 4, 4, 6))
        >>> nn.depthwise_conv2d_backprop_filter(x, (3, 3, 3, 2), y, strides=1, padding="SAME")[:, :, 0, 0]
        Array([[ 9., 12.,  9.],
               [12., 16., 12.],
               [ 9., 12.,  9.]], dtype=float32)

    References:
        ``tf.nn.depthwise_conv2d_backprop_filter``; ``tf.compat.v1.nn.depthwise_conv2d_native_backprop_filter`` is the
        same function.
    """
    arguments = WindowArguments("depthwise_conv2d_backprop_filter", strides, padding, data_format, dilations)
    sums = Sums(precision, preferred_element_type)
    return _filter_gradient(arguments, 2, input, filter_sizes, out_backprop, sums, depthwise=True)


depthwise_conv2d_native_backprop_filter = depthwise_conv2d_backprop_filter


@answers_tensorflow_names
def depthwise_conv2d_backprop_input(
    input_sizes: Ints,
    filter: ArrayLike,
    out_backprop: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """The gradient of ``depthwise_conv2d`` for its input.

    Args:
        input_sizes: The shape of the convolution's input. Its batch may be None or -1, as in ``out_backprop``; or its
            height and width alone.
        filter: ``[height, width, channels, multiplier]``.
        out_backprop: The gradient for the convolution's result, in its shape.
        strides: Those of the convolution: an int, two or four of them.
        padding: That of the convolution: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Those of the convolution, like ``strides``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.

    Returns:
        ``input_sizes``.

    Raises:
        TypeError: If an array is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Example:
        >>> filter, y = jnp.ones((2, 2, 3, 1)), jnp.ones((1, 2, 2, 3))
        >>> nn.depthwise_conv2d_backprop_input((1, 3, 3, 3), filter, y, strides=1, padding="VALID")[0, :, :, 0]
        Array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]], dtype=float32)

    References:
        ``tf.nn.depthwise_conv2d_backprop_input``; ``tf.compat.v1.nn.depthwise_conv2d_native_backprop_input`` is the
        same function.
    """
    op = "depthwise_conv2d_backprop_input"
    arguments = WindowArguments(op, strides, padding, data_format, dilations)
    channels_last = arguments.channels_last(2)
    y, w = as_number_arrays(op, out_backprop=out_backprop, filter=filter)
    check_rank(op, "out_backprop", y, at_least(4))
    check_rank(op, "filter", w, 4)
    sizes = Sizes("input_sizes", input_sizes, "out_backprop")
    window, given = resolve_transpose(arguments, sizes, y, w.shape[:2])
    channels = w.shape[2]
    check_depthwise_channels(op, "filter", w.shape, "input_sizes", channels if given is None else given)
    _check_channels(op, y, channel_count(y, 2, channels_last), channels * w.shape[3], w.shape)
    sums = Sums(precision, preferred_element_type).checked(op, y.dtype)
    filters = as_groups(w)
    return of_images(input_gradient, y, filters, window=window, groups=channels, sums=sums, channels_last=channels_last)


depthwise_conv2d_native_backprop_input = depthwise_conv2d_backprop_input


def _filter_gradient(
    arguments: WindowArguments,
    spatial_rank: int,
    input: ArrayLike,
    filter_sizes: Sequence[int],
    out_backprop: ArrayLike,
    sums: Sums,
    *,
    depthwise: bool = False,
) -> jax.Array:
    op, channels_last = arguments.op, arguments.channels_last(spatial_rank)
    x, y = as_number_arrays(op, input=input, out_backprop=out_backprop)
    check_rank(op, "input", x, at_least(spatial_rank + 2))
    check_rank(op, "out_backprop", y, x.ndim)
    sizes = as_static_ints(op, "filter_sizes", filter_sizes, minimum=0)
    if len(sizes) != spatial_rank + 2:
        raise ValueError(f"{op}: `filter_sizes` must have length {spatial_rank + 2}, got {sizes}")
    channels = channel_count(x, spatial_rank, channels_last)
    if depthwise:
        check_depthwise_channels(op, "filter_sizes", sizes, "input", channels)
        groups, outputs = channels, sizes[2] * sizes[3]
    else:
        groups, outputs = check_filter_shape(op, "filter_sizes", sizes, "input", x.shape, channels), sizes[-1]
    window = arguments.resolve(input_shape=spatial_shape(x, spatial_rank, channels_last), size=sizes[:spatial_rank])
    _check_channels(op, y, channel_count(y, spatial_rank, channels_last), outputs, sizes)
    _check_cells(op, x, y, window, channels_last)
    return _of_filters(x, y, window, groups, sums.checked(op, x.dtype), channels_last).reshape(sizes)


@functools.partial(jax.jit, static_argnames=("window", "groups", "sums", "channels_last"))
def _of_filters(x: jax.Array, y: jax.Array, window: Window, groups: int, sums: Sums, channels_last: bool) -> jax.Array:
    images, gradients = (merge_batch(array, window.rank, channels_last) for array in (x, y))
    return filter_gradient(images, gradients, window, groups, sums)


def _check_channels(op: str, y: jax.Array, channels: int, wanted: int, filter_shape: tuple[int, ...]) -> None:
    if channels != wanted:
        raise ValueError(
            f"{op}: `out_backprop` must have the {wanted} channels that filters of shape {filter_shape} give, got "
            f"{channels} (out_backprop.shape = {y.shape})"
        )


def _check_cells(op: str, x: jax.Array, y: jax.Array, window: Window, channels_last: bool) -> None:
    spatial_rank = window.rank
    batch, cells = batch_shape(x, spatial_rank), window.output_shape
    if (batch_shape(y, spatial_rank), spatial_shape(y, spatial_rank, channels_last)) != (batch, cells):
        raise ValueError(
            f"{op}: `out_backprop` must have batch {batch} and spatial sizes {cells}, which the convolution of "
            f"`input` has (input.shape = {x.shape}), got shape {y.shape}"
        )
