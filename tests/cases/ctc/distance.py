"""Cases of the distance."""

import numpy as np
from machinery.case import Case, bad, integers

import jnnops as nn

HYPOTHESIS, TRUTH = integers(0, 3, 5, 6), integers(0, 3, 5, 4, seed=1)
HYPOTHESIS_LENGTH, TRUTH_LENGTH = np.array([6, 3, 0, 5, 0], np.int32), np.array([4, 4, 2, 3, 0], np.int32)


def distance(tf, hypothesis, truth, hypothesis_length, truth_length, **options):
    def sparse(labels, length):
        places = tf.where(tf.sequence_mask(length, labels.shape[1]))
        return tf.SparseTensor(places, tf.gather_nd(labels, places), labels.shape)

    return tf.edit_distance(sparse(hypothesis, hypothesis_length), sparse(truth, truth_length), **options)


CASES = [
    Case(
        nn.edit_distance,
        dict(hypothesis=HYPOTHESIS, truth=TRUTH, hypothesis_length=HYPOTHESIS_LENGTH, truth_length=TRUTH_LENGTH),
        options,
        label="-".join(options),
        oracle=lambda tf, options=options, **arrays: distance(tf, **arrays, **options),
        batched=("hypothesis", "truth", "hypothesis_length", "truth_length"),
        bad=(
            bad("`hypothesis` must be of rank 2", hypothesis=HYPOTHESIS[0]),
            bad("`hypothesis` must be an integer array", TypeError, hypothesis=HYPOTHESIS / 2),
            bad("`truth` must be of rank 2", truth=TRUTH[0]),
            bad("`truth` must be an integer array", TypeError, truth=TRUTH / 2),
            bad("`truth` must have the batch of `hypothesis`", truth=TRUTH[:2]),
            bad(r"`hypothesis_length` must have shape \(5,\) \(one for each row", hypothesis_length=[1]),
            bad("`hypothesis_length` must be an integer array", TypeError, hypothesis_length=[1.0] * 5),
            bad(r"`truth_length` must have shape \(5,\)", truth_length=[1]),
            bad("`truth_length` must be an integer array", TypeError, truth_length=[1.0] * 5),
            bad("`normalize` must be True or False", TypeError, normalize=1),
        ),
    )
    for options in ({}, {"normalize": False})
]
