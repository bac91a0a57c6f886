"""Where the channels are, and how arrays get to ``[batch, *spatial, channels]`` and back, which all lowerings take."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import check_choice
from jnnops._types import DataFormat

DATA_FORMATS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


def is_channels_last(op: str, data_format: DataFormat, spatial_rank: int) -> bool:
    """Whether ``data_format`` puts the channels last; None does, the only one of more than three dimensions."""
    formats = DATA_FORMATS.get(spatial_rank, (None,))
    return data_format is None or check_choice(op, "data_format", data_format, formats) == formats[0]


def is_channels_last_of_any_rank(op: str, data_format: DataFormat) -> bool:
    """The same where the format need not say how many dimensions there are."""
    last = ("N...C", *(formats[0] for formats in DATA_FORMATS.values()))
    second = ("NC...", "NC", *(formats[1] for formats in DATA_FORMATS.values()))
    return data_format is None or check_choice(op, "data_format", data_format, (*last, *second)) in last


def spatial_shape(array: jax.Array, spatial_rank: int, channels_last: bool) -> tuple[int, ...]:
    """The sizes of the spatial dimensions, whatever the leading batch dimensions."""
    return array.shape[-spatial_rank - 1 : -1] if channels_last else array.shape[-spatial_rank:]


def batch_shape(array: jax.Array, spatial_rank: int) -> tuple[int, ...]:
    """The sizes of the dimensions before spatial ones and channels, in either layout."""
    return array.shape[: array.ndim - spatial_rank - 1]


def channel_count(array: jax.Array, spatial_rank: int, channels_last: bool) -> int:
    """The number of channels, in either layout."""
    return array.shape[-1 if channels_last else -spatial_rank - 1]


def move_channels(array: jax.Array, spatial_rank: int, *, to_last: bool) -> jax.Array:
    """Moves the channels behind the spatial dimensions, or before them."""
    first, last = -spatial_rank - 1, -1
    return jnp.moveaxis(array, first, last) if to_last else jnp.moveaxis(array, last, first)


def in_layout(
    function: Callable[[jax.Array], jax.Array], array: jax.Array, spatial_rank: int, channels_last: bool
) -> jax.Array:
    """What a function of an array with channels last gives for one in either layout, in the same layout."""
    if channels_last:
        return function(array)
    return move_channels(function(move_channels(array, spatial_rank, to_last=True)), spatial_rank, to_last=False)


def merge_batch(array: jax.Array, spatial_rank: int, channels_last: bool) -> jax.Array:
    """``[..., *spatial, channels]``, or with the channels before, to ``[batch, *spatial, channels]``."""
    if not channels_last:
        array = move_channels(array, spatial_rank, to_last=True)
    return array.reshape(math.prod(batch_shape(array, spatial_rank)), *array.shape[-spatial_rank - 1 :])


def split_batch(array: jax.Array, batch: tuple[int, ...], spatial_rank: int, channels_last: bool) -> jax.Array:
    """The inverse of ``merge_batch``, for a result."""
    array = array.reshape(*batch, *array.shape[1:])
    return array if channels_last else move_channels(array, spatial_rank, to_last=False)


def pad_cells(x: jax.Array, padding: Sequence[tuple[int, int]], value: Any = 0) -> jax.Array:
    """Pads the spatial dimensions of ``[batch, *spatial, channels]``; negative pairs crop."""
    if not any(itertools.chain(*padding)):
        return x
    return lax.pad(x, np.asarray(value, x.dtype), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])


def along(axis: int, rank: int) -> tuple[int, ...]:
    """The shape for values along one axis of an array of a rank, which broadcast over all others."""
    return tuple(-1 if other == axis else 1 for other in range(rank))
