"""Long short-term memory."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_dtype,
    as_key,
    as_size,
    as_static_bool,
    as_static_float,
    check_shape,
    draw,
)
from jnnops._primitives.serialization import serializable
from jnnops._types import Activation, Initializer, Key, Tree
from jnnops.activation import tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_peephole, as_limit, as_pair, clip
from jnnops.layers.cells._step import affine, as_activation, as_sizes, check_step, promote_step, zero_state
from jnnops.recurrent._gated import run_sequence
from jnnops.recurrent._gates import LSTM, product, run_unmasked


@serializable
class LSTMStateTuple(NamedTuple):
    """The state of an LSTM: its memory ``c`` and its last output ``h``, or the sizes of both."""

    c: Any
    h: Any


@layer
class BasicLSTMCell:
    r"""The plain LSTM: :class:`LSTMCell` without peepholes, clipping and projection.

    .. math::
        i, j, f, o &= [x, h] W + b \\
        c' &= \sigma(f + \text{forget\_bias})\, c + \sigma(i)\, \text{activation}(j) \\
        h' &= \sigma(o)\, \text{activation}(c')

    Attributes:
        kernel: ``[in_features + num_units, 4 num_units]``, gates in the order input, new input, forget, output.
        bias: ``[4 num_units]``.
        forget_bias: Added to the forget gate, so that a new cell remembers. 0 for weights of cuDNN or PyTorch, whose
            gates stand in another order too.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.BasicLSTMCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape, state.h.shape
        ((2, 3), (2, 3), (2, 3))

    References:
        ``tf.compat.v1.nn.rnn_cell.BasicLSTMCell``. Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997.
        Zaremba et al., "Recurrent Neural Network Regularization", 2014.
    """

    kernel: jax.Array
    bias: jax.Array
    forget_bias: float = static(default=1.0)
    activation: Activation = static(default=tanh)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        forget_bias: float = 1.0,
        activation: Activation = tanh,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "BasicLSTMCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and of both parts of the state.
            forget_bias: Added to the forget gate.
            activation: A module-level function; tanh unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "BasicLSTMCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), (rows + units, 4 * units), dtype),
            bias=jnp.zeros(4 * units, dtype),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            activation=as_activation(op, activation),
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
        return _zero_lstm_state("BasicLSTMCell", self.state_size, batch_size, dtype)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``."""
        cell = LSTMCell(kernel=self.kernel, bias=self.bias, forget_bias=self.forget_bias, activation=self.activation)
        return lstm_step("BasicLSTMCell", cell, inputs, state)

    def _run_whole(self, inputs: jax.Array, state: Tree, active: jax.Array | None, **options: Any) -> Any:
        cell = LSTMCell(kernel=self.kernel, bias=self.bias, forget_bias=self.forget_bias, activation=self.activation)
        return run_unmasked(cell, inputs, state, active, **options)


@layer
class LSTMCell:
    r"""The LSTM with optional peepholes, clipping and projection.

    .. math::
        i, j, f, o &= [x, h] W + b \\
        c' &= \text{clip}(\sigma(f + w_f c + \text{forget\_bias})\, c + \sigma(i + w_i c)\, \text{activation}(j)) \\
        h' &= \text{clip}(\sigma(o + w_o c')\, \text{activation}(c')\, P)

    Where a value is clipped its gradient is 0; at the limit itself it passes.

    Attributes:
        kernel: ``[in_features + output_size, 4 num_units]``, gates in the order input, new input, forget, output.
        bias: ``[4 num_units]``.
        w_i_diag: ``[num_units]``, the peephole from the memory to the input gate; None, like the next two, for none.
        w_f_diag: ``[num_units]``, the one to the forget gate.
        w_o_diag: ``[num_units]``, the one from the new memory to the output gate.
        projection: ``[num_units, output_size]``, or None to leave it out; then ``output_size`` is ``num_units``.
        forget_bias: Added to the forget gate, so that a new cell remembers.
        cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.
        proj_clip: The projected output is clipped to ``[-proj_clip, proj_clip]``, unless None.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.LSTMCell.init(4, 8, use_peepholes=True, num_proj=3, cell_clip=5.0, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape, state.h.shape
        ((2, 3), (2, 8), (2, 3))

    References:
        ``tf.compat.v1.nn.rnn_cell.LSTMCell``. Sak et al., "Long Short-Term Memory Recurrent Neural Network
        Architectures for Large Scale Acoustic Modeling", 2014.
    """

    kernel: jax.Array
    bias: jax.Array
    w_i_diag: jax.Array | None = None
    w_f_diag: jax.Array | None = None
    w_o_diag: jax.Array | None = None
    projection: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    cell_clip: float | None = static(default=None)
    proj_clip: float | None = static(default=None)
    activation: Activation = static(default=tanh)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
        activation: Activation = tanh,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "LSTMCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the memory.
            use_peepholes: Whether the gates see the memory.
            cell_clip: The memory is clipped to ``[-cell_clip, cell_clip]``, unless None.
            num_proj: Width of the projected output; no projection unless given.
            proj_clip: The projected output is clipped to ``[-proj_clip, proj_clip]``, unless None.
            forget_bias: Added to the forget gate.
            activation: A module-level function; tanh unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1 or a clip below 0.
        """
        op = "LSTMCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        outputs = units if num_proj is None else as_size(op, "num_proj", num_proj)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        use_peepholes = as_static_bool(op, "use_peepholes", use_peepholes)
        kernel_key, projection_key, *peephole_keys = jax.random.split(as_key(op, key), 5)
        # A row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
        peepholes = [new(key, (units, units), dtype)[0] if use_peepholes else None for key in peephole_keys]
        return cls(
            kernel=new(kernel_key, (rows + outputs, 4 * units), dtype),
            bias=jnp.zeros(4 * units, dtype),
            w_i_diag=peepholes[0],
            w_f_diag=peepholes[1],
            w_o_diag=peepholes[2],
            projection=None if num_proj is None else new(projection_key, (units, outputs), dtype),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            cell_clip=as_limit(op, "cell_clip", cell_clip),
            proj_clip=as_limit(op, "proj_clip", proj_clip),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the memory."""
        return self.bias.shape[-1] // 4

    @property
    def output_size(self) -> int:
        """The width of the output: that of the projection, if there is one."""
        return self.num_units if self.projection is None else self.projection.shape[-1]

    @property
    def state_size(self) -> LSTMStateTuple:
        """The widths of the state."""
        return LSTMStateTuple(self.num_units, self.output_size)

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        """Zeros ``[batch_size, num_units]`` and ``[batch_size, output_size]``."""
        return _zero_lstm_state("LSTMCell", self.state_size, batch_size, dtype)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``."""
        return lstm_step("LSTMCell", self, inputs, state)

    def _run_whole(
        self, inputs: jax.Array, state: Tree, active: jax.Array | None, **options: Any
    ) -> tuple[LSTMStateTuple, jax.Array] | None:
        """All steps at once of the plain LSTM with tanh; None for any other."""
        others = (self.w_i_diag, self.w_f_diag, self.w_o_diag, self.projection, self.cell_clip)
        if any(other is not None for other in others) or self.activation is not tanh:
            return None
        cell, x, c, h = promote_step("LSTMCell", self, inputs=inputs, c=state[0], h=state[1])
        kernel, recurrent_kernel = jnp.split(cell.kernel, [x.shape[-1]])
        projected = product(x, kernel)
        remembering = np.repeat([0.0, 0.0, cell.forget_bias, 0.0], cell.num_units)
        bias = cell.bias.astype(projected.dtype) + jnp.asarray(remembering, projected.dtype)
        outputs, states = run_sequence(LSTM, projected, [recurrent_kernel, bias], [c, h], active, **options)
        return LSTMStateTuple(*states), outputs


def lstm_step(op: str, cell: LSTMCell, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
    """Checks the arguments of one step and computes it."""
    c, h = as_pair(op, state)
    peepholes = {name: getattr(cell, name) for name in ("w_i_diag", "w_f_diag", "w_o_diag")}
    if len({array is None for array in peepholes.values()}) > 1:
        given = [name for name, array in peepholes.items() if array is not None]
        raise ValueError(f"{op}: `w_i_diag`, `w_f_diag` and `w_o_diag` must be given together, got only {given}")
    cell, x, c, h = promote_step(op, cell, inputs=inputs, c=c, h=h)
    units, outputs = cell.state_size
    check_step(op, x, cell.kernel, cell.bias, gates=4, c=(c, units), h=(h, outputs))
    for name in peepholes:
        if (peephole := getattr(cell, name)) is not None:
            check_shape(op, name, peephole, (units,), f"`bias` is that of {units} units")
    if cell.projection is not None:
        check_shape(op, "projection", cell.projection, (units, outputs), f"`bias` is that of {units} units")
    state = _lstm(cell, x, c, h)
    return state.h, state


@jax.jit
def _lstm(cell: LSTMCell, inputs: jax.Array, c: jax.Array, h: jax.Array) -> LSTMStateTuple:
    gates = affine(inputs, h, cell.kernel, cell.bias)
    i, j, f, o = jnp.split(gates, 4, axis=-1)
    memory = c.astype(gates.dtype)
    i, f = add_peephole(i, cell.w_i_diag, memory), add_peephole(f, cell.w_f_diag, memory)
    memory = jax.nn.sigmoid(f + cell.forget_bias) * memory + jax.nn.sigmoid(i) * cell.activation(j)
    memory = clip(memory, cell.cell_clip)
    o = add_peephole(o, cell.w_o_diag, memory)
    output = jax.nn.sigmoid(o) * cell.activation(memory)
    if cell.projection is not None:
        output = clip(product(output.astype(h.dtype), cell.projection), cell.proj_clip)
    return LSTMStateTuple(memory.astype(c.dtype), output.astype(h.dtype))


def _zero_lstm_state(op: str, sizes: LSTMStateTuple, batch_size: int, dtype: DTypeLike) -> LSTMStateTuple:
    return LSTMStateTuple(*(zero_state(op, batch_size, size, dtype) for size in sizes))
