"""Long short-term memory whose gates are normalised."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    PROBABILITY_BELOW_1,
    as_dtype,
    as_key,
    as_static_bool,
    as_static_float,
    check_rank,
    check_shape,
    draw,
)
from jnnops._types import Activation, Initializer, Key, Tree
from jnnops.activation import tanh
from jnnops.activation.dropout import drop
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias, as_pair, zeros
from jnnops.layers.cells._step import as_activation, as_sizes, promote_step
from jnnops.layers.cells._wrapped import as_typed_key
from jnnops.layers.cells.dropout import DropoutState
from jnnops.layers.cells.lstm import LSTMStateTuple
from jnnops.recurrent._gates import product

_NORMALIZED = ("input", "transform", "forget", "output", "state")


@layer
class LayerNormBasicLSTMCell:
    r"""The LSTM with layer normalization of its gates and its memory, and dropout of what is written to the memory.

    .. math::
        i, j, f, o &= \text{norm}([x, h] W), \text{ each by itself} \\
        c' &= \text{norm}(\sigma(f + \text{forget\_bias})\, c + \sigma(i)\, \text{dropout}(\text{activation}(j))) \\
        h' &= \sigma(o)\, \text{activation}(c')

    where :math:`\text{norm}(x) = \gamma (x - \bar{x}) / \sqrt{\text{var}(x) + 10^{-12}} + \beta` over the units.
    Without normalization a bias is added to the gates instead. Where all units of a row are alike, the gradient of the
    norm is as large as :math:`10^6 \gamma`. For 16-bit dtypes the norm is computed in float32; TensorFlow adds 0.001 to
    the variance of float16.

    With dropout the state is a :class:`DropoutState` that has a key, as that of :class:`DropoutWrapper`; without a key
    in it nothing is dropped.

    Attributes:
        kernel: ``[in_features + num_units, 4 num_units]``, gates in the order input, new input, forget, output.
        bias: ``[4 num_units]``, if the gates are not normalised; otherwise None.
        input_gamma: ``[num_units]``, the scale of the input gate's norm; None, like the next nine, for no norm.
        input_beta: ``[num_units]``, its shift; TensorFlow's ``input/beta``, and so on.
        transform_gamma: ``[num_units]``, of the new input's.
        transform_beta: ``[num_units]``.
        forget_gamma: ``[num_units]``, of the forget gate's.
        forget_beta: ``[num_units]``.
        output_gamma: ``[num_units]``, of the output gate's.
        output_beta: ``[num_units]``.
        state_gamma: ``[num_units]``, of the memory's.
        state_beta: ``[num_units]``.
        forget_bias: Added to the forget gate after its norm, so that a new cell remembers.
        dropout_rate: The probability of dropping an element of what is written to the memory, in [0, 1).
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.LayerNormBasicLSTMCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.LayerNormBasicLSTMCell`` of TensorFlow 1.15, whose ``dropout_keep_prob`` is
        ``1 - dropout_rate``. Ba et al., "Layer Normalization", 2016. Semeniuta et al., "Recurrent Dropout without
        Memory Loss", 2016.
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    input_gamma: jax.Array | None = None
    input_beta: jax.Array | None = None
    transform_gamma: jax.Array | None = None
    transform_beta: jax.Array | None = None
    forget_gamma: jax.Array | None = None
    forget_beta: jax.Array | None = None
    output_gamma: jax.Array | None = None
    output_beta: jax.Array | None = None
    state_gamma: jax.Array | None = None
    state_beta: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    dropout_rate: float = static(default=0.0)
    activation: Activation = static(default=tanh)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        layer_norm: bool = True,
        norm_gain: float = 1.0,
        norm_shift: float = 0.0,
        forget_bias: float = 1.0,
        dropout_rate: float = 0.0,
        activation: Activation = tanh,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "LayerNormBasicLSTMCell":
        """Draws a new cell.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and of both parts of the state.
            layer_norm: Whether to normalise; otherwise the gates have a bias of 0.
            norm_gain: The scale of every norm.
            norm_shift: The shift of every norm.
            forget_bias: Added to the forget gate.
            dropout_rate: The probability of dropping an element of what is written to the memory, in [0, 1).
            activation: A module-level function; tanh unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1 or ``dropout_rate`` outside [0, 1).
        """
        op = "LayerNormBasicLSTMCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        normalized = as_static_bool(op, "layer_norm", layer_norm)
        gain = as_static_float(op, "norm_gain", norm_gain)
        shift = as_static_float(op, "norm_shift", norm_shift)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), (rows + units, 4 * units), dtype),
            bias=None if normalized else jnp.zeros(4 * units, dtype),
            **(new_norms(_NORMALIZED, units, gain, shift, dtype) if normalized else {}),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            dropout_rate=as_static_float(op, "dropout_rate", dropout_rate, PROBABILITY_BELOW_1),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of both parts of the state."""
        return self.kernel.shape[-1] // 4

    @property
    def needs_key(self) -> bool:
        """Whether the cell drops anything when its state has a key."""
        return bool(self.dropout_rate)

    @property
    def output_size(self) -> int:
        """The width of the output."""
        return self.num_units

    @property
    def state_size(self) -> Any:
        """The widths of the state."""
        sizes = LSTMStateTuple(self.num_units, self.num_units)
        return DropoutState(sizes, None) if self.dropout_rate else sizes

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> Any:
        """Zeros ``[batch_size, num_units]``, twice; with dropout, and a ``jax.random`` key or None to drop nothing."""
        op = "LayerNormBasicLSTMCell"
        state = LSTMStateTuple(*(zeros(op, batch_size, (self.num_units,), dtype) for _ in range(2)))
        if not self.dropout_rate:
            return state
        return DropoutState(state, None if key is None else as_typed_key(op, key))

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, Any]:
        """Returns ``(output, new_state)``; the output is the ``h`` of the new state."""
        op = "LayerNormBasicLSTMCell"
        now = key = None
        if self.dropout_rate:
            if not isinstance(state, DropoutState):
                raise ValueError(
                    f"{op}: `state` must be a DropoutState, as zero_state(batch_size, dtype, key=key) makes it, got "
                    f"{type(state).__name__}"
                )
            state, key = state
            if key is not None:
                key, now = jax.random.split(as_typed_key(op, key))
        c, h = as_pair(op, state)
        cell, x, c, h = promote_step(op, self, inputs=inputs, c=c, h=h)
        units = self.num_units
        check_gates(op, x, cell.kernel, "kernel", 4, c, h)
        check_vector(op, "bias", cell.bias, 4 * units, "four gates")
        check_norms(op, cell, _NORMALIZED, units)
        new = _step(cell, x, c, h, now)
        return new.h, DropoutState(new, key) if self.dropout_rate else new


@jax.jit
def _step(
    cell: LayerNormBasicLSTMCell, inputs: jax.Array, c: jax.Array, h: jax.Array, key: jax.Array | None
) -> LSTMStateTuple:
    gates = add_bias(product(jnp.concatenate([inputs, h], axis=1), cell.kernel), cell.bias)
    i, j, f, o = (
        normalize(gate, cell, name) for gate, name in zip(jnp.split(gates, 4, axis=1), _NORMALIZED, strict=False)
    )
    written = cell.activation(j)
    if key is not None:
        sampler = functools.partial(jax.random.uniform, key)
        written = drop("LayerNormBasicLSTMCell", written, cell.dropout_rate, sampler, None)
    memory = jax.nn.sigmoid(f + cell.forget_bias) * c.astype(gates.dtype) + jax.nn.sigmoid(i) * written
    memory = normalize(memory, cell, "state")
    output = jax.nn.sigmoid(o) * cell.activation(memory)
    return LSTMStateTuple(memory.astype(c.dtype), output.astype(h.dtype))


def new_norms(names: tuple[str, ...], units: int, gain: float, shift: float, dtype: Any) -> dict[str, Any]:
    """The scales and shifts of new norms."""
    scales = {f"{name}_gamma": jnp.full(units, gain, dtype) for name in names}
    return scales | {f"{name}_beta": jnp.full(units, shift, dtype) for name in names}


def normalize(x: jax.Array, cell: Any, name: str) -> jax.Array:
    """Layer normalization over the units, by the cell's scale and shift of that name; ``x`` if it has none."""
    gamma, beta = getattr(cell, f"{name}_gamma"), getattr(cell, f"{name}_beta")
    if gamma is None:
        return x
    centered = x - jnp.mean(x, axis=1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=1, keepdims=True)
    scaled = centered * jax.lax.rsqrt(variance + 1e-12) * gamma.astype(x.dtype)[None]
    return scaled + beta.astype(x.dtype)[None]


def check_norms(op: str, cell: Any, names: tuple[str, ...], units: int) -> None:
    """Checks that the scales and shifts of a cell are all there or none of them, and their shapes."""
    fields = [f"{name}_{part}" for name in names for part in ("gamma", "beta")]
    given = [name for name in fields if getattr(cell, name) is not None]
    if given and given != fields:
        missing = next(name for name in fields if name not in given)
        raise ValueError(f"{op}: `{missing}` must be given with the other scales and shifts, got only {given}")
    for name in given:
        check_vector(op, name, getattr(cell, name), units, "[num_units]")


def check_vector(op: str, name: str, array: jax.Array | None, size: int, why: str) -> None:
    """Checks the shape of a weight that may be left out."""
    if array is not None:
        check_shape(op, name, array, (size,), why)


def check_gates(
    op: str, inputs: jax.Array, kernel: jax.Array, name: str, gates: int, c: jax.Array, h: jax.Array
) -> None:
    """Checks the kernel of the gates of an LSTM, its inputs and its state; the output may have a width of its own."""
    check_rank(op, "inputs", inputs, 2)
    check_rank(op, name, kernel, 2)
    units = kernel.shape[1] // gates
    if kernel.shape[1] != gates * units:
        raise ValueError(f"{op}: `{name}` must have {gates} columns for each unit, got shape {kernel.shape}")
    check_rank(op, "h", h, 2)
    features = kernel.shape[0] - h.shape[1]
    check_shape(op, "inputs", inputs, (inputs.shape[0], features), f"`{name}` has {features} rows for them")
    check_shape(op, "c", c, (inputs.shape[0], units), "[batch, units]")
    check_shape(op, "h", h, (inputs.shape[0], h.shape[1]), "[batch, units]")
