"""The equations of the gated cells, as :mod:`jnnops.recurrent._gated` runs them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import Operation, bilinear, transpose_bilinear
from jnnops.recurrent._gated import Arrays, Recurrence


def _product(array: jax.Array, weight: jax.Array) -> jax.Array:
    contracted = (((array.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(array, weight, contracted, preferred_element_type=accumulation_dtype(array.dtype))


def _by_array(cotangent: jax.Array, array: Any, weight: jax.Array) -> jax.Array:
    return _by_transposed(cotangent, weight.astype(cotangent.dtype)).astype(array.aval.dtype)


def _by_weight(cotangent: jax.Array, array: jax.Array, weight: Any) -> jax.Array:
    rows = tuple(range(array.ndim - 1))
    wide = array.astype(cotangent.dtype)
    return lax.dot_general(wide, cotangent, ((rows, rows), ((), ()))).astype(weight.aval.dtype)


def _batch(operation: Operation, arrays: Any, axes: Any) -> tuple[jax.Array, int]:
    del operation
    return jax.vmap(_product, tuple(axes))(*arrays), 0


# ``array @ weight`` of all steps, in float32 for 16-bit arrays. JAX's own transpose has the cotangent on the left of
# the product that is the gradient of the weight, and XLA then turns the cotangent, which is the wider array: 26 to 44
# ms where it takes 18 with the array on the left (3200 rows, 256 to 1024, one core with AVX-512, jaxlib 0.9 to 0.12).
product = bilinear("product_of_steps", _product, _batch, on_cpu=_product)
transpose_bilinear(product, _by_array, _by_weight)


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
    kernel, bias = weights
    gates = projected + (_product(h, kernel) + _as_row(bias, projected))
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
    by_kernel, by_bias = changes
    wide = coefficients[0].dtype
    total = jnp.zeros((1, 1, 1), wide) if by_bias is None else by_bias[None, None]
    if by_kernel is not None:
        total += product(states[-1].astype(wide), by_kernel.astype(wide))
    return total


def _advance_gru(projected: jax.Array, weights: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
    (h,) = states
    by_gates, by_candidate, bias = weights
    units = h.shape[-1]
    gates, candidate = jnp.split(projected + _as_row(bias, projected), [2 * units], axis=-1)
    reset, update = _squash(gates + _product(h, by_gates), units, "ss")
    old = h.astype(reset.dtype)
    candidate = jnp.tanh(candidate + _product((reset * old).astype(h.dtype), by_candidate))
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
    *by_kernels, by_bias = changes
    parts = []
    for array, change, like in zip((h, reset_state), by_kernels, (by_gates, reset), strict=True):
        if change is None:
            parts.append(jnp.zeros_like(like))
        else:
            parts.append(product(array.astype(like.dtype), change.astype(like.dtype)))
    total = jnp.concatenate(parts, axis=-1)
    return total if by_bias is None else total + by_bias[None, None]


def _as_row(bias: jax.Array, array: jax.Array) -> jax.Array:
    return bias.reshape((1,) * (array.ndim - 1) + (-1,))


# The weights of both are their kernels and, last, the bias, in the dtype of the sums. It is added in the loop: added to
# the projected inputs it would be one more array of their size, and those are what the system has to provide in each
# call where glibc does not keep them, above 32 MiB in all: a fifth of the time for 100 steps of 32 rows and 256 units.

# The gates in the order input, new input, forget, output; the states are the memory and the output.
LSTM = Recurrence(2, _advance_lstm, _change_lstm, _change_lstm_by_weights)

# The projected inputs of the reset gate, the update gate and the candidate; the reset gate multiplies the state.
GRU = Recurrence(3, _advance_gru, _change_gru, _change_gru_by_weights)


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
