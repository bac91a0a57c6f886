"""The simple recurrent unit."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, check_rank, check_shape, draw
from jnnops._types import Activation, Initializer, Key
from jnnops.activation import tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias
from jnnops.layers.cells._step import as_activation, as_sizes, promote_step, zero_state
from jnnops.recurrent._gates import product


@layer
class SRUCell:
    r"""The simple recurrent unit, whose gates see the inputs alone.

    .. math::
        \tilde x, f, r, \hat x &= x W \\
        c' &= \sigma(f + b_f)\, c + (1 - \sigma(f + b_f))\, \tilde x \\
        h &= \sigma(r + b_r)\, \text{activation}(c') + (1 - \sigma(r + b_r))\, \hat x

    The new state is linear in the old one, so :func:`jnnops.dynamic_rnn` computes the matrix products of all steps as
    one and the rest for all steps at once, by :meth:`linear_step`. For a stack of them take layers ``RNN`` one after
    another: a ``MultiRNNCell`` runs step by step.

    Attributes:
        kernel: ``[in_features, 4 num_units]``, columns in the order above.
        bias: ``[2 num_units]``, of the gates f and r.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.SRUCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.SRUCell`` of TensorFlow 1.15. Lei and Zhang, "Training RNNs as Fast as CNNs", 2017 (the first
        version of "Simple Recurrent Units for Highly Parallelizable Recurrence").
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
    ) -> "SRUCell":
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
        op = "SRUCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), (rows, 4 * units), dtype),
            bias=jnp.zeros(2 * units, dtype),
            activation=as_activation(op, activation),
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of the state."""
        return self.bias.shape[-1] // 2

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
        return zero_state("SRUCell", batch_size, self.num_units, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``."""
        cell, x, c = promote_step("SRUCell", self, inputs=inputs, state=state)
        _check(cell, x)
        check_shape("SRUCell", "state", c, (x.shape[0], self.num_units), "[batch, units]")
        return _sru(cell, x, c)

    def linear_step(self, inputs: ArrayLike) -> tuple[jax.Array, jax.Array, Partial]:
        """Returns ``(decay, addend, read)``: the new state ``decay * state + addend``, and the output ``read`` of it.

        ``decay`` and ``addend`` are ``[batch, num_units]``. For 16-bit inputs and weights the decay is in float32: what
        is near 1 would be rounded to 1.
        """
        cell, x = promote_step("SRUCell", self, inputs=inputs)
        _check(cell, x)
        decay, addend, *of_output = _terms(cell, x)
        return decay, addend.astype(x.dtype), Partial(_read, Partial(cell.activation), *of_output)


def _check(cell: SRUCell, inputs: jax.Array) -> None:
    op, units = "SRUCell", cell.num_units
    check_rank(op, "inputs", inputs, 2)
    check_rank(op, "kernel", cell.kernel, 2)
    rows = cell.kernel.shape[0]
    check_shape(op, "bias", cell.bias, (2 * units,), "two gates")
    check_shape(op, "kernel", cell.kernel, (rows, 4 * units), f"`bias` is that of {units} units")
    check_shape(op, "inputs", inputs, (inputs.shape[0], rows), f"`kernel` has {rows} rows for them")


@jax.jit
def _terms(cell: SRUCell, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The factor and the addend of the state, the gate of the output and what passes it by."""
    units = cell.num_units
    columns = product(inputs, cell.kernel)
    candidate, gates, bypass = columns[:, :units], columns[:, units : 3 * units], columns[:, 3 * units :]
    forget, reset = jnp.split(jax.nn.sigmoid(add_bias(gates, cell.bias)), 2, axis=-1)
    return forget, (1 - forget) * candidate, reset, bypass


@jax.jit
def _read(activation: Activation, reset: jax.Array, bypass: jax.Array, state: jax.Array) -> jax.Array:
    output = reset * activation(state.astype(reset.dtype)) + (1 - reset) * bypass
    return output.astype(state.dtype)


@jax.jit
def _sru(cell: SRUCell, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    decay, addend, *of_output = _terms(cell, inputs)
    state = (decay * state.astype(decay.dtype) + addend).astype(state.dtype)
    return _read(Partial(cell.activation), *of_output, state), state
