"""A model of haiku with ops and layers of this library inside; the documentation shows it."""

# [begin]
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from ecosystem.reading import columns, loss_of, optimizer

import jnnops as nn


def cell_of_parameters(in_features: int, units: int) -> nn.layers.GRUCell:
    """Parameters of haiku are arrays, each with a name: a layer is made of them by keyword."""
    rows, glorot = in_features + units, hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
    return nn.layers.GRUCell(
        gate_kernel=hk.get_parameter("gate_kernel", (rows, 2 * units), init=glorot),
        gate_bias=hk.get_parameter("gate_bias", (2 * units,), init=jnp.ones),
        candidate_kernel=hk.get_parameter("candidate_kernel", (rows, units), init=glorot),
        candidate_bias=hk.get_parameter("candidate_bias", (units,), init=jnp.zeros),
    )


def read(images: jax.Array, training: bool = False) -> jax.Array:
    filters = hk.get_parameter("filters", (3, 3, 1, 8), init=hk.initializers.VarianceScaling())
    scale = hk.get_parameter("scale", (8,), init=jnp.ones)
    offset = hk.get_parameter("offset", (8,), init=jnp.zeros)
    norm = nn.layers.BatchNorm(scale=scale, offset=offset, features=8)
    moments = nn.layers.BatchNormState(
        hk.get_state("mean", (8,), init=jnp.zeros), hk.get_state("variance", (8,), init=jnp.ones)
    )

    x, moments = norm(nn.conv2d(images, filters, 1, "SAME"), moments, training=training)
    if training:
        hk.set_state("mean", moments.mean)
        hk.set_state("variance", moments.variance)
    x = nn.local_response_normalization(nn.max_pool(nn.relu(x), 2, 2, "VALID"), 2)
    cell = cell_of_parameters(32, 16)  # outside of the loop, in which haiku's parameters must not be made
    return hk.Linear(5, name="dense")(nn.dynamic_rnn(cell, columns(x)).outputs)


reader = hk.without_apply_rng(hk.transform_with_state(read))


@jax.jit
def step(params: Any, moments: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
    def loss(params: Any) -> Any:
        logits, new_moments = reader.apply(params, moments, images, training=True)
        return loss_of(logits, labels), new_moments

    (value, moments), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), moments, state, value


# [end]
