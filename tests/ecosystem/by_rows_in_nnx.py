"""A model of flax.nnx whose tables are trained by rows; the documentation shows it."""

# [begin]
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jnnops as nn


class Words(nnx.Module):
    """Learns which words follow each word, of ``num_words``."""

    def __init__(self, num_words: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(num_words, 16, rngs=rngs)
        self.hidden = nnx.Linear(16, 16, rngs=rngs)
        self.classes = nnx.Param(jnp.zeros((num_words, 16)))
        self.biases = nnx.Param(jnp.zeros(num_words))

    def __call__(self, words: jax.Array, following: jax.Array, key: jax.Array) -> jax.Array:
        rows = nn.embedding_lookup(self.embed.embedding[...], words)  # not self.embed(words)
        hidden = nn.tanh(self.hidden(rows))
        classes, biases = self.classes[...], self.biases[...]
        losses = nn.sampled_softmax_loss(classes, biases, following, hidden, 8, len(biases), key=key)
        return jnp.mean(losses)


def tables(params: Any) -> list[Any]:
    return [each.get_value() for each in (params["embed"]["embedding"], params["classes"], params["biases"])]


optimizer = nn.sparse.lazy(optax.adam(1e-2), tables=tables)


def make_step(graph: nnx.GraphDef) -> Any:
    """A step of a model that was taken apart: ``graph, params = nnx.split(model)``."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, words: jax.Array, following: jax.Array, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return nnx.merge(graph, params)(words, following, key)

        value, gradient = nn.sparse.value_and_grad(loss, tables=tables)(params)
        updates, state = optimizer.update(gradient, state, params)
        return nn.sparse.apply_updates(params, updates), state, value

    return step


# [end]
