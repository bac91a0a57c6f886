"""What the convolutional layers share: their settings, their input and their bias."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_dtype,
    as_float_array,
    as_key,
    as_size,
    as_static_bool,
    as_static_ints,
    at_least,
    describe,
    draw,
    is_sequence,
    join_alternatives,
    promote,
)
from jnnops._types import DataFormat, Initializer, Ints, Key, Padding
from jnnops._windows.geometry import WindowArguments, explicit_padding, resolve_ints
from jnnops._windows.layout import DATA_FORMATS, channel_count, is_channels_last
from jnnops.activation.dense import add_along


def window_settings(
    op: str, kernel_size: Any, strides: Ints, padding: Padding, data_format: DataFormat, dilations: Ints
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The size of the window, which says how many dimensions there are, and the checked settings by name."""
    size = tuple(as_size(op, "kernel_size", each) for each in as_static_ints(op, "kernel_size", kernel_size))
    if not is_sequence(kernel_size) or len(size) not in DATA_FORMATS:
        raise ValueError(
            f"{op}: `kernel_size` must be a sequence of {join_alternatives(DATA_FORMATS)} ints, one for each "
            f"spatial dimension, got {describe(kernel_size)}"
        )
    rank, channels_last = len(size), is_channels_last(op, data_format, len(size))
    if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
        padding = explicit_padding(op, padding, rank, channels_last)
    return size, {
        "strides": resolve_ints(op, "strides", strides, rank, channels_last),
        "padding": padding,
        "data_format": data_format,
        "dilations": resolve_ints(op, "dilations", dilations, rank, channels_last),
    }


def check_groups(op: str, groups: int, in_channels: int, features: int) -> tuple[int, int, int]:
    """The three, checked: the groups divide the channels of the input and of the output."""
    groups = as_size(op, "groups", groups)
    in_channels, features = as_size(op, "in_channels", in_channels), as_size(op, "features", features)
    if in_channels % groups or features % groups:
        raise ValueError(
            f"{op}: `groups` must divide in_channels = {in_channels} and features = {features}, got {groups}"
        )
    return groups, in_channels, features


def draw_kernel_and_bias(
    op: str,
    kernel_init: Initializer,
    shape: tuple[int, ...],
    features: int,
    use_bias: bool,
    dtype: DTypeLike,
    key: Key,
) -> dict[str, Any]:
    """The arrays of a new layer by name: a kernel of that shape, and a bias of 0 if wanted."""
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    bias = jnp.zeros(features, dtype) if as_static_bool(op, "use_bias", use_bias) else None
    return {"kernel": draw(op, "kernel_init", kernel_init, as_key(op, key), shape, dtype), "bias": bias}


def arguments_of(layer: Any) -> WindowArguments:
    """The settings as an op takes them, under the layer's name."""
    return WindowArguments(type(layer).__name__, layer.strides, layer.padding, layer.data_format, layer.dilations)


def as_images(arguments: WindowArguments, x: ArrayLike, spatial_rank: int, channels: int) -> jax.Array:
    """Checks the input ``x`` of a layer of so many spatial dimensions and channels."""
    x = as_float_array(arguments.op, "x", x, rank=at_least(spatial_rank + 2))
    channels_last = arguments.channels_last(spatial_rank)
    if channel_count(x, spatial_rank, channels_last) != channels:
        where = "on its last axis" if channels_last else f"on axis {-spatial_rank - 1}"
        raise ValueError(f"{arguments.op}: `x` must have {channels} channels {where}, got shape {x.shape}")
    return x


def add_bias(arguments: WindowArguments, y: jax.Array, bias: jax.Array | None, spatial_rank: int) -> jax.Array:
    """Adds a bias, if there is one, to the channels."""
    if bias is None:
        return y
    y, bias = promote(y=y, bias=bias)
    return add_along(y, bias, y.ndim - 1 if arguments.channels_last(spatial_rank) else y.ndim - 1 - spatial_rank)
