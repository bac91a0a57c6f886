"""The LSTM with a clock for each unit."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    FRACTION,
    Interval,
    accumulation_dtype,
    as_dtype,
    as_key,
    as_number_array,
    as_static_bool,
    as_static_float,
    check_shape,
    draw,
    is_sequence,
)
from jnnops._types import Initializer, Key, Tree
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import as_pair
from jnnops.layers.cells._step import affine, as_sizes, check_step, promote_step, zero_state
from jnnops.layers.cells.lstm import LSTMStateTuple

_POSITIVE = Interval("be above 0", low=float.fromhex("0x1p-1074"))


@layer
class PhasedLSTMCell:
    r"""The phased LSTM: an LSTM whose units are open for a part of their own period only, for events at any times.

    .. math::
        i, f &= \sigma([x, h, c] W_\text{mask\_gates} + b_\text{mask\_gates}) \\
        \hat c &= f c + i \tanh([x, h] W_\text{new\_input} + b_\text{new\_input}) \\
        o &= \sigma([x, h, \hat c] W_\text{output\_gate} + b_\text{output\_gate}) \\
        \varphi &= ((t - \text{phase}) \bmod \text{period}) / \text{period} \\
        k &= \begin{cases}
            2 \varphi / \text{ratio\_on} & \varphi < \text{ratio\_on} / 2 \\
            2 - 2 \varphi / \text{ratio\_on} & \text{ratio\_on} / 2 \le \varphi < \text{ratio\_on} \\
            \text{leak}\, \varphi & \text{otherwise}
        \end{cases} \\
        c' &= k \hat c + (1 - k) c \\
        h' &= k o \tanh(\hat c) + (1 - k) h

    with :math:`c` and :math:`\hat c` among the operands of the gates only if there are peepholes.

    The derivative of the remainder is 1 by the time and 0 by the period, as in TensorFlow, so the period learns from
    the division alone. Where two cases of :math:`k` meet, its derivative is that of the lower case in the list.

    Attributes:
        mask_gates_kernel: ``[in_features + num_units, 2 num_units]``, the input gate before the forget gate; with
            peepholes ``num_units`` more rows, of the memory.
        mask_gates_bias: ``[2 num_units]``.
        new_input_kernel: ``[in_features + num_units, num_units]``.
        new_input_bias: ``[num_units]``.
        output_gate_kernel: ``[in_features + num_units, num_units]``; with peepholes ``num_units`` more rows.
        output_gate_bias: ``[num_units]``.
        period: ``[num_units]``, in the unit of the times.
        phase: ``[num_units]``, likewise.
        ratio_on: ``[num_units]``: the part of its period for which a unit is open.
        leak: How far closed units open, at most.
        trainable_ratio_on: Whether ``ratio_on`` has a gradient.

    Note:
        The zero state of :func:`jnnops.dynamic_rnn` has the dtype that times and features promote to. With times of
        float32, a cell and features of 16 bits stay in 16 bits by ``dtype=jnp.bfloat16``.

    Example:
        >>> cell = nn.layers.PhasedLSTMCell.init(4, 3, key=jax.random.key(0))
        >>> time = jnp.array([[0.5], [700.0]])
        >>> output, state = cell((time, jnp.ones((2, 4))), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape, state.h.shape
        ((2, 3), (2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.PhasedLSTMCell`` of TensorFlow 1.15. Neil et al., "Phased LSTM: Accelerating Recurrent Network
        Training for Long or Event-based Sequences", 2016.
    """

    mask_gates_kernel: jax.Array
    mask_gates_bias: jax.Array
    new_input_kernel: jax.Array
    new_input_bias: jax.Array
    output_gate_kernel: jax.Array
    output_gate_bias: jax.Array
    period: jax.Array
    phase: jax.Array
    ratio_on: jax.Array
    leak: float = static(default=0.001)
    trainable_ratio_on: bool = static(default=True)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        use_peepholes: bool = False,
        leak: float = 0.001,
        ratio_on: float = 0.1,
        trainable_ratio_on: bool = True,
        period_init_min: float = 1.0,
        period_init_max: float = 1000.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "PhasedLSTMCell":
        """Draws a new cell, with biases of 0, uniform logarithms of the periods, and phases uniform in the periods.

        Args:
            in_features: Width of the features, less the time.
            num_units: Width of the output and of both parts of the state.
            use_peepholes: Whether the gates see the memory.
            leak: How far closed units open, at most; in [0, 1].
            ratio_on: The part of its period for which a unit is open at first; in [0, 1].
            trainable_ratio_on: Whether ``ratio_on`` has a gradient.
            period_init_min: The shortest period.
            period_init_max: The longest period.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, a setting no number or ``key`` no key.
            ValueError: If a size is below 1, ``leak`` or ``ratio_on`` not in [0, 1], or the periods are not above 0 and
                in order.
        """
        op = "PhasedLSTMCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        rows += units
        rows_of_gates = rows + units if as_static_bool(op, "use_peepholes", use_peepholes) else rows
        shortest = as_static_float(op, "period_init_min", period_init_min, _POSITIVE)
        within = Interval(f"be at least period_init_min = {shortest}", low=shortest)
        longest = as_static_float(op, "period_init_max", period_init_max, within)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        keys = jax.random.split(as_key(op, key), 5)
        logarithms = jax.random.uniform(keys[3], (units,), dtype, jnp.log(shortest), jnp.log(longest))
        period = jnp.exp(logarithms)
        return cls(
            mask_gates_kernel=new(keys[0], (rows_of_gates, 2 * units), dtype),
            mask_gates_bias=jnp.zeros(2 * units, dtype),
            new_input_kernel=new(keys[1], (rows, units), dtype),
            new_input_bias=jnp.zeros(units, dtype),
            output_gate_kernel=new(keys[2], (rows_of_gates, units), dtype),
            output_gate_bias=jnp.zeros(units, dtype),
            period=period,
            phase=period * jax.random.uniform(keys[4], (units,), dtype),
            ratio_on=jnp.full(units, as_static_float(op, "ratio_on", ratio_on, FRACTION), dtype),
            leak=as_static_float(op, "leak", leak, FRACTION),
            trainable_ratio_on=as_static_bool(op, "trainable_ratio_on", trainable_ratio_on),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of both parts of the state."""
        return self.new_input_bias.shape[-1]

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
        return LSTMStateTuple(*(zero_state("PhasedLSTMCell", batch_size, size, dtype) for size in self.state_size))

    def __call__(self, inputs: tuple[ArrayLike, ArrayLike], state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``.

        ``inputs`` is a pair: the times ``[batch, 1]``, whose dtype decides how precisely the cycles are computed and
        nothing else, and the features ``[batch, in_features]``.
        """
        op = "PhasedLSTMCell"
        if not is_sequence(inputs) or len(inputs) != 2:
            raise ValueError(f"{op}: `inputs` must be a pair (time, features), got {type(inputs).__name__}")
        c, h = as_pair(op, state)
        cell, x, c, h = promote_step(op, self, inputs=inputs[1], c=c, h=h)
        _check(op, cell, x, c, h)
        time = as_number_array(op, "time", inputs[0])
        check_shape(op, "time", time, (x.shape[0], 1), "one for each row of the features")
        if not jnp.issubdtype(time.dtype, jnp.floating):
            time = time.astype(accumulation_dtype(x.dtype))
        state = _phased(cell, time.astype(accumulation_dtype(time.dtype)), x, c, h)
        return state.h, state


def _check(op: str, cell: PhasedLSTMCell, inputs: jax.Array, c: jax.Array, h: jax.Array) -> None:
    units = cell.num_units
    kernel, bias = cell.new_input_kernel, cell.new_input_bias
    check_step(op, inputs, kernel, bias, prefix="new_input_", c=(c, units), h=(h, units))
    rows = cell.new_input_kernel.shape[0]
    if cell.mask_gates_kernel.shape[:1] == (rows + units,):  # with peepholes
        rows += units
    check_shape(op, "mask_gates_kernel", cell.mask_gates_kernel, (rows, 2 * units), "two gates")
    check_shape(op, "mask_gates_bias", cell.mask_gates_bias, (2 * units,), "two gates")
    check_shape(op, "output_gate_kernel", cell.output_gate_kernel, (rows, units), "as high as `mask_gates_kernel`")
    for name in ("output_gate_bias", "period", "phase", "ratio_on"):
        check_shape(op, name, getattr(cell, name), (units,), "one for each unit")


@jax.jit
def _phased(cell: PhasedLSTMCell, time: jax.Array, inputs: jax.Array, c: jax.Array, h: jax.Array) -> LSTMStateTuple:
    sees_memory = cell.mask_gates_kernel.shape[0] > cell.new_input_kernel.shape[0]

    def with_memory(memory: jax.Array) -> jax.Array:
        return jnp.concatenate([h, memory.astype(h.dtype)], axis=-1) if sees_memory else h

    gates = jax.nn.sigmoid(affine(inputs, with_memory(c), cell.mask_gates_kernel, cell.mask_gates_bias))
    input_gate, forget_gate = jnp.split(gates, 2, axis=-1)
    old_memory, old_output = c.astype(gates.dtype), h.astype(gates.dtype)
    new_input = jnp.tanh(affine(inputs, h, cell.new_input_kernel, cell.new_input_bias))
    memory = forget_gate * old_memory + input_gate * new_input
    output = affine(inputs, with_memory(memory), cell.output_gate_kernel, cell.output_gate_bias)
    output = jax.nn.sigmoid(output) * jnp.tanh(memory)
    openness = _openness(cell, time).astype(gates.dtype)
    memory = openness * memory + (1 - openness) * old_memory
    output = openness * output + (1 - openness) * old_output
    return LSTMStateTuple(memory.astype(c.dtype), output.astype(h.dtype))


def _openness(cell: PhasedLSTMCell, time: jax.Array) -> jax.Array:
    """How far each unit is open, ``[batch, num_units]``."""
    period, phase = (array.astype(time.dtype)[None] for array in (cell.period, cell.phase))
    cycle = jnp.mod(time - phase, lax.stop_gradient(period)) / period
    cycle = cycle.astype(accumulation_dtype(cell.ratio_on.dtype))
    ratio_on = cell.ratio_on.astype(cycle.dtype)[None]
    if not cell.trainable_ratio_on:
        ratio_on = lax.stop_gradient(ratio_on)
    # A unit that never opens: its derivative must not be that of a division by 0 which nothing comes from.
    opening = 2 * cycle / jnp.where(ratio_on == 0, 1, ratio_on)
    openness = jnp.where(cycle < ratio_on, 2 - opening, cell.leak * cycle)
    return jnp.where(cycle < 0.5 * ratio_on, opening, openness)
