"""Layers of cells that run in both directions, each layer on the outputs of both directions of the one below."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_static_bool, describe, is_sequence
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import Tree
from jnnops.recurrent.cell import RNNCell, check_cell
from jnnops.recurrent.dynamic import RNNResult, run_cell
from jnnops.recurrent.static import as_steps, join_directions, list_of_steps


@serializable
class StackBidirectionalResult(NamedTuple):
    """The outputs of the last layer, both directions joined, and the last states of each layer."""

    outputs: Tree
    output_states_fw: tuple[Tree, ...]
    output_states_bw: tuple[Tree, ...]


@answers_tensorflow_names
def stack_bidirectional_dynamic_rnn(
    cells_fw: Sequence[RNNCell],
    cells_bw: Sequence[RNNCell],
    inputs: Tree,
    initial_states_fw: Sequence[Tree] | None = None,
    initial_states_bw: Sequence[Tree] | None = None,
    dtype: DTypeLike | None = None,
    sequence_length: ArrayLike | None = None,
    time_major: bool = False,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> StackBidirectionalResult:
    """Runs layers of cells in both directions; the outputs of both, joined, are the inputs of the next layer.

    Args:
        cells_fw: The cells that run forward, one for each layer; see :func:`dynamic_rnn` for what a cell is.
        cells_bw: The cells that run backward, from each row's own last step, one for each layer.
        inputs: ``[batch, time, ...]``, or a pytree of such arrays, for the first layer.
        initial_states_fw: The forward state of each layer before the first step; zeros unless given.
        initial_states_bw: The backward state of each layer before the last step; zeros unless given.
        dtype: Of the zero states; that of the inputs of each layer unless given.
        sequence_length: ``[batch]`` integers: the number of steps of each row, as for :func:`dynamic_rnn`.
        time_major: Whether ``inputs`` and ``outputs`` are ``[time, batch, ...]``.
        unroll: How many steps to compile into one iteration of the loops.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        ``(outputs, output_states_fw, output_states_bw)``: the outputs of the last layer, ``[batch, time, forward units
        + backward units, ...]`` with zeros past each row's length, and for each direction the tuple of the last states
        of all layers.

    Raises:
        ValueError: If there are no cells, not as many in both directions or not as many states as cells, if the outputs
            of a layer cannot be joined, or as for :func:`dynamic_rnn`.
        TypeError: If ``cells_fw`` or ``cells_bw`` is no list, or as for :func:`dynamic_rnn`.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> first, second = [nn.layers.GRUCell.init(4, 3, key=key) for key in keys[:2]]
        >>> third, fourth = [nn.layers.GRUCell.init(6, 5, key=key) for key in keys[2:]]
        >>> run = nn.stack_bidirectional_dynamic_rnn([first, third], [second, fourth], jnp.ones((2, 7, 4)))
        >>> run.outputs.shape, [state.shape for state in run.output_states_fw]
        ((2, 7, 10), [(2, 3), (2, 5)])

    References:
        ``tf.contrib.rnn.stack_bidirectional_dynamic_rnn`` of TensorFlow 1. Graves et al., "Speech Recognition with
        Deep Recurrent Neural Networks", 2013.
    """
    op = "stack_bidirectional_dynamic_rnn"
    time_major = as_static_bool(op, "time_major", time_major)

    def run(direction: str, cell: RNNCell, inputs: Tree, state: Tree) -> RNNResult:
        return run_cell(op, direction, cell, inputs, sequence_length, state, dtype, time_major, unroll, remat)

    return _run_layers(op, run, cells_fw, cells_bw, inputs, initial_states_fw, initial_states_bw)


@answers_tensorflow_names
def stack_bidirectional_rnn(
    cells_fw: Sequence[RNNCell],
    cells_bw: Sequence[RNNCell],
    inputs: Sequence[Tree] | ArrayLike,
    initial_states_fw: Sequence[Tree] | None = None,
    initial_states_bw: Sequence[Tree] | None = None,
    dtype: DTypeLike | None = None,
    sequence_length: ArrayLike | None = None,
    *,
    unroll: int = 1,
    remat: bool = False,
) -> StackBidirectionalResult:
    """Runs layers of cells in both directions over a list of steps.

    Args:
        cells_fw: The cells that run forward, one for each layer; see :func:`dynamic_rnn` for what a cell is.
        cells_bw: The cells that run backward, from each row's own last step, one for each layer.
        inputs: The inputs of each step for the first layer, as for :func:`static_rnn`.
        initial_states_fw: The forward state of each layer before the first step; zeros unless given.
        initial_states_bw: The backward state of each layer before the last step; zeros unless given.
        dtype: Of the zero states; that of the inputs of each layer unless given.
        sequence_length: ``[batch]`` integers: the number of steps of each row, as for :func:`static_rnn`.
        unroll: How many steps to compile into one iteration of the loops.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.

    Returns:
        As :func:`stack_bidirectional_dynamic_rnn`, but the outputs are the list of those of each step.

    Raises:
        ValueError: As for :func:`stack_bidirectional_dynamic_rnn` and :func:`static_rnn`.
        TypeError: As for :func:`stack_bidirectional_dynamic_rnn` and :func:`static_rnn`.

    Example:
        >>> forward, backward = (nn.layers.GRUCell.init(4, 3, key=key) for key in jax.random.split(jax.random.key(0)))
        >>> run = nn.stack_bidirectional_rnn([forward], [backward], [jnp.ones((2, 4))] * 5)
        >>> len(run.outputs), run.outputs[0].shape
        (5, (2, 6))

    References:
        ``tf.contrib.rnn.stack_bidirectional_rnn`` of TensorFlow 1.
    """
    op = "stack_bidirectional_rnn"

    def run(direction: str, cell: RNNCell, inputs: Tree, state: Tree) -> RNNResult:
        return run_cell(op, direction, cell, inputs, sequence_length, state, dtype, True, unroll, remat)

    steps = as_steps(op, inputs)
    result = _run_layers(op, run, cells_fw, cells_bw, steps, initial_states_fw, initial_states_bw)
    return result._replace(outputs=list_of_steps(result.outputs))


def _run_layers(
    op: str,
    run: Callable[[str, RNNCell, Tree, Tree], RNNResult],
    cells_fw: Any,
    cells_bw: Any,
    inputs: Tree,
    initial_states_fw: Any,
    initial_states_bw: Any,
) -> StackBidirectionalResult:
    """Runs each layer by ``run(direction, cell, inputs, state)``."""
    for argument, cells in (("cells_fw", cells_fw), ("cells_bw", cells_bw)):
        _check_list(op, argument, cells)
        for layer, cell in enumerate(cells):
            check_cell(op, f"{argument}[{layer}]", cell)
    layers = len(cells_fw)
    if layers == 0:
        raise ValueError(f"{op}: `cells_fw` must have at least one cell, got {cells_fw!r}")
    if len(cells_bw) != layers:
        raise ValueError(f"{op}: `cells_bw` must have {layers} cells, as many as `cells_fw`, got {len(cells_bw)}")
    starts = []
    for argument, states in (("initial_states_fw", initial_states_fw), ("initial_states_bw", initial_states_bw)):
        if states is not None:
            _check_list(op, argument, states)
            if len(states) != layers:
                raise ValueError(f"{op}: `{argument}` must have {layers} states, one for each cell, got {len(states)}")
        starts.append([None] * layers if states is None else states)
    last = []
    for layer, cells in enumerate(zip(cells_fw, cells_bw, *starts, strict=True)):
        forward = run(f"s_fw[{layer}]", cells[0], inputs, cells[2])
        backward = run(f"s_bw[{layer}]", cells[1], inputs, cells[3])
        inputs = join_directions(op, f"cells_bw[{layer}]", forward.outputs, backward.outputs, axis=2)
        last.append((forward.state, backward.state))
    states_fw, states_bw = zip(*last, strict=True)
    return StackBidirectionalResult(inputs, states_fw, states_bw)


def _check_list(op: str, argument: str, value: Any) -> None:
    if not is_sequence(value) or hasattr(value, "ndim"):
        raise TypeError(f"{op}: `{argument}` must be a list with one item for each layer, got {describe(value)}")
