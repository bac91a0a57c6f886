"""Cases of the loss of TensorFlow 1."""

import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

INPUTS, LENGTHS = normal(6, 3, 4), np.array([6, 5, 6], np.int32)
# Columns may be left out. All is of 32 bits: JAX keeps a constant of 64 bits that it has seen under x64.
INDICES = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 1], [2, 3]], np.int32)
LABELS = nn.SparseTensorValue(INDICES, np.array([1, 1, 2, 0, 2, 0], np.int32), np.array([3, 4]))


def loss(tf, inputs, sequence_length, labels, **options):
    sparse = tf.SparseTensor(labels.indices.astype(np.int64), labels.values, labels.dense_shape)
    return tf.compat.v1.nn.ctc_loss(sparse, inputs, sequence_length, **options)


BAD = (
    bad("`labels` must be a SparseTensorValue", TypeError, labels=INDICES),
    bad("`labels.values` must be an integer array", TypeError, labels=LABELS._replace(values=np.ones(6))),
    bad("`labels.values` must be of rank 1", labels=LABELS._replace(values=INDICES)),
    bad(r"`labels.indices` must have shape \(6, 2\)", labels=LABELS._replace(indices=INDICES[:5])),
    bad("`labels.indices` must be an integer array", TypeError, labels=LABELS._replace(indices=INDICES / 2)),
    bad(r"`labels.dense_shape` must be \(batch, max_label_length\), got", labels=LABELS._replace(dense_shape=[3])),
    bad("`labels.dense_shape` must be .* with the batch of `inputs`", labels=LABELS._replace(dense_shape=[4, 4])),
    bad("`inputs` must be of rank 3", inputs=INPUTS[0]),
    bad("`inputs` must be floating point", TypeError, inputs=np.ones((6, 3, 4), np.int32)),
    bad("`logits` must be None if `inputs` is given", logits=INPUTS),
    bad("`labels.dense_shape` must be .* time_major=False", time_major=False),
    bad(r"`sequence_length` must have shape \(3,\)", sequence_length=[6]),
    bad("`sequence_length` must be an array, got None", sequence_length=None),
    bad("`preprocess_collapse_repeated` must be True or False", TypeError, preprocess_collapse_repeated=1),
    bad("`ctc_merge_repeated` must be True or False", TypeError, ctc_merge_repeated="yes"),
    bad("`ignore_longer_outputs_than_inputs` must be True", TypeError, ignore_longer_outputs_than_inputs=None),
)

CASES = [
    Case(
        nn.ctc_loss_v1,
        dict(
            inputs=np.swapaxes(INPUTS, 0, 1) if not options.get("time_major", True) else INPUTS, sequence_length=LENGTHS
        ),
        dict(labels=LABELS, **options),
        label="-".join(options),
        oracle=lambda tf, options=options, **arrays: loss(tf, labels=LABELS, **arrays, **options),
        oracle_dtype="float32",  # its float64 kernel has single precision
        order=order,
        bad=() if options else BAD,
    )
    # The second order is that of `ctc_loss`; without merging it is the same code with a term less.
    for options, order in (
        ({}, 1),
        ({"ctc_merge_repeated": False, "time_major": False}, 2),
        ({"preprocess_collapse_repeated": True, "ignore_longer_outputs_than_inputs": True}, 1),
    )
]
