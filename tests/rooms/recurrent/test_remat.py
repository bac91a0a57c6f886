"""Loops that compute their steps again for their derivatives: the same results in memory sublinear in time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import normal
from machinery.programs import compile_by_default
from rooms.recurrent.sequences import CELLS, FEATURES, assert_trees_close, weighted

import jnnops as nn
from jnnops.recurrent._chunks import scan_in_chunks

CELL = jax.tree.map(jnp.float32, CELLS["gru"])


@pytest.mark.parametrize("time", [0, 3, 13, 24])
def test_results_and_gradients_are_the_same(time):
    inputs, lengths = jnp.float32(normal(3, time, FEATURES)), jnp.array([time, time // 2, 0])

    def run(cell, inputs, remat):
        return nn.bidirectional_dynamic_rnn(cell, cell, inputs, lengths, remat=remat)

    def both(remat):
        gradient = jax.grad(lambda cell, inputs: weighted(run(cell, inputs, remat)), argnums=(0, 1))
        values, tangents = jax.jvp(lambda cell, inputs: run(cell, inputs, remat), (CELL, inputs), (CELL, inputs))
        return values, tangents, gradient(CELL, inputs)

    assert_trees_close(jax.jit(both, static_argnums=0)(True), jax.jit(both, static_argnums=0)(False), rtol=1e-5)


def test_memory_of_the_gradient_grows_with_the_square_root_of_time():
    def temporary(time, **options):
        def loss(cell, inputs):
            return weighted(nn.dynamic_rnn(cell, inputs, time_major=True, **options).state)

        shape = jax.ShapeDtypeStruct((time, 8, 2), jnp.float32)
        memory = compile_by_default(jax.grad(loss), nn.layers.GRUCell.init(2, 32, key=jax.random.key(0)), shape)
        return memory.memory_analysis().temp_size_in_bytes

    assert temporary(1600) > 12 * temporary(100)
    assert temporary(1600, remat=True) < 4.5 * temporary(100, remat=True)
    assert temporary(1600, remat=True) < temporary(1600) / 16


@pytest.mark.parametrize("time", [4, 13, 1000])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_step_is_taken_once_and_in_order(time, reverse):
    def step(last, now):
        return now, now - last

    _, differences = scan_in_chunks(step, jnp.int32(-1), jnp.arange(time), reverse=reverse, unroll=1)
    expected = np.full(time, -1 if reverse else 1)
    expected[-1 if reverse else 0] = time if reverse else 1
    np.testing.assert_array_equal(differences, expected)


def test_siblings_take_it_too():
    steps = list(jnp.float32(normal(5, 3, FEATURES)))
    forward, backward = CELL, jax.tree.map(jnp.float32, CELLS["basic_lstm"])

    def results(remat):
        return (
            nn.static_rnn(CELL, steps, remat=remat),
            nn.static_bidirectional_rnn(forward, backward, steps, remat=remat),
            nn.static_state_saving_rnn(CELL, steps, {"h": jnp.ones((3, 3))}, "h", remat=remat),
            nn.stack_bidirectional_rnn([forward], [backward], steps, remat=remat),
            nn.stack_bidirectional_dynamic_rnn([forward], [backward], jnp.stack(steps, 1), remat=remat),
        )

    assert_trees_close(results(True), results(False))
    checkpoints = str(jax.make_jaxpr(results, static_argnums=0)(True)).count("prevent_cse=")
    assert checkpoints >= 8  # of as many loops


@pytest.mark.parametrize("remat", [False, True])
def test_program_of_the_gradient_does_not_grow_with_time(remat):
    def lines(time):
        def loss(cell, inputs):
            return weighted(nn.dynamic_rnn(cell, inputs, time_major=True, remat=remat).state)

        shape = jax.ShapeDtypeStruct((time, 3, FEATURES), jnp.float32)
        return len(jax.jit(jax.grad(loss)).lower(CELL, shape).as_text().splitlines())

    assert lines(10_000) == lines(100)
