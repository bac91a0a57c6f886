"""What the models of all libraries share, and the same model of the layers of this one; the documentation shows it."""

# [common]
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jnnops as nn

optimizer = optax.adam(2e-2)


def columns(images: jax.Array) -> jax.Array:
    """``[batch, height, width, channels]`` as a sequence ``[batch, width, height * channels]``."""
    return jnp.reshape(jnp.swapaxes(images, 1, 2), (images.shape[0], images.shape[2], -1))


def loss_of(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss of logits ``[batch, width, 1 + characters]`` and labels ``[batch, length]``."""
    lengths = [jnp.full(array.shape[0], array.shape[1]) for array in (labels, logits)]
    return jnp.mean(nn.ctc_loss(labels, logits, *lengths, logits_time_major=False))


# [layers]
@nn.layers.layer
class Reader:
    conv: nn.layers.Conv
    norm: nn.layers.BatchNorm
    cell: nn.layers.GRUCell
    dense: nn.layers.Dense

    def __call__(self, images: jax.Array, moments: Any, *, training: bool = False) -> Any:
        x, moments = self.norm(self.conv(images), moments, training=training)
        x = nn.local_response_normalization(nn.max_pool(nn.relu(x), 2, 2, "VALID"), 2)
        return self.dense(nn.dynamic_rnn(self.cell, columns(x)).outputs), moments


@jax.jit
def step(reader: Any, moments: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    def loss(reader: Reader) -> Any:
        logits, new_moments = reader(images, moments, training=True)
        return loss_of(logits, labels), new_moments

    (value, moments), gradient = jax.value_and_grad(loss, has_aux=True)(reader)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(reader, updates), moments, state, value


# [end]
