"""The arguments that all pooling ops have in common."""

from collections.abc import Collection

import jax

from jnnops._check import check_rank
from jnnops._types import Ints
from jnnops._windows.geometry import Window, WindowArguments, resolve_ints
from jnnops._windows.layout import DATA_FORMATS, spatial_shape

POOLED_RANKS = tuple(n + 2 for n in DATA_FORMATS)


def resolve_pooling(
    arguments: WindowArguments,
    x: jax.Array,
    ksize: Ints,
    *,
    ranks: int | Collection[int],
    size_argument: str = "ksize",
) -> tuple[Window, bool]:
    """The window of a pooling op, whose ``input`` must have one of the ``ranks``, and whether channels are last."""
    op = arguments.op
    check_rank(op, "input", x, ranks)
    spatial_rank = x.ndim - 2
    channels_last = arguments.channels_last(spatial_rank)
    window = arguments.resolve(
        input_shape=spatial_shape(x, spatial_rank, channels_last),
        size=resolve_ints(op, size_argument, ksize, spatial_rank, channels_last),
    )
    if any(not (dim.tap_cells() >= 0).any(axis=1).all() for dim in window.dimensions):
        raise ValueError(
            f"{op}: `padding` must leave every window a real cell, got {window.padding} for spatial shape "
            f"{window.input_shape}, {size_argument} {window.size} and dilations {window.dilations}"
        )
    return window, channels_last
