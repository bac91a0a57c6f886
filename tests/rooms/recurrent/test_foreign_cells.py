"""Cells of users and of other libraries: they give what a loop of theirs gives, and are compiled once."""

import importlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import normal
from rooms.recurrent.foreign_cells import EquinoxCell, HaikuCell, LinenCell, NNXCell
from rooms.recurrent.sequences import BATCH, FEATURES, SOME, UNITS, weighted

import jnnops as nn
from jnnops.recurrent import dynamic

INPUTS = jnp.float32(normal(BATCH, 6, FEATURES))


def library(name: str) -> Any:
    """A library, which may warn of what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def linen() -> Any:
    module = library("flax.linen").LSTMCell(UNITS)
    carry = module.initialize_carry(jax.random.key(0), (BATCH, FEATURES))
    variables = module.init(jax.random.key(1), carry, INPUTS[:, 0])

    def step(variables, state, inputs):
        return module.apply(variables, state, inputs)

    return LinenCell(module=module, variables=variables, in_features=FEATURES), variables, carry, step


def nnx() -> Any:
    nnx = library("flax.nnx")
    module = nnx.GRUCell(FEATURES, UNITS, rngs=nnx.Rngs(0))
    graph, params = nnx.split(module)

    def step(params, state, inputs):
        return nnx.merge(graph, params)(state, inputs)

    cell = NNXCell(graph=graph, params=params, in_features=FEATURES)
    return cell, params, module.initialize_carry((BATCH, FEATURES), rngs=nnx.Rngs(0)), step


def haiku() -> Any:
    hk = library("haiku")
    transformed = hk.without_apply_rng(hk.transform(lambda inputs, state: hk.GRU(UNITS)(inputs, state)))
    state = jnp.zeros((BATCH, UNITS))
    params = transformed.init(jax.random.key(0), INPUTS[:, 0], state)

    def step(params, state, inputs):
        output, state = transformed.apply(params, inputs, state)
        return state, output

    return HaikuCell(transformed=transformed, params=params, units=UNITS), params, state, step


def equinox() -> Any:
    eqx = library("equinox")
    cell = eqx.nn.GRUCell(FEATURES, UNITS, key=jax.random.key(0))

    def step(cell, state, inputs):
        state = jnp.stack([cell(row, of_row) for row, of_row in zip(inputs, state, strict=True)])
        return state, state

    return EquinoxCell(cell=cell), cell, jnp.zeros((BATCH, UNITS)), step


@pytest.mark.parametrize("make", [linen, nnx, haiku, equinox], ids=lambda make: make.__name__)
def test_cell_of_another_library(make):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        cell, params, state, step = make()
        scan: Any = dynamic._jitted_scan
        compiled = scan._cache_size()
        outputs, last = nn.dynamic_rnn(cell, INPUTS, SOME)
        nn.dynamic_rnn(jax.tree.map(lambda leaf: 2 * leaf, cell), INPUTS, SOME)
        assert scan._cache_size() == compiled + 1

        def expected(params, inputs):
            outputs, now = [], state
            for time in range(inputs.shape[1]):
                active = (time < SOME)[:, None]
                after, output = step(params, now, inputs[:, time])
                now = jax.tree.map(lambda a, b: jnp.where(active, a, b), after, now)  # noqa: B023
                outputs.append(jnp.where(active, output, 0))
            return jnp.stack(outputs, 1), now

        for found, wanted in zip(
            jax.tree.leaves((outputs, last)), jax.tree.leaves(expected(params, INPUTS)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        by_cell = jax.grad(lambda cell: weighted(tuple(nn.dynamic_rnn(cell, INPUTS, SOME))))(cell)
        by_params = jax.grad(lambda params: weighted(expected(params, INPUTS)))(params)
        for found, wanted in zip(jax.tree.leaves(by_cell), jax.tree.leaves(by_params), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
