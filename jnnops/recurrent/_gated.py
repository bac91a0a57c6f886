"""Whole sequences of the gated cells, with a derivative of their own.

A loop over the steps of a cell, differentiated by JAX, multiplies the inputs by their weights, and sums the gradients
of all weights, anew in each step. Here the inputs are projected in one product before the loop. The derivative of one
step is linear in the change of the state, and the loop saves its coefficients; the changes of the weights and of the
inputs come into it as one product of all steps. Its transpose, which JAX makes, is thus a loop of the products by the
recurrent weights alone, and one product for the gradient of each weight (docs/lowerings.rst, "Recurrent networks").
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._primitives.operation import Operation, of_several_results
from jnnops._primitives.varying import vary_with

Arrays = Sequence[jax.Array]


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """The equations of one step.

    Attributes:
        weights: How many recurrent weights there are.
        advance: ``advance(projected, weights, states)`` returns the new states, the output last, and the coefficients
            of the derivative. Also of all steps at once, with the time as the first axis of all but the weights.
        change: ``change(projected, transposed weights, states, coefficients)`` returns the changes of the states, of
            changes of the projected inputs and of the states, in which it is linear.
        change_by_weights: ``change_by_weights(changes of weights, states, coefficients)`` returns what must change in
            the projected inputs of all steps to the same effect. A change may be None.
    """

    weights: int
    advance: Callable[[jax.Array, Arrays, Arrays], tuple[Arrays, Arrays]]
    change: Callable[[jax.Array, Arrays, Arrays, Arrays], Arrays]
    change_by_weights: Callable[[Sequence[jax.Array | None], Arrays, Arrays], jax.Array]


def run_sequence(
    recurrence: Recurrence,
    projected: jax.Array,
    weights: Arrays,
    states: Arrays,
    active: jax.Array | None,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[jax.Array, list[jax.Array]]:
    """Runs a cell over all steps of a sequence.

    Args:
        recurrence: The cell's equations.
        projected: ``[time, batch, gates * units]``, the part of the gates that comes from the inputs.
        weights: The recurrent weights.
        states: ``[batch, units]`` each, the state before the first step, the output last.
        active: ``[time, batch, 1]``, whether a row has a step, or None where all have. Where it is False the state
            stays.
        reverse: Whether the last step is the first one to be taken.
        unroll: How many steps to compile into one iteration of the loop.

    Returns:
        ``(outputs, states)``: the output part of the state after each step, and the states after the last one.
    """
    arrays = (projected, *weights, *states, *(() if active is None else (active,)))
    outputs, *last = _run(*arrays, recurrence=recurrence, masked=active is not None, reverse=reverse, unroll=unroll)
    return outputs, last


@dataclasses.dataclass
class _Arguments:
    """The arrays of a sequence, or their changes, sorted."""

    projected: Any
    weights: Sequence[Any]
    states: Sequence[Any]
    active: Any

    @classmethod
    def of(cls, arrays: Sequence[Any], recurrence: Recurrence, masked: bool) -> "_Arguments":
        projected, *others = arrays
        active = others.pop() if masked else None
        return cls(projected, others[: recurrence.weights], others[recurrence.weights :], active)


def _outputs(*arrays: jax.Array, **params: Any) -> list[jax.Array]:
    """The outputs of all steps, and the last states."""
    last, (states, _) = _loop(arrays, **params)
    return [states[-1], *last]


def _saved(*arrays: jax.Array, **params: Any) -> list[jax.Array]:
    """The last states, the states after all steps, and the coefficients of all steps."""
    last, (states, coefficients) = _loop(arrays, **params)
    return [*last, *states, *coefficients]


def _loop(arrays: Arrays, *, recurrence: Recurrence, masked: bool, reverse: bool, unroll: int) -> Any:
    given = _Arguments.of(arrays, recurrence, masked)

    def step(states: Arrays, of_step: Any) -> Any:
        projected, active = of_step
        new_states, coefficients = recurrence.advance(projected, given.weights, states)
        states = _where(active, new_states, states)
        return states, (states, coefficients)

    states = vary_with(list(given.states), *arrays)
    return lax.scan(step, states, (given.projected, given.active), reverse=reverse, unroll=unroll)


def _outputs_jvp(
    primals: Any, tangents: Any, *, recurrence: Recurrence, masked: bool, reverse: bool, unroll: int
) -> Any:
    params = {"recurrence": recurrence, "masked": masked, "reverse": reverse, "unroll": unroll}
    results = _run_and_save(*primals, **params)
    last_changes, changes, *_ = _changes(primals, tangents, results, **params)
    last, states, _ = _sorted_results(results, len(last_changes))
    return [states[-1], *last], [changes[-1], *last_changes]


def _saved_jvp(primals: Any, tangents: Any, *, recurrence: Recurrence, masked: bool, reverse: bool, unroll: int) -> Any:
    params = {"recurrence": recurrence, "masked": masked, "reverse": reverse, "unroll": unroll}
    results = _run_and_save(*primals, **params)
    last_changes, changes, previous, previous_changes = _changes(primals, tangents, results, **params)
    given, change = (_Arguments.of(arrays, recurrence, masked) for arrays in (primals, tangents))

    def coefficients(*arrays: Any) -> Arrays:
        return recurrence.advance(*arrays)[1]

    # The steps do not wait for each other once the states are known: they are as many rows.
    at = (given.projected, given.weights, previous)
    by = (
        _zeros_if_none(change.projected, given.projected),
        list(map(_zeros_if_none, change.weights, given.weights)),
        previous_changes,
    )
    _, coefficient_changes = jax.jvp(coefficients, at, by)
    return results, [*last_changes, *changes, *coefficient_changes]


def _changes(
    primals: Any, tangents: Any, results: Arrays, *, recurrence: Recurrence, masked: bool, reverse: bool, unroll: int
) -> tuple[list[jax.Array], list[jax.Array], list[jax.Array], list[jax.Array]]:
    """The changes of the last states and of all states; all states before their step, and the changes of these."""
    given, change = (_Arguments.of(arrays, recurrence, masked) for arrays in (primals, tangents))
    _, states, coefficients = _sorted_results(results, len(given.states))
    previous = [_before(first, array, reverse) for first, array in zip(given.states, states, strict=True)]
    wide = given.projected.dtype
    by_projected = _zeros_if_none(change.projected, given.projected)
    if any(weight is not None for weight in change.weights):
        by_projected += recurrence.change_by_weights(change.weights, previous, coefficients)
    # The transpose of a product by the second axis is one by the first, which the loop backward then need not turn.
    weights = [weight.astype(wide).T for weight in given.weights]

    def step(states: Arrays, of_step: Any) -> Any:
        projected, active, coefficients = of_step
        states = _where(active, recurrence.change(projected, weights, states, coefficients), states)
        return states, states

    def scan(by_projected: jax.Array, first: Arrays) -> Any:
        of_steps = (by_projected, given.active, coefficients)
        return lax.scan(step, first, of_steps, reverse=reverse, unroll=unroll)

    first = [_zeros_if_none(*pair).astype(wide) for pair in zip(change.states, given.states, strict=True)]
    first = vary_with(first, by_projected, *results)
    # The transpose of a loop is made, before jax 0.10, only of what its own derivative has found to be linear.
    at = jax.tree.map(jnp.zeros_like, (by_projected, first))
    _, (last, changes) = jax.jvp(scan, at, (by_projected, first))
    changes_before = [_before(*pair, reverse) for pair in zip(first, changes, strict=True)]
    narrow = [state.dtype for state in given.states]

    def narrowed(arrays: Arrays) -> list[jax.Array]:
        return [array.astype(dtype) for array, dtype in zip(arrays, narrow, strict=True)]

    return narrowed(last), narrowed(changes), previous, narrowed(changes_before)


def _sorted_results(results: Arrays, count: int) -> tuple[Arrays, Arrays, Arrays]:
    """The last states, all states and the coefficients, of ``count`` states."""
    return results[:count], results[count : 2 * count], results[2 * count :]


def _before(first: jax.Array, states: jax.Array, reverse: bool) -> jax.Array:
    """The state before each step, of the first one and those after each step."""
    time = states.shape[0]
    if reverse:
        return jnp.concatenate([states, first[None]])[1 : time + 1]
    return jnp.concatenate([first[None], states])[:time]


def _where(active: jax.Array | None, if_true: Arrays, if_false: Arrays) -> list[jax.Array]:
    if active is None:
        return list(if_true)
    return [jnp.where(active, *pair) for pair in zip(if_true, if_false, strict=True)]


def _zeros_if_none(change: jax.Array | None, array: jax.Array) -> jax.Array:
    return jnp.zeros_like(array) if change is None else change


def _batched(compute: Callable[..., list[jax.Array]]) -> Any:
    """The batching rule: mapped sequences are more rows, unless each has weights of its own."""

    def rule(operation: Operation, arrays: Any, axes: Any, *, recurrence: Recurrence, **params: Any) -> Any:
        params = {"recurrence": recurrence, **params}
        weights = range(1, 1 + recurrence.weights)
        if any(axes[place] is not None for place in weights):
            results = jax.vmap(functools.partial(compute, **params), in_axes=tuple(axes))(*arrays)
            return results, [0] * len(results)
        size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
        merged = [
            array if place in weights else _merge(array, axis, size)
            for place, (array, axis) in enumerate(zip(arrays, axes, strict=True))
        ]
        results = [_split(result, size) for result in operation(*merged, **params)]
        return results, [result.ndim - 3 for result in results]

    return rule


def _merge(array: jax.Array, axis: int | None, size: int) -> jax.Array:
    """The rows of all copies, which are the last axis but one."""
    place = array.ndim - (2 if axis is None else 3)
    if axis is None:
        array = jnp.broadcast_to(jnp.expand_dims(array, place), (*array.shape[:place], size, *array.shape[place:]))
    else:
        array = jnp.moveaxis(array, axis, place)
    return array.reshape(*array.shape[:place], size * array.shape[place + 1], array.shape[-1])


def _split(result: jax.Array, size: int) -> jax.Array:
    *others, rows, width = result.shape
    return result.reshape(*others, size, rows // size, width)


_run = of_several_results(_outputs, _outputs_jvp, _batched(_outputs))
_run_and_save = of_several_results(_saved, _saved_jvp, _batched(_saved))
