"""Cells inside of cells, with dropout, over time: every kind of derivative, exported, and in a shard_map."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from machinery.case import cotangent, normal
from rooms.layers.cell_table import KEY, exact

import jnnops as nn
from jnnops.layers import (
    AttentionCellWrapper,
    CoupledInputForgetGateLSTMCell,
    DropoutWrapper,
    GRUBlockCell,
    HighwayWrapper,
    InputProjectionWrapper,
    LayerNormBasicLSTMCell,
    LSTMBlockCell,
    MultiRNNCell,
    OutputProjectionWrapper,
    ResidualWrapper,
)

BATCH, TIME, UNITS = 3, 4, 3
INPUTS, LENGTHS = normal(BATCH, TIME, UNITS), np.array([4, 1, 3])
DRAWING = jax.random.key(9)


def nested() -> Any:
    normalized = LayerNormBasicLSTMCell.init(UNITS, UNITS, dropout_rate=0.5, key=KEY)
    coupled = CoupledInputForgetGateLSTMCell.init(UNITS, 4, use_peepholes=True, num_proj=UNITS, key=KEY)
    block = InputProjectionWrapper.init(LSTMBlockCell.init(2, UNITS, use_peephole=True, key=KEY), UNITS, 2, key=KEY)
    attention = AttentionCellWrapper.init(GRUBlockCell.init(UNITS, UNITS, key=KEY), UNITS, attn_length=2, key=KEY)
    cells = (
        DropoutWrapper.init(normalized, output_rate=0.25, state_rate=0.25),
        HighwayWrapper.init(coupled, UNITS, key=KEY),
        ResidualWrapper.init(OutputProjectionWrapper.init(block, UNITS, key=KEY)),
        DropoutWrapper.init(attention, input_rate=0.25, variational=True),
    )
    return exact(MultiRNNCell(cells=cells))


def run(cell: Any, inputs: Any, key: Any) -> Any:
    state = cell.zero_state(inputs.shape[0], inputs.dtype, key=key)
    return nn.dynamic_rnn(cell, inputs, LENGTHS[: inputs.shape[0]], state)


def loss(cell: Any, inputs: Any, key: Any) -> jax.Array:
    outputs = run(cell, inputs, key).outputs
    return jnp.sum(outputs * cotangent(outputs.shape).astype(outputs.dtype))


def dot(a: Any, b: Any) -> Any:
    return sum(np.sum(x * y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_equals_the_steps_one_by_one_and_its_differences_to_second_order():
    given = nested(), INPUTS
    direction = jax.tree.map(lambda leaf: normal(*np.shape(leaf), seed=3), given)

    @jax.jit
    def differentiate(cell, inputs):
        gradient = jax.grad(lambda cell, inputs: loss(cell, inputs, DRAWING), argnums=(0, 1))
        return run(cell, inputs, DRAWING).outputs, *jax.jvp(gradient, (cell, inputs), direction)

    with jax.enable_x64(True):
        found, gradient, second = jax.tree.map(np.asarray, differentiate(*given))
        after, before = (
            jax.tree.map(np.asarray, differentiate(*jax.tree.map(lambda a, b, by=by: a + by * b, given, direction)))
            for by in (1e-6, -1e-6)
        )
        cell, state, outputs = given[0], given[0].zero_state(BATCH, jnp.float64, key=DRAWING), []
        step_of = jax.jit(lambda inputs, state: cell(inputs, state))
        for step in range(TIME):
            output, state = step_of(INPUTS[:, step], state)
            outputs.append(np.where((step < LENGTHS)[:, None], output, 0))
    np.testing.assert_allclose(found, np.stack(outputs, 1), rtol=1e-12, atol=1e-13)
    assert np.count_nonzero(found) == np.sum(LENGTHS) * UNITS
    up, down = (np.sum(each[0] * cotangent(INPUTS.shape)) for each in (after, before))
    np.testing.assert_allclose(dot(gradient, direction), (up - down) / 2e-6, rtol=1e-6)
    for actual, plus, minus in zip(*map(jax.tree.leaves, (second, after[1], before[1])), strict=True):
        quotient = (plus - minus) / 2e-6
        np.testing.assert_allclose(actual, quotient, rtol=0, atol=1e-5 * (np.abs(quotient).max() or 1))


def test_exported_for_every_platform_and_in_a_shard_map():
    cell, inputs = jax.tree.map(jnp.float32, (nested(), INPUTS))
    gradient = jax.grad(loss)
    words = jax.random.key_data(DRAWING)
    expected = jax.jit(gradient)(cell, inputs, words)
    exported = jax.export.export(jax.jit(gradient), platforms=["cpu", "cuda", "tpu"])(cell, inputs, words)
    loaded = jax.export.deserialize(exported.serialize()).call
    mesh, whole = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,)), PartitionSpec()
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=(whole, PartitionSpec("batch"), whole), out_specs=whole)
    for compute in (loaded, jax.jit(sharded)):
        for actual, wanted in zip(*map(jax.tree.leaves, (compute(cell, inputs, words), expected)), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


def test_no_copies_no_rows_and_a_batch_left_open():
    cell, inputs = jax.tree.map(jnp.float32, (nested(), INPUTS))
    keys = jax.random.split(DRAWING, 0)
    assert jax.eval_shape(jax.vmap(loss, (None, None, 0)), cell, inputs, keys).shape == (0,)
    assert jax.eval_shape(run, cell, inputs[:0], DRAWING).outputs.shape == (0, TIME, UNITS)
    (rows,) = jax.export.symbolic_shape("rows")
    open_batch = jax.ShapeDtypeStruct((rows, TIME, UNITS), jnp.float32)

    def without_lengths(inputs):
        state = cell.zero_state(inputs.shape[0], key=DRAWING)
        return nn.dynamic_rnn(cell, inputs, initial_state=state).outputs

    exported = jax.export.export(jax.jit(without_lengths))(open_batch)
    np.testing.assert_allclose(exported.call(inputs), without_lengths(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_static_rnn_and_remat_draw_the_same(remat):
    cell, inputs = jax.tree.map(jnp.float32, (nested(), INPUTS))
    state = cell.zero_state(BATCH, key=DRAWING)
    expected = nn.dynamic_rnn(cell, inputs, initial_state=state)
    if remat:
        found = nn.dynamic_rnn(cell, inputs, initial_state=state, remat=True).outputs
    else:
        found = jnp.stack(nn.static_rnn(cell, list(jnp.moveaxis(inputs, 1, 0)), state).outputs, axis=1)
    np.testing.assert_allclose(found, expected.outputs, rtol=1e-5, atol=1e-6)
