"""Cells and sequences that the tests of recurrent ops share."""

from typing import Any

import cases.recurrent as rc
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from machinery.case import cotangent, normal

BATCH, TIME, FEATURES, UNITS = 3, 4, 2, 3
INPUTS = normal(BATCH, TIME, FEATURES)
SOME = np.array([2, 4, 0])
LENGTHS = {"none": None, "all": np.array([4, 4, 4]), "some": SOME, "one": np.array([0, 1, 0])}


CELLS = {
    "basic_rnn": rc.basic_rnn(FEATURES, UNITS),
    "gru": rc.gru(FEATURES, UNITS, seed=1),
    "basic_lstm": rc.basic_lstm(FEATURES, UNITS, seed=2, forget_bias=0.5),
    "lstm": rc.lstm(FEATURES, UNITS, seed=3, use_peepholes=True, num_proj=2, cell_clip=0.75, proj_clip=0.5),
}


class Returning:
    """A cell whose step returns whatever it is made with."""

    def __init__(self, result: Any):
        self.result = result

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return jnp.zeros((batch_size, UNITS), dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return self.result(state)


def weighted(tree: Any) -> jax.Array:
    """A scalar that weighs every element of a tree differently."""
    return sum((jnp.sum(leaf * cotangent(leaf.shape)) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def swapped(inputs: np.ndarray, time_major: bool) -> np.ndarray:
    return np.swapaxes(inputs, 0, 1) if time_major else inputs


def assert_trees_close(actual: Any, expected: Any, rtol: float = 1e-6) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol)
