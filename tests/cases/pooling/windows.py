"""Cases of ``jnnops.pooling``."""

import dataclasses
import functools

import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn


def distinct(*shape):
    """Numbers without ties, as the gradient at a tie is tested apart, far enough apart for finite differences."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 7.0


def pool(tf, input, kind, ksize, strides, padding, channels_last=True, dilations=1):
    """Pooling by TensorFlow in the layout and with the padding that its CPU kernels know."""
    n = len(input.shape) - 2
    x = input if channels_last else tf.transpose(input, [0, *range(2, n + 2), 1])

    def each(value):
        return [value] * n if isinstance(value, int) else list(value)

    if dilations == 1 and isinstance(padding, str):
        y = getattr(tf.nn, f"{kind}_pool{n}d")(x, each(ksize), each(strides), padding)
    else:
        pads = [(0, 0)] * n if padding == "VALID" else padding

        def run(x, fill, pooling_type):
            padded = tf.pad(x, [(0, 0), *pads, (0, 0)], constant_values=tf.cast(fill, x.dtype))
            return tf.nn.pool(padded, each(ksize), pooling_type, [1] * n, "VALID", dilations=each(dilations))

        y = run(x, -1e9, "MAX") if kind == "max" else run(x, 0, "AVG") / run(tf.ones_like(x), 0, "AVG")
        y = y[(slice(None), *(slice(None, None, stride) for stride in each(strides)))]
    return y if channels_last else tf.transpose(y, [0, n + 1, *range(1, n + 1)])


def bad_windows(n, kind):
    name = {1: "'NWC' or 'NCW'", 2: "'NHWC' or 'NCHW'", 3: "'NDHWC' or 'NCDHW'"}[n]
    wrong_dtype = "floating point" if kind == "avg" else "integer or floating point"
    return (
        bad(f"`input` must be {wrong_dtype}", TypeError, input=np.ones((2,) * (n + 2), bool)),
        bad("`input` must be of rank", input=np.ones((2,) * (n + 3 if n < 3 else 2), np.float32)),
        bad("`ksize` must be an int or have length", ksize=(2,) * 4 if n != 2 else (2,) * 3),
        bad("`ksize` must be at least 1, got 0", ksize=0),
        bad("`ksize` must be 1 for the batch and channel", ksize=(2,) * (n + 2)),
        bad("`strides` must be an int or have length", strides=(2,) * 4 if n != 2 else (2,) * 3),
        bad("`dilations` must be an int or have length", dilations=(2,) * 4 if n != 2 else (2,) * 3),
        bad("`padding` must be 'SAME', 'VALID' or", padding="EXPLICIT"),
        bad("`padding` must make the input at least as large as the window", padding="VALID", ksize=20),
        bad("`padding` must leave every window a real cell", padding=((3, 0),) * n, ksize=2),
        bad(f"`data_format` must be {name}, got 'NXC'", data_format="NXC"),
    )


def case(op, shape, label="", bad=(), batched=(), **options):
    kind = op.__name__[:3]
    channels_last = not options.get("data_format", "").startswith("NC")
    known = {key: value for key, value in options.items() if key != "data_format"}
    return Case(
        op,
        {"input": distinct(*shape)},
        options,
        label=label,
        oracle=functools.partial(pool, kind=kind, channels_last=channels_last, **known),
        # TensorFlow pools volumes in float32 only
        oracle_dtype="float32" if len(shape) == 5 else "float64",
        # and sends the gradient to every tied cell of a volume
        ties=len(shape) < 5 or kind == "avg",
        batched=batched,
        bad=bad,
    )


def cases(kind):
    op, op1, op2, op3 = (getattr(nn, f"{kind}_pool{n}") for n in ("", "1d", "2d", "3d"))
    plain = {"ksize": 2, "strides": 2, "padding": "SAME"}
    return [
        case(
            op,
            (2, 7, 5, 3),
            batched=("input",),
            bad=(bad("`input` must be of rank 3, 4 or 5", input=[[1.0]]),),
            **plain,
        ),
        case(op, (2, 9, 3), "1d", **plain),
        case(op, (2, 4, 5, 3, 2), "3d", ksize=(2, 3, 2), strides=(1, 2, 2), padding="VALID"),
        case(
            op,
            (2, 3, 7, 8),
            "NCHW-explicit-dilated",
            ksize=(2, 3),
            strides=(2, 1),
            padding=((1, 0), (1, 2)),
            data_format="NCHW",
            dilations=2,
        ),
        case(op, (2, 6, 5, 3), "overlapping", ksize=(3, 3), strides=(1, 2), padding="SAME"),
        case(op, (2, 20, 11, 1), "long-windows", ksize=(13, 11), strides=(2, 1), padding="SAME"),
        case(op1, (2, 9, 3), bad=bad_windows(1, kind), batched=("input",), ksize=3, strides=2, padding="SAME"),
        case(op2, (2, 6, 5, 3), bad=bad_windows(2, kind), batched=("input",), ksize=2, strides=3, padding="VALID"),
        case(op3, (2, 4, 5, 3, 2), bad=bad_windows(3, kind), batched=("input",), ksize=2, strides=1, padding="SAME"),
    ]


def argmax(tf, input, ksize, strides, padding, include_batch_in_index=False):
    # TensorFlow knows two dimensions only
    result = tf.nn.max_pool_with_argmax(input, ksize, strides, padding, include_batch_in_index=include_batch_in_index)
    return result.output, result.argmax


def argmax_1d(tf, input, ksize, strides, padding):
    result = tf.nn.max_pool_with_argmax(input[:, None], [1, ksize], [1, strides], padding)
    return result.output[:, 0], result.argmax[:, 0]


def general(tf, input, **options):
    return tf.nn.pool(input, **options)


def with_argmax(shape, label="", oracle=None, bad=(), **options):
    return Case(
        nn.max_pool_with_argmax,
        {"input": distinct(*shape)},
        options,
        label=label,
        oracle=functools.partial(oracle, **options) if oracle else None,
        batched=("input",) if not options.get("include_batch_in_index") else (),
        bad=bad,
    )


WITH_ARGMAX = [
    with_argmax(
        (2, 6, 5, 3),
        oracle=argmax,
        bad=(
            bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 3, 3, 1), bool)),
            bad("`input` must be of rank 3, 4 or 5", input=[[1.0]]),
            bad("`ksize` must be at least 1, got 0", ksize=0),
            bad("`padding` must leave every window a real cell", padding=((3, 0),) * 2, ksize=2),
            bad("`data_format` must be 'NHWC' or 'NCHW', got 'NWC'", data_format="NWC"),
            bad("`output_dtype` must be int32 or int64, got int8", TypeError, output_dtype=np.int8),
            bad("`output_dtype` must be int32 unless jax_enable_x64", TypeError, output_dtype=np.int64),
        ),
        ksize=3,
        strides=2,
        padding="SAME",
    ),
    with_argmax((2, 5, 6, 3), "batch", oracle=argmax, ksize=2, strides=1, padding="VALID", include_batch_in_index=True),
    with_argmax((2, 9, 3), "1d", oracle=argmax_1d, ksize=3, strides=2, padding="SAME"),
    with_argmax((2, 4, 5, 3, 2), "3d", ksize=(2, 3, 2), strides=2, padding="SAME"),
    with_argmax((2, 3, 7, 8), "NCHW", ksize=(2, 3), strides=(2, 1), padding=((1, 0), (1, 2)), data_format="NCHW"),
    with_argmax((2, 14, 13, 1), "large", oracle=argmax, ksize=(11, 9), strides=2, padding="SAME"),
]

UNPOOL = Case(
    nn.max_unpool,
    {"input": normal(2, 2, 3, 2), "argmax": integers(0, 40, 2, 2, 3, 2)},
    {"output_shape": (2, 4, 5, 2)},
    bad=(
        bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 2, 3, 2), bool)),
        bad("`input` must be of rank 3, 4 or 5", input=[[1.0]], argmax=[[0]]),
        bad("`argmax` must be an integer array", TypeError, argmax=np.ones((2, 2, 3, 2), np.float32)),
        bad(r"`argmax` must have shape \(2, 2, 3, 2\)", argmax=np.ones((2, 2, 3, 1), np.int32)),
        bad("`output_shape` must be a static integer", TypeError, output_shape=(2, 4, 5.5, 2)),
        bad("`output_shape` must have the rank and the batch", output_shape=(2, 40)),
        bad("`output_shape` must have the rank and the batch", output_shape=(3, 4, 5, 2)),
        bad("`output_shape` must be at least 0", output_shape=(2, 4, -5, 2)),
    ),
)

POOL = [
    Case(
        nn.pool,
        {"input": distinct(2, 7, 8, 3)},
        {"window_shape": [2, 3], "pooling_type": "MAX", "dilations": [2, 1]},
        oracle=functools.partial(general, window_shape=[2, 3], pooling_type="MAX", dilations=[2, 1]),
        batched=("input",),
        bad=(
            bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 3, 3, 1), bool)),
            bad("`input` must be of rank at least 3", input=[[1.0]]),
            bad("`pooling_type` must be 'AVG' or 'MAX', got 'MEAN'", pooling_type="MEAN"),
            bad("`window_shape` must be an int or have length 1, 2 or 4", window_shape=(2, 2, 2)),
            bad("`data_format` must be 'NHWC' or 'NCHW'", data_format="NWC"),
            bad("`data_format` must be None", input=np.ones((1,) * 6, np.float32), window_shape=1, data_format="NHWC"),
        ),
    ),
    Case(
        nn.pool,
        {"input": distinct(2, 9, 3)},
        {"window_shape": [3], "pooling_type": "AVG", "strides": [2], "padding": "SAME"},
        label="1d",
        oracle=functools.partial(general, window_shape=[3], pooling_type="AVG", strides=[2], padding="SAME"),
    ),
    Case(
        nn.pool,
        {"input": distinct(1, 3, 4, 3, 4, 2)},
        {"window_shape": 2, "pooling_type": "MAX", "strides": (1, 2, 1, 2), "padding": "SAME"},
        label="4d",
    ),
]


def in_a_volume(tf, input):
    """Windows of channels and other cells, with the channels as the last dimension of a volume."""
    volume = tf.transpose(input, [0, 2, 3, 1])[..., None]
    return tf.transpose(tf.nn.max_pool3d(volume, [2, 2, 3], [2, 1, 3], "SAME")[..., 0], [0, 3, 1, 2])


CHANNELS = [
    dataclasses.replace(
        case(
            nn.max_pool,
            (2, 4, 5, 6),
            "channels",
            ksize=(1, 1, 1, 2),
            strides=(1, 1, 1, 2),
            padding="SAME",
            bad=(
                bad("`ksize` must be 1 for the batch and channel dimensions, or for the", strides=(1, 1, 1, 1)),
                bad("`ksize` must be 1 for the batch and channel dimensions, or for the", strides=2),
                bad("a divisor of their number .* for 6 channels", ksize=(1, 1, 1, 4), strides=(1, 1, 1, 4)),
                bad("`ksize` must be 1 for the batch", ksize=(2, 1, 1, 2)),
                bad("`padding` must be .0, 0. for the batch and channel", padding=[(0, 0)] * 3 + [(0, 2)]),
            ),
        ),
        oracle_gradient=False,  # there is none
    ),
    dataclasses.replace(
        case(
            nn.max_pool2d,
            (2, 6, 4, 5),
            "windows-of-channels-NCHW",
            ksize=(1, 3, 2, 2),
            strides=(1, 3, 2, 1),
            padding="SAME",
            data_format="NCHW",
        ),
        oracle=in_a_volume,
        oracle_dtype="float32",
        ties=False,
    ),
]

CASES = [
    *cases("avg"),
    *cases("max"),
    *WITH_ARGMAX,
    UNPOOL,
    dataclasses.replace(
        UNPOOL,
        arrays={"input": UNPOOL.arrays["input"], "argmax": integers(0, 80, 2, 2, 3, 2)},
        static={"output_shape": (2, 4, 5, 2), "include_batch_in_index": True},
        label="batch",
        bad=(),
    ),
    *POOL,
    *CHANNELS,
    Case(
        nn.max_pool2d,
        {"input": integers(-9, 9, 2, 5, 6, 3)},
        {"ksize": 3, "strides": 2, "padding": "SAME"},
        label="integers",
        oracle=functools.partial(pool, kind="max", ksize=3, strides=2, padding="SAME"),
    ),
    Case(
        nn.avg_pool2d,
        {"input": 1000 + normal(2, 28, 28, 3)},
        {"ksize": 28, "strides": 1, "padding": "VALID"},
        label="global",
        # a float32 sum rounded once
        ulps=0.5,
        oracle=functools.partial(pool, kind="avg", ksize=28, strides=1, padding="VALID"),
        order=1,
    ),
]
