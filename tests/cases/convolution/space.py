"""Cases of the ops that move cells between space, batch and depth, and of ``atrous_conv2d``."""

import jax.numpy as jnp
import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

WINDOW = normal(3, 2, 3, 2)


def convolve(x, num_spatial_dims, padding):
    return nn.convolution(x, jnp.asarray(WINDOW, x.dtype), 1, padding)


def widest(x, num_spatial_dims, padding):
    """The maximum of a window in the second and fourth dimension, the channels between them."""
    assert (num_spatial_dims, padding) == (2, "VALID")
    return jnp.maximum(jnp.maximum(x[:, :-1, :, :-1], x[:, 1:, :, :-1]), x[:, :-1, :, 1:])


def tf_convolve(tf, input, rate, padding, **options):
    return tf.nn.with_space_to_batch(
        input, rate, padding, lambda x, n, p: tf.nn.convolution(x, tf.constant(WINDOW, x.dtype), 1, p), **options
    )


def tf_widest(tf, input):
    def op(x, n, padding):
        return tf.maximum(tf.maximum(x[:, :-1, :, :-1], x[:, 1:, :, :-1]), x[:, :-1, :, 1:])

    return tf.nn.with_space_to_batch(input, [2, 3], "VALID", op, spatial_dims=[1, 3])


CASES = [
    Case(
        nn.space_to_batch,
        {"input": normal(2, 3, 4, 2)},
        {"block_shape": [2, 3], "paddings": [[0, 1], [1, 1]]},
        oracle=lambda tf, input: tf.nn.space_to_batch(input, [2, 3], [[0, 1], [1, 1]]),
        bad=(
            bad(r"`block_shape` must divide the padded sizes \(4, 6\) .*got \(3, 3\)", block_shape=[3, 3]),
            bad("`block_shape` must have a size for each of the 2 `paddings`", block_shape=[2]),
            bad("`block_shape` must be at least 1", block_shape=0),
            bad("`block_shape` must be a static integer", TypeError, block_shape=[2.0, 3]),
            bad("`paddings` must be at least 0", paddings=[[0, 1], [-1, 1]]),
            bad("`paddings` must be pairs of ints", paddings=[[0, 1], [1]]),
            bad("`paddings` must be pairs of ints", paddings=2),
            bad("`block_shape` must have a size for each of the 0 `paddings`", block_shape=2, paddings=[]),
            bad("`input` must be of rank at least 3", input=np.ones((2, 3), np.float32)),
        ),
    ),
    Case(
        nn.batch_to_space,
        {"input": normal(12, 2, 3)},
        {"block_shape": [2, 3], "crops": [[1, 0], [2, 3]]},
        oracle=lambda tf, input: tf.batch_to_space(input, [2, 3], [[1, 0], [2, 3]]),
        bad=(
            bad("`block_shape` must divide the batch 12 of `input`", block_shape=[5, 1]),
            bad(r"`crops` must leave something of the sizes \(4, 9\)", crops=[[3, 2], [0, 0]]),
            bad("`crops` must be pairs of ints", crops=[[1, 0, 1]]),
            bad("`input` must be of rank at least 3", input=np.ones((6, 3), np.float32)),
        ),
    ),
    Case(
        nn.space_to_depth,
        {"input": normal(2, 4, 6, 3)},
        {"block_size": 2},
        oracle=lambda tf, input: tf.nn.space_to_depth(input, 2),
        batched=("input",),
        bad=(
            bad("`block_size` must divide height 4 and width 6 .*got 3", block_size=3),
            bad("`block_size` must be at least 1", block_size=0),
            bad("`block_size` must be a static integer", TypeError, block_size=2.0),
            bad("`data_format` must be 'NHWC' or 'NCHW'", data_format="NCHW_VECT_C"),
            bad("`input` must be of rank 4", input=np.ones((4, 6, 3), np.float32)),
        ),
    ),
    Case(
        nn.space_to_depth,
        {"input": normal(2, 2, 3, 6)},
        {"block_size": 3, "data_format": "NCHW"},
        label="NCHW",
        oracle=lambda tf, input: tf.transpose(tf.nn.space_to_depth(tf.transpose(input, [0, 2, 3, 1]), 3), [0, 3, 1, 2]),
        batched=("input",),
    ),
    Case(
        nn.depth_to_space,
        {"input": normal(2, 2, 3, 8)},
        {"block_size": 2},
        oracle=lambda tf, input: tf.nn.depth_to_space(input, 2),
        batched=("input",),
        bad=(
            bad("`block_size` must have a square that divides the 8 channels .*got 3", block_size=3),
            bad("`input` must be of rank 4", input=np.ones((2, 3, 8), np.float32)),
        ),
    ),
    Case(
        nn.depth_to_space,
        {"input": normal(2, 18, 2, 3)},
        {"block_size": 3, "data_format": "NCHW"},
        label="NCHW",
        oracle=lambda tf, input: tf.transpose(tf.nn.depth_to_space(tf.transpose(input, [0, 2, 3, 1]), 3), [0, 3, 1, 2]),
        batched=("input",),
    ),
    Case(
        nn.with_space_to_batch,
        {"input": normal(2, 5, 4, 3)},
        {"dilation_rate": [2, 3], "padding": "SAME", "op": convolve, "filter_shape": [3, 2, 3, 2]},
        oracle=lambda tf, input: tf_convolve(tf, input, [2, 3], "SAME", filter_shape=[3, 2, 3, 2]),
        bad=(
            bad("`filter_shape` must be given with padding 'SAME'", filter_shape=None),
            bad("`filter_shape` must have a size for each of 2 dimensions", filter_shape=[3]),
            bad("`padding` must be 'SAME', 'VALID' or 2", padding=[(1, 1)]),
            bad("`dilation_rate` must be at least 1", dilation_rate=[0, 1]),
            bad("`dilation_rate` must be 1 to 3 ints", dilation_rate=[]),
            bad(r"`spatial_dims` must be 2 .* ascending ints in \[1, 4\)", spatial_dims=[2, 1]),
            bad("`spatial_dims` must be 2", spatial_dims=[0, 1]),
            bad("`spatial_dims` must be 2", spatial_dims=[2, 4]),
            bad("`spatial_dims` must be 2", spatial_dims=[1]),
            bad("`op` must keep the batch of 12 that it is given, got 1", op=lambda x, n, p: x[:1]),
            bad(r"`op\(...\)` must be of rank at least 3", op=lambda x, n, p: x[:, 0, 0]),
        ),
    ),
    Case(
        nn.with_space_to_batch,
        {"input": normal(2, 5, 4, 3)},
        {"dilation_rate": [1, 1], "padding": "SAME", "op": convolve},
        label="rate-1",
        oracle=lambda tf, input: tf_convolve(tf, input, [1, 1], "SAME"),
    ),
    Case(
        nn.with_space_to_batch,
        {"input": normal(2, 5, 4, 3)},
        {"dilation_rate": (2, 1), "padding": [(0, 0), (1, 2), (0, 1), (0, 0)], "op": convolve},
        label="explicit",
        oracle=lambda tf, input: tf_convolve(tf, input, [2, 1], [(0, 0), (1, 2), (0, 1), (0, 0)]),
    ),
    Case(
        nn.with_space_to_batch,
        {"input": normal(2, 5, 2, 7)},
        {"dilation_rate": [2, 3], "padding": "VALID", "op": widest, "spatial_dims": [1, 3]},
        label="other-dims",
        oracle=tf_widest,
        # the maxima of this case are jnp's, which share the gradient between ties
        ties=False,
    ),
    Case(
        nn.with_space_to_batch,
        {"input": normal(2, 2, 5)},
        {
            "dilation_rate": [2],
            "padding": "VALID",
            "op": lambda x, n, padding: x[:, :, 1:] - x[:, :, :-1],
            "data_format": "NCW",
        },
        label="NCW",
        oracle=lambda tf, input: tf.nn.with_space_to_batch(
            input, [2], "VALID", lambda x, n, padding: x[:, :, 1:] - x[:, :, :-1], data_format="NCW"
        ),
    ),
    Case(
        nn.atrous_conv2d,
        {"value": normal(2, 5, 4, 3), "filters": WINDOW},
        {"rate": 2, "padding": "SAME"},
        oracle=lambda tf, value, filters: tf.nn.atrous_conv2d(value, filters, 2, "SAME"),
        batched=("value",),
        bad=(
            bad("`rate` must be at least 1", rate=0),
            bad("`rate` must be a static integer", TypeError, rate=1.5),
            bad("`value` must be of rank at least 4", value=np.ones((5, 4, 3), np.float32)),
            bad("`filters` must have in_channels that divide the 3 channels of `value`", filters=normal(3, 2, 2, 2)),
        ),
    ),
    Case(
        nn.atrous_conv2d,
        {"value": normal(2, 6, 5, 3), "filters": normal(2, 2, 3, 2)},
        {"rate": 3, "padding": "VALID"},
        label="valid",
        oracle=lambda tf, value, filters: tf.nn.atrous_conv2d(value, filters, 3, "VALID"),
    ),
]
