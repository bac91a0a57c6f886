"""Cases of ``jnnops.sampled_losses``."""

import jax
import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

BATCH, NUM_TRUE, NUM_SAMPLED, NUM_CLASSES, DIM = 4, 2, 5, 11, 3
ARRAYS = dict(
    weights=normal(NUM_CLASSES, DIM),
    biases=normal(NUM_CLASSES, seed=1),
    labels=np.array([[0, 3], [5, 10], [2, 7], [9, 3]], np.int32),
    inputs=normal(BATCH, DIM, seed=2),
)
SIZES = dict(num_sampled=NUM_SAMPLED, num_classes=NUM_CLASSES, num_true=NUM_TRUE)
SAMPLED = (
    np.array([3, 1, 7, 6, 10], np.int32),
    np.random.default_rng(3).uniform(0.1, 0.9, (BATCH, NUM_TRUE)).astype(np.float32),
    np.random.default_rng(4).uniform(0.1, 0.9, NUM_SAMPLED).astype(np.float32),
)
KEY = jax.random.key(2)


def of_tensorflow(op, sampled_values=SAMPLED, num_shards=1, **options):
    """The op of TensorFlow 1, which takes both partition strategies."""

    def oracle(tf, weights, biases, labels, inputs):
        ids, true_count, sampled_count = sampled_values
        sampled = (
            tf.constant(ids, tf.int64),
            tf.constant(true_count, inputs.dtype),
            tf.constant(sampled_count, inputs.dtype),
        )
        shards = [[table[i::num_shards] for i in range(num_shards)] for table in (weights, biases)]
        return getattr(tf.compat.v1.nn, op.__name__)(
            *shards, tf.cast(labels, tf.int64), inputs, **SIZES, sampled_values=sampled, **options
        )

    return oracle


BAD = (
    bad("`weights` must be of rank 2", weights=ARRAYS["biases"]),
    bad("`weights` must be floating point", TypeError, weights=np.ones((NUM_CLASSES, DIM), int)),
    bad("`weights` must have a row for each of num_classes = 12, got 11 rows", num_classes=12),
    bad("`biases` must be of rank 1", biases=ARRAYS["weights"]),
    bad("`biases` must be floating point", TypeError, biases=np.ones(NUM_CLASSES, int)),
    bad("`biases` must have an entry for each of the 11 rows of `weights`, got 10", biases=ARRAYS["biases"][1:]),
    bad("`inputs` must be of rank 2", inputs=ARRAYS["inputs"][0]),
    bad("`inputs` must be floating point", TypeError, inputs=np.ones((BATCH, DIM), int)),
    bad(r"`inputs` must be \[batch, dim\] with the dim = 3 of `weights`", inputs=normal(BATCH, 4)),
    bad("`labels` must be of rank 2", labels=np.zeros(4, int)),
    bad("`labels` must be an integer array", TypeError, labels=np.zeros((BATCH, NUM_TRUE))),
    bad(r"`labels` must have shape \(4, 2\) \(the batch of `inputs`, num_true\)", labels=np.zeros((3, 2), int)),
    bad(r"`labels` must have shape \(4, 1\)", num_true=1),
    bad("`num_true` must be at least 1", num_true=0),
    bad("`num_sampled` must be a static integer", TypeError, num_sampled=5.0),
    bad("`num_sampled` must be at most num_classes = 11 to draw unique", num_sampled=12, sampled_values=None),
    bad("`key` must be a jax.random key", sampled_values=None),
    bad(r"`sampled_values` must be \(sampled_candidates, true_expected_count", sampled_values=SAMPLED[:2]),
    bad(r"`sampled_values\[0\]` must have shape \(6,\) \(num_sampled\)", num_sampled=6),
    bad(r"`sampled_values\[0\]` must be an integer array", TypeError, sampled_values=SAMPLED[::-1]),
    bad(r"`sampled_values\[1\]` must have shape \(4, 2\)", sampled_values=(SAMPLED[0], SAMPLED[1][:3], SAMPLED[2])),
    bad(r"`sampled_values\[2\]` must have shape \(5,\)", sampled_values=(*SAMPLED[:2], SAMPLED[2][:4])),
    bad("`remove_accidental_hits` must be True or False", TypeError, remove_accidental_hits=1),
    bad("`partition_strategy` must be 'mod' or 'div', got 'rest'", partition_strategy="rest"),
)

CASES = [
    case
    for op in (nn.sampled_softmax_loss, nn.nce_loss)
    for case in (
        Case(op, ARRAYS, {**SIZES, "sampled_values": SAMPLED}, oracle=of_tensorflow(op), ulps=4, bad=BAD),
        Case(
            op,
            ARRAYS,
            {**SIZES, "sampled_values": SAMPLED, "remove_accidental_hits": op is nn.nce_loss},
            label="other_hits",
            oracle=of_tensorflow(op, remove_accidental_hits=op is nn.nce_loss),
            ulps=4,
        ),
        Case(op, ARRAYS, {**SIZES, "key": KEY}, label="drawn", batched=("labels", "inputs"), ulps=4),
    )
]
