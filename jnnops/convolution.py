"""Convolution, as in machine learning: a cross-correlation, the filters are not reversed.

Layout: ``data_format`` is ``"NHWC"`` (channels last, the default) or ``"NCHW"``, ``"NWC"``/``"NCW"`` in one and
``"NDHWC"``/``"NCDHW"`` in three dimensions. Filters are ``[height, width, in_channels, out_channels]``, without
height in one dimension and with depth before it in three. More batch dimensions may stand in front.

Groups: the filters' ``in_channels`` may divide the input's; the channels are then convolved in
``input_channels // in_channels`` groups, each with its share of ``out_channels``.

Strides and dilations: an int, one for each spatial dimension, or one for each dimension of the input, of which those
of batch and channels must be 1.

Padding: with ``effective = (size - 1) * dilation + 1``,

- ``"SAME"`` gives ``ceil(input / stride)`` outputs. It pads
  ``max((outputs - 1) * stride + effective - input, 0)`` zeros: half before, half after, the odd one after. Five
  pixels, a window of 2 and stride 2 give 3 outputs and one zero, at the end.
- ``"VALID"`` pads nothing and gives ``ceil((input - effective + 1) / stride)`` outputs.
- Pairs ``(before, after)``, one for each spatial dimension or one for each dimension of the input, pad those zeros.

Dtypes: floating point results have the promoted dtype of the arguments, 16-bit products being summed in float32;
8- and 16-bit integers are summed in int32, which is the result's dtype.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_number_array, as_number_arrays, at_least, check_rank
from jnnops._window import DATA_FORMATS, Window, is_channels_last, move_channels, resolve_window, spatial_shape

__all__ = ["conv1d", "conv2d", "conv3d", "convolution"]


def conv1d(
    input: ArrayLike,
    filters: ArrayLike,
    stride: Any,
    padding: Any,
    data_format: str | None = "NWC",
    dilations: Any = None,
    *,
    precision: Any = None,
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
    return _convolve(
        "conv1d", 1, input, filters, stride, padding, data_format, dilations, precision, preferred_element_type
    )


def conv2d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    dilations: Any = None,
    *,
    precision: Any = None,
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
    return _convolve(
        "conv2d", 2, input, filters, strides, padding, data_format, dilations, precision, preferred_element_type
    )


def conv3d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None = "NDHWC",
    dilations: Any = None,
    *,
    precision: Any = None,
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
    return _convolve(
        "conv3d", 3, input, filters, strides, padding, data_format, dilations, precision, preferred_element_type
    )


def convolution(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str | None = None,
    dilations: Any = None,
    *,
    precision: Any = None,
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
    return _convolve(
        "convolution",
        filters.ndim - 2,
        input,
        filters,
        strides,
        padding,
        data_format,
        dilations,
        precision,
        preferred_element_type,
    )


def _convolve(
    op: str,
    spatial_rank: int,
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    precision: Any,
    preferred_element_type: DTypeLike | None,
) -> jax.Array:
    x, w = as_number_arrays(op, input=input, filters=filters)
    check_rank(op, "input", x, at_least(spatial_rank + 2))
    check_rank(op, "filters", w, spatial_rank + 2)
    channels_last = is_channels_last(op, data_format, spatial_rank)
    channels = x.shape[-1 if channels_last else -spatial_rank - 1]
    check_channels(op, x, w, channels)
    window = resolve_window(
        op,
        input_shape=spatial_shape(x, spatial_rank, channels_last),
        size=w.shape[:spatial_rank],
        strides=strides,
        padding=padding,
        dilations=dilations,
        channels_last=channels_last,
    )
    if preferred_element_type is None and jnp.issubdtype(x.dtype, jnp.integer):
        preferred_element_type = jnp.promote_types(jnp.int32, x.dtype) if x.dtype.itemsize > 4 else jnp.int32
    batch = x.shape[: x.ndim - spatial_rank - 1]
    if not channels_last:
        x = move_channels(x, spatial_rank, to_last=True)
    x = x.reshape(-1, *x.shape[-spatial_rank - 1 :])
    y = _conv(x, w, window, channels // w.shape[-2], precision, preferred_element_type)
    y = y.reshape(*batch, *y.shape[1:])
    return y if channels_last else move_channels(y, spatial_rank, to_last=False)


def check_channels(op: str, x: jax.Array, w: jax.Array, channels: int) -> None:
    """Raises unless the filters' channels divide the input's and the groups divide the filters' outputs."""
    in_channels, out_channels = w.shape[-2:]
    if in_channels == 0 or channels % in_channels:
        raise ValueError(
            f"{op}: `filters` must have in_channels that divide the {channels} channels of `input`, got {in_channels} "
            f"(filters.shape = {w.shape}, input.shape = {x.shape})"
        )
    groups = channels // in_channels
    if groups and out_channels % groups:
        raise ValueError(
            f"{op}: `filters` must have out_channels that the {groups} groups divide, got {out_channels} "
            f"(filters.shape = {w.shape}, input.shape = {x.shape})"
        )


@functools.partial(jax.jit, static_argnames=("window", "groups", "precision", "preferred_element_type"))
def _conv(
    x: jax.Array, w: jax.Array, window: Window, groups: int, precision: Any, preferred_element_type: DTypeLike | None
) -> jax.Array:
    spatial = "DHW"[-len(window.size) :]
    return lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        rhs_dilation=window.dilations,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
