"""Recurrent ops under jit, grad, vmap, shard_map and export."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from machinery.case import normal
from rooms.recurrent.sequences import (
    BATCH,
    CELLS,
    FEATURES,
    INPUTS,
    SOME,
    TIME,
    UNITS,
    Returning,
    assert_trees_close,
    weighted,
)

import jnnops as nn
from jnnops.layers import layer


class TestTransforms:
    def test_a_cell_of_arrays_is_traced_once_outside_jit(self):
        traces = []

        @layer
        class Traced:
            cell: Any

            def zero_state(self, batch_size: int, dtype: Any) -> Any:
                return self.cell.zero_state(batch_size, dtype)

            def __call__(self, inputs: Any, state: Any) -> Any:
                traces.append(inputs)
                return self.cell(inputs, state)

        cell = Traced(cell=jax.tree.map(jnp.float32, CELLS["gru"]))
        expected = nn.dynamic_rnn(cell, INPUTS)
        count = len(traces)
        assert count
        assert_trees_close(nn.dynamic_rnn(cell, INPUTS), expected)
        other = jax.tree.map(lambda leaf: 2 * leaf, cell)
        assert not np.allclose(nn.dynamic_rnn(other, INPUTS).outputs, expected.outputs)
        assert len(traces) == count

    def test_a_cell_may_close_over_traced_arrays(self):
        cell = jax.tree.map(jnp.float32, CELLS["gru"])

        class Closed(Returning):
            def __call__(self, inputs, state):
                return self.result(inputs, state)

        closed = jax.jit(jax.grad(lambda cell: weighted(nn.dynamic_rnn(Closed(cell), np.float32(INPUTS), SOME))))
        direct = jax.grad(lambda cell: weighted(nn.dynamic_rnn(cell, np.float32(INPUTS), SOME)))
        assert_trees_close(closed(cell), direct(cell))

    def test_gradient_of_a_16_bit_kernel_is_summed_in_float32(self):
        cell = jax.tree.map(jnp.bfloat16, nn.layers.BasicRNNCell.init(4, 4, key=jax.random.key(0)))
        inputs = jnp.bfloat16(normal(4, 400, 4))

        def gradient(cell, inputs):
            return jax.grad(lambda cell: jnp.sum(nn.dynamic_rnn(cell, inputs).outputs.astype(jnp.float32)))(cell).bias

        exact = gradient(jax.tree.map(jnp.float32, cell), inputs.astype(jnp.float32))
        actual = gradient(cell, inputs)
        assert actual.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(actual), exact, rtol=2**-7)

    def test_ensemble_of_cells_is_a_vmap(self):
        keys = jax.random.split(jax.random.key(0), 3)
        cells = jax.jit(jax.vmap(lambda key: nn.layers.LSTMCell.init(FEATURES, UNITS, use_peepholes=True, key=key)))(
            keys
        )
        run = jax.jit(jax.vmap(nn.dynamic_rnn, in_axes=(0, None, None)))
        actual = run(cells, jnp.float32(INPUTS), jnp.array(SOME))
        for i in range(3):
            cell = jax.tree.map(lambda leaf, i=i: leaf[i], cells)
            expected = nn.dynamic_rnn(cell, INPUTS, SOME)
            assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], actual), expected, rtol=1e-5)

    def test_ensemble_of_cells_sharded_over_devices(self):
        keys = jax.random.split(jax.random.key(0), 8)
        cells = jax.jit(jax.vmap(lambda key: nn.layers.BasicRNNCell.init(FEATURES, UNITS, key=key)))(keys)
        mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))

        def run(cells, inputs):
            return jax.vmap(lambda cell: nn.dynamic_rnn(cell, inputs, jnp.array(SOME)).outputs)(cells)

        split = PartitionSpec("model")
        sharded = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(split, PartitionSpec()), out_specs=split))
        np.testing.assert_allclose(sharded(cells, jnp.float32(INPUTS)), run(cells, jnp.float32(INPUTS)), rtol=1e-5)

    def test_exported_for_any_batch_and_time(self):
        cell = jax.tree.map(jnp.float32, CELLS["basic_lstm"])
        batch, time = jax.export.symbolic_shape("batch, time")
        shapes = (
            jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), cell),
            jax.ShapeDtypeStruct((batch, time, FEATURES), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )
        exported = jax.export.export(jax.jit(lambda *args: jax.tree.leaves(nn.dynamic_rnn(*args))))(*shapes)
        for rows, steps in ((BATCH, TIME), (2, 3)):
            given = cell, jnp.float32(INPUTS[:rows, :steps]), jnp.array([3, 1, 2][:rows], jnp.int32)
            assert_trees_close(exported.call(*given), jax.tree.leaves(nn.dynamic_rnn(*given)))
