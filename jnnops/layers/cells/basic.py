"""The simplest cell."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, draw
from jnnops._types import Activation, Initializer, Key
from jnnops.activation import tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._step import affine, as_activation, as_sizes, check_step, promote_step, zero_state


@layer
class BasicRNNCell:
    """The simplest cell: ``activation([inputs, state] @ kernel + bias)`` is both the output and the new state.

    Attributes:
        kernel: ``[in_features + num_units, num_units]``.
        bias: ``[num_units]``.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.BasicRNNCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.compat.v1.nn.rnn_cell.BasicRNNCell``.
    """

    kernel: jax.Array
    bias: jax.Array
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
    ) -> "BasicRNNCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and the state.
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
        op = "BasicRNNCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), (rows + units, units), dtype),
            bias=jnp.zeros(units, dtype),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of the state."""
        return self.bias.shape[-1]

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
        return zero_state("BasicRNNCell", batch_size, self.num_units, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``, which are the same."""
        cell, x, h = promote_step("BasicRNNCell", self, inputs=inputs, state=state)
        check_step("BasicRNNCell", x, cell.kernel, cell.bias, state=(h, self.num_units))
        output = _basic_rnn(cell, x, h)
        return output, output


@jax.jit
def _basic_rnn(cell: BasicRNNCell, inputs: jax.Array, state: jax.Array) -> jax.Array:
    return cell.activation(affine(inputs, state, cell.kernel, cell.bias)).astype(inputs.dtype)
