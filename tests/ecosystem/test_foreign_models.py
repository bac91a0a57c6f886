"""Models of other libraries train with the ops inside, and as the same model of the layers of this library does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ecosystem import in_equinox, in_haiku, in_linen, in_nnx, reading
from flax import linen as flax_linen
from flax import nnx as flax_nnx
from machinery.case import integers, normal

import jnnops as nn
from jnnops import layers

IMAGES = jnp.asarray(normal(4, 8, 12, 1), jnp.float32)
LABELS = jnp.asarray(integers(1, 5, 4, 3))
STEPS = 25


@pytest.fixture(autouse=True)
def promotion():
    """As users have it: flax adds biases of lower rank, optax multiplies counts of steps with floats."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Trained(NamedTuple):
    """The loss of each step, and as our layers have them the arrays before the first and after the last."""

    losses: list[Any]
    before: tuple[reading.Reader, Any]
    after: tuple[reading.Reader, Any]


def as_reader(filters: Any, norm: Any, cell: Any, kernel: Any, bias: Any) -> reading.Reader:
    conv = layers.Conv.init(1, 8, (3, 3), use_bias=False, key=jax.random.key(0))
    conv = jax.tree.map(lambda _: filters, conv)
    return reading.Reader(conv=conv, norm=norm, cell=cell, dense=layers.Dense(kernel=kernel, bias=bias))


def train(step: Any, model: Any, moments: Any, state: Any, view: Callable[[Any, Any], Any]) -> Trained:
    losses, before = [], view(model, moments)
    for _ in range(STEPS):
        model, moments, state, loss = step(model, moments, state, IMAGES, LABELS)
        losses.append(loss)
    return Trained(losses, before, view(model, moments))


def linen() -> Trained:
    def view(params, moments):
        dense = params["Dense_0"]
        reader = as_reader(params["filters"], params["norm"], params["cell"], dense["kernel"], dense["bias"])
        return reader, moments["norm"]

    variables = jax.jit(in_linen.Reader().init)(jax.random.key(0), IMAGES)
    params = variables["params"]
    return train(in_linen.step, params, variables["moments"], reading.optimizer.init(params), view)


def nnx() -> Trained:
    def view(model):
        norm, moments, cell = map(in_nnx.arrays_of, (model.norm, model.moments, model.cell))
        filters, dense = model.filters.get_value(), model.dense
        return as_reader(filters, norm, cell, dense.kernel.get_value(), dense.bias.get_value()), moments

    model = in_nnx.Reader(flax_nnx.Rngs(0))
    optimizer = flax_nnx.Optimizer(model, reading.optimizer, wrt=flax_nnx.Param)
    before = view(model)
    losses = [in_nnx.step(model, optimizer, IMAGES, LABELS) for _ in range(STEPS)]
    return Trained(losses, before, view(model))


def haiku() -> Trained:
    def view(params, moments):
        own, dense = params["~"], params["dense"]
        cell = layers.GRUCell(**{name: own[name] for name in own if name.startswith(("gate", "candidate"))})
        norm = layers.BatchNorm(scale=own["scale"], offset=own["offset"], features=8)
        return as_reader(own["filters"], norm, cell, dense["w"], dense["b"]), layers.BatchNormState(**moments["~"])

    params, moments = jax.jit(in_haiku.reader.init)(jax.random.key(0), IMAGES)
    return train(in_haiku.step, params, moments, reading.optimizer.init(params), view)


def equinox() -> Trained:
    def view(model, moments):
        reader = as_reader(model.filters, model.norm, model.cell, model.dense.weight.T, model.dense.bias)
        return reader, moments

    model = in_equinox.Reader(jax.random.key(0))
    state = reading.optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    return train(in_equinox.step, model, model.norm.init_state(), state, view)


@pytest.mark.parametrize("train_theirs", [linen, nnx, haiku, equinox], ids=lambda train: train.__name__)
def test_trains_as_the_model_of_our_layers_does(train_theirs):
    theirs = train_theirs()
    assert theirs.losses[-1] < 0.5 * theirs.losses[0]
    reader, moments = theirs.before
    ours = train(reading.step, reader, moments, reading.optimizer.init(reader), lambda *view: view)
    np.testing.assert_allclose(theirs.losses, ours.losses, rtol=1e-4)
    assert jax.tree.structure(theirs.after) == jax.tree.structure(ours.after)
    for found, expected in zip(*map(jax.tree.leaves, (theirs.after, ours.after)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


class Dropped(flax_linen.Module):
    @flax_linen.compact
    def __call__(self, x):
        return nn.dropout(x, 0.5, key=self.make_rng("dropout"))


def dropped_by_linen(x: Any, seed: int) -> Any:
    return Dropped().apply({}, x, rngs={"dropout": jax.random.key(seed)})


def dropped_by_nnx(x: Any, seed: int) -> Any:
    return nn.dropout(x, 0.5, key=flax_nnx.Rngs(dropout=seed).dropout())


def dropped_by_haiku(x: Any, seed: int) -> Any:
    return hk.transform(lambda x: nn.dropout(x, 0.5, key=hk.next_rng_key())).apply({}, jax.random.key(seed), x)


@pytest.mark.parametrize("drop", [dropped_by_linen, dropped_by_nnx, dropped_by_haiku], ids=lambda drop: drop.__name__)
def test_keys_of_the_libraries_draw(drop):
    x = jnp.ones(100)
    zeros = [np.flatnonzero(drop(x, seed) == 0).tolist() for seed in (0, 0, 1)]
    assert zeros[0] == zeros[1] != zeros[2]
    assert 25 < len(zeros[0]) < 75
