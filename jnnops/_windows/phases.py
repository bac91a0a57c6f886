"""The arithmetic of strides: cells, taps and outputs that meet, when cells and taps are split by the stride.

A cell belongs to the phase that its place has modulo the stride, and so does a tap. A cell meets only taps of its own
phase, so that of the gradient of a strided op each phase is an op of stride 1.
"""

import itertools
from typing import NamedTuple

import jax

from jnnops._windows.geometry import Dimension


class Phases(NamedTuple):
    """One dimension of a window, split by its stride.

    Cell ``q * stride + phase`` and tap ``t`` with ``t * dilation + front = lag * stride + phase`` meet in output
    ``q + shift - lag``.

    Attributes:
        stride: The number of phases.
        dilation: Cells from one tap to the next.
        taps: How many there are.
        front: Places before the first tap, so that the padding is a whole number of strides.
        shift: That number.
        cells: Of one phase; the last phases may lack the last of them.
        outputs: How many windows there are.
    """

    stride: int
    dilation: int
    taps: int
    front: int
    shift: int
    cells: int
    outputs: int

    @property
    def last(self) -> int:
        """The lag of the last tap."""
        return ((self.taps - 1) * self.dilation + self.front) // self.stride

    @property
    def padding(self) -> tuple[int, int]:
        """The outputs to pad, so that every cell of a phase finds one for every lag."""
        return self.last - self.shift, self.cells - self.outputs + self.shift

    def of_tap(self, tap: int) -> tuple[int, int]:
        """The lag and the phase of a tap."""
        return divmod(tap * self.dilation + self.front, self.stride)

    def taps_of(self, phase: int) -> tuple[range, tuple[int, int]]:
        """The taps of a phase, where the dilation is 1, and the outputs to pad for these alone."""
        first = (phase - self.front) % self.stride
        taps = range(first, self.taps, self.stride)
        lag, _ = self.of_tap(first)
        return taps, (lag + len(taps) - 1 - self.shift, self.cells - self.outputs + self.shift - lag)


def phases_of(dim: Dimension) -> Phases:
    """Splits a dimension by its stride."""
    front = -dim.before % dim.stride
    shift, cells = (dim.before + front) // dim.stride, -(-dim.cells // dim.stride)
    return Phases(dim.stride, dim.dilation, dim.taps, front, shift, cells, dim.outputs)


def interleave(phases: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    """``[*strides, batch, *cells, channels]`` to ``[batch, *(cells * strides), channels]``."""
    n = len(strides)
    batch, *cells, channels = phases.shape[n:]
    order = [n, *itertools.chain.from_iterable((n + 1 + axis, axis) for axis in range(n)), 2 * n + 1]
    return phases.transpose(order).reshape(batch, *(c * s for c, s in zip(cells, strides, strict=True)), channels)
