"""Cases of ``jnnops.ctc.streaming``, whose ops take and return states: here those are made of arrays and decoded."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from cases.ctc.ctc import beam_search, greedy
from machinery.case import Case, integers, normal

import jnnops as nn

LENGTHS = np.array([7, 0, 5], np.int32)
GREEDY = dict(inputs=np.eye(4)[integers(0, 4, 7, 3)] + 0.1 * normal(7, 3, 4), sequence_length=LENGTHS)


def greedily(op, finish):
    """The frames in two chunks, the second of which has room for all of them."""

    @functools.wraps(op)
    def decode(inputs, sequence_length, **init):
        inputs, sequence_length = jnp.asarray(inputs), jnp.asarray(sequence_length)
        time, batch, classes = inputs.shape
        first = jnp.minimum(sequence_length, 3)
        state = nn.ctc_greedy_init(batch, classes, time, dtype=inputs.dtype, **init)
        state = nn.ctc_greedy_step(state, inputs[:3], first)
        rest = jnp.concatenate([inputs[3:], jnp.zeros_like(inputs[:3])])
        return nn.ctc_greedy_finish(nn.ctc_greedy_step(state, rest, sequence_length - first), **finish)

    return decode


@functools.wraps(nn.ctc_beam_search_step)
def search(inputs, sequence_length, **init):
    inputs = jnp.asarray(inputs)
    time, batch, classes = inputs.shape
    state = nn.ctc_beam_search_init(batch, classes, time, dtype=inputs.dtype, **init)
    return nn.ctc_beam_search_finish(nn.ctc_beam_search_step(state, inputs, sequence_length), top_paths=2)


@functools.wraps(nn.ctc_beam_search_init)
def remembered(initial_state, **init):
    """What each beam remembers of a scorer's state."""
    return nn.ctc_beam_search_init(len(initial_state), initial_state=initial_state, **init).beams.memory


@functools.wraps(nn.ctc_beam_search_finish)
def paths_of_empty_beams(scores, **finish):
    """What is made of beams with these scores, which have spelled nothing."""
    scores = jnp.asarray(scores)
    state = nn.ctc_beam_search_init(*scores.shape, max_time=3, beam_width=scores.shape[1], dtype=scores.dtype)
    beams = state.beams._replace(total=scores.astype(state.beams.total.dtype))
    return nn.ctc_beam_search_finish(dataclasses.replace(state, beams=beams), **finish)


CASES = [
    *(
        Case(
            greedily(op, finish),
            GREEDY,
            init,
            oracle=lambda tf, init=init, finish=finish, **arrays: greedy(tf, **arrays, **init, **finish),
            oracle_gradient=False,
            differentiable=None if op is nn.ctc_greedy_step else (),
        )
        for op, init, finish in (
            (nn.ctc_greedy_init, {"blank_index": 0}, {}),
            (nn.ctc_greedy_step, {}, {}),
            (nn.ctc_greedy_finish, {}, {"merge_repeated": False}),
        )
    ),
    Case(remembered, dict(initial_state=normal(3, 2)), dict(num_classes=3, max_time=2, beam_width=4), lists=False),
    Case(
        search,
        dict(inputs=3 * normal(7, 3, 4), sequence_length=np.array([7, 2, 5], np.int32)),
        dict(beam_width=8),
        oracle=lambda tf, **arrays: beam_search(tf, **arrays, beam_width=8, top_paths=2),
        oracle_dtype="float32",  # in which TensorFlow adds probabilities of float64 too
        differentiable=(),
    ),
    Case(paths_of_empty_beams, dict(scores=-np.sort(np.abs(normal(3, 4)))), dict(top_paths=2), differentiable=()),
]
