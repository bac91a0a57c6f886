"""Cases of ``jnnops.ctc``."""

import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn

# Repeated labels, an empty row and short rows, of which any combination of lengths has a path; the padding of labels
# holds labels, as the vmap test mixes the rows of one argument with those of another.
LABELS = np.array([[1, 1, 2], [3, 2, 1], [2, 3, 3]], np.int32)
LABEL_LENGTH = np.array([3, 0, 2], np.int32)
LOGIT_LENGTH = np.array([7, 4, 6], np.int32)
LOGITS = normal(7, 3, 4)


def loss(tf, labels, logits, label_length, logit_length, **options):
    return tf.nn.ctc_loss(labels, logits, label_length, logit_length, **options)


def loss_or_zero(tf, **arrays):
    """TensorFlow gives about 707 more where no path spells the labels."""
    found = loss(tf, **arrays, logits_time_major=False, blank_index=-1)
    return tf.where(found > 700, tf.zeros_like(found), found)


def greedy(tf, inputs, sequence_length, **options):
    (decoded,), scores = tf.nn.ctc_greedy_decoder(inputs, sequence_length, **options)
    dense = tf.sparse.to_dense(decoded, default_value=-1)
    dense = tf.pad(dense, [(0, 0), (0, inputs.shape[0] - dense.shape[1])], constant_values=-1)
    return dense[None], tf.reduce_sum(tf.cast(dense >= 0, tf.int32), 1)[None], scores


def beam_search(tf, inputs, sequence_length, beam_width, top_paths, **options):
    decode = tf.compat.v1.nn.ctc_beam_search_decoder if options else tf.nn.ctc_beam_search_decoder
    paths, scores = decode(inputs, sequence_length, beam_width, top_paths, **options)
    dense = tf.stack([tf.sparse.to_dense(tf.sparse.reset_shape(path, inputs.shape[1::-1]), -1) for path in paths])
    return tf.cast(dense, tf.int32), tf.reduce_sum(tf.cast(dense >= 0, tf.int32), 2), scores


BAD_TRANSCRIPT = (
    bad("`labels` must be of rank 2", labels=LABELS[0]),
    bad("`labels` must be an integer array", TypeError, labels=LABELS.astype(np.float32)),
    bad("`labels` must be an array, got None", labels=None),
    bad("`logits` must be of rank 3", logits=LOGITS[0]),
    bad("`logits` must be floating point", TypeError, logits=np.ones((7, 3, 4), np.int32)),
    bad(r"`logits` must be \[time, batch, classes\] with the batch of `labels`", logits=LOGITS[:, :2]),
    bad(r"`logits` must be \[batch, time, classes\]", logits_time_major=False),
    bad("`label_length` must be of rank 1", label_length=3),
    bad(r"`label_length` must have shape \(3,\) \(one for each row", label_length=[1, 1]),
    bad("`label_length` must be an integer array", TypeError, label_length=[1.0, 1.0, 1.0]),
    bad("`logit_length` must be of rank 1", logit_length=7),
    bad(r"`logit_length` must have shape \(3,\)", logit_length=[7] * 4),
    bad("`logit_length` must be an integer array", TypeError, logit_length=[True, True, True]),
    bad(r"`blank_index` must be in \[-4, 4\), got 4 for 4 classes", blank_index=4),
    bad(r"`blank_index` must be in \[-4, 4\), got -5", blank_index=-5),
    bad("`blank_index` must be a static integer", TypeError, blank_index=1.5),
    bad(r"`blank_index` must be in \[0, 0\)", logits=np.ones((7, 3, 0), np.float32)),
)

BAD_LOSS = (
    *BAD_TRANSCRIPT,
    bad(r"`unique` must be a pair \(unique_labels, indices\) or None", unique=LABELS),
    bad(r"`unique` must have shape \(3, 3\) \(twice that of `labels`\)", unique=(LABELS, LABELS[:2])),
    bad("`unique` must be an integer array", TypeError, unique=(LABELS, LABELS / 2)),
)

BAD_GREEDY = (
    bad("`inputs` must be of rank 3", inputs=LOGITS[0]),
    bad("`inputs` must be floating point", TypeError, inputs=np.ones((7, 3, 4), np.int32)),
    bad("`sequence_length` must be of rank 1", sequence_length=7),
    bad(r"`sequence_length` must have shape \(3,\) \(one for each row", sequence_length=[7, 7]),
    bad("`sequence_length` must be an integer array", TypeError, sequence_length=[7.0, 7.0, 7.0]),
    bad(r"`blank_index` must be in \[-4, 4\), got 4 for 4 classes", blank_index=4),
    bad("`blank_index` must be a static integer", TypeError, blank_index="last"),
)

BAD_BEAM_SEARCH = (
    *BAD_GREEDY,
    bad("`beam_width` must be at least 1, got 0", beam_width=0),
    bad("`beam_width` must be a static integer", TypeError, beam_width=2.0),
    bad("`top_paths` must be at most `beam_width`, 8, got 9", top_paths=9),
    bad("`top_paths` must be at least 1", top_paths=0),
    bad("`merge_repeated` must be True or False", TypeError, merge_repeated=1),
)

CASES = [
    Case(
        nn.ctc_loss,
        dict(labels=LABELS, logits=LOGITS, label_length=LABEL_LENGTH, logit_length=LOGIT_LENGTH),
        dict(unique=(np.array([[1, 2, 0], [3, 2, 1], [2, 3, 0]]), np.array([[0, 0, 1], [0, 1, 2], [0, 1, 1]]))),
        oracle=loss,
        oracle_dtype="float32",
        order=1,  # the second order is left to the other case, which costs 15 seconds to compile
        bad=BAD_LOSS,
    ),
    Case(
        nn.ctc_loss,
        dict(
            labels=LABELS - 1,
            logits=np.swapaxes(LOGITS, 0, 1),
            label_length=LABEL_LENGTH,
            logit_length=np.array([3, 4, 6], np.int32),  # no path spells 0 0 1 in three frames
        ),
        dict(logits_time_major=False, blank_index=-1, zero_infinity=True),
        label="batch-major-zero-infinity",
        oracle=loss_or_zero,
        oracle_dtype="float32",
        batched=("labels", "logits", "label_length", "logit_length"),
    ),
    Case(
        nn.ctc_forced_alignment,
        dict(labels=LABELS, logits=LOGITS, label_length=LABEL_LENGTH, logit_length=LOGIT_LENGTH),
        bad=BAD_TRANSCRIPT,
    ),
    Case(
        nn.ctc_forced_alignment,
        dict(
            labels=LABELS - 1,
            logits=np.swapaxes(LOGITS, 0, 1),
            label_length=LABEL_LENGTH,
            logit_length=LOGIT_LENGTH,
        ),
        dict(logits_time_major=False, blank_index=-1),
        label="batch-major",
        batched=("labels", "logits", "label_length", "logit_length"),
    ),
    *(
        Case(
            nn.ctc_greedy_decoder,
            dict(
                inputs=np.eye(4)[integers(0, 4, 7, 3)] + 0.1 * normal(7, 3, 4),
                sequence_length=np.array([7, 0, 5], np.int32),
            ),
            options,
            label="-".join(f"{value}" for value in options.values()),
            oracle=lambda tf, options=options, **arrays: greedy(tf, **arrays, **options),
            oracle_gradient=False,
            bad=() if options else BAD_GREEDY,
        )
        for options in ({}, {"merge_repeated": False}, {"merge_repeated": True, "blank_index": 0})
    ),
    *(
        Case(
            nn.ctc_beam_search_decoder,
            dict(inputs=3 * normal(7, 3, 4), sequence_length=np.array([7, 2, 5], np.int32)),
            dict(beam_width=8, top_paths=2, **options),
            label="-".join(options),
            oracle=lambda tf, options=options, **arrays: beam_search(
                tf, **arrays, beam_width=8, top_paths=2, **options
            ),
            oracle_dtype="float32",  # in which TensorFlow adds probabilities of float64 too
            differentiable=(),
            bad=() if options else BAD_BEAM_SEARCH,
        )
        for options in ({}, {"merge_repeated": True})
    ),
]
