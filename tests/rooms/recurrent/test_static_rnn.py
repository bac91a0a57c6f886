"""Lists of steps: trees of inputs, and which of TensorFlow's cells they agree with."""

import cases.recurrent as rc
import jax
import jax.numpy as jnp
import numpy as np
from machinery.case import normal
from rooms.recurrent.sequences import CELLS, INPUTS, SOME, assert_trees_close, weighted

import jnnops as nn
from jnnops.recurrent.static import list_of_steps

STEPS = [jnp.float32(INPUTS[:, time]) for time in range(INPUTS.shape[1])]


class Sum:
    """Its inputs are a dict, its outputs a pair."""

    def zero_state(self, batch_size, dtype):
        return jnp.zeros(batch_size, dtype)

    def __call__(self, inputs, state):
        total = state + inputs["x"] + inputs["y"].sum(-1)
        return (total, 2 * total), total


def test_states_of_several_arrays_agree_with_tensorflow():
    from machinery import oracle

    tf, cell = oracle.tf, CELLS["lstm"]
    start = nn.layers.LSTMStateTuple(normal(3, 3), normal(3, 2, seed=1))
    arrays = [tf.constant(INPUTS[:, time]) for time in range(len(STEPS))]
    saved = {"c": start.c, "h": start.h}

    class Saver:
        def state(self, name):
            return tf.constant(saved[name])

        def save_state(self, name, value):
            saved[name] = value
            return value

    made = rc.tf_cell(tf, cell, tf.float64)
    outputs, state = tf.compat.v1.nn.static_state_saving_rnn(made, arrays, Saver(), ("c", "h"), SOME)
    with jax.enable_x64(True):
        found = nn.static_state_saving_rnn(cell, [INPUTS[:, t] for t in range(4)], start._asdict(), ("c", "h"), SOME)
    assert isinstance(found.state, nn.layers.LSTMStateTuple)
    expected = [output.numpy() for output in outputs], (state.c.numpy(), state.h.numpy())
    assert_trees_close((found.outputs, tuple(found.state)), expected, rtol=1e-10)
    assert_trees_close(found.state_saver, {name: value.numpy() for name, value in saved.items()}, rtol=1e-10)


def test_steps_and_outputs_are_any_trees():
    steps = [{"x": [1.0, 2.0], "y": np.ones((2, 2), np.float32)}, {"x": jnp.array([3.0, 4.0]), "y": jnp.zeros((2, 2))}]
    run = nn.static_rnn(Sum(), steps, sequence_length=np.array([2, 1]), dtype=jnp.float32)
    expected = [([3, 4], [6, 8]), ([6, 0], [12, 0])]
    assert_trees_close(run.outputs, [tuple(map(np.array, step)) for step in expected])
    np.testing.assert_array_equal(run.state, [6, 4])


def test_tuples_and_arrays_count_as_lists():
    expected = nn.static_rnn(CELLS["gru"], STEPS)
    assert_trees_close(nn.static_rnn(CELLS["gru"], tuple(STEPS)), expected)
    assert_trees_close(nn.static_rnn(CELLS["gru"], jnp.stack(STEPS)), expected)


def test_gradients_of_a_list_are_put_together_not_added_up():
    def gradient(outputs):
        return jax.grad(lambda outputs: weighted([jnp.sin(item) for item in list_of_steps(outputs)]))(outputs)

    program = str(jax.make_jaxpr(gradient)(jnp.ones((5, 3, 2))))
    assert program.count("split[") == 1
    assert program.count("concatenate[") == 1
    assert "pad[" not in program
    assert "dynamic_slice" not in program
