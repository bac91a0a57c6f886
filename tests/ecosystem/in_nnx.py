"""A model of flax.nnx with ops and layers of this library inside; the documentation shows it."""

# [begin]
from typing import Any

import jax
from ecosystem.reading import columns, loss_of
from flax import nnx

import jnnops as nn


def is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def arrays_of(tree: Any) -> Any:
    """The arrays in the place of the variables that hold them."""
    return jax.tree.map(lambda variable: variable.get_value(), tree, is_leaf=is_variable)


def put(tree: Any, arrays: Any) -> None:
    """Puts new arrays into the variables."""
    jax.tree.map(lambda variable, array: variable.set_value(array), tree, arrays, is_leaf=is_variable)


class Reader(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        norm, cell = nn.layers.BatchNorm.init(8), nn.layers.GRUCell.init(32, 16, key=rngs.params())
        self.filters = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (3, 3, 1, 8)))
        # A layer is a pytree: each of its arrays becomes a variable.
        self.norm = nnx.data(jax.tree.map(nnx.Param, norm))
        self.moments = nnx.data(jax.tree.map(nnx.BatchStat, norm.init_state()))
        self.cell = nnx.data(jax.tree.map(nnx.Param, cell))
        self.dense = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, images: jax.Array, training: bool = False) -> jax.Array:
        x, norm, cell = nn.conv2d(images, self.filters[...], 1, "SAME"), arrays_of(self.norm), arrays_of(self.cell)
        x, moments = norm(x, arrays_of(self.moments), training=training)
        if training:
            put(self.moments, moments)
        x = nn.local_response_normalization(nn.max_pool(nn.relu(x), 2, 2, "VALID"), 2)
        return self.dense(nn.dynamic_rnn(cell, columns(x)).outputs)


@nnx.jit
def step(reader: Reader, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    value, gradient = nnx.value_and_grad(lambda reader: loss_of(reader(images, training=True), labels))(reader)
    optimizer.update(reader, gradient)  # of nnx.Optimizer(reader, optax.adam(2e-2), wrt=nnx.Param)
    return value


# [end]
