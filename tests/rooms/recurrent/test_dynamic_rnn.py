"""Recurrent ops against TensorFlow; lengths, trees of inputs and states, and what a cell must return."""

from typing import Any

import cases.recurrent as rc
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.case import normal
from rooms.recurrent.sequences import (
    BATCH,
    CELLS,
    FEATURES,
    INPUTS,
    LENGTHS,
    SOME,
    TIME,
    UNITS,
    Returning,
    assert_trees_close,
    swapped,
    weighted,
)

import jnnops as nn
from jnnops.layers import LSTMStateTuple

# cell, lengths, time_major, whether an initial state is given, unroll
GRID = [
    ("basic_rnn", "none", False, True, 1),
    ("basic_rnn", "some", True, False, 3),
    ("gru", "some", False, False, 1),
    ("gru", "one", True, True, 3),
    ("basic_lstm", "all", True, False, 1),
    ("basic_lstm", "some", False, True, 3),
    ("lstm", "one", False, False, 1),
    ("lstm", "some", True, True, 1),
]


class Counter:
    """An object that is no pytree: its state is an array and the number of steps; the output is the sum so far."""

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return {"sum": jnp.zeros(batch_size, dtype), "steps": 0}

    def __call__(self, inputs: Any, state: Any) -> Any:
        total = state["sum"] + inputs["x"] + inputs["y"].sum(-1)
        return {"total": total, "twice": jnp.stack([total, 2 * total], -1)}, {"sum": total, "steps": state["steps"] + 1}


class TestTensorFlow:
    """Values, and gradients by inputs, initial state and weights."""

    @pytest.mark.parametrize(("name", "lengths", "time_major", "started", "unroll"), GRID)
    def test_dynamic_rnn(self, name, lengths, time_major, started, unroll):
        from machinery import oracle

        cell, given = CELLS[name], {"inputs": swapped(INPUTS, time_major), **rc.weights(CELLS[name])}
        structure = jax.tree.structure(cell.zero_state(1))
        state = [normal(BATCH, size, seed=i) for i, size in enumerate(jax.tree.leaves(cell.state_size))]
        given |= {f"state{i}": part for i, part in enumerate(state)} if started else {}

        def theirs(tf, inputs, **tensors):
            initial = [tensors.pop(name) for name in list(tensors) if name.startswith("state")]
            made = rc.tf_cell(tf, cell, tf.float64)
            for name, tensor in tensors.items():
                setattr(made, rc.tf_name(name), tensor)
            return tf.compat.v1.nn.dynamic_rnn(
                made,
                inputs,
                sequence_length=LENGTHS[lengths],
                initial_state=tf.nest.pack_sequence_as(made.state_size, initial) if started else None,
                dtype=tf.float64,
                time_major=time_major,
            )

        def ours(inputs, **arrays):
            initial = [arrays.pop(name) for name in list(arrays) if name.startswith("state")]
            return nn.dynamic_rnn(
                rc.with_weights(cell, arrays),
                inputs,
                sequence_length=LENGTHS[lengths],
                initial_state=structure.unflatten(initial) if started else None,
                time_major=time_major,
                unroll=unroll,
            )

        assert_same_as_tensorflow(oracle, theirs, ours, given)

    @pytest.mark.parametrize(("lengths", "time_major"), [("none", False), ("some", False), ("one", True)])
    def test_bidirectional_dynamic_rnn(self, lengths, time_major):
        from machinery import oracle

        forward, backward = CELLS["gru"], CELLS["basic_lstm"]
        options = {"sequence_length": LENGTHS[lengths], "time_major": time_major}
        theirs = rc.tf_bidirectional_dynamic_rnn(forward, backward, **options)
        given = {"inputs": swapped(INPUTS, time_major), "initial_state_fw": normal(BATCH, UNITS)}
        assert_same_as_tensorflow(
            oracle, theirs, lambda **arrays: nn.bidirectional_dynamic_rnn(forward, backward, **arrays, **options), given
        )


def assert_same_as_tensorflow(oracle, theirs, ours, given):
    def total(arrays):
        results = ours(**arrays)
        return weighted(results), results

    with jax.enable_x64(True):
        found, results = jax.jit(jax.grad(total, has_aux=True))(given)
    for actual, expected in zip(jax.tree.leaves(results), oracle.values(theirs, given), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)
    for name, expected in zip(given, oracle.gradients(theirs, given, list(given)), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)


class TestSequenceLength:
    def test_each_row_is_as_if_run_alone_for_its_length(self):
        cell = CELLS["basic_lstm"]
        lengths = np.array([2, 4, 1])
        outputs, state = nn.dynamic_rnn(cell, INPUTS, lengths)
        for row, length in enumerate(lengths):
            alone = nn.dynamic_rnn(cell, INPUTS[row : row + 1, :length])
            np.testing.assert_allclose(outputs[row, :length], alone.outputs[0], rtol=1e-5)
            np.testing.assert_array_equal(outputs[row, length:], 0)
            assert_trees_close(jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], state), alone.state)

    def test_length_0_gives_zeros_and_the_initial_state(self):
        outputs, state = nn.dynamic_rnn(CELLS["gru"], INPUTS, np.zeros(BATCH, int), np.ones((BATCH, UNITS)))
        np.testing.assert_array_equal(outputs, 0)
        np.testing.assert_array_equal(state, 1)

    def test_lengths_out_of_range_count_as_0_and_time(self):
        given, meant = np.array([9, -2, 1]), np.array([4, 0, 1])
        for op in (nn.dynamic_rnn, rc.both_ways):
            assert_trees_close(op(CELLS["gru"], INPUTS, given), op(CELLS["gru"], INPUTS, meant))

    def test_checkify_reports_lengths_out_of_range(self):
        checked = checkify.checkify(
            jax.jit(lambda lengths: nn.dynamic_rnn(CELLS["gru"], INPUTS, lengths)), errors=checkify.user_checks
        )
        assert checked(jnp.array([4, 0, 1]))[0].get() is None
        for lengths in ([5, 0, 1], [4, -1, 1]):
            message = checked(jnp.array(lengths))[0].get()
            assert message is not None
            assert "dynamic_rnn: `sequence_length` must be in [0, 4]" in message

    @pytest.mark.parametrize(("op", "name", "order"), [(nn.dynamic_rnn, "basic_rnn", 2), (rc.both_ways, "lstm", 1)])
    def test_nan_in_the_padding_reaches_nothing(self, op, name, order):
        padding = (np.arange(TIME) >= SOME[:, None])[..., None]

        def f(cell, inputs):
            return op(cell, inputs, SOME)

        def derivative(f):
            return jax.grad(lambda cell, inputs: weighted(f(cell, inputs)), argnums=(0, 1))

        functions = [f, derivative(f), derivative(derivative(f))][: order + 1]
        cell = jax.tree.map(jnp.float32, CELLS[name])
        run = jax.jit(lambda inputs: [function(cell, inputs) for function in functions])
        dirty = run(np.float32(np.where(padding, np.nan, INPUTS)))
        assert_trees_close(dirty, run(np.float32(np.where(padding, 0, INPUTS))))
        for _, by_inputs in dirty[1:]:
            assert np.count_nonzero(by_inputs)
            np.testing.assert_array_equal(np.where(padding, by_inputs, 0), 0)

    def test_backward_cell_starts_at_each_rows_own_end(self):
        from machinery import oracle

        lengths = np.array([2, 4, 1])
        reverse = oracle.tf.reverse_sequence
        run = nn.dynamic_rnn(CELLS["gru"], reverse(INPUTS, lengths, seq_axis=1).numpy(), lengths)
        outputs, state = nn.bidirectional_dynamic_rnn(CELLS["basic_rnn"], CELLS["gru"], INPUTS, lengths)
        np.testing.assert_allclose(outputs[1], reverse(run.outputs, lengths, seq_axis=1), rtol=1e-5)
        np.testing.assert_allclose(state[1], run.state, rtol=1e-5)

    def test_small_unsigned_lengths_do_not_overflow(self):
        inputs = np.ones((1, 300, 1))
        outputs = nn.dynamic_rnn(rc.basic_rnn(1, 1), inputs, np.array([255], np.uint8)).outputs
        assert np.count_nonzero(outputs) == 255


class TestTrees:
    def test_inputs_outputs_and_states_are_any_trees_and_the_cell_any_object(self):
        inputs = {"x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "y": np.ones((2, 3, 2), np.float32)}
        outputs, state = nn.dynamic_rnn(Counter(), inputs, np.array([3, 1]))
        np.testing.assert_array_equal(outputs["total"], [[3, 7, 12], [6, 0, 0]])
        np.testing.assert_array_equal(outputs["twice"][..., 1], [[6, 14, 24], [12, 0, 0]])
        np.testing.assert_array_equal(state["sum"], [12, 6])
        assert state["steps"] == 3

    def test_state_may_be_a_list_of_arrays(self):
        class Delay(Returning):
            def zero_state(self, batch_size, dtype):
                return [jnp.zeros((batch_size, FEATURES), dtype)] * 2

            def __call__(self, inputs, state):
                return state[1], [inputs, state[0]]

        outputs, state = nn.dynamic_rnn(Delay(None), INPUTS)
        np.testing.assert_array_equal(outputs[:, 2:], np.float32(INPUTS[:, :2]))
        again = nn.dynamic_rnn(Delay(None), INPUTS, initial_state=state)
        np.testing.assert_array_equal(again.outputs[:, :2], np.float32(INPUTS[:, 2:]))

    def test_state_may_hold_random_keys(self):
        class Noise(Returning):
            def __call__(self, inputs, state):
                key, last = state
                key, now = jax.random.split(key)
                noise = jax.random.normal(now, last.shape)
                return noise, (key, noise)

        start = jax.random.key(0), np.zeros((BATCH, UNITS), np.float32)
        outputs, (key, last) = nn.dynamic_rnn(Noise(None), np.float32(INPUTS), LENGTHS["all"], start)
        np.testing.assert_array_equal(outputs[:, -1], last)
        assert np.unique(outputs).size == outputs.size
        assert key != start[0]

    def test_integer_inputs_with_a_dtype(self):
        table = jnp.eye(5, FEATURES)
        cell = CELLS["gru"]

        class Embedded(Returning):
            def __call__(self, inputs, state):
                return cell(table[inputs], state)

        ids = np.array([[1, 2, 0], [4, 3, 1]])
        expected = nn.dynamic_rnn(cell, table[ids])
        assert_trees_close(nn.dynamic_rnn(Embedded(None), ids, dtype=jnp.float32), expected)

    def test_no_steps(self):
        outputs, state = nn.dynamic_rnn(CELLS["lstm"], INPUTS[:, :0], unroll=2)
        assert outputs.shape == (BATCH, 0, 2)
        np.testing.assert_array_equal(state.c, np.zeros((BATCH, UNITS)))

    def test_unroll_may_exceed_the_steps(self):
        assert_trees_close(nn.dynamic_rnn(CELLS["gru"], INPUTS, unroll=7), nn.dynamic_rnn(CELLS["gru"], INPUTS))


class TestResultsOfTheCell:
    """What a cell must return, word for word."""

    @pytest.mark.parametrize(
        ("result", "error", "message"),
        [
            (lambda h: h, TypeError, "must return a pair (output, new_state), got "),
            (lambda h: (h, (h, h)), ValueError, "must return a state of the structure PyTreeDef(*), as given, got "),
            (lambda h: (h, h[:, :2]), ValueError, "must return a state of the shapes [(3, 3)], as given, got [(3, 2)]"),
            (lambda h: (h, h.astype("float16")), TypeError, "must return a state of the dtypes ['float32'], as given,"),
            (lambda h: (h.sum(), h), ValueError, "must return outputs of shape [3, ...], got ()"),
        ],
    )
    def test_is_checked(self, result, error, message):
        with pytest.raises(error) as raised, jax.numpy_dtype_promotion("standard"):
            nn.dynamic_rnn(Returning(result), np.float32(INPUTS))
        assert str(raised.value).startswith(f"dynamic_rnn: `cell` {message}")
        with pytest.raises(error) as raised, jax.numpy_dtype_promotion("standard"):
            nn.bidirectional_dynamic_rnn(CELLS["gru"], Returning(result), np.float32(INPUTS))
        assert str(raised.value).startswith(f"bidirectional_dynamic_rnn: `cell_bw` {message}")

    def test_state_is_promoted_to_the_dtype_the_cell_gives_it(self):
        cell = jax.tree.map(jnp.float32, CELLS["lstm"])
        inputs = jnp.bfloat16(INPUTS)
        start = LSTMStateTuple(jnp.zeros((BATCH, UNITS), jnp.bfloat16), jnp.zeros((BATCH, 2), jnp.bfloat16))
        with jax.numpy_dtype_promotion("standard"):
            for given in (None, start):
                outputs, state = nn.dynamic_rnn(cell, inputs, initial_state=given)
                assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(jnp.float32)}
                assert_trees_close(outputs, nn.dynamic_rnn(cell, inputs.astype(jnp.float32)).outputs)
            outputs = nn.dynamic_rnn(jax.tree.map(jnp.bfloat16, cell), inputs, dtype=jnp.float32).outputs
            assert outputs.dtype == jnp.float32
