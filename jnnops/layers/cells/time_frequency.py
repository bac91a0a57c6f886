"""The LSTM that runs over frequencies within each step of time."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, as_size, as_static_bool, as_static_float, check_rank, check_shape, draw
from jnnops._primitives.varying import vary_with
from jnnops._types import Initializer, Key
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import (
    add_bias,
    add_peephole,
    as_limit,
    clip,
    count_blocks,
    frequency_blocks,
    join_blocks,
    split_state,
)
from jnnops.layers.cells._step import as_sizes, promote_step, zero_state
from jnnops.recurrent._gates import product


@layer
class TimeFreqLSTMCell:
    r"""The time-frequency LSTM: one LSTM for all blocks of frequencies, which passes its output to the next block too.

    For the blocks :math:`k = 0, 1, \dots` of ``feature_size`` inputs, each ``frequency_skip`` after the one before,

    .. math::
        i, j, f, o &= [x_k, m_k, m'_{k-1}] W + B \\
        c'_k &= \sigma(f + \text{forget\_bias} + w_f c_k)\, c_k + \sigma(i + w_i c_k) \tanh(j) \\
        m'_k &= \sigma(o + w_o c'_k) \tanh(c'_k)

    with :math:`m'_{-1} = 0`, and the terms :math:`w c` only if there are peepholes.

    Attributes:
        w: ``[feature_size + 2 num_units, 4 num_units]``, gates in the order input, new input, forget, output. Weights
            have the names of TensorFlow's in lower case.
        b: ``[4 num_units]``.
        w_f_diag: ``[num_units]``: the peephole of the forget gate; None for a cell without.
        w_i_diag: ``[num_units]``: that of the input gate.
        w_o_diag: ``[num_units]``: that of the output gate.
        in_features: Width of the inputs. What lies behind the last whole block is not used.
        frequency_skip: From one block to the next.
        forget_bias: Added to the forget gate, so that a new cell remembers.
        cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None; at the limits it has a gradient.

    Note:
        TensorFlow says that the output has ``num_units`` columns and the state ``2 num_units``, so that its own zero
        state serves one block only. Here ``output_size`` and ``state_size`` count all blocks.

    Example:
        >>> cell = nn.layers.TimeFreqLSTMCell.init(8, 3, feature_size=4, frequency_skip=2, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 8)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 9), (2, 18))

    References:
        ``tf.contrib.rnn.TimeFreqLSTMCell`` of TensorFlow 1.15. Sainath and Li, "Modeling Time-Frequency Patterns with
        LSTM vs. Convolutional Architectures for LVCSR Tasks", 2016.
    """

    w: jax.Array
    b: jax.Array
    w_f_diag: jax.Array | None = None
    w_i_diag: jax.Array | None = None
    w_o_diag: jax.Array | None = None
    in_features: int = static()
    frequency_skip: int = static(default=1)
    forget_bias: float = static(default=1.0)
    cell_clip: float | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        feature_size: int,
        frequency_skip: int = 1,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "TimeFreqLSTMCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and of both parts of the state, for each block.
            feature_size: Width of a block.
            frequency_skip: From one block to the next.
            use_peepholes: Whether the gates see the memory.
            cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.
            forget_bias: Added to the forget gate.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size is below 1, ``feature_size`` above ``in_features``, or ``cell_clip`` below 0.
        """
        op = "TimeFreqLSTMCell.init"
        width, units = as_sizes(op, in_features, num_units)
        size = as_size(op, "feature_size", feature_size)
        if size > width:
            raise ValueError(f"{op}: `feature_size` must be at most in_features = {width}, got {size}")
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        use_peepholes = as_static_bool(op, "use_peepholes", use_peepholes)
        kernel_key, *peephole_keys = jax.random.split(as_key(op, key), 4)
        # A row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
        peepholes = [new(key, (units, units), dtype)[0] if use_peepholes else None for key in peephole_keys]
        return cls(
            w=new(kernel_key, (size + 2 * units, 4 * units), dtype),
            b=jnp.zeros(4 * units, dtype),
            w_f_diag=peepholes[0],
            w_i_diag=peepholes[1],
            w_o_diag=peepholes[2],
            in_features=width,
            frequency_skip=as_size(op, "frequency_skip", frequency_skip),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            cell_clip=as_limit(op, "cell_clip", cell_clip),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of both parts of the state, for each block."""
        return self.b.shape[-1] // 4

    @property
    def feature_size(self) -> int:
        """The width of a block."""
        return self.w.shape[0] - 2 * self.num_units

    @property
    def num_blocks(self) -> int:
        """The number of blocks."""
        return count_blocks(self.in_features, self.feature_size, self.frequency_skip)

    @property
    def output_size(self) -> int:
        """The width of the output: ``num_units`` for each block."""
        return self.num_blocks * self.num_units

    @property
    def state_size(self) -> int:
        """The width of the state: for each block ``num_units`` of memory, then as many of output."""
        return 2 * self.output_size

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> jax.Array:
        """Zeros ``[batch_size, state_size]``."""
        return zero_state("TimeFreqLSTMCell", batch_size, self.state_size, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``: the outputs of all blocks, and the memory and the output of each."""
        op, units = "TimeFreqLSTMCell", self.num_units
        peepholes = {name: getattr(self, name) for name in ("w_f_diag", "w_i_diag", "w_o_diag")}
        given = [name for name, array in peepholes.items() if array is not None]
        if len(given) not in (0, 3):
            raise ValueError(f"{op}: `w_f_diag`, `w_i_diag` and `w_o_diag` must be given together, got only {given}")
        cell, x, old = promote_step(op, self, inputs=inputs, state=state)
        check_rank(op, "w", cell.w, 2)
        check_shape(op, "b", cell.b, (4 * units,), "4 gates")
        check_shape(op, "w", cell.w, (cell.w.shape[0], 4 * units), f"`b` is that of {units} units")
        if not 0 < self.feature_size <= self.in_features:
            raise ValueError(
                f"{op}: `w` must have from 1 to in_features = {self.in_features} rows beside 2 for each of {units} "
                f"units, got shape {cell.w.shape}"
            )
        for name in given:
            check_shape(op, name, getattr(cell, name), (units,), f"`b` is that of {units} units")
        check_rank(op, "inputs", x, 2)
        check_shape(op, "inputs", x, (x.shape[0], self.in_features), "[batch, in_features]")
        check_shape(op, "state", old, (x.shape[0], self.state_size), f"{self.num_blocks} blocks of [batch, 2 units]")
        return _time_frequency(cell, x, old)


@jax.jit
def _time_frequency(cell: TimeFreqLSTMCell, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    batch, units = inputs.shape[0], cell.num_units
    blocks = frequency_blocks(inputs, 0, cell.num_blocks, cell.feature_size, cell.frequency_skip)
    c, m = split_state(state, cell.num_blocks, units)
    # What does not come from the block before is one product for all blocks.
    known = add_bias(product(jnp.concatenate([blocks, m], axis=-1), cell.w[:-units]), cell.b)
    # Wide outside of the loop, which sums the gradients of what its steps share in their own dtype.
    wide = jax.tree.map(lambda weight: weight.astype(known.dtype), cell)

    def step(before: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        gates, c = block
        gates += product(before, wide.w[-units:].astype(before.dtype))
        i, j, f, o = jnp.split(gates, 4, axis=-1)
        i, f = add_peephole(i, wide.w_i_diag, c), add_peephole(f, wide.w_f_diag, c)
        c = clip(jax.nn.sigmoid(f + cell.forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(j), cell.cell_clip)
        m = (jax.nn.sigmoid(add_peephole(o, wide.w_o_diag, c)) * jnp.tanh(c)).astype(before.dtype)
        return m, (c, m)

    first = vary_with(jnp.zeros((batch, units), inputs.dtype), cell, inputs, state)
    _, (c, m) = lax.scan(step, first, (known, c.astype(known.dtype)))
    return join_blocks(m), join_blocks(c.astype(m.dtype), m)
