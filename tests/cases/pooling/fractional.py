"""Cases of ``jnnops.pooling.fractional``."""

import functools
import itertools

import numpy as np
from cases.pooling.windows import distinct
from machinery.case import Case, bad, integers

import jnnops as nn


def pool(tf, value, row_pooling_sequence, col_pooling_sequence, kind, overlapping):
    """Region by region, since TensorFlow's own op takes no sequences (see test_fractional_pooling.py)."""
    sequences = row_pooling_sequence, col_pooling_sequence

    def of_region(ranges):
        rows, columns = (slice(int(begin), int(end) + overlapping) for begin, end in ranges)
        cells = value[:, rows, columns]
        if kind == "max":
            return tf.reduce_max(cells, (1, 2))
        total = tf.reduce_sum(cells, (1, 2))
        count = cells.shape[1] * cells.shape[2]
        return total / count if value.dtype.is_floating else tf.truncatediv(total, count)

    regions = list(map(of_region, itertools.product(*(itertools.pairwise(sequence.numpy()) for sequence in sequences))))
    batch, *_, channels = value.shape
    shape = (batch, *(len(sequence) - 1 for sequence in sequences), channels)
    return tf.reshape(tf.stack(regions, 1), shape), *sequences


def given(op, value, rows, columns, label, overlapping=False, bad=()):
    return Case(
        op,
        {
            "value": value,
            "row_pooling_sequence": np.array(rows, np.int32),
            "col_pooling_sequence": np.array(columns, np.int32),
        },
        {"pooling_ratio": 1.5, "overlapping": overlapping},
        label=label,
        oracle=functools.partial(pool, kind=op.__name__.split("_")[1], overlapping=overlapping),
        # tf.reduce_max shares the gradient between ties
        ties=op is nn.fractional_avg_pool,
        bad=bad,
    )


def drawn(op, label, **options):
    """The output alone, whose first axis is that of the batch."""

    @functools.wraps(op)
    def output(**arguments):
        return op(**arguments).output

    return Case(
        output,
        {"value": distinct(2, 7, 5, 3), "key": np.array([0, 5], np.uint32)},
        options,
        label=label,
        batched=("value",),
        bad=(
            bad("`key` must be a jax.random key", key=None),
            bad("`key` must be a jax.random key", key=None, row_pooling_sequence=[0, 3, 7]),
            bad("`key` must be a jax.random key", TypeError, key=np.float32(1)),
            bad("`pooling_ratio` must be at most the size it divides, got 8.0 for size 7", pooling_ratio=8),
        ),
    )


BAD = (
    bad("`value` must be integer or floating point", TypeError, value=np.ones((2, 7, 5, 3), bool)),
    bad("`value` must be of rank 4", value=np.ones((7, 5, 3), np.float32)),
    bad("`pooling_ratio` must be a static number, got 'two'", TypeError, pooling_ratio="two"),
    bad("`pooling_ratio` must be a number or have length 2 or 4", pooling_ratio=(1, 2, 2)),
    bad("`pooling_ratio` must be 1 for the batch and channel dimensions", pooling_ratio=(1, 2, 2, 2)),
    bad("`pooling_ratio` must be at least 1, got 0.9", pooling_ratio=0.9),
    bad("`pooling_ratio` must be at least 1", pooling_ratio=(2, float("nan"))),
    bad("`row_pooling_sequence` must be an integer array", TypeError, row_pooling_sequence=[0.0, 7.0]),
    bad("`row_pooling_sequence` must be of rank 1", row_pooling_sequence=[[0, 7]]),
    bad("`row_pooling_sequence` must have from 2 to 8 boundaries, got 1", row_pooling_sequence=[0]),
    bad("`col_pooling_sequence` must have from 2 to 6 boundaries, got 7", col_pooling_sequence=range(7)),
)

ROWS, COLUMNS = [0, 2, 3, 5, 7], [0, 1, 3, 5]

CASES = [
    *(
        case
        for op in (nn.fractional_avg_pool, nn.fractional_max_pool)
        for case in (
            given(op, distinct(2, 7, 5, 3), ROWS, COLUMNS, "given", bad=BAD),
            given(op, integers(-9, 9, 2, 7, 5, 3), ROWS, COLUMNS, "integers"),
            # more cells than are reduced in one pass
            given(op, distinct(1, 9, 11, 2), [0, 4, 9], [0, 4, 7, 11], "large", overlapping=True),
        )
    ),
    drawn(nn.fractional_avg_pool, "pseudo_random", pooling_ratio=1.5, pseudo_random=True, overlapping=True),
    drawn(nn.fractional_max_pool, "random", pooling_ratio=(1, 1.5, 1.2, 1)),
]
