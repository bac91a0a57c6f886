"""Cells whose output has a path around them: residual and highway connections."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    accumulation_dtype,
    as_dtype,
    as_float_arrays,
    as_key,
    as_size,
    as_static_bool,
    as_static_float,
    check_callable,
    check_rank,
    check_shape,
    draw,
)
from jnnops._types import Initializer, Key, Tree
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias
from jnnops.layers.cells._wrapped import as_cell, needs_key, step_of, zero_state_of
from jnnops.recurrent._gates import product
from jnnops.recurrent.cell import RNNCell


@layer
class ResidualWrapper:
    """A cell to whose output its inputs are added.

    Attributes:
        cell: The cell; its outputs have the shapes of its inputs, unless ``residual_fn`` is given.
        residual_fn: ``residual_fn(inputs, output)`` returns what the output becomes; their sum unless given.

    Example:
        >>> cell = nn.layers.ResidualWrapper.init(nn.layers.GRUCell.init(3, 3, key=jax.random.key(0)))
        >>> inputs, state = jnp.ones((2, 3)), cell.zero_state(2, jnp.float32)
        >>> bool(jnp.allclose(cell(inputs, state)[0], inputs + cell.cell(inputs, state)[0]))
        True

    References:
        ``tf.nn.RNNCellResidualWrapper``, ``tf.compat.v1.nn.rnn_cell.ResidualWrapper``. Wu et al., "Google's Neural
        Machine Translation System", 2016.
    """

    cell: RNNCell
    residual_fn: Callable[[Tree, Tree], Tree] | None = static(default=None)

    @classmethod
    def init(cls, cell: RNNCell, residual_fn: Callable[[Tree, Tree], Tree] | None = None) -> "ResidualWrapper":
        """Checks the attributes.

        Args:
            cell: The cell to wrap.
            residual_fn: A module-level function of inputs and output; their sum unless given.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell or ``residual_fn`` no function.
        """
        op = "ResidualWrapper.init"
        if residual_fn is not None:
            check_callable(op, "residual_fn", residual_fn, "residual_fn(inputs, output)")
        return cls(cell=as_cell(op, cell), residual_fn=residual_fn)

    @property
    def needs_key(self) -> bool:
        """Whether the wrapped cell draws random numbers."""
        return needs_key(self.cell)

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.output_size  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def state_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.state_size  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> Tree:
        """The wrapped cell's."""
        return zero_state_of("ResidualWrapper", self.cell, batch_size, dtype, key)

    def __call__(self, inputs: Tree, state: Tree) -> tuple[Tree, Tree]:
        """Returns ``(output, new_state)``."""
        output, new = step_of("ResidualWrapper", self.cell, inputs, state)
        if self.residual_fn is not None:
            return self.residual_fn(inputs, output), new
        given, found = jax.tree.structure(inputs), jax.tree.structure(output)
        if given != found:
            raise ValueError(
                f"ResidualWrapper: `cell` must return outputs of the structure of `inputs`, {given}, got {found}"
            )
        return jax.tree.map(_sum, inputs, output), new


def _sum(inputs: ArrayLike, output: ArrayLike) -> jax.Array:
    x, y = as_float_arrays("ResidualWrapper", inputs=inputs, output=output)
    check_shape("ResidualWrapper", "output", y, x.shape, "that of `inputs`, to which it is added")
    return x + y


@layer
class HighwayWrapper:
    r"""A cell whose output is mixed with its inputs by gates that depend on the inputs.

    .. math::
        g &= \sigma(x W_\text{carry} + b_\text{carry}) \\
        y' &= g x + (1 - g) y

    or with a second gate :math:`\sigma(x W_\text{transform} + b_\text{transform})` instead of :math:`1 - g`.

    Attributes:
        cell: The cell; its output is as wide as its inputs.
        carry_w: ``[in_features, in_features]``.
        carry_b: ``[in_features]``.
        transform_w: ``[in_features, in_features]``; None, like the next one, to couple the gates.
        transform_b: ``[in_features]``.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> cell = nn.layers.HighwayWrapper.init(nn.layers.GRUCell.init(3, 3, key=keys[0]), 3, key=keys[1])
        >>> output, state = cell(jnp.ones((2, 3)), cell.zero_state(2, jnp.float32))
        >>> output.shape
        (2, 3)

    References:
        ``tf.contrib.rnn.HighwayWrapper`` of TensorFlow 1.15. Srivastava et al., "Highway Networks", 2015.
    """

    cell: RNNCell
    carry_w: jax.Array
    carry_b: jax.Array
    transform_w: jax.Array | None = None
    transform_b: jax.Array | None = None

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        in_features: int,
        *,
        couple_carry_transform_gates: bool = True,
        carry_bias_init: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "HighwayWrapper":
        """Draws new gates.

        Args:
            cell: The cell to wrap.
            in_features: Width of the inputs and of the cell's output.
            couple_carry_transform_gates: Whether one gate is 1 minus the other.
            carry_bias_init: The bias of the carry gate; a transform gate of its own has the negative.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell, ``in_features`` no integer or ``key`` no key.
            ValueError: If ``in_features`` is below 1.
        """
        op = "HighwayWrapper.init"
        width = as_size(op, "in_features", in_features)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        bias = as_static_float(op, "carry_bias_init", carry_bias_init)
        carry_key, transform_key = jax.random.split(as_key(op, key))
        coupled = as_static_bool(op, "couple_carry_transform_gates", couple_carry_transform_gates)
        return cls(
            cell=as_cell(op, cell),
            carry_w=draw(op, "kernel_init", kernel_init, carry_key, (width, width), dtype),
            carry_b=jnp.full(width, bias, dtype),
            transform_w=None if coupled else draw(op, "kernel_init", kernel_init, transform_key, (width, width), dtype),
            transform_b=None if coupled else jnp.full(width, -bias, dtype),
        )

    @property
    def needs_key(self) -> bool:
        """Whether the wrapped cell draws random numbers."""
        return needs_key(self.cell)

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.output_size  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def state_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.state_size  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> Tree:
        """The wrapped cell's."""
        return zero_state_of("HighwayWrapper", self.cell, batch_size, dtype, key)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, Tree]:
        """Returns ``(output, new_state)``."""
        op = "HighwayWrapper"
        if (self.transform_w is None) != (self.transform_b is None):
            given = "transform_b" if self.transform_w is None else "transform_w"
            raise ValueError(f"{op}: `transform_w` and `transform_b` must be given together, got only `{given}`")
        output, new = step_of(op, self.cell, inputs, state)
        weights = {
            name: value
            for name in ("carry_w", "carry_b", "transform_w", "transform_b")
            if (value := getattr(self, name)) is not None
        }
        x, y, *gates = as_float_arrays(op, inputs=inputs, output=output, **weights)
        check_rank(op, "inputs", x, 2)
        check_shape(op, "output", y, x.shape, "that of `inputs`, with which it is mixed")
        for name, weight in zip(weights, gates, strict=True):
            shape = x.shape[1:] * (2 if name.endswith("_w") else 1)
            check_shape(op, name, weight, shape, f"`inputs` have {x.shape[1]} features")
        return _highway(x, y, *gates), new


@jax.jit
def _highway(x: jax.Array, y: jax.Array, *gates: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    carry = jax.nn.sigmoid(add_bias(product(x, gates[0]), gates[1]))
    transform = jax.nn.sigmoid(add_bias(product(x, gates[2]), gates[3])) if gates[2:] else 1 - carry
    return (x.astype(wide) * carry + y.astype(wide) * transform).astype(x.dtype)
