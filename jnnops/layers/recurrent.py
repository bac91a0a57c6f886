"""Layers that run a recurrent cell over time."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import describe, is_sequence
from jnnops._types import Tree
from jnnops.layers._layer import layer, static
from jnnops.recurrent import RNNCell, RNNResult
from jnnops.recurrent.dynamic import run_cell


@layer
class RNN:
    """Runs a cell over time: :func:`jnnops.dynamic_rnn` as a layer.

    Called, it returns the outputs alone, so it is a member for ``Sequential``; :meth:`scan` returns the final state
    too.

    Attributes:
        cell: A cell that is a pytree of arrays, such as ``LSTMCell``.
        time_major: Whether inputs and outputs are ``[time, batch, ...]``, not ``[batch, time, ...]``.
        unroll: How many steps to compile into one iteration of the loop.

    Example:
        >>> rnn = nn.layers.RNN(cell=nn.layers.BasicLSTMCell.init(4, 3, key=jax.random.key(0)))
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

    def __call__(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = None,
        dtype: DTypeLike | None = None,
    ) -> Tree:
        """Returns the outputs of all steps; arguments are those of :func:`jnnops.dynamic_rnn`."""
        return self.scan(inputs, sequence_length, initial_state=initial_state, dtype=dtype).outputs

    def scan(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = None,
        dtype: DTypeLike | None = None,
    ) -> RNNResult:
        """Returns ``(outputs, state)``, the state to pass on as the next call's ``initial_state``."""
        return run_cell(
            "RNN", "", self.cell, inputs, sequence_length, initial_state, dtype, self.time_major, self.unroll
        )


@layer
class Bidirectional:
    """Runs one cell forward and another backward over time and concatenates their outputs on the last axis.

    Called, it returns the outputs alone; :meth:`scan` returns both final states too.

    Attributes:
        forward: A cell that is a pytree of arrays, such as ``LSTMCell``.
        backward: The cell that runs from each row's last step to the first.
        time_major: Whether inputs and outputs are ``[time, batch, ...]``, not ``[batch, time, ...]``.
        unroll: How many steps to compile into one iteration of the loops.

    Example:
        >>> cells = [nn.layers.GRUCell.init(4, 3, key=key) for key in jax.random.split(jax.random.key(0))]
        >>> nn.layers.Bidirectional(forward=cells[0], backward=cells[1])(jnp.ones((2, 5, 4))).shape
        (2, 5, 6)

    References:
        ``tf.keras.layers.Bidirectional``, ``tf.compat.v1.nn.bidirectional_dynamic_rnn``.
    """

    forward: RNNCell
    backward: RNNCell
    time_major: bool = static(default=False)
    unroll: int = static(default=1)

    def __call__(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = (None, None),
        dtype: DTypeLike | None = None,
    ) -> Tree:
        """Returns the outputs of all steps; arguments are those of :meth:`scan`."""
        return self.scan(inputs, sequence_length, initial_state=initial_state, dtype=dtype).outputs

    def scan(
        self,
        inputs: Tree,
        sequence_length: ArrayLike | None = None,
        *,
        initial_state: Tree = (None, None),
        dtype: DTypeLike | None = None,
    ) -> RNNResult:
        """Returns ``(outputs, state)``.

        Args:
            inputs: ``[batch, time, ...]``, or a pytree of such arrays.
            sequence_length: ``[batch]`` integers: the number of steps of each row.
            initial_state: A pair: the forward cell's state before the first step, the backward cell's before the last.
            dtype: Of the zero states; that of ``inputs`` unless given.

        Returns:
            The outputs of all steps, ``[batch, time, forward.output_size + backward.output_size]``, and the pair of
            final states.
        """
        op = "Bidirectional"
        if not is_sequence(initial_state) or len(initial_state) != 2:
            raise ValueError(
                f"{op}: `initial_state` must be a pair, of the forward cell's and the backward cell's, got "
                f"{describe(initial_state)}"
            )
        forward, backward = (
            run_cell(op, suffix, cell, inputs, sequence_length, state, dtype, self.time_major, self.unroll)
            for suffix, cell, state in zip(("_fw", "_bw"), (self.forward, self.backward), initial_state, strict=True)
        )
        outputs = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), forward.outputs, backward.outputs)
        return RNNResult(outputs, (forward.state, backward.state))
