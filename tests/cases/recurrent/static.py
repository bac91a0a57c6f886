"""Cases of the ops over lists of steps, and of layers in both directions."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn
from cases.recurrent.dynamic import basic_rnn, in_dtype_of_inputs, tf_cell

# As many steps as rows, so that an array of either order is one of the other.
INPUTS = normal(3, 3, 2)
LENGTHS = np.array([2, 3, 0], np.int32)
FORWARD = basic_rnn(2, 3)
BACKWARD = basic_rnn(2, 2, seed=5)
SECOND = basic_rnn(5, 2, seed=10), basic_rnn(5, 1, seed=15)


def of_steps(op: Callable[..., Any]) -> Callable[..., Any]:
    """The op of an array ``[batch, time, ...]``, which it is given as the list of its steps."""

    @functools.wraps(op)
    def run(inputs: Any, **arguments: Any) -> Any:
        steps = list(jnp.moveaxis(jnp.asarray(inputs), 1, 0)) if _is_numeric(inputs) else inputs
        return op(inputs=steps, **arguments)

    return run


def _is_numeric(value: Any) -> bool:
    try:
        return np.ndim(value) == 3
    except (TypeError, ValueError):
        return False


@functools.wraps(nn.static_state_saving_rnn)
def of_saver(inputs: Any, h: Any, **arguments: Any) -> Any:
    """``static_state_saving_rnn`` with a state saver made of an array."""
    saver = {"state_saver": {"h": jnp.asarray(h), "other": jnp.zeros(2, bool)}, "state_name": "h"}
    return of_steps(nn.static_state_saving_rnn)(inputs, **{**saver, **arguments})


def tf_steps(inputs: Any) -> Any:
    """The list of steps of ``[batch, time, ...]``."""
    return [inputs[:, time] for time in range(inputs.shape[1])]


def tf_static_rnn(tf: Any, inputs: Any, **tensors: Any) -> Any:
    return tf.compat.v1.nn.static_rnn(tf_cell(tf, FORWARD, inputs.dtype), tf_steps(inputs), **tensors)


def tf_static_bidirectional_rnn(tf: Any, inputs: Any, **tensors: Any) -> Any:
    made = [tf_cell(tf, cell, inputs.dtype) for cell in (FORWARD, BACKWARD)]
    return tf.compat.v1.nn.static_bidirectional_rnn(*made, tf_steps(inputs), dtype=inputs.dtype, **tensors)


def tf_static_state_saving_rnn(tf: Any, inputs: Any, h: Any, **tensors: Any) -> Any:
    class Saver:
        def state(self, name: str) -> Any:
            assert name == "h"
            return h

        def save_state(self, name: str, value: Any) -> Any:
            return value

    made = tf_cell(tf, FORWARD, inputs.dtype)
    outputs, state = tf.compat.v1.nn.static_state_saving_rnn(made, tf_steps(inputs), Saver(), "h", **tensors)
    return outputs, state, {"h": state, "other": tf.zeros(2, bool)}


def tf_stack(tf: Any, inputs: Any, sequence_length: Any, starts_fw: Any = (None, None)) -> Any:
    """tf.contrib.rnn.stack_bidirectional_dynamic_rnn is no more; in its documented terms."""
    states = []
    for cells, start in zip(((FORWARD, BACKWARD), SECOND), starts_fw, strict=True):
        made = [tf_cell(tf, cell, inputs.dtype) for cell in cells]
        outputs, last = tf.compat.v1.nn.bidirectional_dynamic_rnn(
            *made, inputs, sequence_length, initial_state_fw=start, dtype=inputs.dtype
        )
        inputs = tf.concat(outputs, 2)
        states.append(last)
    return inputs, *zip(*states, strict=True)


def tf_stack_of_steps(tf: Any, inputs: Any, sequence_length: Any) -> Any:
    outputs, *states = tf_stack(tf, inputs, sequence_length)
    return tf_steps(outputs), *states


ARRAYS = {"inputs": INPUTS, "sequence_length": LENGTHS}
LAYERS = {
    "cells_fw": [in_dtype_of_inputs(FORWARD), in_dtype_of_inputs(SECOND[0])],
    "cells_bw": [in_dtype_of_inputs(BACKWARD), in_dtype_of_inputs(SECOND[1])],
}
BAD_LENGTHS = (
    bad("`sequence_length` must be of rank 1, got shape", sequence_length=2),
    bad(r"`sequence_length` must have shape \(3,\) \(one for each row .* got \(2,\)", sequence_length=[1, 2]),
)
BAD_STEPS = (
    *BAD_LENGTHS,
    bad("`inputs` must be a list of steps, got None", TypeError, inputs=None),
    bad("`inputs` must be a list of steps, got dict", TypeError, inputs={"a": np.zeros((3, 4))}),
    bad("`inputs` must have at least one step, got", inputs=[]),
    bad(r"`inputs\[1\]` must be of rank at least 1, got shape \(\)", inputs=[np.zeros((3, 2)), 1.0]),
    bad(
        r"`inputs\[1\]` must be of the structure .* of the first step, got",
        inputs=[{"a": np.zeros(3)}, {"b": np.zeros(3)}],
    ),
    bad(
        r"`inputs\[1\]` must have the shapes \[\(3, 2\)\] of the first step, got \[\(3, 4\)\]",
        inputs=[np.zeros((3, 2)), np.zeros((3, 4))],
    ),
)
BAD_LAYERS = (
    *BAD_LENGTHS,
    bad("`cells_fw` must be a list with one item for each layer, got", TypeError, cells_fw=LAYERS["cells_fw"][0]),
    bad("`cells_fw` must have at least one cell, got", cells_fw=[]),
    bad(r"`cells_bw\[1\]` must be callable", TypeError, cells_bw=[LAYERS["cells_bw"][0], 3]),
    bad("`cells_bw` must have 2 cells, as many as `cells_fw`, got 1", cells_bw=LAYERS["cells_bw"][:1]),
    bad("`initial_states_fw` must have 2 states, one for each cell, got 1", initial_states_fw=[None]),
    bad(
        r"`initial_states_bw\[1\]` must have shapes \[3, ...\] .* got \(2, 1\)",
        initial_states_bw=[None, np.zeros((2, 1))],
    ),
    bad(
        r"`cells_bw\[0\]` must return outputs of the structure .*, as the forward cell does, got",
        cells_bw=[lambda inputs, state: ((inputs, inputs), state), LAYERS["cells_bw"][1]],
        initial_states_bw=[np.zeros((3, 1)), None],
    ),
)

# Once differentiable: the loop, which is that of `dynamic_rnn`, is differentiated twice there.
CASES = [
    Case(
        of_steps(nn.static_rnn),
        {**ARRAYS, "initial_state": normal(3, 3)},
        {"cell": in_dtype_of_inputs(FORWARD)},
        oracle=tf_static_rnn,
        batched=("inputs", "sequence_length", "initial_state"),
        order=1,
        ulps=4,
        bad=(
            *BAD_STEPS,
            bad("`cell` must be callable", TypeError, cell=3),
            bad(r"`initial_state` must have shapes \[3, ...\] .* got \(2, 3\)", initial_state=np.zeros((2, 3))),
        ),
    ),
    Case(
        of_steps(nn.static_bidirectional_rnn),
        ARRAYS,
        {"cell_fw": in_dtype_of_inputs(FORWARD), "cell_bw": in_dtype_of_inputs(BACKWARD)},
        oracle=tf_static_bidirectional_rnn,
        batched=("inputs", "sequence_length"),
        order=1,
        ulps=4,
        bad=(
            *BAD_STEPS,
            bad("`cell_bw` must be callable", TypeError, cell_bw=3),
            bad(
                r"`cell_bw` must return outputs that join those of the forward cell, \(3, 3\), on axis 1, got \(3,\)",
                cell_bw=lambda inputs, state: (inputs[:, 0], state),
                initial_state_bw=np.zeros(3),
            ),
        ),
    ),
    Case(
        of_saver,
        {**ARRAYS, "h": normal(3, 3)},
        {"cell": in_dtype_of_inputs(FORWARD)},
        oracle=tf_static_state_saving_rnn,
        order=1,
        ulps=4,
        bad=(
            *BAD_STEPS,
            bad("`state_saver` must be a dict of arrays, got", TypeError, state_saver=[1]),
            bad(r"`state_saver` must have an array 'h', of `state_name`, got \['c'\]", state_saver={"c": 1}),
            bad(
                r"`state_saver` must have shapes \[3, ...\] .* got \(2, 3\) of 'h'",
                state_saver={"h": np.zeros((2, 3))},
            ),
            bad(
                "`state_name` must name the 1 arrays of the cell's state, .* got",
                state_saver={"h": 1, "c": 2},
                state_name=("h", "c"),
            ),
            bad("`state_name` must not have a name twice", state_saver={"h": 1}, state_name=("h", "h")),
            bad("`state_name` must be a string or a tuple of strings, got 3", TypeError, state_name=3),
            bad("`cell` must have a method zero_state.* got builtin", TypeError, cell=max),
        ),
    ),
    Case(
        nn.stack_bidirectional_dynamic_rnn,
        ARRAYS,
        LAYERS,
        oracle=tf_stack,
        batched=("inputs", "sequence_length"),
        order=1,
        ulps=6,
        bad=(*BAD_LAYERS, bad("`inputs` must hold an array, got None", inputs=None)),
    ),
    Case(
        of_steps(nn.stack_bidirectional_rnn),
        ARRAYS,
        LAYERS,
        oracle=tf_stack_of_steps,
        batched=("inputs", "sequence_length"),
        order=1,
        ulps=6,
        bad=(*BAD_LAYERS, *BAD_STEPS[2:]),
    ),
]
