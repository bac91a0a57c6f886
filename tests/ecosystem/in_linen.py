"""A model of flax.linen with ops and layers of this library inside; the documentation shows it."""

# [begin]
from typing import Any

import jax
import optax
from ecosystem.reading import columns, loss_of, optimizer
from flax import linen

import jnnops as nn


class Reader(linen.Module):
    @linen.compact
    def __call__(self, images: jax.Array, training: bool = False) -> jax.Array:
        filters = self.param("filters", linen.initializers.lecun_normal(), (3, 3, 1, 8))
        norm = self.param("norm", lambda key: nn.layers.BatchNorm.init(8))
        moments = self.variable("moments", "norm", norm.init_state)
        cell = self.param("cell", lambda key: nn.layers.GRUCell.init(32, 16, key=key))

        x, new_moments = norm(nn.conv2d(images, filters, 1, "SAME"), moments.value, training=training)
        if training:
            moments.value = new_moments
        x = nn.local_response_normalization(nn.max_pool(nn.relu(x), 2, 2, "VALID"), 2)
        return linen.Dense(5)(nn.dynamic_rnn(cell, columns(x)).outputs)


@jax.jit
def step(params: Any, moments: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    def loss(params: Any) -> Any:
        variables = {"params": params, "moments": moments}
        logits, changed = Reader().apply(variables, images, training=True, mutable=["moments"])
        return loss_of(logits, labels), changed["moments"]

    (value, moments), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), moments, state, value


# [end]
