"""The LSTM whose products are convolutions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    accumulation_dtype,
    as_dtype,
    as_key,
    as_size,
    as_static_bool,
    as_static_float,
    as_static_ints,
    check_rank,
    check_shape,
    describe,
    draw,
    is_sequence,
)
from jnnops._types import Initializer, Key, Tree
from jnnops._windows.geometry import WindowArguments
from jnnops.convolution._bilinear import Sums
from jnnops.convolution.forward import convolve_as
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias, as_pair, zeros
from jnnops.layers.cells._step import promote_step
from jnnops.layers.cells.lstm import LSTMStateTuple


@layer
class ConvLSTMCell:
    r"""The convolutional LSTM over one, two or three spatial dimensions.

    .. math::
        i, j, f, o &= [x, h] * W + b \\
        c' &= \sigma(f + \text{forget\_bias})\, c + \sigma(i) \tanh(j) \\
        h' &= \sigma(o) \tanh(c')

    where :math:`*` is the convolution with stride 1 and the padding ``"SAME"``. As in TensorFlow there are no
    peepholes, which the paper has.

    Attributes:
        kernel: ``[*kernel_shape, in_channels + output_channels, 4 output_channels]``: the channels of the inputs before
            the state's, gates in the order input, new input, forget, output.
        biases: ``[4 output_channels]``, or None.
        input_shape: ``(*spatial, in_channels)``.
        forget_bias: Added to the forget gate, so that a new cell remembers.
        skip_connection: Whether the output has the channels of the inputs after its own. The state never has them;
            TensorFlow puts them there too, and fails at the second step.

    Example:
        >>> cell = nn.layers.ConvLSTMCell.init((8, 8, 3), 5, kernel_shape=(3, 3), key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 8, 8, 3)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape
        ((2, 8, 8, 5), (2, 8, 8, 5))
        >>> nn.dynamic_rnn(cell, jnp.ones((2, 4, 8, 8, 3))).outputs.shape
        (2, 4, 8, 8, 5)

    References:
        ``tf.contrib.rnn.ConvLSTMCell``, ``Conv1DLSTMCell``, ``Conv2DLSTMCell`` and ``Conv3DLSTMCell`` of TensorFlow
        1.15. Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015.
    """

    kernel: jax.Array
    biases: jax.Array | None = None
    input_shape: tuple[int, ...] = static()
    forget_bias: float = static(default=1.0)
    skip_connection: bool = static(default=False)

    @classmethod
    def init(
        cls,
        input_shape: Sequence[int],
        output_channels: int,
        kernel_shape: Sequence[int],
        *,
        use_bias: bool = True,
        skip_connection: bool = False,
        forget_bias: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "ConvLSTMCell":
        """Draws a new cell, with biases of 0.

        Args:
            input_shape: ``(*spatial, in_channels)``, without the batch: two to four ints, which say how many spatial
                dimensions there are.
            output_channels: Channels of the output and of both parts of the state.
            kernel_shape: Size of the window: one int for each spatial dimension.
            use_bias: Whether to have biases.
            skip_connection: Whether to append the channels of the inputs to the output.
            forget_bias: Added to the forget gate.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size is below 1, or the shapes are of the wrong rank.
        """
        op = "ConvLSTMCell.init"
        shape = _as_sizes(op, "input_shape", input_shape)
        if not 2 <= len(shape) <= 4:
            raise ValueError(f"{op}: `input_shape` must be (*spatial, in_channels) of 2 to 4 ints, got {shape}")
        window = _as_sizes(op, "kernel_shape", kernel_shape)
        if len(window) != len(shape) - 1:
            raise ValueError(
                f"{op}: `kernel_shape` must have {len(shape) - 1} ints, as many as `input_shape` has "
                f"spatial ones, got {window}"
            )
        channels = as_size(op, "output_channels", output_channels)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        kernel_shape = (*window, shape[-1] + channels, 4 * channels)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), kernel_shape, dtype),
            biases=jnp.zeros(4 * channels, dtype) if as_static_bool(op, "use_bias", use_bias) else None,
            input_shape=shape,
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            skip_connection=as_static_bool(op, "skip_connection", skip_connection),
        )

    @property
    def output_channels(self) -> int:
        """The channels of the output, without a skip connection, and of both parts of the state."""
        return self.kernel.shape[-1] // 4

    @property
    def output_size(self) -> tuple[int, ...]:
        """The shape of the output without the batch."""
        *spatial, in_channels = self.input_shape
        return (*spatial, self.output_channels + (in_channels if self.skip_connection else 0))

    @property
    def state_size(self) -> LSTMStateTuple:
        """The shapes of the state without the batch."""
        shape = (*self.input_shape[:-1], self.output_channels)
        return LSTMStateTuple(shape, shape)

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        """Zeros ``[batch_size, *spatial, output_channels]``, twice."""
        return LSTMStateTuple(*(zeros("ConvLSTMCell", batch_size, shape, dtype) for shape in self.state_size))

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)`` of inputs ``[batch, *spatial, in_channels]``."""
        op = "ConvLSTMCell"
        c, h = as_pair(op, state)
        cell, x, c, h = promote_step(op, self, inputs=inputs, c=c, h=h)
        check_rank(op, "inputs", x, len(self.input_shape) + 1)
        check_rank(op, "kernel", cell.kernel, len(self.input_shape) + 1)
        channels, batch, in_channels = self.output_channels, x.shape[0], self.input_shape[-1]
        check_shape(op, "inputs", x, (batch, *self.input_shape), "[batch, *input_shape]")
        shape = (*cell.kernel.shape[:-2], in_channels + channels, 4 * channels)
        check_shape(op, "kernel", cell.kernel, shape, f"{in_channels} channels of inputs and 4 gates")
        if cell.biases is not None:
            check_shape(op, "biases", cell.biases, (4 * channels,), f"`kernel` is that of {channels} channels")
        for name, part, size in zip(("c", "h"), (c, h), self.state_size, strict=True):
            check_shape(op, name, part, (batch, *size), "[batch, *spatial, output_channels]")
        return _conv_lstm(cell, x, c, h)


def _as_sizes(op: str, argument: str, value: Sequence[int]) -> tuple[int, ...]:
    if not is_sequence(value):
        raise ValueError(f"{op}: `{argument}` must be a sequence of ints, got {describe(value)}")
    return tuple(as_size(op, argument, each) for each in as_static_ints(op, argument, value))


@jax.jit
def _conv_lstm(cell: ConvLSTMCell, inputs: jax.Array, c: jax.Array, h: jax.Array) -> tuple[jax.Array, LSTMStateTuple]:
    wide = accumulation_dtype(inputs.dtype)
    arguments = WindowArguments("ConvLSTMCell", 1, "SAME", None, None)
    operands = jnp.concatenate([inputs, h], axis=-1)
    gates = convolve_as(arguments, inputs.ndim - 2, operands, cell.kernel, Sums(preferred_element_type=wide))
    i, j, f, o = jnp.split(add_bias(gates, cell.biases), 4, axis=-1)
    memory = jax.nn.sigmoid(f + cell.forget_bias) * c.astype(wide) + jax.nn.sigmoid(i) * jnp.tanh(j)
    state = LSTMStateTuple(memory.astype(c.dtype), (jax.nn.sigmoid(o) * jnp.tanh(memory)).astype(h.dtype))
    return jnp.concatenate([state.h, inputs], axis=-1) if cell.skip_connection else state.h, state
