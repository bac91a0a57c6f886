"""The equations of the gated cells, as :mod:`jnnops.recurrent._gated` runs them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops.recurrent._gated import Arrays, Recurrence


def product(array: jax.Array, weight: jax.Array) -> jax.Array:
    """``array @ weight``, in float32 for 16-bit arrays."""
    contracted = (((array.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(array, weight, contracted, preferred_element_type=accumulation_dtype(array.dtype))


def _by_transposed(array: jax.Array, weight: jax.Array) -> jax.Array:
    """``array @ weight.T``."""
    return lax.dot_general(array, weight, (((array.ndim - 1,), (1,)), ((), ())))


def _squash(gates: jax.Array, units: int, kinds: str) -> list[jax.Array]:
    """The sigmoid of the gates marked ``s`` and tanh of those marked ``t``, as one operation on all of them.

    The sigmoid of x is 0.5 tanh(x / 2) + 0.5.
    """
    is_sigmoid = np.repeat([kind == "s" for kind in kinds], units).reshape((1,) * (gates.ndim - 1) + (-1,))
    scale = jnp.asarray(np.where(is_sigmoid, 0.5, 1.0), gates.dtype)
    shift = jnp.asarray(np.where(is_sigmoid, 0.5, 0.0), gates.dtype)
    return jnp.split(jnp.tanh(gates * scale) * scale + shift, len(kinds), axis=-1)


def _advance_lstm(projected: jax.Array, weights: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
    c, h = states
    gates = projected + product(h, weights[0])
    i, j, f, o = _squash(gates, c.shape[-1], "stss")
    old = c.astype(gates.dtype)
    memory = f * old + i * j
    squashed = jnp.tanh(memory)
    new_states = [memory.astype(c.dtype), (o * squashed).astype(h.dtype)]
    by_gates = [j * i * (1 - i), i * (1 - j * j), old * f * (1 - f), squashed * o * (1 - o)]
    return new_states, [jnp.concatenate(by_gates, axis=-1), f, o * (1 - squashed * squashed)]


def _change_lstm(projected: jax.Array, weights: Arrays, states: Arrays, coefficients: Arrays) -> Arrays:
    c, h = states
    by_gates, by_old, by_memory = coefficients
    gates = (projected + _by_transposed(h, weights[0])) * by_gates
    i, j, f, o = jnp.split(gates, 4, axis=-1)
    memory = by_old * c + i + j + f
    return [memory, by_memory * memory + o]


def _change_lstm_by_weights(changes: Sequence[jax.Array | None], states: Arrays, coefficients: Arrays) -> jax.Array:
    wide = coefficients[0].dtype
    (change,) = changes
    assert change is not None
    return product(states[-1].astype(wide), change.astype(wide))


def _advance_gru(projected: jax.Array, weights: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
    (h,) = states
    by_gates, by_candidate = weights
    units = h.shape[-1]
    gates, candidate = jnp.split(projected, [2 * units], axis=-1)
    reset, update = _squash(gates + product(h, by_gates), units, "ss")
    old = h.astype(reset.dtype)
    candidate = jnp.tanh(candidate + product((reset * old).astype(h.dtype), by_candidate))
    new = update * old + (1 - update) * candidate
    by_gates = [old * reset * (1 - reset), (old - candidate) * update * (1 - update)]
    coefficients = [jnp.concatenate(by_gates, axis=-1), reset, update, (1 - update) * (1 - candidate * candidate)]
    return [new.astype(h.dtype)], coefficients


def _change_gru(projected: jax.Array, weights: Arrays, states: Arrays, coefficients: Arrays) -> Arrays:
    (h,) = states
    by_gates, reset, update, by_candidate = coefficients
    gates, candidate = jnp.split(projected, [2 * h.shape[-1]], axis=-1)
    by_reset, by_update = jnp.split((gates + _by_transposed(h, weights[0])) * by_gates, 2, axis=-1)
    candidate += _by_transposed(reset * h + by_reset, weights[1])
    return [update * h + by_update + by_candidate * candidate]


def _change_gru_by_weights(changes: Sequence[jax.Array | None], states: Arrays, coefficients: Arrays) -> jax.Array:
    (h,) = states
    by_gates, reset, *_ = coefficients
    reset_state = (reset * h.astype(reset.dtype)).astype(h.dtype)
    parts = []
    for array, change, like in zip((h, reset_state), changes, (by_gates, reset), strict=True):
        if change is None:
            parts.append(jnp.zeros_like(like))
        else:
            parts.append(product(array.astype(like.dtype), change.astype(like.dtype)))
    return jnp.concatenate(parts, axis=-1)


# The gates in the order input, new input, forget, output; the states are the memory and the output.
LSTM = Recurrence(1, _advance_lstm, _change_lstm, _change_lstm_by_weights)

# The projected inputs of the reset gate, the update gate and the candidate; the reset gate multiplies the state.
GRU = Recurrence(2, _advance_gru, _change_gru, _change_gru_by_weights)


def run_whole(cell: Any, inputs: Any, state: Any, active: jax.Array | None, *, reverse: bool, unroll: int) -> Any:
    """Runs a cell over all steps at once, if it can.

    A class may define ``_run_whole`` for this. Its subclasses do not inherit it, since they may compute other steps.

    Args:
        cell: The cell, which was found to take these inputs and to return a state like this.
        inputs: ``[time, batch, features]``, or what else a cell takes.
        state: The state before the first step, in the dtype that the cell gives it.
        active: ``[time, batch]``, whether a row has a step, or None where all have.
        reverse: Whether the last step is the first one to be taken.
        unroll: How many steps to compile into one iteration of the loop.

    Returns:
        ``(state, outputs)``, the outputs ``[time, batch, ...]``, or None if the cell can only run step by step.
    """
    if "_run_whole" not in vars(type(cell)):
        return None
    if active is not None:
        active = active[..., None]
        # NaN in the padding would reach the gradients through a mask of the results alone: 0 * NaN is NaN.
        inputs = _zero_unless(active, inputs)
    whole = run_unmasked(cell, inputs, state, active, reverse=reverse, unroll=unroll)
    if whole is None or active is None:
        return whole
    state, outputs = whole
    return state, _zero_unless(active, outputs)


def run_unmasked(cell: Any, inputs: Any, state: Any, active: jax.Array | None, **options: Any) -> Any:
    """As :func:`run_whole`, with ``active`` ``[time, batch, 1]``; where it is False the outputs are any finite ones."""
    run = vars(type(cell)).get("_run_whole")
    return None if run is None else run(cell, inputs, state, active, **options)


def _zero_unless(active: jax.Array, array: jax.Array) -> jax.Array:
    return jnp.where(active, array, jnp.zeros_like(array))
