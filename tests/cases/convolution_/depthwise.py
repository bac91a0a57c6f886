"""Cases of the depthwise and separable convolutions, and of the depthwise gradients."""

import numpy as np
from cases.convolution import BAD_WINDOWS, convolve
from cases.convolution_transpose import BAD_OPTIONS, filter_gradient, input_gradient
from op_case import Case, bad, normal

import jnnops as nn

X, W = normal(2, 5, 4, 3), normal(3, 2, 3, 2)
Y = normal(2, 3, 2, 6)
POINTWISE = normal(1, 1, 6, 4)
BAD_IMAGES = [wrong for wrong in BAD_WINDOWS if "filters" not in wrong.change]


def grouped(tf, filter):
    """The filters of a convolution with a group for each channel, which TensorFlow has fewer restrictions for."""
    return tf.reshape(filter, [*filter.shape[:2], 1, -1])


CASES = [
    Case(
        nn.depthwise_conv2d,
        {"input": X, "filter": W},
        {"strides": 2, "padding": "SAME"},
        oracle=lambda tf, input, filter: tf.nn.depthwise_conv2d(input, filter, [1, 2, 2, 1], "SAME"),
        batched=("input",),
        bad=(
            *BAD_IMAGES,
            bad("`filter` must be of rank 4", filter=np.ones((3, 2, 3), np.float32)),
            bad("`filter` must be integer or floating", TypeError, filter=np.ones((3, 2, 3, 2), bool)),
            bad("`filter` must have as many channels as `input`, 3 and at least 1, got 2", filter=normal(3, 2, 2, 2)),
        ),
    ),
    Case(
        nn.depthwise_conv2d,
        {"input": normal(2, 3, 5, 6), "filter": normal(2, 3, 3, 1)},
        {
            "strides": (1, 1, 1, 2),
            "padding": ((0, 0), (0, 0), (1, 0), (2, 2)),
            "data_format": "NCHW",
            "dilations": (3, 2),
        },
        label="NCHW-explicit-unequal-strides-and-dilations",
        oracle=lambda tf, input, filter: convolve(
            tf,
            input,
            grouped(tf, filter),
            strides=(1, 2),
            padding=((1, 0), (2, 2)),
            channels_last=False,
            dilations=(3, 2),
        ),
    ),
    Case(
        nn.depthwise_conv2d,
        {"input": normal(2, 2, 4, 4, 1), "filter": normal(2, 2, 1, 3)},
        {"strides": 1, "padding": "VALID"},
        label="leading-dims-one-channel",
        oracle=lambda tf, input, filter: convolve(tf, input, filter, strides=1, padding="VALID"),
        batched=("input",),
    ),
    Case(
        nn.depthwise_conv2d,
        {"input": normal(1, 3, 2, 2), "filter": normal(9, 8, 2, 1)},
        {"strides": 1, "padding": "SAME"},
        label="more-taps-than-are-unrolled",
        oracle=lambda tf, input, filter: tf.nn.depthwise_conv2d(input, filter, [1, 1, 1, 1], "SAME"),
    ),
    Case(
        nn.separable_conv2d,
        {"input": X, "depthwise_filter": W, "pointwise_filter": POINTWISE},
        {"strides": 2, "padding": "SAME"},
        oracle=lambda tf, input, depthwise_filter, pointwise_filter: tf.nn.separable_conv2d(
            input, depthwise_filter, pointwise_filter, [1, 2, 2, 1], "SAME"
        ),
        batched=("input",),
        # rounded between the steps too
        ulps=4.0,
        bad=(
            *BAD_IMAGES,
            bad("`depthwise_filter` must be of rank 4", depthwise_filter=np.ones((3, 2, 3), np.float32)),
            bad("`depthwise_filter` must have as many channels", input=normal(2, 5, 4, 2)),
            bad("`pointwise_filter` must be of rank 4", pointwise_filter=np.ones((6, 4), np.float32)),
            bad(r"`pointwise_filter` must have shape \(1, 1, 6, out_channels\)", pointwise_filter=normal(1, 1, 5, 4)),
            bad(r"`pointwise_filter` must have shape \(1, 1, 6, out_channels\)", pointwise_filter=normal(2, 1, 6, 4)),
        ),
    ),
    Case(
        nn.separable_conv2d,
        {"input": normal(2, 3, 5, 4), "depthwise_filter": W, "pointwise_filter": POINTWISE},
        {"strides": 1, "padding": [(1, 0), (0, 2)], "data_format": "NCHW", "dilations": 2},
        label="NCHW-dilated",
        oracle=lambda tf, input, depthwise_filter, pointwise_filter: tf.transpose(
            tf.nn.separable_conv2d(
                tf.pad(tf.transpose(input, [0, 2, 3, 1]), [(0, 0), (1, 0), (0, 2), (0, 0)]),
                depthwise_filter,
                pointwise_filter,
                [1, 1, 1, 1],
                "VALID",
                dilations=(2, 2),
            ),
            [0, 3, 1, 2],
        ),
        ulps=4.0,
    ),
    Case(
        nn.depthwise_conv2d_backprop_filter,
        {"input": X, "out_backprop": Y},
        {"filter_sizes": (3, 2, 3, 2), "strides": 2, "padding": "SAME"},
        oracle=lambda tf, input, out_backprop: tf.nn.depthwise_conv2d_backprop_filter(
            input, (3, 2, 3, 2), out_backprop, [1, 2, 2, 1], "SAME"
        ),
        bad=(
            *BAD_OPTIONS,
            bad("`input` must be of rank at least 4", input=np.ones((5, 4, 3), np.float32)),
            bad("`filter_sizes` must have as many channels as `input`, 3", filter_sizes=(3, 2, 2, 2)),
            bad("`filter_sizes` must have length 4", filter_sizes=(3, 2, 6)),
            bad("`out_backprop` must have the 3 channels", filter_sizes=(3, 2, 3, 1)),
            bad(r"`out_backprop` must have batch \(2,\) and spatial sizes", out_backprop=normal(2, 3, 3, 6)),
        ),
    ),
    Case(
        nn.depthwise_conv2d_backprop_filter,
        {"input": normal(3, 3, 5, 4), "out_backprop": normal(3, 3, 4, 2)},
        {"filter_sizes": (2, 2, 3, 1), "strides": (1, 2), "padding": "VALID", "data_format": "NCHW"},
        label="NCHW-unequal-strides",
        oracle=lambda tf, input, out_backprop: tf.reshape(
            filter_gradient(
                tf, input, out_backprop, (2, 2, 1, 3), strides=(1, 2), padding="VALID", channels_last=False
            ),
            (2, 2, 3, 1),
        ),
    ),
    Case(
        nn.depthwise_conv2d_backprop_input,
        {"filter": W, "out_backprop": Y},
        {"input_sizes": (-1, 5, 4, 3), "strides": 2, "padding": "SAME"},
        oracle=lambda tf, filter, out_backprop: tf.nn.depthwise_conv2d_backprop_input(
            (2, 5, 4, 3), filter, out_backprop, [1, 2, 2, 1], "SAME"
        ),
        batched=("out_backprop",),
        bad=(
            *BAD_OPTIONS,
            bad("`out_backprop` must be of rank at least 4", out_backprop=np.ones((3, 2, 6), np.float32)),
            bad("`filter` must be of rank 4", filter=np.ones((3, 2, 3), np.float32)),
            bad("`filter` must have as many channels as `input_sizes`, 4", input_sizes=(2, 5, 4, 4)),
            bad("`out_backprop` must have the 6 channels", out_backprop=normal(2, 3, 2, 5)),
            bad("`input_sizes` must have spatial sizes 5 to 6 x 3 to 4", input_sizes=(7, 4)),
        ),
    ),
    Case(
        nn.depthwise_conv2d_backprop_input,
        {"filter": normal(3, 2, 3, 2), "out_backprop": normal(2, 6, 2, 3)},
        {
            "input_sizes": (6, 5),
            "strides": (3, 2),
            "padding": ((2, 1), (1, 2)),
            "data_format": "NCHW",
            "dilations": (2, 3),
        },
        label="NCHW-explicit-unequal-strides-and-dilations",
        oracle=lambda tf, filter, out_backprop: input_gradient(
            tf,
            out_backprop,
            grouped(tf, filter),
            (2, 3, 6, 5),
            strides=(3, 2),
            padding=((2, 1), (1, 2)),
            channels_last=False,
            dilations=(2, 3),
        ),
    ),
]
