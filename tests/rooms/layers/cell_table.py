"""The table of cells: each with one step of it in NumPy, written from its equations.

A row is all that ``test_cell_table.py`` needs to compare a cell with its reference in value and gradient, in every
dtype and under ``jit`` and ``vmap``. References are called as ``reference(cell, inputs, state)`` with float64 NumPy
arrays as the leaves of all three, and return ``(output, new_state)`` in the structure that the cell returns.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr
from machinery.case import integers

BATCH, FEATURES, UNITS = 3, 2, 4
KEY = jax.random.key(0)

Step = tuple[Any, Any]


def sixteenths(*shape: int, seed: int = 0) -> np.ndarray:
    """Different numbers that 16 bits hold exactly, so that all dtypes compute the same function."""
    return integers(-24, 25, *shape, seed=seed) / 16.0


INPUTS = sixteenths(BATCH, FEATURES)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """What is known of a cell.

    Attributes:
        cell: The cell, with weights by :func:`exact`.
        reference: ``reference(cell, inputs, state)``, one step in NumPy.
        shapes: The shapes of the weights by their paths, such as ``{"kernel": (6, 4), "cell.bias": (4,)}``.
        inputs: Of a step, in float64 (or integers), exact in 16 bits.
        state: Of a step, in float64; different numbers in the shapes of ``zero_state`` unless given.
        ulps: Rounding errors allowed in 16-bit results, in units of the last place of the largest number.
        gradient_ulps: The same of 16-bit gradients.
        bad: What must be refused: changes of ``inputs``, ``state`` or fields of the cell, and how the message begins.
    """

    cell: Any
    reference: Callable[[Any, Any, Any], Step]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: Any = dataclasses.field(default_factory=lambda: INPUTS)
    state: Any = None
    ulps: float = 4
    gradient_ulps: float = 8
    bad: Sequence[tuple[Mapping[str, Any], str]] = ()

    def given(self) -> tuple[Any, Any, Any]:
        """The cell, the inputs and the state of one step."""
        return self.cell, self.inputs, a_state(self.cell) if self.state is None else self.state


def exact(cell: Any, seed: int = 0) -> Any:
    """The cell with float64 weights that 16 bits hold exactly."""
    leaves, structure = jax.tree.flatten(cell)
    drawn = [integers(-16, 17, *leaf.shape, seed=seed + i) / 16.0 for i, leaf in enumerate(leaves)]
    return structure.unflatten(drawn)


def a_state(cell: Any, batch: int = BATCH) -> Any:
    """A state of different numbers."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: cell.zero_state(batch, jnp.float32)))
    drawn = [sixteenths(*leaf.shape, seed=40 + i) for i, leaf in enumerate(leaves)]
    return structure.unflatten(drawn)


def weight_shapes(cell: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a cell by their paths."""
    flat, _ = jax.tree.flatten_with_path(cell)
    return {keystr(path, simple=True, separator="."): np.shape(leaf) for path, leaf in flat}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def product(x: np.ndarray, h: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """``[x, h] @ kernel + bias``, in TensorFlow's layout."""
    return np.concatenate([x, h], axis=-1) @ kernel + bias


def normalized(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float = 1e-12) -> np.ndarray:
    """Ba et al., "Layer Normalization", 2016, equation 4, with TensorFlow 1.15's epsilon."""
    centered = x - x.mean(-1, keepdims=True)
    return gamma * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) + beta
