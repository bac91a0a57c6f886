"""Cases of ``jnnops.classification``."""

import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn

LOGITS = 3 * normal(4, 5)
IMAGE = 3 * normal(2, 3, 4, seed=1)
WEIGHTS = np.abs(normal(4, 5, seed=2))
MIDDLE = np.abs(normal(2, 3, 4, seed=3))


def tf_function(name, **options):
    """The oracle of an op that has the same name and arguments in ``tf.nn``."""
    return lambda tf, **tensors: getattr(tf.nn, name)(**tensors, **options)


def cross_entropy(tf, labels, logits):
    """By the formula, as TensorFlow's op knows no axis -2 and its gradient supposes that labels sum to 1."""
    return -tf.reduce_sum(labels * tf.nn.log_softmax(logits, -2), -2)


def fused_linear_cross_entropy(tf, labels, features, weights, biases=0.0, label_smoothing=0.0):
    """Of all logits at once, by the formula."""
    logits = tf.matmul(features, weights) + tf.cast(biases, features.dtype)
    if labels.dtype.is_integer:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    smooth = labels * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return -tf.reduce_sum(smooth * tf.nn.log_softmax(logits), -1)


CASES = [
    Case(
        nn.sigmoid_cross_entropy_with_logits,
        {"labels": WEIGHTS / 2, "logits": LOGITS},
        oracle=tf_function("sigmoid_cross_entropy_with_logits"),
        batched=("labels", "logits"),
        bad=(
            bad(r"`labels` must have shape \(4, 5\) \(that of `logits`\), got \(5,\)", labels=np.ones(5, np.float32)),
            bad("`labels` must be floating point", TypeError, labels=[[1]], logits=[[2]]),
            bad("`labels` must be an array, got None", labels=None),
        ),
    ),
    Case(
        nn.weighted_cross_entropy_with_logits,
        {"labels": WEIGHTS / 2, "logits": LOGITS, "pos_weight": np.array([0.5, 1.0, 2.0, 3.0, 0.0])},
        oracle=tf_function("weighted_cross_entropy_with_logits"),
        # at logits of 0 TensorFlow's gradient is that of the kinks in its formula, while the function has none
        ties=False,
        batched=("labels", "logits"),
        bad=(
            bad(r"`labels` must have shape \(4, 5\)", labels=np.ones((1, 5), np.float32)),
            bad(r"`pos_weight` must broadcast to `logits`, got shape \(3,\)", pos_weight=np.ones(3, np.float32)),
            bad("`pos_weight` must be integer or floating point", TypeError, pos_weight=np.array(True)),
        ),
    ),
    *(
        Case(
            op,
            {"logits": IMAGE},
            {"axis": axis},
            oracle=tf_function(op.__name__, axis=axis),
            batched=("logits",),
            bad=(
                bad("`logits` must be floating point", TypeError, logits=np.ones((4, 5), np.int32)),
                bad("`logits` must be of rank at least 1", logits=np.float32(1)),
                bad(r"`axis` must be in \[-3, 3\)", axis=3),
                bad("`axis` must be a static integer", TypeError, axis=1.5),
            ),
        )
        for op, axis in ((nn.softmax, -1), (nn.log_softmax, 1))
    ),
    Case(
        nn.softmax_cross_entropy_with_logits,
        {"labels": WEIGHTS / WEIGHTS.sum(1, keepdims=True), "logits": LOGITS},
        oracle=tf_function("softmax_cross_entropy_with_logits"),
        # TensorFlow's gradient supposes that labels sum to 1, which few values do not
        ties=False,
        batched=("labels", "logits"),
        bad=(
            bad("must be floating point", TypeError, labels=[[1, 0]], logits=[[1, 2]]),
            bad("`logits` must be of rank at least 1", logits=np.float32(1), labels=np.float32(1)),
            bad(r"`labels` must broadcast to `logits`, got shape \(4,\)", labels=np.ones(4, np.float32)),
            bad(r"`axis` must be in \[-2, 2\)", axis=-3),
        ),
    ),
    Case(
        nn.softmax_cross_entropy_with_logits,
        {"labels": MIDDLE, "logits": IMAGE},
        {"axis": -2},
        label="not_normalised",
        oracle=cross_entropy,
        batched=("labels", "logits"),
    ),
    Case(
        nn.sparse_softmax_cross_entropy_with_logits,
        {"labels": integers(0, 4, 2, 3), "logits": IMAGE},
        oracle=tf_function("sparse_softmax_cross_entropy_with_logits"),
        batched=("labels", "logits"),
        bad=(
            bad("`labels` must be an integer array, got float32", TypeError, labels=np.ones(4, np.float32)),
            bad("`logits` must be floating point", TypeError, logits=np.ones((4, 5), np.int32)),
            bad("`logits` must be of rank at least 1", logits=np.float32(1)),
            bad("`logits` must have at least one class", logits=np.ones((4, 0), np.float32)),
            bad(r"`labels` must have shape \(2, 3\) .* without its classes", labels=np.ones((2, 1), np.int32)),
        ),
    ),
    *(
        Case(
            nn.fused_linear_cross_entropy,
            {"labels": labels, "features": normal(4, 3, seed=5), "weights": normal(3, 7, seed=6)} | biases,
            {"chunk_size": 3} | options,
            label=label,
            oracle=lambda tf, options=options, **tensors: fused_linear_cross_entropy(tf, **tensors, **options),
            differentiable=[*(["labels"] if labels.ndim == 2 else []), "features", "weights", *biases],
            batched=("labels", "features"),
            bad=(
                bad(
                    "`features` must have shape .*its last axis the first of `weights`",
                    features=np.ones((4, 2), np.float32),
                ),
                bad(r"`weights` must be of rank 2", weights=np.ones(3, np.float32)),
                bad("`weights` must have at least one class", weights=np.ones((3, 0), np.float32)),
                bad(r"`labels` must have shape", labels=labels[:2]),
                bad(r"`biases` must have shape \(7,\)", biases=np.ones(6, np.float32)),
                *more,
            ),
        )
        for label, labels, biases, options, more in (
            ("", integers(0, 7, 4), {"biases": normal(7, seed=7)}, {}, ()),
            (
                "dense",
                np.abs(normal(4, 7, seed=8)),
                {},
                {"label_smoothing": 0.25},
                (bad("`labels` must be an integer array", TypeError, ignored_label=3),),
            ),
        )
    ),
]
