"""Cells run over as many steps as each row has."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import KeyPath, keystr, tree_map_with_path
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_array, as_dtype, as_size, as_static_bool, at_least
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._primitives.varying import vary_with
from jnnops._tables.ids import as_lengths, checked_lengths
from jnnops._types import Tree
from jnnops.recurrent._chunks import scan_in_chunks
from jnnops.recurrent._gates import run_whole
from jnnops.recurrent._linear import is_linear, linear_step, run_linearly, step_linearly
from jnnops.recurrent.cell import RNNCell, check_cell, check_result, promote_state, with_wide_gradient


@serializable
class RNNResult(NamedTuple):
    """The outputs of all steps and the state after each row's last one."""

    outputs: Tree
    state: Tree


@answers_tensorflow_names
def dynamic_rnn(
    cell: RNNCell,
    inputs: Tree,
    sequence_length: ArrayLike | None = None,
    initial_state: Tree = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> RNNResult:
    """Runs a cell over time, from the first step to the last.

    Args:
        cell: Computes one step, see :class:`RNNCell`. A pytree of arrays, like the cells of ``jnnops.layers``, is
            compiled once for all calls with the same shapes; any other object is traced again by each call outside
            ``jit``. Gradients of the 16-bit arrays in such a pytree are summed over time in float32. A cell that is
            linear in its state runs over all steps at once if it says so, see :class:`LinearCell`.
        inputs: ``[batch, time, ...]``, or a pytree of such arrays.
        sequence_length: ``[batch]`` integers: the number of steps of each row. A length above ``time`` counts as
            ``time`` and one below 0 as 0; ``checkify`` with ``user_checks`` reports them. All steps unless given.
        initial_state: The state before the first step; zeros unless given. It is promoted to the dtype that the cell
            returns, so a float32 cell on bfloat16 inputs carries a float32 state.
        dtype: Of the zero state; that of ``inputs`` unless given. Ignored if ``initial_state`` is given.
        time_major: Whether ``inputs`` and ``outputs`` are ``[time, batch, ...]``, which saves two transposes.
        unroll: How many steps to compile into one iteration of the loop.
        remat: Whether derivatives remember the states of about the square root of the number of steps only, and
            compute what is between them again: for long sequences, in much less memory and about a third more time.
            A cell that is linear in its state then runs step by step.

    Returns:
        ``(outputs, state)``: the outputs of all steps, ``[batch, time, ...]`` with zeros past each row's length, and
        the state after each row's last step. Outputs have the dtype that the cell gives them.

    Raises:
        ValueError: If the shapes of the arguments disagree, or the cell returns a state of another structure or
            shape than it was given.
        TypeError: If ``cell`` is no cell or takes its state before its inputs, ``sequence_length`` is not of integers,
            or the cell returns a state of a lower dtype than it was given.

    Example:
        >>> cell = nn.layers.GRUCell.init(4, 3, key=jax.random.key(0))
        >>> outputs, state = nn.dynamic_rnn(cell, jnp.ones((2, 5, 4)), sequence_length=[5, 2])
        >>> outputs.shape, state.shape
        ((2, 5, 3), (2, 3))
        >>> bool((outputs[1, 2:] == 0).all() and jnp.allclose(outputs[1, 1], state[1]))
        True

    References:
        ``tf.compat.v1.nn.dynamic_rnn``.
    """
    return run_cell("dynamic_rnn", "", cell, inputs, sequence_length, initial_state, dtype, time_major, unroll, remat)


@answers_tensorflow_names
def bidirectional_dynamic_rnn(
    cell_fw: RNNCell,
    cell_bw: RNNCell,
    inputs: Tree,
    sequence_length: ArrayLike | None = None,
    initial_state_fw: Tree = None,
    initial_state_bw: Tree = None,
    dtype: DTypeLike | None = None,
    time_major: bool = False,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> RNNResult:
    """Runs one cell over time from the first step to the last, and another from the last to the first.

    The backward cell starts at each row's own last step, and its output for a step stands at that step.

    Args:
        cell_fw: The cell that runs forward; see :func:`dynamic_rnn` for what a cell is.
        cell_bw: The cell that runs backward.
        inputs: ``[batch, time, ...]``, or a pytree of such arrays.
        sequence_length: ``[batch]`` integers: the number of steps of each row. A length above ``time`` counts as
            ``time`` (TensorFlow raises an error) and one below 0 as 0; ``checkify`` with ``user_checks`` reports
            them. All steps unless given.
        initial_state_fw: The forward state before the first step; zeros unless given.
        initial_state_bw: The backward state before the last step; zeros unless given.
        dtype: Of the zero states; that of ``inputs`` unless given.
        time_major: Whether ``inputs`` and ``outputs`` are ``[time, batch, ...]``, which saves four transposes.
        unroll: How many steps to compile into one iteration of the loops.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        ``((outputs_fw, outputs_bw), (state_fw, state_bw))``: for each direction the outputs of all steps,
        ``[batch, time, ...]`` with zeros past each row's length, and its last state: after each row's last step for
        the forward cell, after the first step for the backward one.

    Raises:
        ValueError: As for :func:`dynamic_rnn`.
        TypeError: As for :func:`dynamic_rnn`.

    Example:
        >>> forward, backward = (nn.layers.GRUCell.init(4, 3, key=key) for key in jax.random.split(jax.random.key(0)))
        >>> outputs, state = nn.bidirectional_dynamic_rnn(forward, backward, jnp.ones((2, 5, 4)))
        >>> jnp.concatenate(outputs, axis=-1).shape
        (2, 5, 6)
        >>> bool(jnp.allclose(outputs[1][:, 0], state[1]))
        True

    References:
        ``tf.compat.v1.nn.bidirectional_dynamic_rnn``. Schuster and Paliwal, "Bidirectional Recurrent Neural
        Networks", 1997.
    """
    op = "bidirectional_dynamic_rnn"
    forward = run_cell(op, "_fw", cell_fw, inputs, sequence_length, initial_state_fw, dtype, time_major, unroll, remat)
    backward = run_cell(op, "_bw", cell_bw, inputs, sequence_length, initial_state_bw, dtype, time_major, unroll, remat)
    return RNNResult((forward.outputs, backward.outputs), (forward.state, backward.state))


def run_cell(
    op: str,
    direction: str,
    cell: RNNCell,
    inputs: Tree,
    sequence_length: ArrayLike | None,
    initial_state: Tree,
    dtype: DTypeLike | None,
    time_major: bool,
    unroll: int,
    remat: bool = False,
) -> RNNResult:
    """Runs one direction, under the name of ``op``; the names of its arguments end in ``direction``.

    It is backward if ``"_bw"`` is in ``direction``.
    """
    argument = f"cell{direction}"
    check_cell(op, argument, cell)
    time_major = as_static_bool(op, "time_major", time_major)
    dtype = None if dtype is None else as_dtype(op, "dtype", dtype, floating=True)
    inputs, batch, time = _as_inputs(op, inputs, time_major)
    lengths = None
    if sequence_length is not None:
        lengths = as_lengths(op, "sequence_length", sequence_length, batch)
        lengths = _count_steps(op, lengths, time)
    if initial_state is None:
        initial_state = _zero_state(op, argument, cell, inputs, batch, dtype)
    state = as_state(op, f"initial_state{direction}", initial_state, batch)

    # Outside of `jit` a `lax.scan` over a new function is compiled anew in every call, which takes several times as
    # long as to run it (docs/lowerings.rst, "Recurrent networks").
    compilable = all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(cell))
    return (_jitted_scan if compilable else _scan)(
        cell,
        inputs,
        lengths,
        state,
        op=op,
        direction=direction,
        time_major=time_major,
        unroll=as_size(op, "unroll", unroll),
        remat=as_static_bool(op, "remat", remat),
    )


def _zero_state(op: str, argument: str, cell: RNNCell, inputs: Tree, batch: int, dtype: DTypeLike | None) -> Tree:
    """The state of a cell before the first step, in the dtype of the inputs unless given."""
    if not hasattr(cell, "zero_state"):
        message = "must have a method zero_state(batch_size, dtype) unless an initial state is given"
        raise TypeError(f"{op}: `{argument}` {message}, got {type(cell).__name__}")
    return cell.zero_state(batch, _floating_dtype(op, inputs) if dtype is None else dtype)


@functools.partial(jax.jit, static_argnames=("op", "time"))
def _count_steps(op: str, lengths: jax.Array, time: int) -> jax.Array:
    """How many steps each row has, of lengths that may be out of range."""
    lengths, _ = checked_lengths(op, "sequence_length", lengths, time)
    return jnp.clip(lengths, 0, time).astype(jnp.int32)


def _as_inputs(op: str, inputs: Tree, time_major: bool) -> tuple[Tree, int, int]:
    """Converts and checks the inputs; returns the batch and the time, too."""
    inputs = as_arrays(op, "inputs", inputs, rank=at_least(2))
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise ValueError(f"{op}: `inputs` must hold an array, got {inputs!r}")
    if any(leaf.shape[:2] != leaves[0].shape[:2] for leaf in leaves):
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(f"{op}: `inputs` must agree in their first two dimensions, got shapes {shapes}")
    first, second = leaves[0].shape[:2]
    return (inputs, second, first) if time_major else (inputs, first, second)


def as_state(op: str, argument: str, state: Tree, batch: int) -> Tree:
    """Converts and checks the first state."""
    state = as_arrays(op, argument, state)
    for leaf in jax.tree.leaves(state):
        if leaf.ndim and leaf.shape[0] != batch:
            message = f"must have shapes [{batch}, ...] (the batch of `inputs`) or ()"
            raise ValueError(f"{op}: `{argument}` {message}, got {leaf.shape}")
    return state


def _scan(
    cell: RNNCell,
    inputs: Tree,
    lengths: jax.Array | None,
    state: Tree,
    *,
    op: str,
    direction: str,
    time_major: bool,
    unroll: int,
    remat: bool,
) -> RNNResult:
    inputs = inputs if time_major else _swap_batch_and_time(inputs)
    time, batch = jax.tree.leaves(inputs)[0].shape[:2]
    steps = jnp.arange(time, dtype=jnp.int32)
    weights, structure = jax.tree.flatten(cell)
    weights = [with_wide_gradient(weight) for weight in weights]

    def advance(inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
        result = structure.unflatten(weight() for weight in weights)(inputs, state)
        return check_result(op, f"cell{direction}", result, state, batch)

    def step(state: Tree, step_and_inputs: tuple[jax.Array, Tree]) -> tuple[Tree, Tree]:
        step, inputs = step_and_inputs
        output, new_state = (
            advance(inputs, state) if lengths is None else _masked(advance, step < lengths, inputs, state)
        )
        return new_state, output

    if is_linear(cell) and time != 0 and not remat:
        cell = structure.unflatten(weight() for weight in weights)
        return _run_linearly(cell, inputs, lengths, state, op=op, direction=direction, time_major=time_major)
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    state = promote_state(op, f"cell{direction}", functools.partial(jax.eval_shape, advance, first), state)
    state = vary_with(state, cell, inputs, lengths)
    # Backward, a row's padding comes first and leaves the state alone: the same as reversing each row's own steps.
    reverse = "_bw" in direction
    active = None if lengths is None else steps[:, None] < lengths[None]
    whole = None if remat else run_whole(cell, inputs, state, active, reverse=reverse, unroll=unroll)
    scan = scan_in_chunks if remat else lax.scan
    state, outputs = whole or scan(step, state, (steps, inputs), reverse=reverse, unroll=unroll)
    return RNNResult(outputs if time_major else _swap_batch_and_time(outputs), state)


def _masked(
    advance: Callable[[Tree, Tree], tuple[Tree, Tree]], active: jax.Array, inputs: Tree, state: Tree
) -> tuple[Tree, Tree]:
    """What ``advance`` returns of the rows that have this step; zeros and the old state of the others.

    Masking the inputs keeps NaN in the padding out of the gradients, where a mask of the results is too late: 0 * NaN
    is NaN.
    """
    output, new_state = advance(zero_rows(active, inputs), state)
    return zero_rows(active, output), jax.tree.map(functools.partial(select_rows, active), new_state, state)


def _run_linearly(
    cell: Any, inputs: Tree, lengths: jax.Array | None, state: Tree, *, op: str, direction: str, time_major: bool
) -> RNNResult:
    """What ``_scan`` computes, of a cell with a ``linear_step``; ``inputs`` are time major."""
    argument, time = f"cell{direction}", jax.tree.leaves(inputs)[0].shape[0]
    active = None
    if lengths is not None:
        active = jnp.arange(time, dtype=jnp.int32)[:, None] < lengths[None]
        inputs = jax.vmap(zero_rows)(active, inputs)
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    trace = functools.partial(jax.eval_shape, functools.partial(step_linearly, op, argument, cell), first)
    state = promote_state(op, argument, trace, state)
    outputs, last = run_linearly(
        lambda inputs: linear_step(op, argument, cell, inputs, state), inputs, active, state, reverse="_bw" in direction
    )
    outputs = outputs if active is None else jax.vmap(zero_rows)(active, outputs)
    return RNNResult(outputs if time_major else _swap_batch_and_time(outputs), last)


_jitted_scan = jax.jit(_scan, static_argnames=("op", "direction", "time_major", "unroll", "remat"))


def zero_rows(keep: jax.Array, tree: Tree) -> Tree:
    """Zeros the rows of every array where ``keep``, ``[batch]``, is False."""
    return jax.tree.map(lambda leaf: select_rows(keep, leaf, jnp.zeros_like(leaf)), tree)


def select_rows(condition: jax.Array, if_true: jax.Array, if_false: jax.Array) -> jax.Array:
    """Chooses between the rows of two arrays by a condition of shape ``[batch]``; a scalar is always ``if_true``."""
    if if_true.ndim == 0:
        return if_true
    return jnp.where(condition.reshape(condition.shape + (1,) * (if_true.ndim - 1)), if_true, if_false)


def _swap_batch_and_time(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def _floating_dtype(op: str, inputs: Tree) -> DTypeLike:
    """The dtype that the floating arrays of ``inputs`` promote to."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(inputs) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if not dtypes:
        raise ValueError(f"{op}: `dtype` must be given unless `inputs` or an initial state has one, got None")
    return jnp.result_type(*dtypes)


def as_arrays(op: str, argument: str, tree: Tree, rank: range | None = None) -> Tree:
    """Converts every leaf of a tree, where a list of numbers is a leaf."""

    def convert(path: KeyPath, leaf: ArrayLike) -> jax.Array:
        return as_array(op, argument + keystr(path), leaf, rank=rank)

    return tree_map_with_path(convert, tree, is_leaf=_is_list_of_numbers)


def _is_list_of_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, bool | int | float | np.generic) or _is_list_of_numbers(item) for item in value
    )
