"""Cases of ``jnnops.evaluation``."""

import functools

import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn

ROWS = np.round(normal(3, 7), 1)


def nth(tf, input, n, reverse=False):
    return tf.sort(input, -1, "DESCENDING" if reverse else "ASCENDING")[..., n]


def approximate(tf, operand, sign):
    """Exact on CPU, where TensorFlow has no kernel for the minimum."""
    values, indices = tf.nn.approx_max_k(sign * operand, 3)
    return sign * values, indices


def largest(tf, input, k, axis):
    values, indices = tf.math.top_k(tf.experimental.numpy.moveaxis(input, axis, -1), k)
    return tuple(tf.experimental.numpy.moveaxis(result, -1, axis) for result in (values, indices))


CASES = [
    *(
        Case(
            nn.top_k,
            {"input": normal(*shape)},
            {"k": k, "axis": axis},
            label=label,
            oracle=functools.partial(largest, k=k, axis=axis),
            batched=("input",),
            batch_axis=batch_axis,
            bad=(
                bad(f"`k` must be at most {shape[axis]}, got 99999", k=99999),
                bad("`k` must be at least 0, got -1", k=-1),
                bad("`input` must be of rank at least 1", input=np.float32(1)),
                bad("`axis` must be in", axis=9),
            ),
        )
        for label, shape, k, axis, batch_axis in (
            ("", (3, 20), 4, -1, 0),
            ("few", (3, 7), 3, -1, 0),
            ("two-stages", (3, 44_000), 3, -1, 0),
            ("first-axis", (20, 2), 4, 0, 1),
        )
    ),
    Case(
        nn.in_top_k,
        {"targets": integers(0, 7, 3), "predictions": ROWS},
        {"k": 2},
        oracle=lambda tf, targets, predictions: tf.nn.in_top_k(targets, predictions, 2),
        oracle_dtype="float32",
        order=0,
        batched=("targets", "predictions"),
        bad=(
            bad(r"`targets` must have shape \(3,\)", targets=[1, 2]),
            bad("`predictions` must be of rank 2", predictions=[1.0, 2.0]),
        ),
    ),
    Case(
        nn.nth_element,
        {"input": normal(3, 7)},
        {"n": 2, "reverse": True},
        oracle=lambda tf, input: nth(tf, input, 2, reverse=True),
        ties=False,  # there a sort gives all to one
        batched=("input",),
        bad=(bad(r"`n` must be in \[0, 7\), got 7", n=7),),
    ),
    *(
        Case(
            op,
            {"operand": normal(3, 7)},
            {"k": 3},
            oracle=functools.partial(approximate, sign=sign),
            oracle_dtype="float32",
            batched=("operand",),
            bad=(
                bad("`k` must be at most 7, got 8", k=8),
                bad("`k` must be at least 1, got 0", k=0),
                bad("`recall_target` must be above 0 and at most 1, got 0.0", recall_target=0),
            ),
        )
        for op, sign in ((nn.approx_max_k, 1), (nn.approx_min_k, -1))
    ),
]  # fmt: skip
