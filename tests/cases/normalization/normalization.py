"""Cases of ``jnnops.normalization``."""

import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn

X = normal(4, 3, 5)
IMAGE = normal(4, 3, 5, 2, seed=1)
VOLUME = normal(2, 3, 2, 2, 3, seed=2)


def tf_fused_batch_norm(tf, x, channels_last, **options):
    """TensorFlow's, with the channels moved to where its CPU kernels know them."""
    n = len(x.shape)
    if not channels_last:
        x = tf.transpose(x, [0, *range(2, n), 1])
    data_format = "NHWC" if n == 4 else "NDHWC"
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, data_format=data_format, **options)
    return y if channels_last else tf.transpose(y, [0, n - 1, *range(1, n - 1)]), mean, variance


def composed_lrn(tf, input, bias, alpha, beta, radius):
    """What the op of TensorFlow does, in float64 and with gradients for the scalars."""
    channels = input.shape[-1]
    squares = tf.pad(tf.square(input), [[0, 0]] * 3 + [[radius, radius]])
    sums = tf.add_n([squares[..., at : at + channels] for at in range(2 * radius + 1)])
    return input / tf.pow(bias + alpha * sums, beta)


def fused_batch_norm(label, x, running=True, bad=(), **options):
    channels_last = not options.get("data_format", "NHWC").startswith("NC")
    channels = x.shape[-1 if channels_last else 1]
    arrays = {"x": x, "scale": normal(channels, seed=3), "offset": normal(channels, seed=4)}
    if running:
        arrays |= {"mean": normal(channels, seed=5), "variance": np.square(normal(channels, seed=6)) + 0.1}
    known = {key: value for key, value in options.items() if key != "data_format"}
    return Case(
        nn.fused_batch_norm,
        arrays,
        options,
        label=label,
        oracle=lambda tf, **tensors: tf_fused_batch_norm(tf, channels_last=channels_last, **tensors, **known),
        oracle_dtype="float32",
        oracle_gradient=False,  # 0 for the running moments, see test_normalization.py
        dtypes=("float32", "float64"),
        bad=bad,
    )


def bad_channels(name, channels=2):
    message = rf"`{name}` must have shape \({channels},\) \(one per channel of `x`\), got \(7,\)"
    return bad(message, **{name: np.ones(7, np.float32)})


CASES = [
    *(
        Case(
            nn.l2_normalize,
            {"x": X, "epsilon": np.array(3.0)},
            {"axis": axis},
            label=label,
            oracle=lambda tf, x, epsilon, axis=axis: tf.nn.l2_normalize(x, axis, epsilon),
            batched=() if axis is None else ("x",),
            bad=(
                bad("`x` must be floating point", TypeError, x=[1, 2]),
                bad(r"`axis` must be in \[-3, 3\)", axis=3),
                bad("`axis` must not name an axis twice", axis=(1, -2)),
                bad("`axis` must be a static integer", TypeError, axis=0.5),
                bad("`epsilon` must be of rank 0", epsilon=np.ones(3, np.float32)),
            ),
        )
        for label, axis in (("all", None), ("list", [1, -1]))
    ),
    *(
        Case(
            nn.local_response_normalization,
            {"input": normal(2, 3, 2, 5, seed=7)},
            options,
            label=label,
            oracle=lambda tf, input, options=options: tf.nn.local_response_normalization(input, **options),
            oracle_dtype="float32",
            batched=("input",),
            bad=(
                bad("`input` must be of rank 4", input=X),
                bad("`input` must be floating point", TypeError, input=np.ones((1, 1, 1, 3), np.int32)),
                bad("`depth_radius` must be at least 0, got -1", depth_radius=-1),
                bad("`depth_radius` must be a static integer", TypeError, depth_radius=1.5),
                *(bad(f"`{name}` must be of rank 0", **{name: [1.0]}) for name in ("bias", "alpha", "beta")),
            ),
        )
        for label, options in (
            ("narrow", {"depth_radius": 1}),
            ("alone", {"depth_radius": 0, "bias": 0.5, "beta": 1.0}),
            ("all", {"depth_radius": 9, "bias": 0.5, "alpha": 0.3, "beta": 0.75}),
        )
    ),
    Case(
        nn.local_response_normalization,
        {"input": normal(3, 2, 2, 6, seed=8), "bias": np.array(0.7), "alpha": np.array(0.4), "beta": np.array(0.6)},
        {"depth_radius": 2},
        label="scalars",
        oracle=lambda tf, **tensors: composed_lrn(tf, **tensors, radius=2),
        batched=("input",),
        bad=tuple(bad(f"`{name}` must be of rank 0", **{name: np.ones(3)}) for name in ("bias", "alpha", "beta")),
    ),
    *(
        Case(
            nn.moments,
            {"x": X},
            {"axes": axes, "keepdims": keepdims},
            label=label,
            oracle=lambda tf, x, axes=axes, keepdims=keepdims: tf.nn.moments(x, axes, keepdims=keepdims),
            batched=batched,
            bad=(
                bad("`x` must be floating point", TypeError, x=[1, 2]),
                bad(r"`axes` must be in \[-3, 3\)", axes=(0, 3)),
                bad("`axes` must not name an axis twice", axes=(0, 0)),
                bad("`axes` must be a static integer", TypeError, axes=(0.5,)),
            ),
        )
        for label, axes, keepdims, batched in (("batch", (0, 1), False, ()), ("layer", -1, True, ("x",)))
    ),
    *(
        Case(
            nn.batch_normalization,
            {"x": X, "mean": normal(*shape, seed=1), "variance": np.square(normal(5, seed=2)) + 0.1} | given,
            missing | {"variance_epsilon": 0.1},
            label=label,
            oracle=lambda tf, missing=missing, **tensors: tf.nn.batch_normalization(
                **tensors, **missing, variance_epsilon=0.1
            ),
            batched=("x",),
            bad=(
                bad("`x` must be floating point", TypeError, x=[1, 2]),
                bad(r"`mean` must broadcast to `x`, got shape \(4,\)", mean=np.ones(4, np.float32)),
                bad("`mean` must be an array, got None", mean=None),
                bad(r"`variance` must broadcast to `x`, got shape \(2, 4, 3, 5\)", variance=np.ones((2, 4, 3, 5))),
                bad(r"`offset` must broadcast to `x`, got shape \(4,\)", offset=np.ones(4, np.float32)),
                bad("`scale` must be floating point", TypeError, scale=[1]),
                bad("`variance_epsilon` must be of rank 0", variance_epsilon=np.ones(5, np.float32)),
            ),
        )
        for label, shape, given, missing in (
            ("plain", (5,), {}, {"offset": None, "scale": None}),
            ("mixed", (1, 3, 5), {"offset": normal(seed=3), "scale": normal(3, 1, seed=4)}, {}),
        )
    ),
    fused_batch_norm(
        "training",
        IMAGE,
        exponential_avg_factor=0.25,
        bad=(
            bad("`x` must be of rank 4 or 5", x=X),
            bad("`x` must be floating point", TypeError, x=np.ones((2, 3, 5, 2), np.int32)),
            *(bad_channels(name) for name in ("scale", "offset", "mean", "variance")),
            bad("`scale` must be an array, got None", scale=None),
            bad("`mean` must be an array, got None", mean=None),
            bad(r"`variance` must have shape \(2,\) .*, got \(0,\)", variance=np.ones(0, np.float32)),
            bad("`variance` must be floating point", TypeError, variance=[1, 1]),
            bad("`data_format` must be 'NHWC' or 'NCHW', got 'NDHWC'", data_format="NDHWC"),
            bad("`is_training` must be True or False, got 'yes'", TypeError, is_training="yes"),
            bad("`epsilon` must be of rank 0", epsilon=[0.1]),
            bad("`exponential_avg_factor` must be a static number", TypeError, exponential_avg_factor=True),
        ),
    ),
    fused_batch_norm(
        "volume_channels_first",
        VOLUME,
        running=False,
        data_format="NCDHW",
        bad=(bad("`data_format` must be 'NDHWC' or 'NCDHW', got 'NHWC'", data_format="NHWC"),),
    ),
    fused_batch_norm(
        "inference",
        IMAGE,
        is_training=False,
        bad=(
            bad("`mean` must be an array, got None", mean=None),
            bad(r"`variance` must have shape \(2,\) .*, got \(0,\)", variance=np.ones(0, np.float32)),
        ),
    ),
    *(
        Case(
            nn.weighted_moments,
            {"x": X, "frequency_weights": weights},
            {"axes": axes, "keepdims": keepdims},
            label=label,
            oracle=lambda tf, x, frequency_weights, axes=axes, keepdims=keepdims: tf.nn.weighted_moments(
                x, axes, frequency_weights, keepdims=keepdims
            ),
            batched=batched,
            bad=(
                bad(r"`axes` must be in \[-3, 3\)", axes=(0, 3)),
                bad(
                    r"`frequency_weights` must broadcast with `x`, got shape \(4, 1\)",
                    frequency_weights=np.ones((4, 1), np.float32),
                ),
            ),
        )
        for label, weights, axes, keepdims, batched in (
            ("batch", np.square(normal(4, 1, 1, seed=1)) + 0.1, (0, 1), False, ()),
            ("integers", integers(0, 3, 3, 1, seed=1), -2, True, ("x",)),
        )
    ),
    *(
        Case(
            nn.sufficient_statistics,
            {"x": X} | shift,
            {"axes": axes, "keepdims": keepdims},
            label=label,
            oracle=lambda tf, x, axes=axes, keepdims=keepdims, **shift: [
                part for part in tf.nn.sufficient_statistics(x, axes, keepdims=keepdims, **shift) if part is not None
            ],
            dtypes=("float32", "float64"),
            bad=(
                bad("`axes` must not name an axis twice", axes=(0, 0)),
                *(bad(r"`shift` must broadcast to `x`, got shape \(4,\)", shift=np.ones(4, np.float32)) for _ in shift),
            ),
        )
        for label, shift, axes, keepdims in (
            ("shifted", {"shift": normal(5, seed=1)}, (0, 1), False),
            ("plain", {}, (-1,), True),
        )
    ),
    *(
        Case(
            nn.normalize_moments,
            {"counts": np.array(7.0), "mean_ss": normal(4, 5), "variance_ss": np.square(normal(4, 5, seed=1)) + 3}
            | shift,
            missing,
            label=label,
            oracle=lambda tf, missing=missing, **tensors: tf.nn.normalize_moments(**tensors, **missing),
            batched=("mean_ss", "variance_ss"),
            bad=(bad("`variance_ss` must broadcast with the arguments before it", variance_ss=np.ones(4, np.float32)),),
        )
        for label, shift, missing in (
            ("plain", {}, {"shift": None}),
            ("shifted", {"shift": normal(5, seed=2)}, {}),
        )
    ),
    *(
        Case(
            nn.batch_norm_with_global_normalization,
            {"input": IMAGE, "mean": normal(2, seed=3), "variance": np.square(normal(2, seed=4)) + 1}
            | {"beta": normal(2, seed=5), "gamma": normal(2, seed=6)},
            {"variance_epsilon": 0.1, "scale_after_normalization": scales},
            label=label,
            oracle=lambda tf, scales=scales, **tensors: tf.nn.batch_norm_with_global_normalization(
                **tensors, variance_epsilon=0.1, scale_after_normalization=scales
            ),
            batched=("input",),
            bad=(
                bad("`input` must be of rank 4", input=X),
                *(
                    bad(rf"`{name}` must have shape \(2,\)", **{name: np.ones(3, np.float32)})
                    for name in ("mean", "variance", "beta", "gamma")
                ),
            ),
        )
        for label, scales in (("", True), ("unscaled", False))
    ),
]
