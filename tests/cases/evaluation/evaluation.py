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


CASES = [
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
                bad("`recall_target` must be above 0 and at most 1, got 0.0", recall_target=0),
            ),
        )
        for op, sign in ((nn.approx_max_k, 1), (nn.approx_min_k, -1))
    ),
]  # fmt: skip
