"""What the ops of this room share: batches, channels, the dtype of sums, the sizes that a transpose can have."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jnnops._check import as_static_ints, describe
from jnnops._window import Window, move_channels, resolve_ints, resolve_padding, resolve_window, spatial_shape


def merge_batch(x: jax.Array, spatial_rank: int, channels_last: bool) -> jax.Array:
    """``[..., *spatial, channels]``, or with the channels before, to ``[batch, *spatial, channels]``."""
    if not channels_last:
        x = move_channels(x, spatial_rank, to_last=True)
    return x.reshape(math.prod(batch_shape(x, spatial_rank)), *x.shape[-spatial_rank - 1 :])


def split_batch(y: jax.Array, batch: tuple[int, ...], spatial_rank: int, channels_last: bool) -> jax.Array:
    """The inverse of ``merge_batch``, for a result."""
    y = y.reshape(*batch, *y.shape[1:])
    return y if channels_last else move_channels(y, spatial_rank, to_last=False)


def batch_shape(x: jax.Array, spatial_rank: int) -> tuple[int, ...]:
    """The sizes of the dimensions before spatial ones and channels, in either layout."""
    return x.shape[: x.ndim - spatial_rank - 1]


def channel_count(x: jax.Array, spatial_rank: int, channels_last: bool) -> int:
    """The number of channels, in either layout."""
    return x.shape[-1 if channels_last else -spatial_rank - 1]


def sum_dtype(dtype: Any, preferred_element_type: DTypeLike | None) -> Any:
    """The dtype of the result: the preferred one, at least int32 for integers, otherwise the arguments' own."""
    if preferred_element_type is not None:
        return jnp.dtype(preferred_element_type)
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.promote_types(jnp.int32, dtype) if dtype.itemsize > 4 else jnp.dtype(jnp.int32)
    return dtype


def check_filter_shape(
    op: str, argument: str, shape: tuple[int, ...], like: str, like_shape: tuple[int, ...], channels: int
) -> int:
    """The number of groups in which filters of ``shape`` convolve the channels of ``like``."""
    in_channels, out_channels = shape[-2:]
    shapes = f"({argument} = {shape}, {like}.shape = {like_shape})".replace("filters =", "filters.shape =")
    if 0 in (in_channels, channels) or channels % in_channels:
        raise ValueError(
            f"{op}: `{argument}` must have in_channels that divide the {channels} channels of `{like}`, got "
            f"{in_channels} {shapes}"
        )
    groups = channels // in_channels
    if out_channels % groups:
        raise ValueError(
            f"{op}: `{argument}` must have out_channels that the {groups} groups divide, got {out_channels} {shapes}"
        )
    return groups


def check_transpose_channels(
    op: str, argument: str, channels: int | None, *, like: str, y_channels: int, filter_shape: tuple[int, ...]
) -> int:
    """The number of groups of the convolution that gives ``y_channels`` of ``channels``; None stands for one group."""
    per_group, last = filter_shape[-2:]
    if last != y_channels:
        raise ValueError(
            f"{op}: `filters` must have as many in its last dimension as `{like}` has channels, {y_channels}, got "
            f"{last} (filters.shape = {filter_shape})"
        )
    if channels is None:
        return 1
    if per_group == 0 or channels < 1 or channels % per_group:
        raise ValueError(
            f"{op}: `{argument}` must have channels that are a multiple of the {per_group} of `filters` "
            f"(filters.shape = {filter_shape}), got {channels}"
        )
    groups = channels // per_group
    if last % groups:
        raise ValueError(
            f"{op}: `filters` must have a last dimension that the {groups} groups ({channels} channels in "
            f"`{argument}`) divide, got {last} (filters.shape = {filter_shape})"
        )
    return groups


def resolve_transpose(
    op: str,
    argument: str,
    sizes: Any,
    *,
    like: str,
    y: jax.Array,
    window_size: tuple[int, ...],
    strides: Any,
    padding: Any,
    dilations: Any,
    channels_last: bool,
) -> tuple[Window, int | None]:
    """The window of the convolution that maps ``sizes`` to the shape of ``y``, and the channels in ``sizes`` if given.

    Args:
        op: For the messages.
        argument: The name of ``sizes``.
        sizes: One int for each dimension of ``y``, the batch possibly None or -1, or the spatial ones only.
        like: The name of ``y``.
        y: What the convolution gives, in the layout that ``channels_last`` says.
        window_size: The spatial sizes of the filters.
        strides: As for the convolution.
        padding: As for the convolution.
        dilations: As for the convolution.
        channels_last: The layout of ``sizes`` and ``y``.
    """
    spatial_rank = len(window_size)
    spatial, channels = _split_sizes(op, argument, sizes, like, y, spatial_rank, channels_last)
    strides = resolve_ints(op, "strides", strides, spatial_rank, channels_last)
    dilations = resolve_ints(op, "dilations", dilations, spatial_rank, channels_last)
    outputs = spatial_shape(y, spatial_rank, channels_last)
    effective = tuple((k - 1) * d + 1 for k, d in zip(window_size, dilations, strict=True))
    if isinstance(padding, str) and padding.upper() == "SAME":
        possible = [range((o - 1) * s + 1, o * s + 1) if o else range(1) for o, s in zip(outputs, strides, strict=True)]
    else:
        pads = resolve_padding(op, padding, outputs, effective, strides, channels_last)
        lowest = [
            (o - 1) * s + cells - sum(pad) for o, s, cells, pad in zip(outputs, strides, effective, pads, strict=True)
        ]
        possible = [range(max(low, 0), max(low + s, 0)) for low, s in zip(lowest, strides, strict=True)]
    if any(size not in fits for size, fits in zip(spatial, possible, strict=True)):
        raise ValueError(
            f"{op}: `{argument}` must have spatial sizes {' x '.join(map(_describe_range, possible))}, of which a "
            f"convolution gives the {outputs} of `{like}` with a window of {effective} cells (dilation included), "
            f"strides {strides} and padding {describe(padding)}, got {spatial}"
        )
    window = resolve_window(
        op,
        input_shape=spatial,
        size=window_size,
        strides=strides,
        padding=padding,
        dilations=dilations,
        channels_last=channels_last,
    )
    return window, channels


def _split_sizes(
    op: str, argument: str, sizes: Any, like: str, y: jax.Array, spatial_rank: int, channels_last: bool
) -> tuple[tuple[int, ...], int | None]:
    """The spatial sizes, and the channels if there is one size for each dimension of ``y``."""
    if isinstance(sizes, list | tuple):
        sizes = [-1 if size is None else size for size in sizes]
    ints = as_static_ints(op, argument, sizes)
    if len(ints) == spatial_rank:
        return ints, None
    if len(ints) != y.ndim:
        raise ValueError(
            f"{op}: `{argument}` must have length {spatial_rank} (spatial sizes only) or {y.ndim} (one for each "
            f"dimension of `{like}`), got {ints} of length {len(ints)}"
        )
    batch = batch_shape(y, spatial_rank)
    if any(size not in (-1, known) for size, known in zip(ints, batch, strict=False)):
        raise ValueError(f"{op}: `{argument}` must have the batch {batch} of `{like}`, or None or -1 there, got {ints}")
    first, *middle, last = ints[len(batch) :]
    return ((first, *middle), last) if channels_last else ((*middle, last), first)


def _describe_range(sizes: range) -> str:
    if not sizes:
        return "none"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
