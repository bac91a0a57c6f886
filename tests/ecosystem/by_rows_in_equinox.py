"""A model of equinox whose tables are trained by rows; the documentation shows it."""

# [begin]
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jnnops as nn


class Words(eqx.Module):
    """Learns which words follow each word, of ``num_words``."""

    embedding: eqx.nn.Embedding
    hidden: eqx.nn.Linear
    classes: jax.Array
    biases: jax.Array

    def __init__(self, num_words: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.embedding = eqx.nn.Embedding(num_words, 16, key=first)
        self.hidden = eqx.nn.Linear(16, 16, key=second)
        self.classes = jnp.zeros((num_words, 16))
        self.biases = jnp.zeros(num_words)

    def __call__(self, words: jax.Array, following: jax.Array, key: jax.Array) -> jax.Array:
        rows = nn.embedding_lookup(self.embedding.weight, words)  # not jax.vmap(self.embedding)(words)
        hidden = nn.tanh(jax.vmap(self.hidden)(rows))
        classes, biases = self.classes, self.biases
        losses = nn.sampled_softmax_loss(classes, biases, following, hidden, 8, len(biases), key=key)
        return jnp.mean(losses)


def tables(params: Words) -> list[Any]:
    return [params.embedding.weight, params.classes, params.biases]


optimizer = nn.sparse.lazy(optax.adam(1e-2), tables=tables)


def make_step(rest: Words) -> Any:
    """A step of a model that was taken apart: ``params, rest = eqx.partition(model, eqx.is_inexact_array)``."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, words: jax.Array, following: jax.Array, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return eqx.combine(params, rest)(words, following, key)

        value, gradient = nn.sparse.value_and_grad(loss, tables=tables)(params)
        updates, state = optimizer.update(gradient, state, params)
        return nn.sparse.apply_updates(params, updates), state, value

    return step


# [end]
