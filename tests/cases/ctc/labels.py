"""Cases of what is done to labels."""

import numpy as np
from machinery.case import Case, bad

import jnnops as nn

LABELS = np.array([[3, 3, 1, 3, 0, 0], [1, 2, 2, 2, 1, 1], [0, 0, 0, 0, 0, 0], [2, 1, 2, 1, 2, 1]], np.int32)
LENGTHS = np.array([4, 5, 0, 6], np.int32)


def collapse(tf, labels, seq_length):
    collapsed, lengths = tf.nn.collapse_repeated(labels, seq_length)
    return tf.pad(collapsed, [(0, 0), (0, labels.shape[1] - collapsed.shape[1])]), lengths


CASES = [
    Case(
        nn.ctc_unique_labels,
        dict(labels=LABELS),
        oracle=lambda tf, labels: tf.nn.ctc_unique_labels(labels),
        batched=("labels",),
        bad=(
            bad("`labels` must be of rank 2", labels=LABELS[0]),
            bad("`labels` must be an integer array", TypeError, labels=LABELS.astype(np.float32)),
        ),
    ),
    Case(
        nn.collapse_repeated,
        dict(labels=LABELS, seq_length=LENGTHS),
        oracle=collapse,
        batched=("labels", "seq_length"),
        bad=(
            bad("`labels` must be of rank 2", labels=LABELS[0]),
            bad("`labels` must be an integer array", TypeError, labels=LABELS.astype(np.float32)),
            bad("`seq_length` must be of rank 1", seq_length=4),
            bad(r"`seq_length` must have shape \(4,\) \(one for each row", seq_length=[4, 4]),
            bad("`seq_length` must be an integer array", TypeError, seq_length=[4.0] * 4),
        ),
    ),
]
