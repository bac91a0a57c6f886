"""Cells of other libraries, each made one of ours by a few lines; the documentation shows them."""

from typing import Any

import equinox as eqx
import haiku as hk
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
def transform_core(kind: Any, units: int) -> Any:
    """A step of a ``haiku.RNNCore``, such as ``haiku.LSTM``, and its first state, as two functions of parameters."""

    def make() -> Any:
        core = kind(units)
        return core, (core, core.initial_state)

    return hk.without_apply_rng(hk.multi_transform(make))


@layer
class HaikuCell:
    """What ``transform_core`` returns, with the parameters that its ``init(key, inputs, state)`` makes."""

    transformed: Any = static()
    params: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        _, initial_state = self.transformed.apply
        return initial_state(self.params, batch_size)

    def __call__(self, inputs: Any, state: Any) -> Any:
        step, _ = self.transformed.apply
        return step(self.params, inputs, state)


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
