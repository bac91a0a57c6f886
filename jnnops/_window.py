"""Resolves the strides, dilations, padding and data_format of every windowed op.

The formulas are those of TensorFlow's convolution guide. With an effective window of
``(window - 1) * dilation + 1`` cells:

- ``SAME``: ``ceil(size / stride)`` outputs; the cells that this needs are padded half before and half
  after, the odd one after: ``max((outputs - 1) * stride + effective - size, 0)`` in all.
- ``VALID``: no padding; ``ceil((size - effective + 1) / stride)`` outputs.
- explicit: as many outputs as VALID has on the padded input.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import as_static_ints, check_choice, describe, join_alternatives

DATA_FORMATS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}


@dataclasses.dataclass(frozen=True)
class Window:
    """The geometry of a windowed op, one entry for each spatial dimension."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def dimensions(self) -> Iterator[tuple[int, int, int, int, int, tuple[int, int]]]:
        """Cells, outputs, size, stride, dilation and padding of each spatial dimension."""
        return zip(
            self.input_shape, self.output_shape, self.size, self.strides, self.dilations, self.padding, strict=True
        )


def is_channels_last(op: str, data_format: str | None, spatial_rank: int) -> bool:
    """Whether ``data_format`` puts the channels last; None does, the only one of more than three dimensions."""
    formats = DATA_FORMATS.get(spatial_rank, (None,))
    return data_format is None or check_choice(op, "data_format", data_format, formats) == formats[0]


def resolve_ints(
    op: str, argument: str, value: Any, spatial_rank: int, channels_last: bool, *, default: int = 1
) -> tuple[int, ...]:
    """One positive int for each spatial dimension, from an int, one per spatial or one per input dimension."""
    if value is None:
        return (default,) * spatial_rank
    ints = as_static_ints(op, argument, value, minimum=1)
    if len(ints) == 1:
        return ints * spatial_rank
    if len(ints) == spatial_rank:
        return ints
    if len(ints) == spatial_rank + 2:
        spatial = ints[1:-1] if channels_last else ints[2:]
        batch, channel = ints[0], ints[-1] if channels_last else ints[1]
        if (batch, channel) != (1, 1):
            raise ValueError(f"{op}: `{argument}` must be 1 for the batch and channel dimensions, got {ints}")
        return spatial
    lengths = join_alternatives(dict.fromkeys((1, spatial_rank, spatial_rank + 2)))
    raise ValueError(f"{op}: `{argument}` must be an int or have length {lengths}, got {ints} of length {len(ints)}")


def resolve_window(
    op: str,
    *,
    input_shape: tuple[int, ...],
    size: tuple[int, ...],
    strides: Any,
    padding: Any,
    dilations: Any = None,
    channels_last: bool = True,
) -> Window:
    """Resolves the window arguments of an op on an input whose spatial shape is ``input_shape``."""
    spatial_rank = len(input_shape)
    strides = resolve_ints(op, "strides", strides, spatial_rank, channels_last)
    dilations = resolve_ints(op, "dilations", dilations, spatial_rank, channels_last)
    effective = tuple((k - 1) * d + 1 for k, d in zip(size, dilations, strict=True))
    pads = resolve_padding(op, padding, input_shape, effective, strides, channels_last)
    output_shape = []
    for cells, window, stride, pad in zip(input_shape, effective, strides, pads, strict=True):
        room = cells + sum(pad) - window + stride
        if room < 0:
            raise ValueError(
                f"{op}: `padding` must make the input at least as large as the window, got spatial shape "
                f"{input_shape} padded by {pads} for a window of {effective} cells (dilation included)"
            )
        output_shape.append(room // stride)
    return Window(size, strides, dilations, pads, input_shape, tuple(output_shape))


def resolve_padding(
    op: str,
    padding: Any,
    input_shape: tuple[int, ...],
    effective: tuple[int, ...],
    strides: tuple[int, ...],
    channels_last: bool,
) -> tuple[tuple[int, int], ...]:
    """The cells to pad before and after in each spatial dimension."""
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * len(input_shape)
        if padding.upper() == "SAME":
            return tuple(same_padding(*cell) for cell in zip(input_shape, effective, strides, strict=True))
    return explicit_padding(op, padding, len(input_shape), channels_last)


def same_padding(size: int, effective: int, stride: int) -> tuple[int, int]:
    """The guide's SAME padding of one dimension; the odd cell goes after."""
    total = max((-(-size // stride) - 1) * stride + effective - size, 0)
    return total // 2, total - total // 2


def explicit_padding(op: str, padding: Any, spatial_rank: int, channels_last: bool) -> tuple[tuple[int, int], ...]:
    """Pairs of cells, one per spatial dimension or one per input dimension with none for batch and channels."""
    accepted = (
        f"'SAME', 'VALID' or {spatial_rank} (one per spatial dimension) or {spatial_rank + 2} (one per dimension) "
        "pairs of non-negative ints"
    )
    if isinstance(padding, str) or not hasattr(padding, "__len__"):
        raise ValueError(f"{op}: `padding` must be {accepted}, got {describe(padding)}")
    pairs = tuple(as_static_ints(op, "padding", pair) for pair in padding)
    if len(pairs) == spatial_rank + 2 and all(len(pair) == 2 for pair in pairs):
        outer = (pairs[0], pairs[-1] if channels_last else pairs[1])
        if outer != ((0, 0), (0, 0)):
            raise ValueError(f"{op}: `padding` must be (0, 0) for the batch and channel dimensions, got {pairs}")
        pairs = pairs[1:-1] if channels_last else pairs[2:]
    if len(pairs) != spatial_rank or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(f"{op}: `padding` must be {accepted}, got {describe(padding)}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def spatial_shape(array: jax.Array, spatial_rank: int, channels_last: bool) -> tuple[int, ...]:
    """The sizes of the spatial dimensions, whatever the leading batch dimensions."""
    return array.shape[-spatial_rank - 1 : -1] if channels_last else array.shape[-spatial_rank:]


def move_channels(array: jax.Array, spatial_rank: int, *, to_last: bool) -> jax.Array:
    """Moves the channels behind the spatial dimensions, or before them."""
    first, last = -spatial_rank - 1, -1
    return jnp.moveaxis(array, first, last) if to_last else jnp.moveaxis(array, last, first)


def pad_cells(x: jax.Array, padding: Sequence[tuple[int, int]], value: Any = 0) -> jax.Array:
    """Pads the spatial dimensions of ``[batch, *spatial, channels]``; negative pairs crop."""
    if not any(itertools.chain(*padding)):
        return x
    return lax.pad(x, np.asarray(value, x.dtype), [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])


def axis_cells(window: Window) -> list[np.ndarray]:
    """For each axis, which input cell each tap of each window meets: ``[outputs, taps]``, -1 in the padding."""
    cells = []
    for size, outputs, k, s, d, (before, _) in window.dimensions():
        at = (np.arange(outputs) * s - before)[:, None] + np.arange(k) * d
        cells.append(np.where((at >= 0) & (at < size), at, -1))
    return cells
