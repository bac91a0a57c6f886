"""The cells of TensorFlow's block kernels, which compute a step or a sequence in one op: here with their names."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_dtype,
    as_float_arrays,
    as_key,
    as_number_array,
    as_static_bool,
    as_static_float,
    check_rank,
    check_shape,
    draw,
)
from jnnops._types import Initializer, Key, Tree
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import as_limit, as_pair, zeros
from jnnops.layers.cells._step import as_sizes
from jnnops.layers.cells.gru import GRUCell
from jnnops.layers.cells.lstm import LSTMCell, LSTMStateTuple, lstm_step
from jnnops.recurrent._gates import run_unmasked
from jnnops.recurrent.dynamic import RNNResult, run_cell


@layer
class LSTMBlockCell:
    r"""The LSTM of TensorFlow's block kernel: :class:`LSTMCell` with tanh and without projection.

    .. math::
        i, j, f, o &= [x, h] W + b \\
        c' &= \text{clip}(\sigma(f + w_f c + \text{forget\_bias})\, c + \sigma(i + w_i c) \tanh j) \\
        h' &= \sigma(o + w_o c') \tanh c'

    The kernel's gates stand in the order input, cell (the new input), forget, output, which is that of the other
    cells; its documentation names another. Where the memory is clipped its gradient is 0, as for ``LSTMCell``; that of
    TensorFlow's kernel passes as if nothing were clipped.

    Attributes:
        kernel: ``[in_features + num_units, 4 num_units]``.
        bias: ``[4 num_units]``.
        w_i_diag: ``[num_units]``, the peephole from the memory to the input gate (``wci`` of the kernel); None, like
            the next two, for none.
        w_f_diag: ``[num_units]``, the one to the forget gate (``wcf``).
        w_o_diag: ``[num_units]``, the one from the new memory to the output gate (``wco``).
        forget_bias: Added to the forget gate, so that a new cell remembers.
        cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.

    Example:
        >>> cell = nn.layers.LSTMBlockCell.init(4, 3, use_peephole=True, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.LSTMBlockCell`` of TensorFlow 1.15, ``tf.raw_ops.LSTMBlockCell``. Zaremba et al., "Recurrent
        Neural Network Regularization", 2014.
    """

    kernel: jax.Array
    bias: jax.Array
    w_i_diag: jax.Array | None = None
    w_f_diag: jax.Array | None = None
    w_o_diag: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    cell_clip: float | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        use_peephole: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "LSTMBlockCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and of both parts of the state.
            use_peephole: Whether the gates see the memory.
            cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.
            forget_bias: Added to the forget gate.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer or ``key`` no key.
            ValueError: If a size is below 1 or ``cell_clip`` below 0.
        """
        return cls(
            **_draw_lstm(
                "LSTMBlockCell.init",
                in_features,
                num_units,
                use_peephole=use_peephole,
                cell_clip=cell_clip,
                forget_bias=forget_bias,
                kernel_init=kernel_init,
                dtype=dtype,
                key=key,
            )
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of both parts of the state."""
        return self.bias.shape[-1] // 4

    @property
    def output_size(self) -> int:
        """The width of the output."""
        return self.num_units

    @property
    def state_size(self) -> LSTMStateTuple:
        """The widths of the state."""
        return LSTMStateTuple(self.num_units, self.num_units)

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        """Zeros ``[batch_size, num_units]``, twice."""
        return LSTMStateTuple(*(zeros("LSTMBlockCell", batch_size, (self.num_units,), dtype) for _ in range(2)))

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``."""
        return lstm_step("LSTMBlockCell", _as_lstm(self), inputs, state)

    def _run_whole(self, inputs: jax.Array, state: Tree, active: jax.Array | None, **options: Any) -> Any:
        return run_unmasked(_as_lstm(self), inputs, state, active, **options)


@layer
class LSTMBlockFusedCell:
    """The LSTM of TensorFlow's block kernel over whole sequences: a layer, not a cell.

    It computes what ``RNN(cell=LSTMBlockCell(...), time_major=True)`` does, with the arguments of the kernel's wrapper.

    Attributes:
        kernel: ``[in_features + num_units, 4 num_units]``, gates in the order input, new input, forget, output.
        bias: ``[4 num_units]``.
        w_i_diag: ``[num_units]``, the peephole from the memory to the input gate; None, like the next two, for none.
        w_f_diag: ``[num_units]``, the one to the forget gate.
        w_o_diag: ``[num_units]``, the one from the new memory to the output gate.
        forget_bias: Added to the forget gate, so that a new cell remembers.
        cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.

    Example:
        >>> fused = nn.layers.LSTMBlockFusedCell.init(4, 3, key=jax.random.key(0))
        >>> outputs, state = fused(jnp.ones((5, 2, 4)), sequence_length=[5, 2])
        >>> outputs.shape, bool((outputs[2:, 1] == 0).all()), bool(jnp.allclose(outputs[1, 1], state.h[1]))
        ((5, 2, 3), True, True)

    References:
        ``tf.contrib.rnn.LSTMBlockFusedCell`` of TensorFlow 1.15, ``tf.raw_ops.BlockLSTM``.
    """

    kernel: jax.Array
    bias: jax.Array
    w_i_diag: jax.Array | None = None
    w_f_diag: jax.Array | None = None
    w_o_diag: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    cell_clip: float | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        use_peephole: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "LSTMBlockFusedCell":
        """Draws a new layer; the arguments are those of :meth:`LSTMBlockCell.init`."""
        return cls(
            **_draw_lstm(
                "LSTMBlockFusedCell.init",
                in_features,
                num_units,
                use_peephole=use_peephole,
                cell_clip=cell_clip,
                forget_bias=forget_bias,
                kernel_init=kernel_init,
                dtype=dtype,
                key=key,
            )
        )

    @property
    def num_units(self) -> int:
        """The width of the outputs and of both parts of the state."""
        return self.bias.shape[-1] // 4

    def __call__(
        self,
        inputs: ArrayLike,
        initial_state: Tree = None,
        dtype: DTypeLike | None = None,
        sequence_length: ArrayLike | None = None,
    ) -> RNNResult:
        """Runs over all steps.

        Args:
            inputs: ``[time, batch, in_features]``.
            initial_state: The pair ``(c, h)`` before the first step, ``[batch, num_units]`` each; zeros unless given.
            dtype: Of the zero state; that of ``inputs`` unless given.
            sequence_length: ``[batch]`` integers: the number of steps of each row; past them outputs are 0, and the
                state is the one after the row's last step. All steps unless given.

        Returns:
            ``(outputs, state)``: ``[time, batch, num_units]``, and the last state as an :class:`LSTMStateTuple`.

        Raises:
            ValueError: If the shapes of the arguments disagree.
        """
        op = "LSTMBlockFusedCell"
        inputs = as_number_array(op, "inputs", inputs, rank=3)
        if initial_state is not None:
            initial_state = LSTMStateTuple(*as_pair(op, initial_state))
        return run_cell(op, "", _as_block(self), inputs, sequence_length, initial_state, dtype, True, 1)


@layer
class GRUBlockCell:
    r"""The gated recurrent unit of TensorFlow's block kernel: :class:`GRUCell` with tanh, and with the kernel's names.

    .. math::
        r, u &= \sigma([x, h] W_{ru} + b_{ru}) \\
        c &= \tanh([x, r h] W_c + b_c) \\
        h' &= u h + (1 - u) c

    ``GRUBlockCellV2`` has the names of ``GRUCell``, which takes its weights.

    Attributes:
        w_ru: ``[in_features + num_units, 2 num_units]``, gates in the order reset, update.
        b_ru: ``[2 num_units]``.
        w_c: ``[in_features + num_units, num_units]``.
        b_c: ``[num_units]``.

    Example:
        >>> cell = nn.layers.GRUBlockCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.GRUBlockCell`` of TensorFlow 1.15, ``tf.raw_ops.GRUBlockCell``. Cho et al., "Learning Phrase
        Representations using RNN Encoder-Decoder for Statistical Machine Translation", 2014.
    """

    w_ru: jax.Array
    b_ru: jax.Array
    w_c: jax.Array
    b_c: jax.Array

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "GRUBlockCell":
        """Draws a new cell, with biases of 1 for the gates and 0 for the candidate.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and the state; TensorFlow's ``cell_size``.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "GRUBlockCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        gate_key, candidate_key = jax.random.split(as_key(op, key))
        return cls(
            w_ru=draw(op, "kernel_init", kernel_init, gate_key, (rows + units, 2 * units), dtype),
            b_ru=jnp.ones(2 * units, dtype),
            w_c=draw(op, "kernel_init", kernel_init, candidate_key, (rows + units, units), dtype),
            b_c=jnp.zeros(units, dtype),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of the state."""
        return self.b_c.shape[-1]

    @property
    def output_size(self) -> int:
        """The width of the output."""
        return self.num_units

    @property
    def state_size(self) -> int:
        """The width of the state."""
        return self.num_units

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> jax.Array:
        """Zeros ``[batch_size, num_units]``."""
        return zeros("GRUBlockCell", batch_size, (self.num_units,), dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``, which are the same."""
        op, units = "GRUBlockCell", self.num_units
        weights = {name: getattr(self, name) for name in ("w_ru", "b_ru", "w_c", "b_c")}
        x, h, w_ru, b_ru, w_c, b_c = as_float_arrays(op, inputs=inputs, state=state, **weights)
        check_rank(op, "inputs", x, 2)
        rows = x.shape[1] + units
        check_shape(op, "state", h, (x.shape[0], units), "[batch, units]")
        check_shape(op, "w_c", w_c, (rows, units), f"`inputs` have {x.shape[1]} features and `b_c` {units} units")
        check_shape(op, "w_ru", w_ru, (rows, 2 * units), "two gates")
        check_shape(op, "b_ru", b_ru, (2 * units,), "two gates")
        return GRUCell(gate_kernel=w_ru, gate_bias=b_ru, candidate_kernel=w_c, candidate_bias=b_c)(x, h)

    def _run_whole(self, inputs: jax.Array, state: jax.Array, active: jax.Array | None, **options: Any) -> Any:
        cell = GRUCell(gate_kernel=self.w_ru, gate_bias=self.b_ru, candidate_kernel=self.w_c, candidate_bias=self.b_c)
        return run_unmasked(cell, inputs, state, active, **options)


_WEIGHTS = ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag")


def _as_lstm(cell: LSTMBlockCell) -> LSTMCell:
    weights: dict[str, Any] = {name: getattr(cell, name) for name in _WEIGHTS}
    return LSTMCell(**weights, forget_bias=cell.forget_bias, cell_clip=cell.cell_clip)


def _as_block(cell: LSTMBlockFusedCell) -> LSTMBlockCell:
    weights: dict[str, Any] = {name: getattr(cell, name) for name in _WEIGHTS}
    return LSTMBlockCell(**weights, forget_bias=cell.forget_bias, cell_clip=cell.cell_clip)


def _draw_lstm(
    op: str,
    in_features: int,
    num_units: int,
    *,
    use_peephole: bool,
    cell_clip: float | None,
    forget_bias: float,
    kernel_init: Initializer,
    dtype: DTypeLike,
    key: Key,
) -> dict[str, Any]:
    rows, units = as_sizes(op, in_features, num_units)
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    kernel_key, *keys = jax.random.split(as_key(op, key), 4)
    drawn: dict[str, Any] = {
        "kernel": draw(op, "kernel_init", kernel_init, kernel_key, (rows + units, 4 * units), dtype),
        "bias": jnp.zeros(4 * units, dtype),
        "forget_bias": as_static_float(op, "forget_bias", forget_bias),
        "cell_clip": as_limit(op, "cell_clip", cell_clip),
    }
    if as_static_bool(op, "use_peephole", use_peephole):
        # A row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
        square = [draw(op, "kernel_init", kernel_init, each, (units, units), dtype) for each in keys]
        drawn |= {name: matrix[0] for name, matrix in zip(_WEIGHTS[2:], square, strict=True)}
    return drawn
