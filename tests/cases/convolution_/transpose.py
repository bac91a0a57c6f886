"""Cases of the transposed convolutions and of the convolutions' gradients."""

import numpy as np
from cases.convolution import BAD_WINDOWS, convolve
from op_case import Case, bad, normal

import jnnops as nn


def input_gradient(tf, y, filters, sizes, **options):
    """The gradient for the input of ``convolve``, whose shape is ``sizes``."""
    x = tf.zeros(sizes, y.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        convolved = convolve(tf, x, filters, **options)
    return tape.gradient(convolved, x, y)


def filter_gradient(tf, x, y, sizes, **options):
    """The gradient for the filters of ``convolve``, whose shape is ``sizes``."""
    filters = tf.zeros(sizes, y.dtype)
    with tf.GradientTape() as tape:
        tape.watch(filters)
        convolved = convolve(tf, x, filters, **options)
    return tape.gradient(convolved, filters, y)


def transposed(sizes, **options):
    return lambda tf, input, filters: input_gradient(tf, input, filters, sizes, **options)


IMAGE = np.ones((2, 3, 3, 4), np.float32)
# the windows of BAD_WINDOWS are those of 2-D convolutions, for which only the names of the arrays differ
BAD_OPTIONS = [wrong for wrong in BAD_WINDOWS if not {"input", "filters"} & set(wrong.change)]
BAD_TRANSPOSE = (
    *BAD_OPTIONS,
    bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 3, 3, 4), bool)),
    bad("`input` must be of rank at least 4", input=np.ones((3, 3, 4), np.float32)),
    bad("`filters` must be of rank 4", filters=np.ones((3, 3, 4), np.float32)),
    bad("`filters` must have as many in its last dimension as `input` has channels, 4, got 3", filters=IMAGE[..., :3]),
    bad(
        r"`output_shape` must have spatial sizes 5 to 6 x 5 to 6, .* the \(3, 3\) of `input` .*got", output_shape=(4, 6)
    ),
    bad("`output_shape` must have length 2 .*or 4 .*of length 3", output_shape=(1, 6, 5)),
    bad(r"`output_shape` must have the batch \(2,\) of `input`, or None", output_shape=(3, 6, 5, 2)),
    bad("`output_shape` must have channels that are a multiple of the 2 of `filters`", output_shape=(2, 6, 5, 3)),
    bad("`output_shape` must have channels that are a multiple", output_shape=(2, 6, 5, 0)),
    bad("`filters` must have a last dimension that the 3 groups .* divide, got 4", output_shape=(2, 6, 5, 6)),
    bad("`output_shape` must be a static integer", TypeError, output_shape=(6.5, 5)),
)

TRANSPOSES = [
    Case(
        nn.conv1d_transpose,
        {"input": normal(2, 3, 4), "filters": normal(3, 2, 4)},
        {"output_shape": (None, 6, 2), "strides": 2},
        oracle=lambda tf, input, filters: tf.nn.conv1d_transpose(input, filters, (2, 6, 2), 2),
        batched=("input",),
        bad=(
            bad("`input` must be of rank at least 3", input=np.ones((3, 4), np.float32)),
            bad("`output_shape` must have spatial sizes 5 to 6", output_shape=(7,)),
            bad("`output_shape` must have spatial sizes none", output_shape=(7,), padding=[(9, 9)]),
        ),
    ),
    Case(
        nn.conv1d_transpose,
        {"input": normal(2, 4, 3), "filters": normal(3, 2, 4)},
        {"output_shape": (2, 4, 7), "strides": 2, "padding": [(2, 1)], "data_format": "NCW", "dilations": 2},
        label="NCW-explicit-groups-strides-and-dilations",
        oracle=transposed((2, 4, 7), strides=(2,), padding=[(2, 1)], channels_last=False, dilations=(2,)),
    ),
    Case(
        nn.conv2d_transpose,
        {"input": normal(2, 3, 3, 4), "filters": normal(3, 2, 2, 4)},
        {"output_shape": (-1, 6, 5, 2), "strides": 2},
        oracle=lambda tf, input, filters: tf.nn.conv2d_transpose(input, filters, (2, 6, 5, 2), 2),
        batched=("input",),
        bad=BAD_TRANSPOSE,
    ),
    Case(
        nn.conv2d_transpose,
        {"input": normal(2, 4, 3, 2), "filters": normal(3, 2, 2, 4)},
        {
            "output_shape": (2, 4, 8, 6),
            "strides": (1, 1, 3, 2),
            "padding": ((0, 0), (0, 0), (2, 1), (0, 1)),
            "data_format": "NCHW",
            "dilations": (1, 1, 2, 3),
        },
        label="NCHW-explicit-groups-strides-and-dilations",
        oracle=transposed(
            (2, 4, 8, 6), strides=(3, 2), padding=((2, 1), (0, 1)), channels_last=False, dilations=(2, 3)
        ),
    ),
    Case(
        nn.conv2d_transpose,
        {"input": normal(2, 2, 2, 2, 3), "filters": normal(2, 1, 2, 3)},
        {"output_shape": [6, 5], "strides": [3, 3], "padding": "VALID"},
        label="leading-dims-stride-above-kernel",
        oracle=transposed((2, 2, 6, 5, 2), strides=(3, 3), padding="VALID"),
        batched=("input",),
    ),
    Case(
        nn.conv3d_transpose,
        {"input": normal(2, 2, 2, 2, 2), "filters": normal(3, 2, 2, 3, 2)},
        {"output_shape": (2, 4, 2, 3, 3), "strides": (2, 1, 2)},
        oracle=lambda tf, input, filters: tf.nn.conv3d_transpose(input, filters, (2, 4, 2, 3, 3), (2, 1, 2)),
        bad=(bad("`output_shape` must have spatial sizes 3 to 4 x 2 x 3 to 4", output_shape=(5, 2, 3)),),
    ),
    Case(
        nn.conv3d_transpose,
        {"input": normal(1, 2, 2, 3, 2), "filters": normal(2, 1, 2, 1, 2)},
        {
            "output_shape": (3, 2, 2),
            "strides": 1,
            "padding": ((1, 0), (0, 1), (1, 0)),
            "data_format": "NCDHW",
            "dilations": (2, 1, 1),
        },
        label="NCDHW-explicit",
        oracle=transposed(
            (1, 1, 3, 2, 2),
            strides=(1, 1, 1),
            padding=((1, 0), (0, 1), (1, 0)),
            channels_last=False,
            dilations=(2, 1, 1),
        ),
    ),
    Case(
        nn.conv_transpose,
        {"input": normal(2, 3, 3, 4), "filters": normal(3, 2, 2, 4)},
        {"output_shape": (5, 6), "strides": 2},
        oracle=lambda tf, input, filters: tf.nn.conv_transpose(input, filters, (2, 5, 6, 2), 2),
        batched=("input",),
        bad=(bad("`filters` must be of rank 3, 4 or 5", filters=np.ones((3, 4), np.float32)),),
    ),
    Case(
        nn.conv_transpose,
        {"input": normal(2, 3, 4), "filters": normal(4, 2, 4)},
        {"output_shape": (2, 10, 2), "strides": [3], "padding": "VALID"},
        label="1d",
        oracle=lambda tf, input, filters: tf.nn.conv_transpose(input, filters, (2, 10, 2), [3], "VALID"),
    ),
    Case(
        nn.atrous_conv2d_transpose,
        {"value": normal(2, 3, 4, 2), "filters": normal(2, 2, 3, 2)},
        {"output_shape": (None, 3, 4, 3), "rate": 2, "padding": "SAME"},
        oracle=lambda tf, value, filters: tf.nn.atrous_conv2d_transpose(value, filters, (2, 3, 4, 3), 2, "SAME"),
        batched=("value",),
        bad=(
            bad("`rate` must be at least 1", rate=0),
            bad("`rate` must be a static integer", TypeError, rate=(2, 2)),
            bad("`value` must be of rank at least 4", value=np.ones((3, 4, 2), np.float32)),
            bad("`output_shape` must have spatial sizes 3 x 4, of which", output_shape=(4, 4)),
        ),
    ),
    Case(
        nn.atrous_conv2d_transpose,
        {"value": normal(2, 3, 2, 2), "filters": normal(2, 2, 3, 2)},
        {"output_shape": (6, 5), "rate": 3, "padding": "VALID"},
        label="valid",
        oracle=lambda tf, value, filters: tf.nn.atrous_conv2d_transpose(value, filters, (2, 6, 5, 3), 3, "VALID"),
    ),
]

GRADIENTS = [
    Case(
        nn.conv2d_backprop_filter,
        {"input": normal(2, 4, 5, 2), "out_backprop": normal(2, 2, 3, 3)},
        {"filter_sizes": (3, 2, 2, 3), "strides": [1, 2, 2, 1], "padding": "SAME"},
        oracle=lambda tf, input, out_backprop: tf.compat.v1.nn.conv2d_backprop_filter(
            input, (3, 2, 2, 3), out_backprop, [1, 2, 2, 1], "SAME"
        ),
        bad=(
            *BAD_OPTIONS,
            bad("`input` must be integer or floating point", TypeError, input=np.ones((2, 4, 5, 2), bool)),
            bad("`out_backprop` must be of rank 4", out_backprop=np.ones((2, 3, 3), np.float32)),
            bad("`filter_sizes` must have length 4, got", filter_sizes=(3, 2, 3)),
            bad("`filter_sizes` must be at least 0", filter_sizes=(-1, 2, 2, 3)),
            bad("`filter_sizes` must have in_channels that divide the 2 channels", filter_sizes=(3, 2, 3, 3)),
            bad("`filter_sizes` must have out_channels that the 2 groups divide, got 3", filter_sizes=(3, 2, 1, 3)),
            bad("`out_backprop` must have the 4 channels that filters", filter_sizes=(3, 2, 2, 4)),
            bad(r"`out_backprop` must have batch \(2,\) and spatial sizes \(2, 3\)", out_backprop=normal(2, 3, 3, 3)),
            bad(r"`out_backprop` must have batch \(2,\) and spatial sizes", out_backprop=normal(1, 2, 3, 3)),
        ),
    ),
    Case(
        nn.conv2d_backprop_filter,
        {"input": normal(2, 4, 5, 6), "out_backprop": normal(2, 2, 2, 3)},
        {
            "filter_sizes": (2, 3, 2, 2),
            "strides": (3, 2),
            "padding": ((1, 0), (2, 1)),
            "data_format": "NCHW",
            "dilations": (1, 2),
        },
        label="NCHW-explicit-groups-strides-and-dilations",
        oracle=lambda tf, input, out_backprop: filter_gradient(
            tf,
            input,
            out_backprop,
            (2, 3, 2, 2),
            strides=(3, 2),
            padding=((1, 0), (2, 1)),
            channels_last=False,
            dilations=(1, 2),
        ),
    ),
    Case(
        nn.conv2d_backprop_input,
        {"filters": normal(3, 2, 2, 3), "out_backprop": normal(2, 2, 3, 3)},
        {"input_sizes": (None, 4, 5, 2), "strides": [1, 2, 2, 1], "padding": "SAME"},
        oracle=lambda tf, filters, out_backprop: tf.compat.v1.nn.conv2d_backprop_input(
            (2, 4, 5, 2), filters, out_backprop, [1, 2, 2, 1], "SAME"
        ),
        batched=("out_backprop",),
        bad=(
            *BAD_OPTIONS,
            bad("`out_backprop` must be of rank at least 4", out_backprop=np.ones((2, 3, 3), np.float32)),
            bad("`filters` must have as many in its last dimension as `out_backprop`", filters=normal(3, 2, 2, 4)),
            bad("`input_sizes` must have spatial sizes 3 to 4 x 5 to 6", input_sizes=(2, 5, 5, 2)),
        ),
    ),
    Case(
        nn.conv3d_backprop_filter,
        {"input": normal(1, 3, 4, 2, 2), "out_backprop": normal(1, 2, 4, 1, 2)},
        {"filter_sizes": (2, 2, 2, 2, 2), "strides": (2, 1, 2), "padding": "SAME"},
        oracle=lambda tf, input, out_backprop: tf.compat.v1.nn.conv3d_backprop_filter(
            input, (2, 2, 2, 2, 2), out_backprop, [1, 2, 1, 2, 1], "SAME"
        ),
        bad=(
            bad("`input` must be of rank at least 5", input=np.ones((3, 4, 2, 2), np.float32)),
            bad("`data_format` must be 'NDHWC' or 'NCDHW'", data_format="NHWC"),
        ),
    ),
    Case(
        nn.conv3d_backprop_input,
        {"filters": normal(2, 2, 2, 2, 2), "out_backprop": normal(1, 2, 4, 1, 2)},
        {"input_sizes": (1, 3, 4, 2, 2), "strides": (2, 1, 2), "padding": "SAME"},
        oracle=lambda tf, filters, out_backprop: input_gradient(
            tf, out_backprop, filters, (1, 3, 4, 2, 2), strides=(2, 1, 2), padding="SAME"
        ),
        bad=(bad("`input_sizes` must have spatial sizes 3 to 4 x 4 x 1 to 2", input_sizes=(5, 4, 2)),),
    ),
]

CASES = [*TRANSPOSES, *GRADIENTS]
