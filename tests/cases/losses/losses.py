"""Cases of ``jnnops.losses``."""

import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

COUNTS = np.array([[0.0, 0.5, 1.0, 1.5], [2.0, 7.0, 30.0, 0.25]])
NOT_FLOATING = "must be floating point"

CASES = [
    Case(
        nn.l2_loss,
        {"t": normal(3, 4)},
        oracle=lambda tf, t: tf.nn.l2_loss(t),
        bad=(bad(f"`t` {NOT_FLOATING}", TypeError, t=[1, 2]),),
    ),
    *(
        Case(
            nn.log_poisson_loss,
            {"targets": COUNTS + 0.125 if full else COUNTS, "log_input": normal(2, 4)},
            {"compute_full_loss": full},
            label="full" if full else "",
            oracle=lambda tf, targets, log_input, full=full: tf.nn.log_poisson_loss(targets, log_input, full),
            # at 0 and 1 Stirling's term begins
            ties=not full,
            batched=("targets", "log_input"),
            bad=(
                bad(f"`targets` {NOT_FLOATING}", TypeError, targets=COUNTS.astype(int), log_input=[[1] * 4] * 2),
                bad(r"`log_input` must have shape \(2, 4\) \(that of `targets`\)", log_input=np.ones(4, np.float32)),
            ),
        )
        for full in (False, True)
    ),
    *(
        Case(
            nn.compute_average_loss,
            {"per_example_loss": normal(4, 3), "sample_weight": np.abs(normal(*shape, seed=1))},
            {"global_batch_size": size},
            label=label,
            oracle=lambda tf, size=size, **tensors: tf.nn.compute_average_loss(**tensors, global_batch_size=size),
            oracle_dtype="float32",
            bad=(
                bad("`per_example_loss` must be of rank at least 1", per_example_loss=np.float32(1)),
                bad("`sample_weight` must broadcast to `per_example_loss`", sample_weight=np.ones(3, np.float32)),
                bad("`sample_weight` must broadcast", sample_weight=np.ones((1, 1, 4, 3), np.float32)),
                bad("`global_batch_size` must be at least 0", global_batch_size=-1),
            ),
        )
        for label, shape, size in (("", (4,), None), ("whole-batch", (4, 3), 8), ("columns", (4, 3, 1), None))
    ),
    Case(
        nn.scale_regularization_loss,
        {"regularization_loss": np.abs(normal(3))},
        oracle=lambda tf, regularization_loss: tf.nn.scale_regularization_loss(regularization_loss),
        bad=(bad(f"`regularization_loss` {NOT_FLOATING}", TypeError, regularization_loss=[1, 2]),),
    ),
    *(
        Case(
            nn.isotonic_regression,
            {"inputs": normal(*shape)},
            {"decreasing": decreasing, "axis": axis},
            label=label,
            oracle=lambda tf, inputs, decreasing=decreasing, axis=axis: tuple(
                tf.nn.isotonic_regression(inputs, decreasing, axis)
            ),
            batched=("inputs",),
            batch_axis=batch_axis,
            bad=(
                bad("`inputs` must be of rank at least 1", inputs=np.float32(1)),
                bad("`axis` must be in", axis=2),
            ),
        )
        for label, shape, decreasing, axis, batch_axis in (
            ("", (3, 9), True, -1, 0),
            ("increasing", (12, 2), False, 0, 1),
        )
    ),
]
