"""A cell that attends to its own last outputs."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_float_arrays, as_key, as_size, check_rank, check_shape, draw
from jnnops._primitives.serialization import serializable
from jnnops._types import Initializer, Key, Tree
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import add_bias, zeros
from jnnops.layers.cells._wrapped import as_cell, needs_key, step_of, zero_state_of
from jnnops.recurrent._gates import product
from jnnops.recurrent.cell import RNNCell


@serializable
class AttentionState(NamedTuple):
    """The state of :class:`AttentionCellWrapper`: the wrapped cell's, what was attended to, and the last outputs."""

    state: Any
    attns: Any
    attn_states: Any


@layer
class AttentionCellWrapper:
    r"""A cell whose inputs and output are mixed with an average of its last outputs, weighed by the state.

    .. math::
        x' &= [x, a] W + b, \qquad y, s' = \text{cell}(x', s) \\
        e_t &= v \cdot \tanh(m_t W_\text{attn} + s' W_\text{attention} + b_\text{attention}),
        \qquad a' = \sum_t \text{softmax}(e)_t\, m_t \\
        y' &= [y, a'] W_\text{output} + b_\text{output}

    :math:`m_t` are the last ``attn_length`` outputs :math:`y'`, zeros before the first, and the parts of :math:`s'`
    stand side by side as the query.

    Attributes:
        cell: The cell; its state's floating point arrays are ``[batch, ...]``.
        kernel: ``[in_features + attn_size, in_features]``.
        bias: ``[in_features]``.
        attn_w: ``[1, 1, attn_size, attn_vec_size]``, TensorFlow's ``attention/attn_w``, a convolution's filters.
        attn_v: ``[attn_vec_size]``, ``attention/attn_v``.
        attention_kernel: ``[state_size, attn_vec_size]``, ``attention/kernel``.
        attention_bias: ``[attn_vec_size]``, ``attention/bias``.
        output_kernel: ``[cell.output_size + attn_size, attn_size]``, ``attn_output_projection/kernel``.
        output_bias: ``[attn_size]``, ``attn_output_projection/bias``.
        attn_length: How many outputs are remembered.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> lstm = nn.layers.LSTMCell.init(4, 3, key=keys[0])
        >>> cell = nn.layers.AttentionCellWrapper.init(lstm, 4, attn_length=5, key=keys[1])
        >>> output, state = cell(jnp.ones((2, 4)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.attn_states.shape
        ((2, 3), (2, 15))

    References:
        ``tf.contrib.rnn.AttentionCellWrapper`` of TensorFlow 1.15 with ``state_is_tuple``. Bahdanau et al., "Neural
        Machine Translation by Jointly Learning to Align and Translate", 2014; over its own outputs as in Rocktäschel et
        al., "Reasoning about Entailment with Neural Attention", 2015.
    """

    cell: RNNCell
    kernel: jax.Array
    bias: jax.Array
    attn_w: jax.Array
    attn_v: jax.Array
    attention_kernel: jax.Array
    attention_bias: jax.Array
    output_kernel: jax.Array
    output_bias: jax.Array
    attn_length: int = static()

    @classmethod
    def init(
        cls,
        cell: RNNCell,
        in_features: int,
        *,
        attn_length: int,
        attn_size: int | None = None,
        attn_vec_size: int | None = None,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "AttentionCellWrapper":
        """Draws new weights, with biases of 0.

        Args:
            cell: The cell to wrap, which takes inputs of ``in_features`` and has an ``output_size``.
            in_features: Width of the inputs.
            attn_length: How many outputs are remembered.
            attn_size: Width of the new output; that of the cell's unless given.
            attn_vec_size: Width in which outputs and state are compared; ``attn_size`` unless given.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The wrapped cell.

        Raises:
            TypeError: If ``cell`` is no cell or has no ``output_size``, a size is no integer or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "AttentionCellWrapper.init"
        wrapped: Any = as_cell(op, cell)
        if not hasattr(wrapped, "output_size"):
            raise TypeError(f"{op}: `cell` must have an `output_size`, got {type(cell).__name__}")
        features, length = as_size(op, "in_features", in_features), as_size(op, "attn_length", attn_length)
        size = wrapped.output_size if attn_size is None else as_size(op, "attn_size", attn_size)
        vector = size if attn_vec_size is None else as_size(op, "attn_vec_size", attn_vec_size)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        start = jax.eval_shape(lambda: zero_state_of(op, wrapped, 1, dtype, None))
        query = sum(leaf.size for leaf in _parts(start))
        keys = jax.random.split(as_key(op, key), 5)
        new = functools.partial(draw, op, "kernel_init", kernel_init)
        return cls(
            cell=cell,
            kernel=new(keys[0], (features + size, features), dtype),
            bias=jnp.zeros(features, dtype),
            attn_w=new(keys[1], (1, 1, size, vector), dtype),
            # A row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
            attn_v=new(keys[2], (vector, vector), dtype)[0],
            attention_kernel=new(keys[3], (query, vector), dtype),
            attention_bias=jnp.zeros(vector, dtype),
            output_kernel=new(keys[4], (wrapped.output_size + size, size), dtype),
            output_bias=jnp.zeros(size, dtype),
            attn_length=length,
        )

    @property
    def needs_key(self) -> bool:
        """Whether the wrapped cell draws random numbers."""
        return needs_key(self.cell)

    @property
    def output_size(self) -> int:
        """The width of the output, ``attn_size``."""
        return self.output_bias.shape[-1]

    @property
    def state_size(self) -> AttentionState:
        """The widths of the state."""
        size = self.output_size
        return AttentionState(self.cell.state_size, size, size * self.attn_length)  # pyright: ignore[reportAttributeAccessIssue]

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32, *, key: Key | None = None) -> AttentionState:
        """The wrapped cell's, ``[batch_size, attn_size]`` and ``[batch_size, attn_size * attn_length]`` zeros."""
        op, size = "AttentionCellWrapper", self.output_size
        attns, last = (zeros(op, batch_size, (width,), dtype) for width in (size, size * self.attn_length))
        return AttentionState(zero_state_of(op, self.cell, batch_size, dtype, key), attns, last)

    def __call__(self, inputs: ArrayLike, state: Tree) -> tuple[jax.Array, AttentionState]:
        """Returns ``(output, new_state)``."""
        op, size = "AttentionCellWrapper", self.output_size
        if not isinstance(state, tuple | list) or len(state) != 3:
            raise ValueError(
                f"{op}: `state` must be an AttentionState or another triple (state, attns, attn_states), got "
                f"{type(state).__name__}"
            )
        weights = {name: getattr(self, name) for name in _MIXED}
        x, attns, last, kernel, bias = as_float_arrays(
            op, inputs=inputs, attns=state[1], attn_states=state[2], **weights
        )
        check_rank(op, "inputs", x, 2)
        batch, features = x.shape
        check_shape(op, "attns", attns, (batch, size), "[batch, attn_size]")
        check_shape(op, "attn_states", last, (batch, size * self.attn_length), "the last attn_length outputs")
        check_shape(op, "kernel", kernel, (features + size, features), f"`inputs` have {features} features")
        check_shape(op, "bias", bias, (features,), f"`inputs` have {features} features")
        output, new = step_of(op, self.cell, _linear(x, attns, kernel, bias), state[0])

        parts = {f"state[{i}]": part for i, part in enumerate(_parts(new))}
        weights = {name: getattr(self, name) for name in _ATTENDING}
        y, last, *arrays = as_float_arrays(op, output=output, attn_states=last, **parts, **weights)
        query = jnp.concatenate(
            [part.reshape(batch, math.prod(part.shape[1:])) for part in arrays[: len(parts)]], axis=1
        )
        arrays = arrays[len(parts) :]
        vector = arrays[1].shape[-1]
        shapes = [
            (1, 1, size, vector),
            (vector,),
            (query.shape[1], vector),
            (vector,),
            (y.shape[1] + size, size),
            (size,),
        ]
        for name, array, shape in zip(_ATTENDING, arrays, shapes, strict=True):
            check_shape(op, name, array, shape, "by the widths of `state`, `output_bias` and `attn_v`")
        output, attns, last = _attend(y, query, last.reshape(batch, self.attn_length, size), *arrays)
        return output, AttentionState(new, attns, last)


# The weights that the cell's inputs go through, and those that its output and its state go through.
_MIXED = ("kernel", "bias")
_ATTENDING = ("attn_w", "attn_v", "attention_kernel", "attention_bias", "output_kernel", "output_bias")


def _parts(state: Tree) -> list[jax.Array]:
    """The arrays of a state that make the query."""
    leaves = jax.tree.leaves(state)
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim > 0]


@jax.jit
def _linear(x: jax.Array, y: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """``[x, y] @ kernel + bias``."""
    return add_bias(product(jnp.concatenate([x, y], axis=1), kernel), bias).astype(x.dtype)


@jax.jit
def _attend(
    y: jax.Array,
    query: jax.Array,
    last: jax.Array,
    attn_w: jax.Array,
    attn_v: jax.Array,
    attention_kernel: jax.Array,
    attention_bias: jax.Array,
    output_kernel: jax.Array,
    output_bias: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The new output, what was attended to of ``last``, ``[batch, attn_length, attn_size]``, and the last outputs."""
    features = product(last, attn_w[0, 0])
    asked = add_bias(product(query, attention_kernel), attention_bias)
    scores = jnp.sum(attn_v.astype(features.dtype)[None, None] * jnp.tanh(features + asked[:, None]), axis=2)
    weights = jax.nn.softmax(scores, axis=1)
    attns = jnp.sum(weights[:, :, None] * last.astype(weights.dtype), axis=1).astype(y.dtype)
    output = _linear(y, attns, output_kernel, output_bias)
    last = jnp.concatenate([last[:, 1:], output[:, None]], axis=1)
    return output, attns, last.reshape(last.shape[0], last.shape[1] * last.shape[2])
