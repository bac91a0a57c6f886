"""Cells of other libraries, each made one of ours by a few lines; the documentation shows them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

from jnnops.layers import layer, static


# [linen]
@layer
class LinenCell:
    """A ``flax.linen.RNNCellBase``, which takes and returns the state first."""

    module: Any = static()
    variables: Any
    in_features: int = static()

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return self.module.initialize_carry(jax.random.key(0), (batch_size, self.in_features))

    def __call__(self, inputs: Any, state: Any) -> Any:
        state, output = self.module.apply(self.variables, state, inputs)
        return output, state


# [nnx]
@layer
class NNXCell:
    """A ``flax.nnx.RNNCellBase``, taken apart by ``nnx.split``."""

    graph: Any = static()
    params: Any
    in_features: int = static()

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        module = nnx.merge(self.graph, self.params)
        return module.initialize_carry((batch_size, self.in_features), rngs=nnx.Rngs(0))

    def __call__(self, inputs: Any, state: Any) -> Any:
        state, output = nnx.merge(self.graph, self.params)(state, inputs)
        return output, state


# [haiku]
@layer
class HaikuCell:
    """A function that makes a ``haiku.RNNCore`` and calls it, by ``haiku.without_apply_rng(haiku.transform(...))``."""

    transformed: Any = static()
    params: Any
    units: int = static()

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return jnp.zeros((batch_size, self.units), dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return self.transformed.apply(self.params, inputs, state)


# [equinox]
@layer
class EquinoxCell:
    """An ``equinox.nn.GRUCell`` or ``LSTMCell``, which computes a step of one row and returns its state alone."""

    cell: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        zeros = jnp.zeros((batch_size, self.cell.hidden_size), dtype)
        return (zeros, zeros) if isinstance(self.cell, eqx.nn.LSTMCell) else zeros

    def __call__(self, inputs: Any, state: Any) -> Any:
        state = jax.vmap(self.cell)(inputs, state)
        return jax.tree.leaves(state)[0], state


# [end]
