"""A training that is saved and resumed with orbax; the documentation shows it."""

# [training]
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp

import jnnops as nn


class Training(NamedTuple):
    """All that a step changes."""

    model: nn.layers.Sequential
    moments: Any  # the running moments of BatchNorm
    optimizer: Any  # a row for each row of the table, and the last step in which it had a gradient
    key: jax.Array


def tables(model: nn.layers.Sequential) -> Any:
    return model[0].table


optimizer = nn.sparse.lazy(optax.adam(1e-2), tables=tables, catch_up=True)


def init(key: jax.Array) -> Training:
    key, first, second = jax.random.split(key, 3)
    model = nn.layers.Sequential.init(
        nn.layers.Embedding.init(64, 8, key=first),
        nn.layers.BatchNorm.init(8),
        nn.relu,
        nn.layers.Dropout(rate=0.25),
        nn.layers.Dense.init(8, 4, key=second),
    )
    return Training(model, model.init_state(), optimizer.init(model), key)


@jax.jit
def step(training: Training, ids: jax.Array, labels: jax.Array) -> Training:
    model, moments, state, key = training
    key, now = jax.random.split(key)

    def loss(model: nn.layers.Sequential) -> Any:
        logits, new_moments = model(ids, moments, training=True, key=now)
        return jnp.mean(nn.sparse_softmax_cross_entropy_with_logits(labels, logits)), new_moments

    (_, moments), gradient = nn.sparse.value_and_grad(loss, tables=tables, has_aux=True)(model)
    updates, state = optimizer.update(gradient, state, model)
    return Training(nn.sparse.apply_updates(model, updates), moments, state, key)


# [save]
def save(path: Path, training: Training) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, training)


def restore(path: Path, place: Any = None) -> Training:
    shapes = jax.eval_shape(init, jax.random.key(0))  # computes nothing, allocates nothing
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, shapes if place is None else jax.tree.map(place, shapes))


# [place]
def on_rows(mesh: jax.sharding.Mesh) -> Any:
    """Places for :func:`restore`: what has a row for each row of the table is split by them, all else is everywhere."""

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        axes = ["rows"] if leaf.shape[:1] == (64,) else []
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return place


# [end]
