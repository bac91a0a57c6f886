"""What cells that wrap other cells share: keys for those that draw random numbers, and words for what goes wrong.

A cell that draws random numbers carries a key in its state. It has two members more than other cells: ``needs_key``,
and ``zero_state(batch_size, dtype, *, key=None)``, which puts the key into the state. Wrappers pass both on.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jnnops._check import as_key
from jnnops._types import Key, Tree
from jnnops.recurrent.cell import RNNCell, check_cell


def as_cell(op: str, cell: RNNCell) -> RNNCell:
    """Checks the cell that another one is made of."""
    check_cell(op, "cell", cell)
    return cell


def needs_key(cell: RNNCell) -> bool:
    """Whether a cell or one inside it draws random numbers."""
    return bool(getattr(cell, "needs_key", False))


def zero_state_of(op: str, cell: RNNCell, batch_size: int, dtype: DTypeLike, key: Key | None) -> Tree:
    """The state that a cell starts from, with the key if it draws random numbers."""
    if not hasattr(cell, "zero_state"):
        raise TypeError(
            f"{op}: `cell` must have a method zero_state(batch_size, dtype) unless a state is given, got "
            f"{type(cell).__name__}"
        )
    if not needs_key(cell):
        return cell.zero_state(batch_size, dtype)
    drawing: Any = cell
    return drawing.zero_state(batch_size, dtype, key=key)


def as_typed_key(op: str, key: Key) -> jax.Array:
    """Checks a key and makes it one of rank 0, which recurrent loops carry as a scalar of the state."""
    key = as_key(op, key)
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def step_of(op: str, cell: RNNCell, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
    """What a step of the wrapped cell returns, which anybody may have written."""
    check_cell(op, "cell", cell)
    result = cell(inputs, state)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{op}: `cell` must return a pair (output, new_state), got {type(result).__name__}")
    return result
