"""Long short-term memory that writes as much as it forgets."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, as_size, as_static_bool, as_static_float, check_shape, draw
from jnnops._types import Activation, Initializer, Key, Tree
from jnnops.activation import tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias, add_peephole, as_limit, as_pair, clip, zeros
from jnnops.layers.cells._step import as_activation, as_sizes, promote_step
from jnnops.layers.cells.layer_norm import check_gates, check_norms, check_vector, new_norms, normalize
from jnnops.layers.cells.lstm import LSTMStateTuple
from jnnops.recurrent._gates import product

_NORMALIZED = ("transform", "forget", "output", "state")


@layer
class CoupledInputForgetGateLSTMCell:
    r"""The LSTM whose input gate is 1 minus its forget gate, with optional peepholes, projection and normalization.

    .. math::
        j, f, o &= [x, h] W + B \\
        g &= \sigma(f + w_f c + \text{forget\_bias}) \\
        c' &= g c + (1 - g)\, \text{activation}(j) \\
        h' &= \text{clip}(\sigma(o + w_o c')\, \text{activation}(c')\, P)

    With layer normalization ``j``, ``f``, ``o`` and the new memory are each normalised over the units, as in
    :class:`LayerNormBasicLSTMCell`, and no bias is added. Where a value is clipped its gradient is 0; at the limit
    itself it passes.

    Attributes:
        w: ``[in_features + output_size, 3 num_units]``, in the order new input, forget, output. TensorFlow's ``W``, and
            likewise the next ones ``B``, ``W_F_diag``, ``W_O_diag`` and ``W_P``.
        b: ``[3 num_units]``; None if the gates are normalised.
        w_f_diag: ``[num_units]``, the peephole from the memory to the forget gate; None, like the next, for none.
        w_o_diag: ``[num_units]``, the one from the new memory to the output gate.
        w_p: ``[num_units, output_size]``, the projection; None for none, then ``output_size`` is ``num_units``.
        transform_gamma: ``[num_units]``, the scale of the new input's norm; None, like the next seven, for no norm.
        transform_beta: ``[num_units]``, its shift.
        forget_gamma: ``[num_units]``, of the forget gate's.
        forget_beta: ``[num_units]``.
        output_gamma: ``[num_units]``, of the output gate's.
        output_beta: ``[num_units]``.
        state_gamma: ``[num_units]``, of the memory's.
        state_beta: ``[num_units]``.
        forget_bias: Added to the forget gate, so that a new cell remembers.
        proj_clip: The projected output is clipped to ``[-proj_clip, proj_clip]``, unless None.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.CoupledInputForgetGateLSTMCell.init(4, 8, num_proj=3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.c.shape
        ((2, 3), (2, 8))

    References:
        ``tf.contrib.rnn.CoupledInputForgetGateLSTMCell`` of TensorFlow 1.15. Greff et al., "LSTM: A Search Space
        Odyssey", 2015, variant CIFG. Sak et al., "Long Short-Term Memory Recurrent Neural Network Architectures for
        Large Scale Acoustic Modeling", 2014.
    """

    w: jax.Array
    b: jax.Array | None = None
    w_f_diag: jax.Array | None = None
    w_o_diag: jax.Array | None = None
    w_p: jax.Array | None = None
    transform_gamma: jax.Array | None = None
    transform_beta: jax.Array | None = None
    forget_gamma: jax.Array | None = None
    forget_beta: jax.Array | None = None
    output_gamma: jax.Array | None = None
    output_beta: jax.Array | None = None
    state_gamma: jax.Array | None = None
    state_beta: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    proj_clip: float | None = static(default=None)
    activation: Activation = static(default=tanh)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        use_peepholes: bool = False,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
        layer_norm: bool = False,
        norm_gain: float = 1.0,
        norm_shift: float = 0.0,
        activation: Activation = tanh,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "CoupledInputForgetGateLSTMCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the memory.
            use_peepholes: Whether the gates see the memory.
            num_proj: Width of the projected output; no projection unless given.
            proj_clip: The projected output is clipped to ``[-proj_clip, proj_clip]``, unless None.
            forget_bias: Added to the forget gate.
            layer_norm: Whether to normalise.
            norm_gain: The scale of every norm.
            norm_shift: The shift of every norm.
            activation: A module-level function; tanh unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1 or ``proj_clip`` below 0.
        """
        op = "CoupledInputForgetGateLSTMCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        outputs = units if num_proj is None else as_size(op, "num_proj", num_proj)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        normalized = as_static_bool(op, "layer_norm", layer_norm)
        gain = as_static_float(op, "norm_gain", norm_gain)
        shift = as_static_float(op, "norm_shift", norm_shift)
        peepholes = as_static_bool(op, "use_peepholes", use_peepholes)
        keys = jax.random.split(as_key(op, key), 4)
        return cls(
            w=new(keys[0], (rows + outputs, 3 * units), dtype),
            b=None if normalized else jnp.zeros(3 * units, dtype),
            # A row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
            w_f_diag=new(keys[1], (units, units), dtype)[0] if peepholes else None,
            w_o_diag=new(keys[2], (units, units), dtype)[0] if peepholes else None,
            w_p=None if num_proj is None else new(keys[3], (units, outputs), dtype),
            **(new_norms(_NORMALIZED, units, gain, shift, dtype) if normalized else {}),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            proj_clip=as_limit(op, "proj_clip", proj_clip),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the memory."""
        return self.w.shape[-1] // 3

    @property
    def output_size(self) -> int:
        """The width of the output: that of the projection, if there is one."""
        return self.num_units if self.w_p is None else self.w_p.shape[-1]

    @property
    def state_size(self) -> LSTMStateTuple:
        """The widths of the state."""
        return LSTMStateTuple(self.num_units, self.output_size)

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> LSTMStateTuple:
        """Zeros ``[batch_size, num_units]`` and ``[batch_size, output_size]``."""
        op = "CoupledInputForgetGateLSTMCell"
        return LSTMStateTuple(*(zeros(op, batch_size, (size,), dtype) for size in self.state_size))

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, LSTMStateTuple]:
        """Returns ``(output, new_state)``; the output is ``new_state.h``."""
        op = "CoupledInputForgetGateLSTMCell"
        if (self.w_f_diag is None) != (self.w_o_diag is None):
            given = "w_o_diag" if self.w_f_diag is None else "w_f_diag"
            raise ValueError(f"{op}: `w_f_diag` and `w_o_diag` must be given together, got only `{given}`")
        c, h = as_pair(op, state)
        cell, x, c, h = promote_step(op, self, inputs=inputs, c=c, h=h)
        units, outputs = self.state_size
        check_gates(op, x, cell.w, "w", 3, c, h)
        check_shape(op, "h", h, (x.shape[0], outputs), "[batch, units]")
        check_vector(op, "b", cell.b, 3 * units, "three gates")
        check_vector(op, "w_f_diag", cell.w_f_diag, units, "[num_units]")
        check_vector(op, "w_o_diag", cell.w_o_diag, units, "[num_units]")
        if cell.w_p is not None:
            check_shape(op, "w_p", cell.w_p, (units, outputs), f"`w` is that of {units} units")
        check_norms(op, cell, _NORMALIZED, units)
        new = _step(cell, x, c, h)
        return new.h, new


@jax.jit
def _step(cell: CoupledInputForgetGateLSTMCell, inputs: jax.Array, c: jax.Array, h: jax.Array) -> LSTMStateTuple:
    gates = add_bias(product(jnp.concatenate([inputs, h], axis=1), cell.w), cell.b)
    j, f, o = (
        normalize(gate, cell, name) for gate, name in zip(jnp.split(gates, 3, axis=1), _NORMALIZED, strict=False)
    )
    memory = c.astype(gates.dtype)
    forget = jax.nn.sigmoid(add_peephole(f + cell.forget_bias, cell.w_f_diag, memory))
    memory = normalize(forget * memory + (1 - forget) * cell.activation(j), cell, "state")
    output = jax.nn.sigmoid(add_peephole(o, cell.w_o_diag, memory)) * cell.activation(memory)
    if cell.w_p is not None:
        output = clip(product(output.astype(h.dtype), cell.w_p), cell.proj_clip)
    return LSTMStateTuple(memory.astype(c.dtype), output.astype(h.dtype))
