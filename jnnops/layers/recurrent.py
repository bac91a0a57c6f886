"""Layers that run a recurrent cell over time."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_key, as_size, as_static_bool, describe, is_sequence
from jnnops._types import Key, Tree
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import layer, static
from jnnops.layers.cells._wrapped import as_typed_key, needs_key, zero_state_of
from jnnops.layers.cells.stacked import MultiRNNCell, draw_cells
from jnnops.recurrent import RNNCell, RNNResult
from jnnops.recurrent.dynamic import run_cell


@layer
class RNN:
    """Runs a cell over time: :func:`jnnops.dynamic_rnn` as a layer.

    Called, it returns the outputs alone, so it is a member for ``Sequential``; :meth:`scan` returns the final state
    too. A cell with dropout drops in training, by the ``key``.

    Attributes:
        cell: A cell that is a pytree of arrays, such as ``LSTMCell``; ``MultiRNNCell`` for several layers.
        time_major: Whether inputs and outputs are ``[time, batch, ...]``, not ``[batch, time, ...]``.
        unroll: How many steps to compile into one iteration of the loop.
        remat: Whether derivatives compute the steps again to save memory, see :func:`jnnops.dynamic_rnn`.
        compute_dtype: The dtype that inputs, cells and states are cast to before the first step; None for none.

    Example:
        >>> rnn = nn.layers.RNN.init(nn.layers.BasicLSTMCell, 4, 3, key=jax.random.key(0))
        >>> rnn(jnp.ones((2, 5, 4))).shape
        (2, 5, 3)
        >>> outputs, state = rnn.scan(jnp.ones((2, 5, 4)), sequence_length=[5, 2])
        >>> bool(jnp.allclose(outputs[1, 1], state.h[1]))
        True

    References:
        ``tf.keras.layers.RNN``, ``tf.compat.v1.nn.dynamic_rnn``.
    """

    cell: RNNCell
    time_major: bool = static(default=False)
    unroll: int = static(default=1)
    remat: bool = static(default=False)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        cell: Any,
        in_features: int,
        num_units: int | Sequence[int],
        *,
        time_major: bool = False,
        unroll: int = 1,
        remat: bool = False,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
        **options: Any,
    ) -> "RNN":
        """Draws a new cell of a class, or several one above the other.

        Args:
            cell: The class, such as ``LSTMCell``.
            in_features: Width of the inputs.
            num_units: The cell's units; several numbers make a ``MultiRNNCell``, the lowest cell first.
            time_major: Whether inputs and outputs are ``[time, batch, ...]``.
            unroll: How many steps to compile into one iteration of the loop.
            remat: Whether derivatives compute the steps again to save memory.
            dtype: Of the arrays.
            compute_dtype: To compute in and to return.
            key: A ``jax.random`` key.
            **options: Further arguments of ``cell.init``, such as ``use_peepholes``.

        Returns:
            The layer.

        Raises:
            TypeError: If ``cell`` is no class of cells, or it has no such option.
            ValueError: If a size is below 1.
        """
        op = "RNN.init"
        return cls(
            cell=_draw(op, cell, in_features, num_units, dtype, as_key(op, key), options),
            time_major=as_static_bool(op, "time_major", time_major),
            unroll=as_size(op, "unroll", unroll),
            remat=as_static_bool(op, "remat", remat),
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def __call__(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = None,
        dtype: DTypeLike | None = None,
        training: bool = False,
        key: Key | None = None,
    ) -> Tree:
        """Returns the outputs of all steps; arguments are those of :meth:`scan`."""
        return self.scan(
            inputs, sequence_length, initial_state=initial_state, dtype=dtype, training=training, key=key
        ).outputs

    def scan(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = None,
        dtype: DTypeLike | None = None,
        training: bool = False,
        key: Key | None = None,
    ) -> RNNResult:
        """Returns ``(outputs, state)``, the state to pass on as the next call's ``initial_state``.

        Args:
            inputs: As those of :func:`jnnops.dynamic_rnn`, like the next three.
            sequence_length: ``[batch]`` integers: the number of steps of each row.
            initial_state: The state before the first step; if the cell draws random numbers it has their key.
            dtype: Of the zero state; that of ``inputs`` unless given.
            training: Whether a cell with dropout is to drop, from a zero state.
            key: A ``jax.random`` key for it.

        Returns:
            The outputs of all steps and the last state.

        Raises:
            ValueError: If a cell that draws random numbers has no key when training.
        """
        cell, inputs, initial_state = cast((self.cell, inputs, initial_state), self.compute_dtype)
        cell = _with_key("RNN", cell, initial_state, training, key)
        how = self.time_major, self.unroll, self.remat
        return run_cell("RNN", "", cell, inputs, sequence_length, initial_state, dtype, *how)


@layer
class Bidirectional:
    """Runs one cell forward and another backward over time and concatenates their outputs on the last axis.

    Called, it returns the outputs alone; :meth:`scan` returns both final states too. The backward cell starts at each
    row's own last step, which is what ``tf.contrib.rnn.TimeReversedFusedRNN`` is for.

    Several cells in each direction, that do not see the other direction's, are a ``MultiRNNCell`` for ``forward`` and
    another for ``backward``. Layers that see both directions of the layer below, as those of
    ``stack_bidirectional_dynamic_rnn`` do, are a ``Sequential`` of ``Bidirectional``.

    Attributes:
        forward: A cell that is a pytree of arrays, such as ``LSTMCell``.
        backward: The cell that runs from each row's last step to the first.
        time_major: Whether inputs and outputs are ``[time, batch, ...]``, not ``[batch, time, ...]``.
        unroll: How many steps to compile into one iteration of the loops.
        remat: Whether derivatives compute the steps again to save memory, see :func:`jnnops.dynamic_rnn`.
        compute_dtype: The dtype that inputs, cells and states are cast to before the first step; None for none.

    Example:
        >>> rnn = nn.layers.Bidirectional.init(nn.layers.GRUCell, 4, 3, key=jax.random.key(0))
        >>> rnn(jnp.ones((2, 5, 4))).shape
        (2, 5, 6)

    References:
        ``tf.keras.layers.Bidirectional``, ``tf.compat.v1.nn.bidirectional_dynamic_rnn``.
    """

    forward: RNNCell
    backward: RNNCell
    time_major: bool = static(default=False)
    unroll: int = static(default=1)
    remat: bool = static(default=False)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        cell: Any,
        in_features: int,
        num_units: int | Sequence[int],
        *,
        time_major: bool = False,
        unroll: int = 1,
        remat: bool = False,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
        **options: Any,
    ) -> "Bidirectional":
        """Draws two new cells of a class, or two stacks of them.

        Args:
            cell: The class, such as ``LSTMCell``.
            in_features: Width of the inputs.
            num_units: The units of each cell; several numbers make a ``MultiRNNCell`` of each direction.
            time_major: Whether inputs and outputs are ``[time, batch, ...]``.
            unroll: How many steps to compile into one iteration of the loops.
            remat: Whether derivatives compute the steps again to save memory.
            dtype: Of the arrays.
            compute_dtype: To compute in and to return.
            key: A ``jax.random`` key.
            **options: Further arguments of ``cell.init``, such as ``use_peepholes``.

        Returns:
            The layer.

        Raises:
            TypeError: If ``cell`` is no class of cells, or it has no such option.
            ValueError: If a size is below 1.
        """
        op = "Bidirectional.init"
        forward, backward = (
            _draw(op, cell, in_features, num_units, dtype, own, options) for own in jax.random.split(as_key(op, key))
        )
        return cls(
            forward=forward,
            backward=backward,
            time_major=as_static_bool(op, "time_major", time_major),
            unroll=as_size(op, "unroll", unroll),
            remat=as_static_bool(op, "remat", remat),
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def __call__(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = (None, None),
        dtype: DTypeLike | None = None,
        training: bool = False,
        key: Key | None = None,
    ) -> Tree:
        """Returns the outputs of all steps; arguments are those of :meth:`scan`."""
        return self.scan(
            inputs, sequence_length, initial_state=initial_state, dtype=dtype, training=training, key=key
        ).outputs

    def scan(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = (None, None),
        dtype: DTypeLike | None = None,
        training: bool = False,
        key: Key | None = None,
    ) -> RNNResult:
        """Returns ``(outputs, state)``.

        Args:
            inputs: ``[batch, time, ...]``, or a pytree of such arrays.
            sequence_length: ``[batch]`` integers: the number of steps of each row.
            initial_state: A pair: the forward cell's state before the first step, the backward cell's before the last.
            dtype: Of the zero states; that of ``inputs`` unless given.
            training: Whether cells with dropout are to drop, from zero states.
            key: A ``jax.random`` key for them.

        Returns:
            The outputs of all steps, ``[batch, time, forward.output_size + backward.output_size]``, and the pair of
            final states.

        Raises:
            ValueError: If ``initial_state`` is no pair, or a cell that draws random numbers has no key when training.
        """
        op = "Bidirectional"
        if not is_sequence(initial_state) or len(initial_state) != 2:
            raise ValueError(
                f"{op}: `initial_state` must be a pair, of the forward cell's and the backward cell's, got "
                f"{describe(initial_state)}"
            )
        cells = cast((self.forward, self.backward), self.compute_dtype)
        inputs, initial_state = cast((inputs, tuple(initial_state)), self.compute_dtype)
        keys = (None, None) if key is None else jax.random.split(as_key(op, key))
        cells = [
            _with_key(op, cell, state, training, own)
            for cell, state, own in zip(cells, initial_state, keys, strict=True)
        ]
        how = self.time_major, self.unroll, self.remat
        forward, backward = (
            run_cell(op, suffix, cell, inputs, sequence_length, state, dtype, *how)
            for suffix, cell, state in zip(("_fw", "_bw"), cells, initial_state, strict=True)
        )
        outputs = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), forward.outputs, backward.outputs)
        return RNNResult(outputs, (forward.state, backward.state))


def _draw(
    op: str,
    cell: Any,
    in_features: int,
    num_units: Any,
    dtype: DTypeLike,
    key: jax.Array,
    options: dict[str, Any],
) -> Any:
    """A new cell, or a stack of them for several numbers of units."""
    if not is_sequence(num_units):
        return draw_cells(op, cell, in_features, [num_units], dtype, key, options)[0]
    if not len(num_units):
        raise ValueError(f"{op}: `num_units` must be a number or list the units of each cell, got {num_units!r}")
    return MultiRNNCell(cells=tuple(draw_cells(op, cell, in_features, num_units, dtype, key, options)))


@layer
class _Drawing:
    """A cell whose zero state has the key of this run."""

    cell: RNNCell
    key: jax.Array

    def zero_state(self, batch_size: int, dtype: DTypeLike) -> Tree:
        return zero_state_of("RNN", self.cell, batch_size, dtype, self.key)

    def __call__(self, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
        return self.cell(inputs, state)


def _with_key(op: str, cell: RNNCell, state: Tree, training: bool, key: Key | None) -> RNNCell:
    """The cell to run: if it draws random numbers and is training, it starts from a state with the key."""
    if key is not None:
        key = as_typed_key(op, key)
    if not as_static_bool(op, "training", training) or state is not None or not needs_key(cell):
        return cell
    return _Drawing(cell=cell, key=as_key(op, key))  # which refuses None
