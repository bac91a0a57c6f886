"""Cells whose new state is linear in the old one, run over all steps at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import differentiable, transpose_in_last
from jnnops._types import Tree
from jnnops.recurrent.cell import LinearCell, check_result

# decay, addend and read of a step
LinearStep = tuple[Tree, Tree, Callable[[Tree], Tree]]


def is_linear(cell: Any) -> bool:
    """Whether the cell offers its step as a linear one, as :class:`LinearCell` says."""
    return callable(getattr(cell, "linear_step", None))


def linear_step(op: str, argument: str, cell: LinearCell, inputs: Tree, state: Tree) -> LinearStep:
    """What ``linear_step`` of a cell returns for one step, checked; only the types of ``state`` are used."""
    result = cell.linear_step(inputs)
    name = f"{argument}.linear_step"
    if not isinstance(result, tuple) or len(result) != 3:
        raise TypeError(f"{op}: `{name}` must return (decay, addend, read), got {type(result).__name__}")
    decay, addend = jax.tree.map(jnp.asarray, result[:2])
    if not isinstance(result[2], jax.tree_util.Partial):
        message = "must return as its third result a jax.tree_util.Partial"
        raise TypeError(f"{op}: `{name}` {message}, got {type(result[2]).__name__}")
    given = jax.tree.structure(state)
    for part, tree in (("a decay", decay), ("an addend", addend)):
        if jax.tree.structure(tree) != given:
            found = jax.tree.structure(tree)
            raise ValueError(f"{op}: `{name}` must return {part} of the structure {given} of the state, got {found}")
    shapes, found, factors = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (state, addend, decay))
    if found != shapes:
        raise ValueError(f"{op}: `{name}` must return an addend of the shapes {shapes} of the state, got {found}")
    if not all(map(_broadcasts_to, factors, shapes)):
        message = f"must return a decay that broadcasts to the shapes {shapes} of the state"
        raise ValueError(f"{op}: `{name}` {message}, got {factors}")
    return decay, addend, result[2]


def step_linearly(op: str, argument: str, cell: LinearCell, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
    """The output and the new state of one step, made of what ``linear_step`` returns."""
    decay, addend, read = linear_step(op, argument, cell, inputs, state)

    def update(decay: jax.Array, addend: jax.Array, state: jax.Array) -> jax.Array:
        if decay.dtype == accumulation_dtype(addend.dtype):  # a decay may be in float32 for a state of 16 bits
            decay = decay.astype(addend.dtype)
        return jnp.broadcast_to(decay, state.shape) * state + addend

    new_state = jax.tree.map(update, decay, addend, state)
    batch = jax.tree.leaves(inputs)[0].shape[0]
    return check_result(op, argument, (read(new_state), new_state), state, batch)


def run_linearly(
    step: Callable[[Tree], LinearStep],
    inputs: Tree,
    active: jax.Array | None,
    state: Tree,
    *,
    reverse: bool,
) -> tuple[Tree, Tree]:
    """Runs a linear cell over all steps at once.

    Args:
        step: ``step(inputs)`` is the decay, the addend and the readout of one step.
        inputs: ``[time, batch, ...]``, zeros where a row has no step.
        active: Which steps each row has, ``[time, batch]``; None for all.
        state: The state before the first step, in the dtypes that the cell gives it.
        reverse: Whether the last step is the first.

    Returns:
        The outputs of all steps, ``[time, batch, ...]``, and the last state.
    """
    decay, addend, read = jax.vmap(step)(inputs)
    states = jax.tree.map(functools.partial(_states, active=active, reverse=reverse), decay, addend, state)
    outputs = jax.vmap(lambda read, state: jax.tree.map(jnp.asarray, read(state)))(read, states)
    return outputs, jax.tree.map(lambda leaf: leaf[0 if reverse else -1], states)


def _states(decay: jax.Array, addend: jax.Array, state: jax.Array, *, active: Any, reverse: bool) -> jax.Array:
    """The states after each step, ``[time, ...]``, of one leaf; those of 16 bits are computed in float32."""
    dtype = accumulation_dtype(state.dtype)
    # A decay that is the same for all units, or all rows, has fewer dimensions or dimensions of 1.
    missing = (1,) * (addend.ndim - decay.ndim)
    decay = jnp.broadcast_to(decay.reshape(decay.shape[:1] + missing + decay.shape[1:]), addend.shape).astype(dtype)
    addend = addend.astype(dtype)
    if active is not None and state.ndim:
        has_step = active.reshape(active.shape + (1,) * (addend.ndim - 2))
        decay, addend = jnp.where(has_step, decay, 1), jnp.where(has_step, addend, 0)
    first = -1 if reverse else 0
    addend = addend.at[first].add(decay[first] * state.astype(dtype))
    return _linear_recurrence(decay, addend, reverse=reverse).astype(state.dtype)


def _broadcasts_to(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if len(shape) > len(wanted):
        return False
    return all(size in (1, want) for size, want in zip(shape[::-1], wanted[::-1], strict=False))


def _recurrence_in_parallel(decay: jax.Array, addend: jax.Array, *, reverse: bool) -> jax.Array:
    """``state[t] = decay[t] * state[t - 1] + addend[t]`` from a state of 0, in O(log time)."""
    if not isinstance(decay.shape[0], int):  # that `jax.export` leaves open
        return _recurrence_by_steps(decay, addend, reverse=reverse)

    def join(earlier: Any, later: Any) -> Any:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    return lax.associative_scan(join, (decay, addend), reverse=reverse)[1]


def _recurrence_by_steps(decay: jax.Array, addend: jax.Array, *, reverse: bool) -> jax.Array:
    def step(state: jax.Array, terms: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        state = terms[0] * state + terms[1]
        return state, state

    return lax.scan(step, jnp.zeros_like(addend[0]), (decay, addend), reverse=reverse)[1]


def _recurrence_jvp(primals: Any, tangents: Any, *, reverse: bool) -> tuple[jax.Array, jax.Array]:
    (decay, addend), (by_decay, change) = primals, tangents
    states = _linear_recurrence(decay, addend, reverse=reverse)
    if by_decay is not None:
        by_decay = by_decay * _step_before(states, reverse=reverse)
        change = by_decay if change is None else change + by_decay
    return states, _linear_recurrence(decay, change, reverse=reverse)


def _transposed(cotangent: jax.Array, decay: jax.Array, *, reverse: bool) -> jax.Array:
    # What a step adds decays in the steps after it, which are those before it backward.
    return _linear_recurrence(_step_before(decay, reverse=not reverse), cotangent, reverse=not reverse)


def _step_before(values: jax.Array, *, reverse: bool) -> jax.Array:
    """What each step finds from the step before it, 0 in the first."""
    shift = (-1, 1, 0) if reverse else (1, -1, 0)
    return lax.pad(values, jnp.zeros((), values.dtype), [shift] + [(0, 0, 0)] * (values.ndim - 1))


def _batch(
    operation: Callable[..., jax.Array], arrays: Sequence[Any], axes: Sequence[int | None], **params: Any
) -> tuple[jax.Array, int]:
    size = next(array.shape[at] for array, at in zip(arrays, axes, strict=True) if at is not None)
    mapped = [
        jnp.moveaxis(array, at, 1)
        if at is not None
        else jnp.broadcast_to(array[:, None], (array.shape[0], size, *array.shape[1:]))
        for array, at in zip(arrays, axes, strict=True)
    ]
    return operation(*mapped, **params), 1


_linear_recurrence = differentiable(_recurrence_in_parallel, _recurrence_jvp, _batch, on_cpu=_recurrence_by_steps)
transpose_in_last(_linear_recurrence, _transposed)
