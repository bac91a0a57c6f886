"""Cells with few gates: the update gate RNN and the intersection RNN, both of Collins et al."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_key, as_size, as_static_float, check_callable, check_rank, check_shape, draw
from jnnops._types import Activation, Initializer, Key
from jnnops.activation import relu, tanh
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias
from jnnops.layers.cells._step import affine, as_activation, as_sizes, check_step, promote_step, zero_state
from jnnops.recurrent._gates import product


@layer
class UGRNNCell:
    r"""The update gate RNN: one gate mixes the old state with a candidate.

    .. math::
        g, c &= [x, h] W + b \\
        h' &= \sigma(g + \text{forget\_bias})\, h + (1 - \sigma(g + \text{forget\_bias}))\, \text{activation}(c)

    Attributes:
        kernel: ``[in_features + num_units, 2 num_units]``, the gate before the candidate.
        bias: ``[2 num_units]``.
        forget_bias: Added to the gate, so that a new cell remembers.
        activation: A module-level function, tanh unless given.

    Example:
        >>> cell = nn.layers.UGRNNCell.init(4, 3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.UGRNNCell`` of TensorFlow 1.15. Collins et al., "Capacity and Trainability in Recurrent Neural
        Networks", 2017.
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
    ) -> "UGRNNCell":
        """Draws a new cell, with a bias of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and the state.
            forget_bias: Added to the gate.
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
        op = "UGRNNCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), (rows + units, 2 * units), dtype),
            bias=jnp.zeros(2 * units, dtype),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
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
        return zero_state("UGRNNCell", batch_size, self.num_units, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``, which are the same."""
        cell, x, h = promote_step("UGRNNCell", self, inputs=inputs, state=state)
        check_step("UGRNNCell", x, cell.kernel, cell.bias, gates=2, state=(h, self.num_units))
        output = _update_gate(cell, x, h)
        return output, output


@jax.jit
def _update_gate(cell: UGRNNCell, inputs: jax.Array, state: jax.Array) -> jax.Array:
    gate, candidate = jnp.split(affine(inputs, state, cell.kernel, cell.bias), 2, axis=-1)
    gate = jax.nn.sigmoid(gate + cell.forget_bias)
    return (gate * state.astype(gate.dtype) + (1 - gate) * cell.activation(candidate)).astype(state.dtype)


@layer
class IntersectionRNNCell:
    r"""The intersection RNN, with one gate for what passes through time and one for what passes through depth.

    .. math::
        g_h, \hat h, g_y, \hat y &= [x, h] W + b \\
        h' &= \sigma(g_h + \text{forget\_bias})\, h + (1 - \sigma(g_h + \text{forget\_bias})) \tanh(\hat h) \\
        y &= \sigma(g_y + \text{forget\_bias})\, x
            + (1 - \sigma(g_y + \text{forget\_bias}))\, \text{y\_activation}(\hat y)

    It is made for stacks: its output is as wide as its inputs. The first cell of a stack maps inputs of another width
    to ``num_units`` before all else, by the weights ``in_projection``.

    Attributes:
        kernel: ``[2 num_units, 4 num_units]``: the rows of the inputs above the state's; columns in the order above.
        bias: ``[4 num_units]``.
        in_projection_kernel: ``[in_features, num_units]``, or None.
        in_projection_bias: ``[num_units]``, or None.
        forget_bias: Added to both gates, so that a new cell passes on.
        y_activation: A module-level function, relu unless given.

    Example:
        >>> cell = nn.layers.IntersectionRNNCell.init(4, 3, num_in_proj=3, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 3))

    References:
        ``tf.contrib.rnn.IntersectionRNNCell`` of TensorFlow 1.15. Collins et al., "Capacity and Trainability in
        Recurrent Neural Networks", 2017.
    """

    kernel: jax.Array
    bias: jax.Array
    in_projection_kernel: jax.Array | None = None
    in_projection_bias: jax.Array | None = None
    forget_bias: float = static(default=1.0)
    y_activation: Activation = static(default=relu)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        num_in_proj: int | None = None,
        forget_bias: float = 1.0,
        y_activation: Activation = relu,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "IntersectionRNNCell":
        """Draws a new cell, with biases of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the output and the state.
            num_in_proj: ``num_units`` for inputs of another width, which are then projected. As in TensorFlow, inputs
                of that width already are not projected.
            forget_bias: Added to both gates.
            y_activation: A module-level function; relu unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, ``y_activation`` no function or ``key`` no key.
            ValueError: If a size is below 1, ``num_in_proj`` is neither None nor ``num_units``, or it is None for
                inputs of another width.
        """
        op = "IntersectionRNNCell.init"
        rows, units = as_sizes(op, in_features, num_units)
        if num_in_proj is None:
            if rows != units:
                raise ValueError(f"{op}: `num_in_proj` must be num_units = {units} for in_features = {rows}, got None")
        elif as_size(op, "num_in_proj", num_in_proj) != units:
            raise ValueError(f"{op}: `num_in_proj` must be None or num_units = {units}, got {num_in_proj}")
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        check_callable(op, "y_activation", y_activation, "y_activation(array)")
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        kernel_key, projection_key = jax.random.split(as_key(op, key))
        return cls(
            kernel=new(kernel_key, (2 * units, 4 * units), dtype),
            bias=jnp.zeros(4 * units, dtype),
            in_projection_kernel=None if rows == units else new(projection_key, (rows, units), dtype),
            in_projection_bias=None if rows == units else jnp.zeros(units, dtype),
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            y_activation=y_activation,
        )

    @property
    def num_units(self) -> int:
        """The width of the output and of the state."""
        return self.bias.shape[-1] // 4

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
        return zero_state("IntersectionRNNCell", batch_size, self.num_units, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``: what passes on through depth and through time."""
        op, units = "IntersectionRNNCell", self.num_units
        cell, x, h = promote_step(op, self, inputs=inputs, state=state)
        check_rank(op, "inputs", x, 2)
        if cell.in_projection_kernel is not None:
            check_rank(op, "in_projection_kernel", cell.in_projection_kernel, 2)
            rows = cell.in_projection_kernel.shape[0]
            check_shape(op, "in_projection_kernel", cell.in_projection_kernel, (rows, units), "`bias` is of them")
            check_shape(op, "inputs", x, (x.shape[0], rows), f"`in_projection_kernel` has {rows} rows for them")
            if cell.in_projection_bias is not None:
                check_shape(op, "in_projection_bias", cell.in_projection_bias, (units,), "one for each unit")
            x = _project(x, cell.in_projection_kernel, cell.in_projection_bias)
        check_step(op, x, cell.kernel, cell.bias, gates=4, state=(h, units))
        check_shape(op, "kernel", cell.kernel, (2 * units, 4 * units), "the inputs are as wide as the output")
        return _intersection(cell, x, h)


@jax.jit
def _project(inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    return add_bias(product(inputs, kernel), bias).astype(inputs.dtype)


@jax.jit
def _intersection(cell: IntersectionRNNCell, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    columns = jnp.split(affine(inputs, state, cell.kernel, cell.bias), 4, axis=-1)
    through_time, candidate, through_depth, output = columns
    x, h = inputs.astype(output.dtype), state.astype(output.dtype)
    through_time = jax.nn.sigmoid(through_time + cell.forget_bias)
    through_depth = jax.nn.sigmoid(through_depth + cell.forget_bias)
    h = through_time * h + (1 - through_time) * jnp.tanh(candidate)
    y = through_depth * x + (1 - through_depth) * cell.y_activation(output)
    return y.astype(inputs.dtype), h.astype(state.dtype)
