"""What the ops of this room share: the checks of channels, and the sizes that a transpose can have."""

from typing import NamedTuple

import jax

from jnnops._check import as_static_ints, describe
from jnnops._types import Ints
from jnnops._windows.geometry import Window, WindowArguments, effective_size, resolve_ints, resolve_padding
from jnnops._windows.layout import batch_shape, spatial_shape


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


class Sizes(NamedTuple):
    """The shape that a transposed convolution should return, and how the op calls its arguments.

    Attributes:
        argument: The name of ``value``.
        value: One int for each dimension of ``like``, the batch possibly None or -1, or the spatial ones only.
        like: The name of the array that is convolved backwards.
    """

    argument: str
    value: Ints
    like: str


def check_transpose_channels(
    op: str, sizes: Sizes, channels: int | None, y_channels: int, filter_shape: tuple[int, ...]
) -> int:
    """The number of groups of the convolution that gives ``y_channels`` of ``channels``; None stands for one group."""
    per_group, last = filter_shape[-2:]
    if last != y_channels:
        raise ValueError(
            f"{op}: `filters` must have as many in its last dimension as `{sizes.like}` has channels, {y_channels}, "
            f"got {last} (filters.shape = {filter_shape})"
        )
    if channels is None:
        return 1
    if per_group == 0 or channels < 1 or channels % per_group:
        raise ValueError(
            f"{op}: `{sizes.argument}` must have channels that are a multiple of the {per_group} of `filters` "
            f"(filters.shape = {filter_shape}), got {channels}"
        )
    groups = channels // per_group
    if last % groups:
        raise ValueError(
            f"{op}: `filters` must have a last dimension that the {groups} groups ({channels} channels in "
            f"`{sizes.argument}`) divide, got {last} (filters.shape = {filter_shape})"
        )
    return groups


def resolve_transpose(
    arguments: WindowArguments, sizes: Sizes, y: jax.Array, window_size: tuple[int, ...]
) -> tuple[Window, int | None]:
    """The window of the convolution that maps ``sizes`` to the shape of ``y``, and the channels in ``sizes`` if given.

    Args:
        arguments: Those of the convolution.
        sizes: What to return.
        y: What the convolution gives, in the layout that the arguments say.
        window_size: The spatial sizes of the filters.
    """
    op, channels_last = arguments.op, arguments.channels_last(len(window_size))
    spatial, channels = _split_sizes(op, sizes, y, len(window_size), channels_last)
    strides = resolve_ints(op, arguments.strides_argument, arguments.strides, len(window_size), channels_last)
    dilations = resolve_ints(
        op, "dilations", 1 if arguments.dilations is None else arguments.dilations, len(window_size), channels_last
    )
    outputs = spatial_shape(y, len(window_size), channels_last)
    effective = effective_size(op, window_size, dilations)
    possible = _possible_sizes(arguments, outputs, effective, strides, channels_last)
    if any(size not in fits for size, fits in zip(spatial, possible, strict=True)):
        raise ValueError(
            f"{op}: `{sizes.argument}` must have spatial sizes {' x '.join(map(_describe_range, possible))}, of which "
            f"a convolution gives the {outputs} of `{sizes.like}` with a window of {effective} cells (dilation "
            f"included), strides {strides} and padding {describe(arguments.padding)}, got {spatial}"
        )
    return arguments.resolve(input_shape=spatial, size=window_size, for_transpose=True), channels


def _possible_sizes(
    arguments: WindowArguments,
    outputs: tuple[int, ...],
    effective: tuple[int, ...],
    strides: tuple[int, ...],
    channels_last: bool,
) -> list[range]:
    """The sizes, in each dimension, of which a convolution gives so many outputs."""
    padding = arguments.padding
    if isinstance(padding, str) and padding.upper() == "SAME":
        return [range((o - 1) * s + 1, o * s + 1) if o else range(1) for o, s in zip(outputs, strides, strict=True)]
    pads = resolve_padding(arguments.op, padding, outputs, effective, strides, channels_last)
    lowest = [
        (o - 1) * s + cells - sum(pad) for o, s, cells, pad in zip(outputs, strides, effective, pads, strict=True)
    ]
    return [range(max(low, 0), max(low + s, 0)) for low, s in zip(lowest, strides, strict=True)]


def _split_sizes(
    op: str, sizes: Sizes, y: jax.Array, spatial_rank: int, channels_last: bool
) -> tuple[tuple[int, ...], int | None]:
    """The spatial sizes, and the channels if there is one size for each dimension of ``y``."""
    value = sizes.value
    if isinstance(value, list | tuple):
        value = [-1 if size is None else size for size in value]
    ints = as_static_ints(op, sizes.argument, value)
    if len(ints) == spatial_rank:
        return ints, None
    if len(ints) != y.ndim:
        raise ValueError(
            f"{op}: `{sizes.argument}` must have length {spatial_rank} (spatial sizes only) or {y.ndim} (one for each "
            f"dimension of `{sizes.like}`), got {ints} of length {len(ints)}"
        )
    batch = batch_shape(y, spatial_rank)
    if any(size not in (-1, known) for size, known in zip(ints, batch, strict=False)):
        raise ValueError(
            f"{op}: `{sizes.argument}` must have the batch {batch} of `{sizes.like}`, or None or -1 there, got {ints}"
        )
    first, *middle, last = ints[len(batch) :]
    return ((first, *middle), last) if channels_last else ((*middle, last), first)


def _describe_range(sizes: range) -> str:
    if not sizes:
        return "none"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
