"""Cells whose inputs or outputs go through a matrix first: projections and embeddings."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_array,
    as_dtype,
    as_float_arrays,
    as_integer_array,
    as_key,
    as_size,
    check_callable,
    check_rank,
    check_shape,
    draw,
)
from jnnops._types import Activation, Initializer, Key, Tree
from jnnops.embedding import embedding_lookup
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias
from jnnops.layers.cells._wrapped import as_cell, needs_key, step_of, zero_state_of
from jnnops.recurrent._gates import product
from jnnops.recurrent.cell import RNNCell


@layer
class InputProjectionWrapper:
    """A cell whose inputs are ``activation(inputs @ kernel + bias)``.

    Where the inputs do not depend on the outputs, a ``Dense`` layer over the whole sequence before the loop computes
    the same, in one product.

    Attributes:
        cell: The cell.
        kernel: ``[in_features, num_proj]``.
        bias: ``[num_proj]``.
        activation: A module-level function, or None for none.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> cell = nn.layers.InputProjectionWrapper.init(nn.layers.GRUCell.init(8, 3, key=keys[0]), 4, 8, key=keys[1])
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape
        (2, 3)

    References:
        ``tf.contrib.rnn.InputProjectionWrapper`` of TensorFlow 1.15.
    """

    cell: RNNCell
    kernel: jax.Array
    bias: jax.Array
    activation: Activation | None = static(default=None)

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        in_features: int,
        num_proj: int,
        *,
        activation: Activation | None = None,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "InputProjectionWrapper":
        """Draws a new projection, with a bias of 0.

        Args:
            cell: The cell to wrap.
            in_features: Width of the inputs.
            num_proj: Width of the wrapped cell's inputs.
            activation: A module-level function, or None for none.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell, a size no integer, ``activation`` no function or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "InputProjectionWrapper.init"
        sizes = as_size(op, "in_features", in_features), as_size(op, "num_proj", num_proj)
        kernel, bias = _draw_projection(op, sizes, kernel_init, dtype, key)
        return cls(cell=as_cell(op, cell), kernel=kernel, bias=bias, activation=_as_activation(op, activation))

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
        return zero_state_of("InputProjectionWrapper", self.cell, batch_size, dtype, key)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[Tree, Tree]:
        """Returns ``(output, new_state)``."""
        op = "InputProjectionWrapper"
        return step_of(op, self.cell, _project(op, "inputs", inputs, self.kernel, self.bias, self.activation), state)


@layer
class OutputProjectionWrapper:
    """A cell whose output becomes ``activation(output @ kernel + bias)``; the state keeps the wrapped cell's width.

    Where the inputs do not depend on the outputs, a ``Dense`` layer over the outputs of the whole sequence computes
    the same, in one product.

    Attributes:
        cell: The cell.
        kernel: ``[units, output_size]``, ``units`` being the width of the wrapped cell's output.
        bias: ``[output_size]``.
        activation: A module-level function, or None for none.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> cell = nn.layers.OutputProjectionWrapper.init(nn.layers.GRUCell.init(4, 8, key=keys[0]), 3, key=keys[1])
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 3), (2, 8))

    References:
        ``tf.contrib.rnn.OutputProjectionWrapper`` of TensorFlow 1.15.
    """

    cell: RNNCell
    kernel: jax.Array
    bias: jax.Array
    activation: Activation | None = static(default=None)

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        output_size: int,
        *,
        activation: Activation | None = None,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "OutputProjectionWrapper":
        """Draws a new projection, with a bias of 0.

        Args:
            cell: The cell to wrap, which has an ``output_size``.
            output_size: Width of the new output.
            activation: A module-level function, or None for none.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell or has no ``output_size``, ``output_size`` is no integer, ``activation``
                no function or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "OutputProjectionWrapper.init"
        wrapped: Any = as_cell(op, cell)
        if not hasattr(wrapped, "output_size"):
            raise TypeError(f"{op}: `cell` must have an `output_size`, got {type(cell).__name__}")
        sizes = as_size(op, "cell.output_size", wrapped.output_size), as_size(op, "output_size", output_size)
        kernel, bias = _draw_projection(op, sizes, kernel_init, dtype, key)
        return cls(cell=cell, kernel=kernel, bias=bias, activation=_as_activation(op, activation))

    @property
    def needs_key(self) -> bool:
        """Whether the wrapped cell draws random numbers."""
        return needs_key(self.cell)

    @property
    def output_size(self) -> int:
        """The width of the projected output."""
        return self.bias.shape[-1]

    @property
    def state_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.state_size  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> Tree:
        """The wrapped cell's."""
        return zero_state_of("OutputProjectionWrapper", self.cell, batch_size, dtype, key)

    def __call__(self, inputs: Tree, state: Tree) -> tuple[jax.Array, Tree]:
        """Returns ``(output, new_state)``."""
        op = "OutputProjectionWrapper"
        output, new = step_of(op, self.cell, inputs, state)
        return _project(op, "output", output, self.kernel, self.bias, self.activation), new


@layer
class EmbeddingWrapper:
    """A cell whose inputs are rows of a table, looked up by ids.

    ``dynamic_rnn`` over ids needs a ``dtype`` or an initial state, as ids have no floating point dtype. Where the ids
    do not depend on the outputs, an ``Embedding`` layer before the loop computes the same, faster.

    Attributes:
        cell: The cell.
        embedding: ``[embedding_classes, embedding_size]``.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> cell = nn.layers.EmbeddingWrapper.init(nn.layers.GRUCell.init(4, 3, key=keys[0]), 100, 4, key=keys[1])
        >>> nn.dynamic_rnn(cell, jnp.array([[7, 99, 0]]), dtype=jnp.float32).outputs.shape
        (1, 3, 3)

    References:
        ``tf.contrib.rnn.EmbeddingWrapper`` of TensorFlow 1.15.
    """

    cell: RNNCell
    embedding: jax.Array

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        embedding_classes: int,
        embedding_size: int,
        *,
        table_init: Initializer | None = None,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "EmbeddingWrapper":
        """Draws a new table.

        Args:
            cell: The cell to wrap.
            embedding_classes: The number of ids.
            embedding_size: Width of the wrapped cell's inputs.
            table_init: ``table_init(key, shape, dtype)`` returns the table, as ``jax.nn.initializers`` do; uniform
                numbers of variance 1 unless given.
            dtype: Of the table.
            key: A ``jax.random`` key.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell, a size no integer or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "EmbeddingWrapper.init"
        sizes = as_size(op, "embedding_classes", embedding_classes), as_size(op, "embedding_size", embedding_size)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        drawing = _of_variance_1 if table_init is None else table_init
        table = draw(op, "table_init", drawing, as_key(op, key), sizes, dtype)
        return cls(cell=as_cell(op, cell), embedding=table)

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
        return zero_state_of("EmbeddingWrapper", self.cell, batch_size, dtype, key)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[Tree, Tree]:
        """Returns ``(output, new_state)``; ``inputs`` are ids, ``[batch]`` or ``[batch, 1]``.

        An id outside of the table gives zeros, as :func:`jnnops.embedding_lookup` does, and ``checkify`` reports it.
        """
        op = "EmbeddingWrapper"
        ids = as_integer_array(op, "inputs", inputs, rank=(1, 2))
        if ids.ndim == 2:
            check_shape(op, "inputs", ids, (ids.shape[0], 1), "one id for each row")
            ids = ids[:, 0]
        check_rank(op, "embedding", as_array(op, "embedding", self.embedding), 2)
        return step_of(op, self.cell, embedding_lookup(self.embedding, ids), state)


def _of_variance_1(key: Key, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -(3**0.5), 3**0.5)


def _as_activation(op: str, activation: Activation | None) -> Activation | None:
    if activation is not None:
        check_callable(op, "activation", activation, "activation(array)")
    return activation


def _draw_projection(
    op: str, sizes: tuple[int, int], kernel_init: Initializer, dtype: DTypeLike, key: Key
) -> tuple[jax.Array, jax.Array]:
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    return draw(op, "kernel_init", kernel_init, as_key(op, key), sizes, dtype), jnp.zeros(sizes[1], dtype)


def _project(
    op: str, name: str, value: ArrayLike, kernel: ArrayLike, bias: ArrayLike, activation: Activation | None
) -> jax.Array:
    """``activation(value @ kernel + bias)`` in the dtype that they promote to."""
    x, kernel, bias = as_float_arrays(op, **{name: value}, kernel=kernel, bias=bias)
    check_rank(op, name, x, 2)
    check_rank(op, "kernel", kernel, 2)
    check_shape(op, name, x, (x.shape[0], kernel.shape[0]), f"`kernel` has {kernel.shape[0]} rows")
    check_shape(op, "bias", bias, kernel.shape[1:], f"`kernel` has {kernel.shape[1]} columns")
    return _affine(x, kernel, bias, activation)


@functools.partial(jax.jit, static_argnames="activation")
def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, activation: Activation | None) -> jax.Array:
    projected = add_bias(product(x, kernel), bias)
    return (projected if activation is None else activation(projected)).astype(x.dtype)
