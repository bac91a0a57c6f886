"""The arguments that all pooling ops have in common."""

from collections.abc import Collection

import jax

from jnnops._check import as_static_ints, check_rank
from jnnops._types import Ints
from jnnops._windows.geometry import Window, WindowArguments, resolve_ints
from jnnops._windows.layout import DATA_FORMATS, channel_count, spatial_shape

POOLED_RANKS = tuple(n + 2 for n in DATA_FORMATS)


def resolve_pooling(
    arguments: WindowArguments, x: jax.Array, ksize: Ints, *, ranks: int | Collection[int]
) -> tuple[Window, bool]:
    """The window of a pooling op, whose ``input`` must have one of the ``ranks``, and whether channels are last."""
    op = arguments.op
    check_rank(op, "input", x, ranks)
    spatial_rank = x.ndim - 2
    channels_last = arguments.channels_last(spatial_rank)
    window = arguments.resolve(
        input_shape=spatial_shape(x, spatial_rank, channels_last),
        size=resolve_ints(op, arguments.size_argument, ksize, spatial_rank, channels_last),
    )
    if any(not (dim.tap_cells() >= 0).any(axis=1).all() for dim in window.dimensions):
        raise ValueError(
            f"{op}: `padding` must leave every window a real cell, got {window.padding} for spatial shape "
            f"{window.input_shape}, {arguments.size_argument} {window.size} and dilations {window.dilations}"
        )
    return window, channels_last


def split_channels(
    arguments: WindowArguments, x: jax.Array, ksize: Ints, *, ranks: int | Collection[int]
) -> tuple[WindowArguments, Ints, int]:
    """The window of a maximum without what it has over the channels, and how many of them are made one."""
    op = arguments.op
    check_rank(op, "input", x, ranks)
    argument = arguments.size_argument
    sizes = as_static_ints(op, argument, ksize, minimum=1)
    channels_last = arguments.channels_last(x.ndim - 2)
    axis = x.ndim - 1 if channels_last else 1
    if len(sizes) != x.ndim or sizes[axis] == 1:
        return arguments, ksize, 1
    strides = () if arguments.strides is None else as_static_ints(op, "strides", arguments.strides, minimum=1)
    count, joined = channel_count(x, x.ndim - 2, channels_last), sizes[axis]
    if sizes[0] != 1 or strides[axis : axis + 1] != (joined,) or count % joined:
        raise ValueError(
            f"{op}: `{argument}` must be 1 for the batch and channel dimensions, or for the channels a divisor of "
            f"their number that `strides` has there, too, got {argument} = {sizes} and strides = {strides} for {count} "
            "channels"
        )

    def without(values: tuple[int, ...]) -> tuple[int, ...]:
        return (*values[:axis], 1, *values[axis + 1 :])

    return arguments._replace(strides=without(strides)), without(sizes), joined
