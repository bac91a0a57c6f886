"""Dropout between the steps of a recurrent network."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jnnops._check import (
    PROBABILITY_BELOW_1,
    as_array,
    as_static_bool,
    as_static_float,
    check_callable,
    describe,
)
from jnnops._primitives.serialization import serializable
from jnnops._types import Key, Tree
from jnnops.activation.dropout import drop
from jnnops.layers._layer import layer, static
from jnnops.layers.cells._wrapped import as_cell, as_typed_key, needs_key, step_of, zero_state_of
from jnnops.layers.cells.lstm import LSTMStateTuple
from jnnops.recurrent.cell import RNNCell


@serializable
class DropoutState(NamedTuple):
    """The state of a cell with dropout: the wrapped cell's, and the key of the next step, None to drop nothing."""

    state: Any
    key: Any


def all_but_memory(state: Tree) -> Any:
    """What dropout of the state leaves alone unless told otherwise: the memory ``c`` of an LSTM."""
    return LSTMStateTuple(False, True) if isinstance(state, LSTMStateTuple) else True


@layer
class DropoutWrapper:
    """A cell with dropout of its inputs, its output and its new state, by a new mask at each step.

    The key is a part of the state: every step draws its masks from it and hands on a new one. So a training step is

    >>> cell = nn.layers.DropoutWrapper.init(nn.layers.GRUCell.init(4, 3, key=jax.random.key(0)), output_rate=0.5)
    >>> state = cell.zero_state(2, jnp.float32, key=jax.random.key(1))
    >>> outputs, state = nn.dynamic_rnn(cell, jnp.ones((2, 5, 4)), initial_state=state)

    and goes through ``jax.grad`` by the cell, since the cell holds no key. A state without a key is that of
    evaluation, where nothing is dropped: what ``zero_state`` makes unless given a key, and so what ``dynamic_rnn``
    starts from unless given a state.

    What is kept is scaled by ``1 / (1 - rate)``. In a ``shard_map`` each device has to be given a key of its own, by
    ``jax.random.fold_in(key, jax.lax.axis_index(...))``.

    Attributes:
        cell: The cell.
        input_rate: The probability of dropping an element of the inputs, in [0, 1).
        output_rate: The same of the output, after the wrapped cell has computed its new state.
        state_rate: The same of the new state.
        variational: Whether the same masks serve all steps and all rows of the batch, as in Gal and Ghahramani, 2016
            (whose masks differ between the rows; that all have one is TensorFlow's).
        state_filter: ``state_filter(part)`` says of the state and of the parts inside it what to drop: True for all
            of a part, False for nothing, or the part's containers with a bool for each member. Unless given, all but
            the memory ``c`` of an :class:`LSTMStateTuple`. Integers, scalars and keys are never dropped.

    Example:
        >>> lstm = nn.layers.LSTMCell.init(4, 3, key=jax.random.key(0))
        >>> cell = nn.layers.DropoutWrapper.init(lstm, output_rate=0.5, state_rate=0.2)
        >>> state = cell.zero_state(2, jnp.float32, key=jax.random.key(1))
        >>> outputs, state = nn.dynamic_rnn(cell, jnp.ones((2, 50, 4)), initial_state=state)
        >>> bool(0.3 < (outputs == 0).mean() < 0.7), state.state.h.shape
        (True, (2, 3))

    References:
        ``tf.nn.RNNCellDropoutWrapper``, ``tf.compat.v1.nn.rnn_cell.DropoutWrapper``, which take the probabilities of
        keeping: ``output_keep_prob=0.9`` is ``output_rate=0.1``. Zaremba et al., "Recurrent Neural Network
        Regularization", 2014. Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
        Neural Networks", 2016.
    """

    cell: RNNCell
    input_rate: float = static(default=0.0)
    output_rate: float = static(default=0.0)
    state_rate: float = static(default=0.0)
    variational: bool = static(default=False)
    state_filter: Callable[[Any], Any] = static(default=all_but_memory)

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        *,
        input_rate: float = 0.0,
        output_rate: float = 0.0,
        state_rate: float = 0.0,
        variational: bool = False,
        state_filter: Callable[[Any], Any] = all_but_memory,
    ) -> "DropoutWrapper":
        """Checks the attributes.

        Args:
            cell: The cell to wrap.
            input_rate: The probability of dropping an element of the inputs, in [0, 1).
            output_rate: The same of the output.
            state_rate: The same of the new state.
            variational: Whether the same masks serve all steps and rows.
            state_filter: A module-level function that says what of the state to drop.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell, a rate no number or ``state_filter`` no function.
            ValueError: If a rate is outside [0, 1).
        """
        op = "DropoutWrapper.init"
        check_callable(op, "state_filter", state_filter, "state_filter(part)")
        return cls(
            cell=as_cell(op, cell),
            input_rate=as_static_float(op, "input_rate", input_rate, PROBABILITY_BELOW_1),
            output_rate=as_static_float(op, "output_rate", output_rate, PROBABILITY_BELOW_1),
            state_rate=as_static_float(op, "state_rate", state_rate, PROBABILITY_BELOW_1),
            variational=as_static_bool(op, "variational", variational),
            state_filter=state_filter,
        )

    @property
    def needs_key(self) -> bool:
        """Whether the cell drops anything when its state has a key."""
        return self._drops or needs_key(self.cell)

    @property
    def _drops(self) -> bool:
        return bool(self.input_rate or self.output_rate or self.state_rate)

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.output_size  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def state_size(self) -> DropoutState:
        """The wrapped cell's; the key has none."""
        return DropoutState(self.cell.state_size, None)  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> DropoutState:
        """The wrapped cell's, and the key: a ``jax.random`` key, or None to drop nothing."""
        op = "DropoutWrapper"
        if key is not None:
            key = as_typed_key(op, key)
        inner = key
        if key is not None and self._drops and needs_key(self.cell):
            key, inner = jax.random.split(key)
        return DropoutState(zero_state_of(op, self.cell, batch_size, dtype, inner), key)

    def __call__(self, inputs: Tree, state: Tree) -> tuple[Tree, DropoutState]:
        """Returns ``(output, new_state)``."""
        op = "DropoutWrapper"
        if not isinstance(state, DropoutState):
            raise ValueError(
                f"{op}: `state` must be a DropoutState, as zero_state(batch_size, dtype, key=key) makes it, got "
                f"{type(state).__name__}"
            )
        if state.key is None or not self._drops:
            output, new = step_of(op, self.cell, inputs, state.state)
            return output, DropoutState(new, state.key)
        key, *keys = jax.random.split(as_typed_key(op, state.key), 4)
        inputs = self._dropped("inputs", inputs, self.input_rate, keys[0])
        output, new = step_of(op, self.cell, inputs, state.state)
        if self.state_rate:
            new = self._dropped("state", new, self.state_rate, keys[1], _marked(self.state_filter, new))
        output = self._dropped("output", output, self.output_rate, keys[2])
        return output, DropoutState(new, state.key if self.variational else key)

    def _dropped(self, name: str, tree: Tree, rate: float, key: jax.Array, marks: list[bool] | None = None) -> Tree:
        """The arrays of a tree after dropout, each by a key of its own."""
        if not rate:
            return tree
        leaves, structure = jax.tree.flatten(tree)
        dropped = []
        for i, leaf in enumerate(leaves):
            if marks is None or marks[i]:
                array = as_array("DropoutWrapper", name, leaf)
                shape = (1, *array.shape[1:]) if self.variational and array.ndim else None
                sampler = functools.partial(jax.random.uniform, jax.random.fold_in(key, i))
                leaf = drop("DropoutWrapper", array, rate, sampler, shape)
            dropped.append(leaf)
        return structure.unflatten(dropped)


def _marked(state_filter: Callable[[Any], Any], state: Tree) -> list[bool]:
    """Whether to drop each leaf of a state, as the filter says of all that contain it."""
    members, structure = jax.tree.flatten(state, is_leaf=lambda part: part is not state)
    mark = state_filter(state)
    if len(members) == 1 and members[0] is state:  # a leaf
        if not isinstance(mark, bool):
            raise TypeError(f"DropoutWrapper: `state_filter` must return a bool for an array, got {describe(mark)}")
        return [mark and jnp.ndim(state) > 0 and jnp.issubdtype(jnp.asarray(state).dtype, jnp.floating)]
    marks = [mark] * len(members) if isinstance(mark, bool) else _members(mark, structure)
    counts = [len(jax.tree.leaves(member)) for member in members]
    return [
        each
        for member, marked, count in zip(members, marks, counts, strict=True)
        for each in (_marked(state_filter, member) if marked and count else [False] * count)
    ]


def _members(mark: Any, structure: Any) -> list[bool]:
    marks, found = jax.tree.flatten(mark)
    if found != structure or not all(isinstance(each, bool) for each in marks):
        raise TypeError(
            f"DropoutWrapper: `state_filter` must return a bool, or a bool for each member of {structure}, got "
            f"{describe(mark)}"
        )
    return marks
