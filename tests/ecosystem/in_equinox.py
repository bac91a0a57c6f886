"""A model of equinox with ops and layers of this library inside; the documentation shows it."""

# [begin]
from typing import Any

import equinox as eqx
import jax
from ecosystem.reading import columns, loss_of, optimizer

import jnnops as nn


class Reader(eqx.Module):
    filters: jax.Array
    norm: nn.layers.BatchNorm
    cell: nn.layers.GRUCell
    dense: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        first, second, third = jax.random.split(key, 3)
        self.filters = jax.nn.initializers.lecun_normal()(first, (3, 3, 1, 8))
        self.norm = nn.layers.BatchNorm.init(8)
        self.cell = nn.layers.GRUCell.init(32, 16, key=second)
        self.dense = eqx.nn.Linear(16, 5, key=third)

    def __call__(self, images: jax.Array, moments: Any, training: bool = False) -> Any:
        x, moments = self.norm(nn.conv2d(images, self.filters, 1, "SAME"), moments, training=training)
        x = nn.local_response_normalization(nn.max_pool(nn.relu(x), 2, 2, "VALID"), 2)
        outputs = nn.dynamic_rnn(self.cell, columns(x)).outputs
        return jax.vmap(jax.vmap(self.dense))(outputs), moments  # equinox has no batches, the ops have


@eqx.filter_jit
def step(reader: Reader, moments: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    def loss(reader: Reader) -> Any:
        logits, new_moments = reader(images, moments, training=True)
        return loss_of(logits, labels), new_moments

    (value, moments), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(reader)
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(reader, updates), moments, state, value


# [end]
