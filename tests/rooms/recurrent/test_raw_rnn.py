"""``raw_rnn``: decoders that feed their own output back, against TensorFlow; what ends a loop; trees and transforms."""

import functools
from typing import Any

import cases.recurrent as rc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.recurrent.raw import reading
from jax.sharding import PartitionSpec
from machinery.case import normal
from rooms.recurrent.sequences import BATCH, CELLS, FEATURES, INPUTS, SOME, UNITS, assert_trees_close, weighted

import jnnops as nn

GRU = jax.tree.map(jnp.float32, CELLS["gru"])
WIDE = {"cell": rc.gru(4, UNITS, seed=1), "projection": normal(UNITS, 4)}
STOP, LONGEST = 0.345, 6


def decoder(weights: Any, start: Any, np_like: Any, zeros: Any) -> Any:
    """A decoder of 4 symbols that feeds their probabilities back and ends where the last one is likely.

    It emits the probabilities and the step; the loop state is what has been probable so far.
    """

    def loop_fn(time: Any, cell_output: Any, cell_state: Any, loop_state: Any) -> Any:
        if cell_output is None:
            emitted = {"probabilities": zeros((4,)), "twice": zeros(())}
            return zeros((BATCH,)) > 1, zeros((BATCH, 4)), start, emitted, zeros((BATCH, 4))
        probabilities = np_like.nn.softmax(np_like.matmul(cell_output, weights["projection"]))
        emitted = {"probabilities": probabilities, "twice": 2 * probabilities[:, 0]}
        finished = (probabilities[:, 3] > STOP) | (time >= LONGEST)
        return finished, probabilities, cell_state, emitted, loop_state + probabilities

    return loop_fn


class _Jax:
    nn = jax.nn
    matmul = staticmethod(jnp.matmul)


def decode(weights: Any, start: Any, max_steps: int, **options: Any) -> Any:
    loop_fn = decoder(weights, start, _Jax, lambda shape: jnp.zeros(shape, start.dtype))
    return nn.raw_rnn(weights["cell"], loop_fn, max_steps=max_steps, **options)


class TestDecoder:
    START = normal(BATCH, UNITS) * np.array([[0.1], [1.0], [3.0]])

    def test_agrees_with_tensorflow(self):
        from machinery import oracle

        tf = oracle.tf
        kernel, projection = tf.constant(WIDE["cell"].candidate_kernel, tf.float64), tf.constant(WIDE["projection"])
        start = tf.constant(self.START)
        cell = rc.tf_cell(tf, WIDE["cell"], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch([kernel, projection, start])
            cell._candidate_kernel = kernel
            made = decoder({"projection": projection}, start, tf, lambda shape: tf.zeros(shape, tf.float64))
            emitted, state, loop_state = tf.compat.v1.nn.raw_rnn(cell, made)
            expected = {name: array.stack() for name, array in emitted.items()}, state, loop_state
            total = tf.add_n([tf.reduce_sum(leaf**2) for leaf in tf.nest.flatten(expected)])
        gradient = tape.gradient(total, [kernel, projection, start])
        steps = len(expected[0]["twice"])
        lengths = np.count_nonzero(expected[0]["twice"], axis=0)
        assert lengths.tolist() == [4, 3, 6]

        def ours(kernel, projection, start, options):
            cell = rc.with_weights(WIDE["cell"], {"candidate_kernel": kernel})
            return decode({"cell": cell, "projection": projection}, start, steps + 3, **dict(options))

        def loss(*given):
            results = ours(*given)
            return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(results)), jnp.zeros(())), results

        given = WIDE["cell"].candidate_kernel, WIDE["projection"], self.START
        padding = [(0, 3), (0, 0), (0, 0)]
        outputs = {name: np.pad(leaf, padding[: leaf.ndim]) for name, leaf in expected[0].items()}
        expected = outputs, expected[1].numpy(), expected[2].numpy()
        with jax.enable_x64(True):
            given = tuple(map(jnp.array, given))
            for options in ((), (("remat", True),), (("early_exit", True),)):
                found = jax.jit(ours, static_argnums=3)(*given, options)
                assert_trees_close(tuple(found), expected, rtol=1e-9)
                if options != (("early_exit", True),):
                    by_given = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True), static_argnums=3)(*given, options)[0]
                    assert_trees_close(list(by_given), [np.asarray(leaf) for leaf in gradient], rtol=1e-8)

    def test_early_exit_stops_when_all_rows_have_finished(self):
        calls = []

        def count(time):
            calls.append(int(time))

        def loop_fn(time, cell_output, cell_state, loop_state):
            if cell_output is None:
                return jnp.zeros(BATCH, bool), jnp.float32(INPUTS[:, 0]), GRU.zero_state(BATCH), None, None
            jax.debug.callback(count, time)
            return time >= SOME, jnp.float32(INPUTS[:, 0]), cell_state, cell_output, None

        jax.block_until_ready(nn.raw_rnn(GRU, loop_fn, max_steps=50, early_exit=True))
        jax.effects_barrier()
        assert sorted(calls) == [1, 2, 3, 4]

    def test_is_differentiable_forward_with_early_exit(self):
        def run(cell, early_exit):
            return nn.raw_rnn(cell, reading(jnp.float32(INPUTS), SOME, cell), max_steps=6, early_exit=early_exit)

        at_once, on = (jax.jvp(lambda cell: run(cell, early_exit), (GRU,), (GRU,)) for early_exit in (True, False))  # noqa: B023
        assert_trees_close(at_once, on)


class TestProtocol:
    def test_equals_dynamic_rnn(self):
        found = nn.raw_rnn(GRU, reading(jnp.float32(INPUTS), SOME, GRU), max_steps=INPUTS.shape[1])
        expected = nn.dynamic_rnn(GRU, jnp.float32(INPUTS), SOME)
        assert_trees_close((jnp.swapaxes(found.outputs, 0, 1), found.state), tuple(expected))

    def test_loop_state_may_be_any_tree_and_stays_when_left_out(self):
        def loop_fn(time, cell_output, cell_state, loop_state):
            if cell_output is None:
                loop_state = {"key": jax.random.key(0), "time": time, "bytes": jnp.zeros(2, jnp.uint8)}
                return jnp.zeros(BATCH, bool), jnp.zeros((BATCH, FEATURES)), GRU.zero_state(BATCH), None, loop_state
            key, now = jax.random.split(loop_state["key"])
            loop_state = {**loop_state, "key": key, "time": time}
            return time >= SOME, jax.random.normal(now, (BATCH, FEATURES)), cell_state, None, loop_state

        outputs, state, loop_state = nn.raw_rnn(GRU, loop_fn, max_steps=9)
        assert outputs is None  # nothing is emitted
        assert loop_state["time"] == max(SOME)
        assert loop_state["key"] != jax.random.key(0)
        assert_trees_close(state, nn.raw_rnn(GRU, loop_fn, max_steps=4).state)

        def keeps(time, cell_output, cell_state, loop_state):
            given = {"key": jax.random.key(1)} if loop_state is None else loop_state
            returned = {"kept": jnp.arange(3)} if loop_state is None else None
            return *loop_fn(time, cell_output, cell_state, {**given, "key": jax.random.key(1)})[:-1], returned

        np.testing.assert_array_equal(nn.raw_rnn(GRU, keeps, max_steps=9).loop_state["kept"], np.arange(3))

    def test_a_scalar_of_the_state_counts_the_steps_until_all_rows_have_finished(self):
        class Counter:
            def __call__(self, inputs, state):
                return inputs + state["sum"], {"sum": inputs + state["sum"], "steps": state["steps"] + 1}

        def loop_fn(time, cell_output, cell_state, loop_state):
            state = {"sum": jnp.zeros(BATCH), "steps": 0} if cell_output is None else cell_state
            return time >= SOME, jnp.ones(BATCH), state, cell_output, None

        outputs, state, _ = nn.raw_rnn(Counter(), loop_fn, max_steps=9)
        np.testing.assert_array_equal(state["sum"], SOME)
        assert state["steps"] == max(SOME)
        np.testing.assert_array_equal(outputs.sum(0), [3, 10, 0])

    def test_state_is_promoted_to_the_dtype_the_cell_gives_it(self):
        def loop_fn(time, cell_output, cell_state, loop_state):
            state = jnp.zeros((BATCH, UNITS), jnp.bfloat16) if cell_output is None else cell_state
            return time >= SOME, jnp.bfloat16(INPUTS[:, 0]), state, cell_output, None

        with jax.numpy_dtype_promotion("standard"):
            assert nn.raw_rnn(GRU, loop_fn, max_steps=3).state.dtype == jnp.float32

    def test_result_of_the_cell_is_checked(self):
        def loop_fn(time, cell_output, cell_state, loop_state):
            return time >= SOME, jnp.ones((BATCH, 2)), jnp.ones((BATCH, UNITS)), cell_output, None

        with pytest.raises(ValueError, match=r"raw_rnn: `cell` must return a state of the shapes \[\(3, 3\)\]"):
            nn.raw_rnn(lambda inputs, state: (inputs, inputs), loop_fn, max_steps=3)


class TestTransforms:
    def test_in_shard_map(self):
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        inputs, lengths = jnp.float32(normal(8, 4, FEATURES)), jnp.arange(8) % 5

        def run(cell, inputs, lengths, early_exit):
            # of which the first state and the first loop state do not vary over the devices
            return nn.raw_rnn(cell, reading(inputs, lengths, cell), max_steps=4, early_exit=early_exit)[:2]

        split = PartitionSpec("batch")
        for early_exit in (False, True):
            whole = run(GRU, inputs, lengths, early_exit)
            sharded = jax.shard_map(
                functools.partial(run, early_exit=early_exit),
                mesh=mesh,
                in_specs=(PartitionSpec(), split, split),
                out_specs=(PartitionSpec(None, "batch"), split),
            )
            assert_trees_close(jax.jit(sharded)(GRU, inputs, lengths), whole, rtol=1e-5)

    def test_gradient_of_a_16_bit_kernel_is_summed_in_float32(self):
        cell = jax.tree.map(jnp.bfloat16, nn.layers.BasicRNNCell.init(4, 4, key=jax.random.key(0)))
        inputs = jnp.bfloat16(normal(4, 400, 4))

        def gradient(cell, inputs):
            def total(cell):
                loop_fn = reading(inputs, jnp.full(4, 400), nn.layers.BasicRNNCell.init(4, 4, key=jax.random.key(0)))
                outputs = nn.raw_rnn(cell, loop_fn, max_steps=400).outputs
                return jnp.sum(outputs.astype(jnp.float32))

            return jax.grad(total)(cell).bias

        exact = gradient(jax.tree.map(jnp.float32, cell), inputs.astype(jnp.float32))
        actual = gradient(cell, inputs)
        assert actual.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(actual), exact, rtol=2**-7)

    def test_second_order(self):
        def run(cell):
            outputs, state, _ = nn.raw_rnn(cell, reading(jnp.float32(INPUTS), SOME, cell), max_steps=5)
            return weighted((jnp.swapaxes(outputs, 0, 1)[:, :4], state))

        def expected(cell):
            return weighted(nn.dynamic_rnn(cell, jnp.float32(INPUTS), SOME))

        def second(f):
            return jax.jvp(jax.grad(f), (GRU,), (GRU,))[1]

        assert_trees_close(jax.jit(second, static_argnums=0)(run), jax.jit(second, static_argnums=0)(expected), 1e-4)
