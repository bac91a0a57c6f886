"""Cells one above the other."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jnnops._check import as_dtype, as_key, as_size, describe, is_sequence
from jnnops._types import Key, Tree
from jnnops.layers._layer import layer
from jnnops.layers.cells._wrapped import needs_key, step_of, zero_state_of
from jnnops.recurrent._gates import run_unmasked
from jnnops.recurrent.cell import RNNCell


@layer
class MultiRNNCell:
    """Cells one above the other: each one's output is the next one's input.

    Attributes:
        cells: The cells, the lowest first. A cell that stands there twice is two copies, whose gradients come apart;
            TensorFlow shares its weights.

    Example:
        >>> cell = nn.layers.MultiRNNCell.init(nn.layers.LSTMCell, 4, (8, 3), key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, [part.h.shape for part in state]
        ((2, 3), [(2, 8), (2, 3)])

    References:
        ``tf.compat.v1.nn.rnn_cell.MultiRNNCell`` with ``state_is_tuple``.
    """

    cells: tuple[RNNCell, ...]

    @classmethod
    def init(
        cls,
        cell: Any,
        in_features: int,
        num_units: Sequence[int],
        *,
        dtype: DTypeLike = jnp.float32,
        key: Key,
        **options: Any,
    ) -> "MultiRNNCell":
        """Draws new cells of one class.

        Args:
            cell: The class, such as ``LSTMCell``.
            in_features: Width of the inputs.
            num_units: The units of each cell, the lowest first.
            dtype: Of the arrays.
            key: A ``jax.random`` key.
            **options: Further arguments of ``cell.init``, for all cells.

        Returns:
            The cells, of which each takes inputs as wide as the output of the one below.

        Raises:
            TypeError: If ``cell`` is no class of cells, or it has no such option.
            ValueError: If ``num_units`` is empty, or a size below 1.
        """
        op = "MultiRNNCell.init"
        if not is_sequence(num_units) or not len(num_units):
            raise ValueError(f"{op}: `num_units` must list the units of each cell, got {describe(num_units)}")
        return cls(cells=tuple(draw_cells(op, cell, in_features, num_units, dtype, key, options)))

    @property
    def needs_key(self) -> bool:
        """Whether one of the cells draws random numbers."""
        return any(map(needs_key, self.cells))

    @property
    def output_size(self) -> Any:
        """The last cell's."""
        return self.cells[-1].output_size  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def state_size(self) -> tuple[Any, ...]:
        """Those of all cells."""
        return tuple(cell.state_size for cell in self.cells)  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(
        self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None
    ) -> tuple[Tree, ...]:
        """Those of all cells, each with a key of its own if it draws random numbers."""
        op = "MultiRNNCell"
        keys = [None] * len(self.cells) if key is None else jax.random.split(as_key(op, key), len(self.cells))
        return tuple(
            zero_state_of(op, cell, batch_size, dtype, own) for cell, own in zip(self.cells, keys, strict=True)
        )

    def __call__(self, inputs: Tree, state: Tree) -> tuple[Tree, tuple[Tree, ...]]:
        """Returns ``(output, new_state)``: the last cell's output and the new states of all."""
        op = "MultiRNNCell"
        if not isinstance(state, tuple | list) or len(state) != len(self.cells):
            given = f"{len(state)} of them" if isinstance(state, tuple | list) else type(state).__name__
            raise ValueError(f"{op}: `state` must be a tuple of the states of {len(self.cells)} cells, got {given}")
        new = []
        for cell, own in zip(self.cells, state, strict=True):
            inputs, own = step_of(op, cell, inputs, own)
            new.append(own)
        return inputs, tuple(new)

    def _run_whole(self, inputs: Tree, state: Tree, active: jax.Array | None, **options: Any) -> Any:
        """All steps of each cell before those of the next, if all cells run so."""
        new = []
        for cell, own in zip(self.cells, state, strict=True):
            whole = run_unmasked(cell, inputs, own, active, **options)
            if whole is None:
                return None
            own, inputs = whole
            new.append(own)
        return tuple(new), inputs


def draw_cells(
    op: str, cell: Any, in_features: int, num_units: Sequence[int], dtype: DTypeLike, key: Key, options: dict[str, Any]
) -> list[Any]:
    """Draws a cell for each number of units, each taking what the one below returns."""
    if not isinstance(cell, type) or not hasattr(cell, "init"):
        raise TypeError(f"{op}: `cell` must be a class of cells with a method init, got {describe(cell)}")
    width = as_size(op, "in_features", in_features)
    sizes = [as_size(op, "num_units", units) for units in num_units]
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    drawn: list[Any] = []
    for units, own in zip(sizes, jax.random.split(as_key(op, key), len(sizes)), strict=True):
        drawn.append(cell.init(width, units, dtype=dtype, key=own, **options))  # pyright: ignore[reportAttributeAccessIssue]
        width = drawn[-1].output_size
    return drawn
