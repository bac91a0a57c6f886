"""Cases of ``raw_rnn``."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn
from cases.recurrent.dynamic import basic_lstm, basic_rnn, in_dtype_of_inputs, tf_cell

INPUTS = normal(3, 3, 2)
LENGTHS = np.array([2, 3, 0], np.int32)
RNN = basic_rnn(2, 3)
LSTM = basic_lstm(2, 3)


def reading(inputs: Any, sequence_length: Any, cell: Any) -> Any:
    """A loop function that reads inputs ``[batch, time, ...]``, as ``dynamic_rnn`` does, and adds up the outputs."""

    def loop_fn(time: Any, cell_output: Any, cell_state: Any, loop_state: Any) -> Any:
        begins = cell_output is None
        state = cell.zero_state(inputs.shape[0], inputs.dtype) if begins else cell_state
        total = jnp.zeros((), inputs.dtype) if begins else loop_state + cell_output.mean().astype(loop_state.dtype)
        next_input = jnp.take(inputs, jnp.minimum(time, inputs.shape[1] - 1), axis=1)
        return time >= sequence_length, next_input, state, cell_output, total

    return loop_fn


@functools.wraps(nn.raw_rnn)
def read(inputs: Any, sequence_length: Any, cell: Any, *, max_steps: int = 3, **options: Any) -> Any:
    """``raw_rnn`` with such a function."""
    loop_fn = reading(jnp.asarray(inputs), jnp.asarray(sequence_length), cell)
    return nn.raw_rnn(cell, **{"loop_fn": loop_fn, "max_steps": max_steps, **options})


def tf_read(cell: Any) -> Any:
    """The oracle of ``read`` with ``cell``."""

    def run(tf: Any, inputs: Any, sequence_length: Any) -> Any:
        made = tf_cell(tf, cell, inputs.dtype)

        def loop_fn(time: Any, cell_output: Any, cell_state: Any, loop_state: Any) -> Any:
            begins = cell_output is None
            state = made.zero_state(inputs.shape[0], inputs.dtype) if begins else cell_state
            total = tf.zeros((), inputs.dtype) if begins else loop_state + tf.reduce_mean(cell_output)
            next_input = tf.gather(inputs, tf.minimum(time, inputs.shape[1] - 1), axis=1)
            return time >= sequence_length, next_input, state, cell_output, total

        emitted, state, total = tf.compat.v1.nn.raw_rnn(made, loop_fn)
        return emitted.stack(), state, total

    return run


def returning(**changes: Any) -> Any:
    """A loop function that returns other things than it should: in all calls, or in those after the first."""

    def loop_fn(time: Any, cell_output: Any, cell_state: Any, loop_state: Any) -> Any:
        good = {
            "finished": np.zeros(3, bool),
            "next_input": np.zeros((3, 2), np.float32),
            "next_cell_state": np.zeros((3, 3), np.float32),
            "emit_output": np.zeros(3, np.float32) if cell_output is None else np.zeros((3, 3), np.float32),
            "next_loop_state": np.zeros(3, np.float32),
        }
        later = {name.removeprefix("later_"): value for name, value in changes.items() if name.startswith("later_")}
        now = {name: value for name, value in changes.items() if not name.startswith("later_")}
        return tuple({**good, **now, **({} if cell_output is None else later)}.values())

    return loop_fn


def bad_loop(match: str, error: type[Exception] = ValueError, /, **changes: Any) -> Any:
    return bad(match, error, loop_fn=returning(**changes))


FLOAT = np.float32
ARRAYS = {"inputs": INPUTS, "sequence_length": LENGTHS}
BAD_LOOPS = (
    bad(r"`loop_fn` must return \(finished, next_input, .*\), got NoneType", TypeError, loop_fn=lambda *_: None),
    bad(r"`loop_fn` must return \(finished, next_input, .*\), got tuple of 2", TypeError, loop_fn=lambda *_: (1, 2)),
    bad_loop("`loop_fn` must return a finished of booleans, got int32", TypeError, finished=np.zeros(3, np.int32)),
    bad_loop(r"`loop_fn -> finished` must have shape \(3,\) .*, got \(2,\)", finished=np.zeros(2, bool)),
    bad_loop(r"`loop_fn -> finished` must have shape \(3,\) .*, got \(\)", later_finished=False),
    bad_loop("`loop_fn -> next_input` must be of rank at least 1, got shape", next_input=FLOAT(1)),
    bad_loop("`loop_fn` must return a next_input that holds an array, got None", next_input=None),
    bad_loop(
        r"`loop_fn` must return a next_input of shapes \[3, ...\] throughout, got \(2,\)",
        next_input=(np.zeros(3, FLOAT), np.zeros(2, FLOAT)),
    ),
    bad_loop(
        "`loop_fn` must return a next_input of the structure .*, as in its first call, got",
        later_next_input=(np.zeros((3, 2), FLOAT),),
    ),
    bad_loop(
        r"`loop_fn` must return a next_input of the shapes \[\(3, 2\)\], as in its first call, got \[\(3, 1\)\]",
        later_next_input=np.zeros((3, 1), FLOAT),
    ),
    bad_loop(
        r"`loop_fn` must return a next_input of the dtypes \['float32'\], as in its first call, got \['int32'\]",
        TypeError,
        later_next_input=np.zeros((3, 2), np.int32),
    ),
    bad_loop(
        r"`loop_fn -> next_cell_state` must have shapes \[3, ...\] .* got \(2, 3\)",
        next_cell_state=np.zeros((2, 3), FLOAT),
    ),
    bad_loop("`loop_fn` must return a next_cell_state of the structure .*, got", later_next_cell_state=None),
    bad_loop(
        r"`loop_fn` must return a next_cell_state of the shapes \[\(3, 3\)\], .* got \[\(3, 2\)\]",
        later_next_cell_state=np.zeros((3, 2), FLOAT),
    ),
    bad_loop(
        r"`loop_fn` must return a next_loop_state of the shapes \[\(3,\)\], .* got \[\(\)\]",
        later_next_loop_state=FLOAT(0),
    ),
    bad_loop(
        "`loop_fn` must return a next_loop_state of the structure .*, got",
        next_loop_state=None,
        later_next_loop_state=np.zeros(3, FLOAT),
    ),
    bad_loop(
        "`loop_fn` must return a next_loop_state of the dtypes", TypeError, later_next_loop_state=np.zeros(3, bool)
    ),
    bad_loop("`loop_fn` must return an emit_output of the structure .*, got", later_emit_output=()),
    bad_loop(
        r"`loop_fn` must return an emit_output of the shapes \[\(3, 3\)\], .* got \[\(3,\)\]",
        later_emit_output=np.zeros(3, FLOAT),
    ),
    bad_loop(
        r"`loop_fn` must return an emit_output of shapes \[3, ...\], got \(2, 3\)",
        later_emit_output=np.zeros((2, 3), FLOAT),
    ),
    bad_loop(
        r"`loop_fn` must return an emit_output of the dtypes \['float32'\], .* got \['int32'\]",
        TypeError,
        later_emit_output=np.zeros((3, 3), np.int32),
    ),
)

CASES = [
    Case(
        read,
        ARRAYS,
        {"cell": in_dtype_of_inputs(RNN)},
        oracle=tf_read(RNN),
        ulps=4,
        bad=(
            *BAD_LOOPS,
            bad("`cell` must be callable", TypeError, cell=3),
            bad("`loop_fn` must be callable as loop_fn", TypeError, loop_fn=3),
            bad("`max_steps` must be at least 0, got -1", max_steps=-1),
            bad("`unroll` must be at least 1, got 0", unroll=0),
            bad("`early_exit` must be False if `remat` is True", early_exit=True, remat=True),
        ),
    ),
    Case(
        read,
        ARRAYS,
        {"cell": in_dtype_of_inputs(LSTM), "early_exit": True},
        label="early_exit",
        oracle=tf_read(LSTM),
        order=0,
        ulps=4,
    ),
]
