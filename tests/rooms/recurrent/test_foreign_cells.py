"""Cells of users and of other libraries: they give what a loop of theirs gives, and are compiled once."""

import functools
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as flax_linen
from flax import nnx as flax_nnx
from machinery.case import normal
from rooms.recurrent.foreign_cells import EquinoxCell, HaikuCell, LinenCell, NNXCell, transform_core
from rooms.recurrent.sequences import BATCH, FEATURES, SOME, UNITS, weighted

import jnnops as nn
from jnnops.recurrent import dynamic

INPUTS = jnp.float32(normal(BATCH, 6, FEATURES))


def linen() -> Any:
    module = flax_linen.LSTMCell(UNITS)
    carry = module.initialize_carry(jax.random.key(0), (BATCH, FEATURES))
    variables = module.init(jax.random.key(1), carry, INPUTS[:, 0])

    def step(variables, state, inputs):
        return module.apply(variables, state, inputs)

    return LinenCell(module=module, variables=variables, in_features=FEATURES), variables, carry, step


def nnx() -> Any:
    module = flax_nnx.GRUCell(FEATURES, UNITS, rngs=flax_nnx.Rngs(0))
    graph, params = flax_nnx.split(module)

    def step(params, state, inputs):
        return flax_nnx.merge(graph, params)(state, inputs)

    cell = NNXCell(graph=graph, params=params, in_features=FEATURES)
    return cell, params, module.initialize_carry((BATCH, FEATURES), rngs=flax_nnx.Rngs(0)), step


def haiku(kind: Any = hk.GRU) -> Any:
    transformed = transform_core(kind, UNITS)
    apply, initial_state = transformed.apply
    state = initial_state({}, BATCH)
    params = transformed.init(jax.random.key(0), INPUTS[:, 0], state)

    def step(params, state, inputs):
        output, state = apply(params, inputs, state)
        return state, output

    return HaikuCell(transformed=transformed, params=params), params, state, step


def haiku_lstm() -> Any:
    return haiku(hk.LSTM)


def equinox(kind: Any = eqx.nn.GRUCell) -> Any:
    cell = kind(FEATURES, UNITS, key=jax.random.key(0))

    def step(cell, state, inputs):
        rows = [cell(inputs[row], jax.tree.map(lambda leaf: leaf[row], state)) for row in range(BATCH)]  # noqa: B023
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
        return state, jax.tree.leaves(state)[0]

    adapted = EquinoxCell(cell=cell)
    return adapted, cell, adapted.zero_state(BATCH, jnp.float32), step


def equinox_lstm() -> Any:
    return equinox(eqx.nn.LSTMCell)


@pytest.mark.parametrize("make", [linen, nnx, haiku, haiku_lstm, equinox, equinox_lstm], ids=lambda make: make.__name__)
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


def previous_first(state, inputs):
    return inputs, state


class ByAnotherName:
    def __call__(self, prev_state, x):
        return x, prev_state


SQUARE = {
    "linen": flax_linen.GRUCell(FEATURES),
    "nnx": flax_nnx.GRUCell(FEATURES, FEATURES, rngs=flax_nnx.Rngs(0)),
    "function": previous_first,
    "jit": jax.jit(previous_first),
    "partial": functools.partial(previous_first),
    "class": ByAnotherName(),
}


@pytest.mark.parametrize("cell", SQUARE.values(), ids=SQUARE)
def test_cell_that_takes_the_state_first_is_refused(cell):
    """With as many units as features it would run, and compute something else."""
    state = jnp.zeros((BATCH, FEATURES))
    message = (
        r"`cell\w*` must be callable as cell\(inputs, state\) and return \(output, new_state\), got a .* that takes"
    )
    with pytest.raises(
        TypeError, match=f"dynamic_rnn: {message} .(carry|state|prev_state), (inputs|x).: call it from a"
    ):
        nn.dynamic_rnn(cell, INPUTS, initial_state=state)
    with pytest.raises(TypeError, match=f"bidirectional_dynamic_rnn: {message}"):
        nn.bidirectional_dynamic_rnn(cell, cell, INPUTS, None, state, state)
    with pytest.raises(TypeError, match=f"static_rnn: {message}"):
        nn.static_rnn(cell, [INPUTS[:, 0]], initial_state=state)
    with pytest.raises(TypeError, match=f"MultiRNNCell: {message}"):
        nn.layers.MultiRNNCell(cells=(cell,))(INPUTS[:, 0], (state,))


@pytest.mark.parametrize(
    "cell",
    [
        lambda inputs, state: (inputs + state, state),
        lambda *arguments: (arguments[0] + arguments[1], arguments[1]),
        lambda hidden, state: (hidden + state, state),
        jax.tree_util.Partial(lambda inputs, state: (inputs + state, state)),
    ],
)
def test_functions_in_the_right_order_are_cells(cell):
    state = jnp.full((BATCH, FEATURES), 2.0)
    np.testing.assert_array_equal(nn.dynamic_rnn(cell, INPUTS, initial_state=state).outputs, INPUTS + 2)
