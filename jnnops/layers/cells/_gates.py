"""What the steps of the cells with gates share."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.typing import DTypeLike

from jnnops._check import NOT_NEGATIVE, as_dtype, as_size, as_static_float
from jnnops._types import Tree

_LIMIT = NOT_NEGATIVE._replace(requirement="be None or at least 0")


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Adds a bias to the last axis, if there is one."""
    return x if bias is None else x + jnp.expand_dims(bias.astype(x.dtype), tuple(range(x.ndim - 1)))


def add_peephole(gate: jax.Array, weight: jax.Array | None, memory: jax.Array) -> jax.Array:
    """Adds ``weight * memory`` to a gate, if it sees the memory."""
    return gate if weight is None else gate + weight.astype(memory.dtype)[None] * memory


def clip(x: jax.Array, limit: float | None) -> jax.Array:
    """Clips to ``[-limit, limit]`` with a gradient of 1 at the limits, where ``jnp.clip`` has 0.5."""
    if limit is None:
        return x
    return jnp.where(x > limit, limit, jnp.where(x < -limit, -limit, x))


def as_limit(op: str, argument: str, value: float | None) -> float | None:
    """Checks what a memory or an output is clipped to."""
    return None if value is None else as_static_float(op, argument, value, _LIMIT)


def as_pair(op: str, state: Tree) -> tuple[Any, Any]:
    """The two parts of the state of an LSTM."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise ValueError(f"{op}: `state` must be an LSTMStateTuple or another pair (c, h), got {type(state).__name__}")
    return state[0], state[1]


def zeros(op: str, batch_size: int, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Zeros ``[batch_size, *shape]``."""
    if not export.is_symbolic_dim(batch_size):  # a batch that an exported program leaves open
        batch_size = as_size(op, "batch_size", batch_size, minimum=0)
    return jnp.zeros((batch_size, *shape), as_dtype(op, "dtype", dtype, floating=True))


def count_blocks(features: int, size: int, skip: int) -> int:
    """How many blocks of ``size`` frequencies there are, each ``skip`` after the one before."""
    return max(0, (features - size) // skip + 1)


def frequency_blocks(inputs: jax.Array, start: int, count: int, size: int, skip: int) -> jax.Array:
    """``[count, batch, size]`` from ``[batch, features]``."""
    starts = range(start, start + count * skip, skip)
    return jnp.stack([inputs[:, first : first + size] for first in starts])


def split_state(state: jax.Array, count: int, units: int) -> tuple[jax.Array, jax.Array]:
    """The memory and the output of ``count`` blocks, ``[count, batch, units]`` each."""
    parts = state.reshape(state.shape[0], count, 2, units)
    return jnp.swapaxes(parts[:, :, 0], 0, 1), jnp.swapaxes(parts[:, :, 1], 0, 1)


def join_blocks(*parts: jax.Array) -> jax.Array:
    """``[batch, count * units]`` of ``[count, batch, units]``; of several parts those of each block side by side."""
    joined = jnp.moveaxis(jnp.stack(parts, axis=2), 1, 0)  # [batch, count, parts, units]
    return joined.reshape(joined.shape[0], math.prod(joined.shape[1:]))
