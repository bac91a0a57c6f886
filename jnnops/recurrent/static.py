"""Cells run over a list of steps, whose results are a list, too.

TensorFlow builds the graph of each step; here all of them are one loop. Only to take the list apart grows with its
length: under ``jit`` each item is an operation, and takes 15 ms to compile on CPU. ``dynamic_rnn`` compiles in the same
time however many steps there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_array, at_least, describe, is_sequence, is_traced
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import Tree
from jnnops.recurrent.cell import RNNCell, check_cell
from jnnops.recurrent.dynamic import RNNResult, as_arrays, run_cell


@serializable
class StaticBidirectionalResult(NamedTuple):
    """The outputs of each step, both directions joined, and the last state of each direction."""

    outputs: list[Tree]
    output_state_fw: Tree
    output_state_bw: Tree


@serializable
class StateSavingResult(NamedTuple):
    """The outputs of each step, the state after each row's last one, and what to hand to the next call."""

    outputs: list[Tree]
    state: Tree
    state_saver: dict[str, jax.Array]


@answers_tensorflow_names
def static_rnn(
    cell: RNNCell,
    inputs: Sequence[Tree] | ArrayLike,
    initial_state: Tree = None,
    dtype: DTypeLike | None = None,
    sequence_length: ArrayLike | None = None,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> RNNResult:
    """Runs a cell over a list of steps.

    Args:
        cell: Computes one step, see :func:`dynamic_rnn`.
        inputs: The inputs of each step, ``[batch, ...]`` or a pytree of such arrays, in a list; all alike in structure
            and shapes. An array ``[time, batch, ...]`` counts as the list of its steps (TensorFlow refuses it).
        initial_state: The state before the first step; zeros unless given.
        dtype: Of the zero state; that of ``inputs`` unless given (TensorFlow needs it).
        sequence_length: ``[batch]`` integers: the number of steps of each row. A length above the number of steps
            counts as that number and one below 0 as 0; ``checkify`` with ``user_checks`` reports them. All steps
            unless given.
        unroll: How many steps to compile into one iteration of the loop.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        ``(outputs, state)``: the list of the outputs of each step, ``[batch, ...]`` with zeros past each row's length,
        and the state after each row's last step.

    Raises:
        ValueError: If ``inputs`` is empty, its steps differ in structure or shape, or as for :func:`dynamic_rnn`.
        TypeError: If ``inputs`` is no list, or as for :func:`dynamic_rnn`.

    Example:
        >>> cell = nn.layers.GRUCell.init(4, 3, key=jax.random.key(0))
        >>> outputs, state = nn.static_rnn(cell, [jnp.ones((2, 4)), jnp.zeros((2, 4))])
        >>> len(outputs), outputs[0].shape
        (2, (2, 3))
        >>> bool(jnp.allclose(outputs[1], state))
        True

    References:
        ``tf.compat.v1.nn.static_rnn``.
    """
    return run_steps("static_rnn", "", cell, inputs, sequence_length, initial_state, dtype, unroll, remat)


@answers_tensorflow_names
def static_bidirectional_rnn(
    cell_fw: RNNCell,
    cell_bw: RNNCell,
    inputs: Sequence[Tree] | ArrayLike,
    initial_state_fw: Tree = None,
    initial_state_bw: Tree = None,
    dtype: DTypeLike | None = None,
    sequence_length: ArrayLike | None = None,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> StaticBidirectionalResult:
    """Runs one cell over a list of steps from the first to the last, and another from the last to the first.

    Args:
        cell_fw: The cell that runs forward; see :func:`dynamic_rnn` for what a cell is.
        cell_bw: The cell that runs backward, from each row's own last step. Its outputs are of the same structure.
        inputs: The inputs of each step, as for :func:`static_rnn`.
        initial_state_fw: The forward state before the first step; zeros unless given.
        initial_state_bw: The backward state before the last step; zeros unless given.
        dtype: Of the zero states; that of ``inputs`` unless given (TensorFlow needs it).
        sequence_length: ``[batch]`` integers: the number of steps of each row, as for :func:`static_rnn`.
        unroll: How many steps to compile into one iteration of the loops.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        ``(outputs, output_state_fw, output_state_bw)``: the list of the outputs of each step,
        ``[batch, forward units + backward units, ...]``, and the last state of each direction. Axis 1 of the outputs
        is the one on which both directions are joined.

    Raises:
        ValueError: If the outputs of the cells cannot be joined, or as for :func:`static_rnn`.
        TypeError: As for :func:`static_rnn`.

    Example:
        >>> forward, backward = (nn.layers.GRUCell.init(4, 3, key=key) for key in jax.random.split(jax.random.key(0)))
        >>> outputs, state_fw, state_bw = nn.static_bidirectional_rnn(forward, backward, [jnp.ones((2, 4))] * 5)
        >>> len(outputs), outputs[0].shape, state_fw.shape
        (5, (2, 6), (2, 3))

    References:
        ``tf.compat.v1.nn.static_bidirectional_rnn``. Schuster and Paliwal, "Bidirectional Recurrent Neural
        Networks", 1997.
    """
    op = "static_bidirectional_rnn"
    steps = as_steps(op, inputs)
    forward, backward = (
        run_cell(op, direction, cell, steps, sequence_length, state, dtype, True, unroll, remat)
        for direction, cell, state in (("_fw", cell_fw, initial_state_fw), ("_bw", cell_bw, initial_state_bw))
    )
    outputs = join_directions(op, "cell_bw", forward.outputs, backward.outputs, axis=2)
    return StaticBidirectionalResult(list_of_steps(outputs), forward.state, backward.state)


@answers_tensorflow_names
def static_state_saving_rnn(
    cell: RNNCell,
    inputs: Sequence[Tree] | ArrayLike,
    state_saver: Mapping[str, ArrayLike],
    state_name: Tree,
    sequence_length: ArrayLike | None = None,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> StateSavingResult:
    """Runs a cell over a part of a long sequence, from the state that the part before it has left.

    TensorFlow's state saver is an object that is changed. Here it is a dict of arrays, and what it becomes is returned.

    Args:
        cell: Computes one step, see :func:`dynamic_rnn`. It must have a method ``zero_state``, which tells the
            structure of its states.
        inputs: The inputs of each step, as for :func:`static_rnn`.
        state_saver: The arrays of the state, ``[batch, ...]``, by their names; it may have others besides.
        state_name: The name of the state; a tuple of names, one for each array, of a state of several.
        sequence_length: ``[batch]`` integers: the number of steps of each row, as for :func:`static_rnn`.
        unroll: How many steps to compile into one iteration of the loop.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        ``(outputs, state, state_saver)``: those of :func:`static_rnn`, and a dict with the new state under the names
        of the old one and all else that it had.

    Raises:
        ValueError: If ``state_saver`` lacks a name, ``state_name`` has another number of names than the cell's state
            has arrays, or as for :func:`static_rnn`.
        TypeError: If ``state_saver`` is no dict, a name is no string, or as for :func:`static_rnn`.

    Example:
        >>> cell = nn.layers.BasicLSTMCell.init(4, 3, key=jax.random.key(0))
        >>> saver = {"c": jnp.zeros((2, 3)), "h": jnp.zeros((2, 3))}
        >>> outputs, state, saver = nn.static_state_saving_rnn(cell, [jnp.ones((2, 4))] * 5, saver, ("c", "h"))
        >>> bool((saver["h"] == outputs[-1]).all())
        True

    References:
        ``tf.compat.v1.nn.static_state_saving_rnn``.
    """
    op = "static_state_saving_rnn"
    if not isinstance(state_saver, Mapping):
        raise TypeError(f"{op}: `state_saver` must be a dict of arrays, got {describe(state_saver)}")
    check_cell(op, "cell", cell)
    if not hasattr(cell, "zero_state"):
        raise TypeError(f"{op}: `cell` must have a method zero_state(batch_size, dtype), got {type(cell).__name__}")
    names = jax.tree.leaves(state_name, is_leaf=lambda name: name is None)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{op}: `state_name` must be a string or a tuple of strings, got {describe(state_name)}")
        if name not in state_saver:
            message = f"must have an array {name!r}, of `state_name`"
            raise ValueError(f"{op}: `state_saver` {message}, got {sorted(state_saver)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{op}: `state_name` must not have a name twice, got {state_name!r}")
    steps = as_steps(op, inputs)
    batch = jax.tree.leaves(steps)[0].shape[1]
    structure = jax.tree.structure(jax.eval_shape(lambda: cell.zero_state(batch, jnp.float32)))
    if structure.num_leaves != len(names):
        message = f"must name the {structure.num_leaves} arrays of the cell's state, {structure}"
        raise ValueError(f"{op}: `state_name` {message}, got {state_name!r}")
    saved = {name: as_array(op, f"state_saver[{name!r}]", state_saver[name]) for name in names}
    for name, array in saved.items():
        if array.ndim and array.shape[0] != batch:
            message = f"must have shapes [{batch}, ...] (the batch of `inputs`) or ()"
            raise ValueError(f"{op}: `state_saver` {message}, got {array.shape} of {name!r}")
    start = structure.unflatten(saved.values())
    run = run_cell(op, "", cell, steps, sequence_length, start, None, True, unroll, remat)
    saver = {**state_saver, **dict(zip(names, jax.tree.leaves(run.state), strict=True))}
    return StateSavingResult(list_of_steps(run.outputs), run.state, saver)


def run_steps(
    op: str,
    direction: str,
    cell: RNNCell,
    inputs: Any,
    sequence_length: ArrayLike | None,
    initial_state: Tree,
    dtype: DTypeLike | None,
    unroll: int,
    remat: bool,
) -> RNNResult:
    """:func:`run_cell` from a list of steps to a list of steps."""
    steps = as_steps(op, inputs)
    run = run_cell(op, direction, cell, steps, sequence_length, initial_state, dtype, True, unroll, remat)
    return RNNResult(list_of_steps(run.outputs), run.state)


def as_steps(op: str, inputs: Any) -> Tree:
    """Converts a list of steps, each a tree of arrays ``[batch, ...]``, to a tree of arrays ``[time, batch, ...]``."""
    if not is_sequence(inputs):
        raise TypeError(f"{op}: `inputs` must be a list of steps, got {describe(inputs)}")
    if len(inputs) == 0:
        raise ValueError(f"{op}: `inputs` must have at least one step, got {describe(inputs)}")
    if hasattr(inputs, "ndim"):
        return as_array(op, "inputs", inputs, rank=at_least(2))
    steps = [as_arrays(op, f"inputs[{time}]", step, rank=at_least(1)) for time, step in enumerate(inputs)]
    first = steps[0]
    for time, step in enumerate(steps):
        if jax.tree.structure(step) != jax.tree.structure(first):
            given, found = jax.tree.structure(first), jax.tree.structure(step)
            raise ValueError(f"{op}: `inputs[{time}]` must be of the structure {given} of the first step, got {found}")
        given, found = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (first, step))
        if found != given:
            raise ValueError(f"{op}: `inputs[{time}]` must have the shapes {given} of the first step, got {found}")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)


def join_directions(op: str, argument: str, forward: Tree, backward: Tree, *, axis: int) -> Tree:
    """Concatenates the outputs of two cells, of which ``argument`` is the one to blame if that fails."""
    given, found = jax.tree.structure(forward), jax.tree.structure(backward)
    if found != given:
        message = f"must return outputs of the structure {given}, as the forward cell does"
        raise ValueError(f"{op}: `{argument}` {message}, got {found}")

    def rest(leaf: jax.Array) -> tuple[int, ...]:
        return (*leaf.shape[:axis], *leaf.shape[axis + 1 :])

    for first, second in zip(jax.tree.leaves(forward), jax.tree.leaves(backward), strict=True):
        if first.ndim <= axis or first.ndim != second.ndim or rest(first) != rest(second):
            message = f"must return outputs that join those of the forward cell, {first.shape[axis - 1 :]},"
            raise ValueError(f"{op}: `{argument}` {message} on axis 1, got {second.shape[axis - 1 :]}")
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis), forward, backward)


def list_of_steps(outputs: Tree) -> list[Tree]:
    """The trees of each step, of a tree of arrays ``[time, ...]``."""
    leaves, structure = jax.tree.flatten(outputs)
    return [structure.unflatten(step) for step in zip(*map(_items, leaves), strict=True)]


def _items(array: jax.Array) -> list[jax.Array]:
    """The items of the first axis."""
    if is_traced(array):
        # As one operation, whose transpose is one concatenation, not as many sums as there are items.
        return [lax.squeeze(item, (0,)) for item in lax.split(array, (1,) * array.shape[0])]
    # Outside of `jit` a program of many results takes long to compile: 15 ms for each (jaxlib 0.10.2 on CPU).
    return [_item(array, np.int32(time)) for time in range(array.shape[0])]


@jax.jit
def _item(array: jax.Array, index: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(array, index, keepdims=False)
