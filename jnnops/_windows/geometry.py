"""Resolves the strides, dilations, padding and data_format of every windowed op.

The formulas are those of TensorFlow's convolution guide. With an effective window of
``(window - 1) * dilation + 1`` cells:

- ``SAME``: ``ceil(size / stride)`` outputs; the cells that this needs are padded half before and half
  after, the odd one after: ``max((outputs - 1) * stride + effective - size, 0)`` in all.
- ``VALID``: no padding; ``ceil((size - effective + 1) / stride)`` outputs.
- explicit: as many outputs as VALID has on the padded input.

A window that is larger than the input and its padding is an error, as in TensorFlow's graphs (its eager kernels give
something empty or unspecified, or an error, as it comes). Where there are no cells there are no such windows either.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jnnops._check import MAX_SIZE, as_static_ints, describe, is_sequence, join_alternatives
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.layout import is_channels_last


class Dimension(NamedTuple):
    """The geometry of a windowed op along one spatial dimension.

    Tap ``t`` of output ``o`` meets cell ``o * stride + t * dilation - before`` of the input, or padding.

    Attributes:
        cells: Of the input.
        outputs: How many windows there are.
        taps: The places of a window.
        stride: Cells from one window to the next.
        dilation: Cells from one tap to the next.
        before: Cells of padding before the input.
        after: And after it.
    """

    cells: int
    outputs: int
    taps: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """The cells from the first tap of a window to the last."""
        return (self.taps - 1) * self.dilation

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return self.before + self.after > 0

    @property
    def transposed_padding(self) -> tuple[int, int]:
        """How to pad the outputs, with ``stride - 1`` gaps between them, for a walk over the taps backwards.

        That walk, with stride 1, gives the cells of the input from the outputs.
        """
        return self.reach - self.before, self.cells + self.before - (self.outputs - 1) * self.stride - 1

    def cells_of(self, outputs: int) -> int:
        """The cells from the first tap of the first of so many windows to the last tap of the last."""
        return (outputs - 1) * self.stride + self.reach + 1

    def tap_cells(self) -> np.ndarray:
        """Which cell each tap of each window meets: ``[outputs, taps]``, -1 in the padding."""
        at = (np.arange(self.outputs) * self.stride - self.before)[:, None] + np.arange(self.taps) * self.dilation
        return np.where((at >= 0) & (at < self.cells), at, -1)


@dataclasses.dataclass(frozen=True)
class Window:
    """The geometry of a windowed op, one :class:`Dimension` for each spatial dimension."""

    dimensions: tuple[Dimension, ...]

    @property
    def rank(self) -> int:
        """The number of spatial dimensions."""
        return len(self.dimensions)

    @property
    def size(self) -> tuple[int, ...]:
        """The taps along each dimension."""
        return tuple(dim.taps for dim in self.dimensions)

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each dimension."""
        return tuple(dim.stride for dim in self.dimensions)

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of each dimension."""
        return tuple(dim.dilation for dim in self.dimensions)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """The cells before and after along each dimension."""
        return tuple((dim.before, dim.after) for dim in self.dimensions)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The cells along each dimension."""
        return tuple(dim.cells for dim in self.dimensions)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The outputs along each dimension."""
        return tuple(dim.outputs for dim in self.dimensions)

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return any(dim.is_padded for dim in self.dimensions)

    def replace(self, first: int = 0, stop: int | None = None, **changes: int) -> "Window":
        """The window with some attributes of the dimensions from ``first`` to ``stop`` changed."""
        chosen = range(self.rank)[first:stop]
        return Window(
            tuple(dim._replace(**changes) if axis in chosen else dim for axis, dim in enumerate(self.dimensions))
        )

    def after_first(self) -> "Window":
        """The window in the dimensions after the first."""
        return Window(self.dimensions[1:])


class WindowArguments(NamedTuple):
    """How a window moves, as the user of an op said it."""

    op: str
    strides: Ints
    padding: Padding
    data_format: DataFormat = None
    dilations: Ints | None = None
    strides_argument: str = "strides"
    size_argument: str = "ksize"

    def channels_last(self, spatial_rank: int) -> bool:
        """Whether the channels are last."""
        return is_channels_last(self.op, self.data_format, spatial_rank)

    def resolve(self, *, input_shape: tuple[int, ...], size: tuple[int, ...], for_transpose: bool = False) -> Window:
        """The window of that many taps on an input, or on the result of a transpose, with that spatial shape."""
        return resolve_window(
            self.op,
            input_shape=input_shape,
            size=size,
            strides=self.strides,
            padding=self.padding,
            dilations=self.dilations,
            channels_last=self.channels_last(len(input_shape)),
            strides_argument=self.strides_argument,
            for_transpose=for_transpose,
        )


def resolve_ints(op: str, argument: str, value: Ints, spatial_rank: int, channels_last: bool) -> tuple[int, ...]:
    """One positive int for each spatial dimension, from an int, one per spatial or one per input dimension."""
    ints = as_static_ints(op, argument, value, minimum=1)
    if max(ints, default=1) > MAX_SIZE:
        raise ValueError(f"{op}: `{argument}` must be less than 2**31, got {ints}")
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
    strides: Ints,
    padding: Padding,
    dilations: Ints | None = None,
    channels_last: bool = True,
    strides_argument: str = "strides",
    for_transpose: bool = False,
) -> Window:
    """Resolves the window arguments of an op on an input whose spatial shape is ``input_shape``.

    Of no outputs a transpose makes any number of cells that no window fits into, which only ``for_transpose`` allows.
    """
    spatial_rank = len(input_shape)
    strides = resolve_ints(op, strides_argument, strides, spatial_rank, channels_last)
    dilations = resolve_ints(op, "dilations", 1 if dilations is None else dilations, spatial_rank, channels_last)
    effective = effective_size(op, size, dilations)
    pads = resolve_padding(op, padding, input_shape, effective, strides, channels_last)
    dimensions = []
    for cells, taps, window, stride, dilation, (before, after) in zip(
        input_shape, size, effective, strides, dilations, pads, strict=True
    ):
        if before + cells + after > MAX_SIZE:
            raise ValueError(
                f"{op}: `padding` must leave fewer than 2**31 cells, got {pads} for spatial shape {input_shape} and a "
                f"window of {effective} cells (dilation included)"
            )
        room = cells + before + after - window + stride
        if room < stride and cells and not for_transpose:
            raise ValueError(
                f"{op}: `padding` must make the input at least as large as the window, got spatial shape "
                f"{input_shape} padded by {pads} for a window of {effective} cells (dilation included)"
            )
        outputs = max(room, 0) // stride
        if outputs == 1:  # no larger stride than what makes it one, since lowerings may have a part for every phase
            stride = min(stride, room - stride + 1)
        dimensions.append(Dimension(cells, outputs, taps, stride, dilation, before, after))
    return Window(tuple(dimensions))


def effective_size(op: str, size: tuple[int, ...], dilations: tuple[int, ...]) -> tuple[int, ...]:
    """The cells from the first tap of a window to the last, both included."""
    effective = tuple((k - 1) * d + 1 for k, d in zip(size, dilations, strict=True))
    if max(effective) > MAX_SIZE:
        raise ValueError(
            f"{op}: `dilations` must make a window of fewer than 2**31 cells, got {dilations} for a window of {size}"
        )
    return effective


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
    if not is_sequence(padding):
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
