"""The gated recurrent unit."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, check_shape, draw
from jnnops._types import Activation, Initializer, Key
from jnnops.activation import tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._step import affine, as_activation, as_sizes, check_step, promote_step, zero_state
from jnnops.recurrent._gated import run_sequence
from jnnops.recurrent._gates import GRU, product


@layer
class GRUCell:
    r"""The gated recurrent unit, whose new state is a mixture of the old one and a candidate.

    .. math::
        r, u &= \sigma([x, h] W_\text{gate} + b_\text{gate}) \\
        c &= \text{activation}([x, r h] W_\text{candidate} + b_\text{candidate}) \\
        h' &= u h + (1 - u) c

    The reset gate multiplies the state before the product, as in the paper's first version; cuDNN and PyTorch apply
    it after, so their weights give other results here.

    Attributes:
        gate_kernel: ``[in_features + num_units, 2 num_units]``, gates in the order reset, update.
        gate_bias: ``[2 num_units]``.
        candidate_kernel: ``[in_features + num_units, num_units]``.
        candidate_bias: ``[num_units]``.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.GRUCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.compat.v1.nn.rnn_cell.GRUCell``. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder
        for Statistical Machine Translation", 2014.
    """

    gate_kernel: jax.Array
    gate_bias: jax.Array
    candidate_kernel: jax.Array
    candidate_bias: jax.Array
    activation: Activation = static(default=tanh)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        activation: Activation = tanh,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "GRUCell":
        """Draws a new cell, with biases of 1 for the gates and 0 for the candidate.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and the state.
            activation: A module-level function; tanh unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "GRUCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        gate_key, candidate_key = jax.random.split(as_key(op, key))
        return cls(
            gate_kernel=draw(op, "kernel_init", kernel_init, gate_key, (rows + units, 2 * units), dtype),
            gate_bias=jnp.ones(2 * units, dtype),
            candidate_kernel=draw(op, "kernel_init", kernel_init, candidate_key, (rows + units, units), dtype),
            candidate_bias=jnp.zeros(units, dtype),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of the state."""
        return self.candidate_bias.shape[-1]

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
        return zero_state("GRUCell", batch_size, self.num_units, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``, which are the same."""
        op, units = "GRUCell", self.num_units
        cell, x, h = promote_step(op, self, inputs=inputs, state=state)
        check_step(op, x, cell.candidate_kernel, cell.candidate_bias, prefix="candidate_", state=(h, units))
        check_shape(op, "gate_kernel", cell.gate_kernel, (cell.candidate_kernel.shape[0], 2 * units), "two gates")
        check_shape(op, "gate_bias", cell.gate_bias, (2 * units,), "two gates")
        output = _gru(cell, x, h)
        return output, output

    def _run_whole(
        self, inputs: jax.Array, state: jax.Array, active: jax.Array | None, **options: Any
    ) -> tuple[jax.Array, jax.Array] | None:
        """All steps at once; None for any activation but tanh."""
        if self.activation is not tanh:
            return None
        cell, x, h = promote_step("GRUCell", self, inputs=inputs, state=state)
        gates, recurrent_gates = jnp.split(cell.gate_kernel, [x.shape[-1]])
        candidate, recurrent_candidate = jnp.split(cell.candidate_kernel, [x.shape[-1]])
        projected = product(x, jnp.concatenate([gates, candidate], axis=1))
        projected += jnp.concatenate([cell.gate_bias, cell.candidate_bias]).astype(projected.dtype)[None, None]
        outputs, states = run_sequence(GRU, projected, [recurrent_gates, recurrent_candidate], [h], active, **options)
        return states[0], outputs


@jax.jit
def _gru(cell: GRUCell, inputs: jax.Array, state: jax.Array) -> jax.Array:
    gates = jax.nn.sigmoid(affine(inputs, state, cell.gate_kernel, cell.gate_bias))
    reset, update = jnp.split(gates, 2, axis=-1)
    h = state.astype(gates.dtype)
    reset_state = (reset * h).astype(state.dtype)
    candidate = cell.activation(affine(inputs, reset_state, cell.candidate_kernel, cell.candidate_bias))
    return (update * h + (1 - update) * candidate).astype(state.dtype)
