"""The cell that neural architecture search found."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, as_size, as_static_bool, check_rank, check_shape, draw
from jnnops._types import Initializer, Key, Tree
from jnnops.activation import relu
from jnnops.layers._layer import GLOROT_UNIFORM, layer
from jnnops.layers.cells._gates import add_bias, as_pair
from jnnops.layers.cells._step import as_sizes, promote_step, zero_state
from jnnops.layers.cells.lstm import LSTMStateTuple
from jnnops.recurrent._gates import product

_BRANCHES = 8


@layer
class NASCell:
    r"""The cell of neural architecture search: eight products of the inputs and the state, joined in three layers.

    With :math:`x_k` the eight parts of :math:`x W` and :math:`m_k` those of :math:`m R + b`,

    .. math::
        p &= \tanh(\sigma(x_0 + m_0)\, \text{relu}(x_1 + m_1)) &
        q &= \tanh(\sigma(x_2 + m_2) + \text{relu}(x_3 m_3)) \\
        r &= \tanh(\tanh(x_4 + m_4)\, \sigma(x_5 + m_5)) &
        s &= \sigma(\tanh(x_6 + m_6) + \sigma(x_7 + m_7)) \\
        c' &= \tanh(p + c)\, q &
        m' &= \tanh(c' \tanh(r + s)) P

    The gradient of relu at 0 is 0. Without a projection :math:`P` is the identity.

    Attributes:
        kernel: ``[in_features, 8 num_units]``.
        recurrent_kernel: ``[output_size, 8 num_units]``.
        bias: ``[8 num_units]``, or None. It is added to the state's product, so the inputs' fourth part multiplies it.
        projection_weights: ``[num_units, num_proj]``, or None.

    Example:
        >>> cell = nn.layers.NASCell.init(4, 8, num_proj=3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape, state.h.shape
        ((2, 3), (2, 8), (2, 3))

    References:
        ``tf.contrib.rnn.NASCell`` of TensorFlow 1.15. Zoph and Le, "Neural Architecture Search with Reinforcement
        Learning", 2017, figure 8.
    """

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None = None
    projection_weights: jax.Array | None = None

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        num_proj: int | None = None,
        use_bias: bool = False,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "NASCell":
        """Draws a new cell.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the memory.
            num_proj: Width of the projected output; no projection unless given.
            use_bias: Whether to have a bias, which starts at 0.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``use_bias`` no bool or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "NASCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        outputs = units if num_proj is None else as_size(op, "num_proj", num_proj)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        kernel_key, recurrent_key, projection_key = jax.random.split(as_key(op, key), 3)
        columns = _BRANCHES * units
        return cls(
            kernel=new(kernel_key, (rows, columns), dtype),
            recurrent_kernel=new(recurrent_key, (outputs, columns), dtype),
            bias=jnp.zeros(columns, dtype) if as_static_bool(op, "use_bias", use_bias) else None,
            projection_weights=None if num_proj is None else new(projection_key, (units, outputs), dtype),
        )

    @property
    def num_units(self) -> int:
        """The width of the memory."""
        return self.kernel.shape[-1] // _BRANCHES

    @property
    def output_size(self) -> int:
        """The width of the output: that of the projection, if there is one."""
        return self.num_units if self.projection_weights is None else self.projection_weights.shape[-1]

    @property
    def state_size(self) -> LSTMStateTuple:
        """The widths of the state."""
        return LSTMStateTuple(self.num_units, self.output_size)

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        """Zeros ``[batch_size, num_units]`` and ``[batch_size, output_size]``."""
        return LSTMStateTuple(*(zero_state("NASCell", batch_size, size, dtype) for size in self.state_size))

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``."""
        op = "NASCell"
        c, h = as_pair(op, state)
        cell, x, c, h = promote_step(op, self, inputs=inputs, c=c, h=h)
        check_rank(op, "inputs", x, 2)
        check_rank(op, "kernel", cell.kernel, 2)
        (units, outputs), columns = cell.state_size, cell.kernel.shape[1]
        if columns != _BRANCHES * units:
            raise ValueError(f"{op}: `kernel` must have 8 columns for each unit, got shape {cell.kernel.shape}")
        why = f"`kernel` is that of {units} units"
        check_shape(op, "recurrent_kernel", cell.recurrent_kernel, (outputs, columns), why)
        if cell.bias is not None:
            check_shape(op, "bias", cell.bias, (columns,), why)
        if cell.projection_weights is not None:
            check_shape(op, "projection_weights", cell.projection_weights, (units, outputs), why)
        batch, rows = x.shape[0], cell.kernel.shape[0]
        check_shape(op, "inputs", x, (batch, rows), f"`kernel` has {rows} rows for them")
        check_shape(op, "c", c, (batch, units), "[batch, units]")
        check_shape(op, "h", h, (batch, outputs), "[batch, outputs]")
        state = _nas(cell, x, c, h)
        return state.h, state


@jax.jit
def _nas(cell: NASCell, inputs: jax.Array, c: jax.Array, h: jax.Array) -> LSTMStateTuple:
    x = jnp.split(product(inputs, cell.kernel), _BRANCHES, axis=-1)
    m = jnp.split(add_bias(product(h, cell.recurrent_kernel), cell.bias), _BRANCHES, axis=-1)
    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh
    p = tanh(sigmoid(x[0] + m[0]) * relu(x[1] + m[1]))
    q = tanh(sigmoid(x[2] + m[2]) + relu(x[3] * m[3]))
    r = tanh(tanh(x[4] + m[4]) * sigmoid(x[5] + m[5]))
    s = sigmoid(tanh(x[6] + m[6]) + sigmoid(x[7] + m[7]))
    memory = tanh(p + c.astype(p.dtype)) * q
    output = tanh(memory * tanh(r + s))
    if cell.projection_weights is not None:
        output = product(output.astype(h.dtype), cell.projection_weights)
    return LSTMStateTuple(memory.astype(c.dtype), output.astype(h.dtype))
