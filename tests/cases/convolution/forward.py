"""Cases of ``jnnops.convolution``."""

import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

TF_FORMATS = {1: None, 2: "NHWC", 3: "NDHWC"}


def convolve(tf, input, filters, strides, padding, channels_last=True, dilations=None):
    """Convolution by TensorFlow in the layout that its CPU kernels know, groups one by one."""
    n = len(filters.shape) - 2
    batch = input.shape[: -n - 1]
    x = tf.reshape(input, [-1, *input.shape[-n - 1 :]])
    if not channels_last:
        x = tf.transpose(x, [0, *range(2, n + 2), 1])
    if not isinstance(padding, str):
        x, padding = tf.pad(x, [(0, 0), *padding, (0, 0)]), "VALID"
    groups = x.shape[-1] // filters.shape[-2]
    # no CPU kernel takes strides and dilations above 1 together: stride by slicing
    sliced = dilations is not None and np.max(strides) > 1
    y = tf.concat(
        [
            tf.nn.convolution(part, kernel, 1 if sliced else strides, padding, TF_FORMATS[n], dilations)
            for part, kernel in zip(tf.split(x, groups, -1), tf.split(filters, groups, -1), strict=True)
        ],
        -1,
    )
    if sliced:
        y = y[(slice(None), *(slice(None, None, stride) for stride in strides))]
    if not channels_last:
        y = tf.transpose(y, [0, n + 1, *range(1, n + 1)])
    return tf.reshape(y, [*batch, *y.shape[1:]])


def oracle(**options):
    return lambda tf, input, filters: convolve(tf, input, filters, **options)


X1, W1 = normal(2, 7, 4), normal(3, 4, 6)
X2, W2 = normal(2, 6, 5, 4), normal(3, 2, 4, 6)
X3, W3 = normal(2, 4, 5, 3, 2), normal(2, 3, 2, 2, 3)
IMAGE = np.ones((1, 4, 4, 8), np.float32)

BAD_WINDOWS = (
    bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 6, 5, 4), bool)),
    bad("`filters` must be integer or floating point", TypeError, filters=np.ones((3, 2, 4, 6), np.complex64)),
    bad("`input` must be of rank at least 4, got shape", input=np.ones((6, 5, 4), np.float32)),
    bad("`strides` must be an int or have length 1, 2 or 4, got", strides=(1, 2, 1)),
    bad("`strides` must be 1 for the batch and channel dimensions", strides=(1, 2, 2, 2)),
    bad("`strides` must be at least 1, got 0", strides=0),
    bad("`strides` must be a static integer", TypeError, strides=1.5),
    bad("`dilations` must be an int or have length", dilations=(1, 2, 3)),
    bad("`dilations` must be 1 for the batch and channel", dilations=(2, 1, 1, 1)),
    bad("`padding` must be 'SAME', 'VALID' or 2", padding="FULL"),
    bad("`padding` must be 'SAME', 'VALID' or 2", padding=3),
    bad("`padding` must be 'SAME', 'VALID' or 2", padding=((1, 1),)),
    bad("`padding` must be 'SAME', 'VALID' or 2", padding=((-1, 1), (0, 0))),
    bad(r"`padding` must be \(0, 0\) for the batch", padding=((1, 0), (0, 0), (0, 0), (0, 0))),
    bad("`data_format` must be 'NHWC' or 'NCHW', got 'NWC'", data_format="NWC"),
)
BAD_CHANNELS = bad(
    r"`filters` must have in_channels that divide the 8 channels of `input`, got 3 \(filters.shape = \(3, 2, 3, 6\)",
    input=IMAGE,
    filters=np.ones((3, 2, 3, 6), np.float32),
)
BAD_GROUPS = bad(
    "`filters` must have out_channels that the 4 groups divide, got 6",
    input=IMAGE,
    filters=np.ones((3, 2, 2, 6), np.float32),
)

CASES = [
    Case(
        nn.conv1d,
        {"input": X1, "filters": W1},
        {"stride": 2, "padding": "SAME"},
        oracle=oracle(strides=2, padding="SAME"),
        batched=("input",),
        bad=(
            bad("`input` must be of rank at least 3", input=np.ones((7, 4), np.float32)),
            bad("`filters` must be of rank 3", filters=np.ones((3, 3, 4, 6), np.float32)),
            bad("`data_format` must be 'NWC' or 'NCW'", data_format="NHWC"),
            bad("`stride` must be an int or have length 1 or 3", stride=(2, 2)),
            bad("`padding` must make the input at least as large", padding="VALID", filters=np.ones((10, 4, 6), "f")),
        ),
    ),
    Case(
        nn.conv1d,
        {"input": normal(2, 4, 7), "filters": W1},
        {"stride": (1,), "padding": ((2, 1),), "data_format": "NCW", "dilations": 2},
        label="NCW-explicit-dilated",
        oracle=oracle(strides=1, padding=((2, 1),), channels_last=False, dilations=2),
    ),
    Case(
        nn.conv2d,
        {"input": X2, "filters": W2},
        {"strides": 1, "padding": "SAME"},
        oracle=oracle(strides=1, padding="SAME"),
        batched=("input",),
        bad=(
            *BAD_WINDOWS,
            BAD_CHANNELS,
            BAD_GROUPS,
            bad("`filters` must be of rank 4", filters=np.ones((3, 4, 6), np.float32)),
            bad("`filters` must have in_channels", filters=np.ones((3, 2, 0, 6), np.float32)),
            bad("`padding` must make the input at least as large", padding="VALID", filters=np.ones((9, 2, 4, 6), "f")),
        ),
    ),
    Case(
        nn.conv2d,
        {"input": X2, "filters": W2},
        {"strides": (1, 2, 1, 1), "padding": "valid"},
        label="valid-unequal-strides",
        oracle=oracle(strides=(2, 1), padding="VALID"),
    ),
    Case(
        nn.conv2d,
        {"input": normal(2, 4, 6, 5), "filters": normal(3, 2, 2, 6)},
        {
            "strides": (1, 1, 2, 2),
            "padding": ((0, 0), (0, 0), (2, 1), (0, 3)),
            "data_format": "NCHW",
            "dilations": (1, 1, 1, 2),
        },
        label="NCHW-explicit-groups-strides-and-dilations",
        oracle=oracle(strides=(2, 2), padding=((2, 1), (0, 3)), channels_last=False, dilations=(1, 2)),
    ),
    Case(
        nn.conv2d,
        {"input": normal(2, 2, 5, 5, 3), "filters": normal(3, 3, 3, 2)},
        {"strides": [2, 2], "padding": "SAME", "dilations": [1, 1]},
        label="leading-dims",
        oracle=oracle(strides=(2, 2), padding="SAME"),
        batched=("input",),
    ),
    Case(
        nn.conv2d,
        {"input": normal(2, 5, 5, 3), "filters": normal(1, 1, 3, 2)},
        {"strides": 3, "padding": "SAME"},
        label="stride-above-kernel",
        oracle=oracle(strides=3, padding="SAME"),
    ),
    Case(
        nn.conv3d,
        {"input": X3, "filters": W3},
        {"strides": (1, 1, 2, 1, 1), "padding": "SAME"},
        oracle=oracle(strides=(1, 2, 1), padding="SAME"),
        batched=("input",),
        bad=(
            bad("`input` must be of rank at least 5", input=np.ones((4, 5, 3, 2), np.float32)),
            bad("`data_format` must be 'NDHWC' or 'NCDHW'", data_format="NHWC"),
            bad("`strides` must be an int or have length 1, 3 or 5", strides=(1, 1)),
        ),
    ),
    Case(
        nn.conv3d,
        {"input": normal(2, 2, 4, 5, 3), "filters": W3},
        {"strides": 1, "padding": ((1, 0), (0, 2), (1, 1)), "data_format": "NCDHW", "dilations": (1, 2, 1)},
        label="NCDHW-explicit-dilated",
        oracle=oracle(strides=1, padding=((1, 0), (0, 2), (1, 1)), channels_last=False, dilations=(1, 2, 1)),
    ),
    Case(
        nn.convolution,
        {"input": X2, "filters": W2},
        oracle=oracle(strides=1, padding="VALID"),
        batched=("input",),
        bad=(
            bad("`filters` must be of rank 3, 4 or 5", filters=np.ones((4, 6), np.float32)),
            bad("`data_format` must be 'NHWC' or 'NCHW'", data_format="NCW"),
            BAD_CHANNELS,
        ),
    ),
    Case(
        nn.convolution,
        {"input": X1, "filters": W1},
        {"strides": [2], "padding": "SAME", "data_format": "NWC"},
        label="1d",
        oracle=oracle(strides=2, padding="SAME"),
    ),
    Case(
        nn.convolution,
        {"input": X3, "filters": W3},
        {"padding": "SAME", "dilations": (1, 1, 2)},
        label="3d",
        oracle=oracle(strides=1, padding="SAME", dilations=(1, 1, 2)),
    ),
]
