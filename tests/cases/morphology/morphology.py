"""Cases of ``jnnops.morphology``."""

import functools

import numpy as np
from machinery.case import Case, bad, integers

import jnnops as nn


def distinct(*shape, seed=0):
    """Numbers whose sums have no ties and are far enough apart for finite differences."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape) / 7.0


def element(*shape):
    """A structuring element no two of whose differences are equal, which would be a tie in an opening."""
    return np.random.default_rng(1).uniform(0, 1, shape)


def four(value):
    """As TensorFlow wants strides and dilations."""
    return [1, *((value, value) if isinstance(value, int) else value), 1]


def dilation(tf, input, filters, strides, padding, dilations=1):
    return tf.nn.dilation2d(input, filters, four(strides), padding, "NHWC", four(dilations))


def erosion(tf, value, filters, strides, padding, dilations=1):
    return tf.nn.erosion2d(value, filters, four(strides), padding, "NHWC", four(dilations))


def opening(tf, input, filters):
    return dilation(tf, erosion(tf, input, filters, 1, "SAME"), filters, 1, "SAME")


def closing(tf, input, filters):
    return erosion(tf, dilation(tf, input, filters, 1, "SAME"), filters, 1, "SAME")


def gradient(tf, input, filters):
    return dilation(tf, input, filters, 1, "SAME") - erosion(tf, input, filters, 1, "SAME")


def reconstruction(tf, marker, mask, steps):
    x = tf.minimum(marker, mask)
    for _ in range(steps):
        x = tf.minimum(tf.nn.max_pool2d(x, 3, 1, "SAME"), mask)
    return x


def channels_first(oracle):
    def transposed(tf, filters, **images):
        images = {name: tf.transpose(image, [0, 2, 3, 1]) for name, image in images.items()}
        return tf.transpose(oracle(tf, filters=filters, **images), [0, 3, 1, 2])

    return transposed


def bad_image(argument):
    return (
        bad(f"`{argument}` must be of rank 4", **{argument: np.ones((3, 3, 2), np.float32)}),
        bad("integer or floating point", TypeError, **{argument: np.ones((2, 3, 3, 2), bool)}),
        bad("`filters` must be of rank 3", filters=np.ones((2, 2), np.float32)),
        bad("`filters` must have the 2 channels of", filters=np.ones((2, 2, 3), np.float32)),
        bad("`filters` must have at least one cell", filters=np.ones((0, 2, 2), np.float32)),
        bad("`data_format` must be 'NHWC' or 'NCHW'", data_format="NWHC"),
        bad("`dilations` must be an int or have length 1, 2 or 4", dilations=(1, 2, 1)),
    )


def windows(op, argument, oracle):
    """The ops with windows of their own."""

    def case(shape, filters, label="", dtype_oracle=oracle, **options):
        return Case(
            op,
            {argument: distinct(*shape), "filters": element(*filters)},
            options,
            label=label,
            oracle=functools.partial(dtype_oracle, **options) if dtype_oracle else None,
            batched=(argument,),
            rounding_chooses=True,
            bad=()
            if label
            else (
                *bad_image(argument),
                bad("`strides` must be at least 1", strides=0),
                bad("`padding` must be 'SAME', 'VALID' or", padding="FULL"),
                bad("`padding` must make the input at least as large", padding="VALID", dilations=9),
            ),
        )

    return [
        case((2, 5, 6, 2), (3, 2, 2), strides=1, padding="SAME"),
        case((1, 7, 8, 2), (2, 3, 2), "strided-dilated", None, strides=(2, 3), padding="SAME", dilations=(3, 2)),
        case((1, 7, 8, 2), (2, 3, 2), "strided", strides=(3, 2), padding="SAME"),
        case((1, 7, 8, 2), (2, 3, 2), "dilated", strides=1, padding="VALID", dilations=(3, 2)),
        case((1, 6, 7, 1), (1, 2, 1), "stride-above-size", strides=(2, 3), padding="VALID"),
        case((1, 9, 10, 1), (9, 8, 1), "large", strides=(1, 2), padding="SAME"),
        case((1, 2, 5, 6), (2, 2, 2), "NCHW", None, strides=2, padding=((1, 0), (1, 2)), data_format="NCHW"),
        Case(
            op,
            {argument: integers(-9, 9, 2, 5, 6, 2), "filters": integers(0, 4, 3, 2, 2)},
            {"strides": 2, "padding": "SAME"},
            label="integers",
            oracle=functools.partial(oracle, strides=2, padding="SAME"),
        ),
    ]


def composed(op, oracle, order=2):
    """The ops that keep the size; TensorFlow's composition is one with windows of odd size only.

    Their programs hold each cell of the window several times, so the windows are small.
    """
    arrays = {"input": distinct(2, 5, 6, 2), "filters": element(3, 1, 2)}
    return [
        Case(
            op,
            arrays,
            oracle=oracle,
            batched=("input",),
            bad=bad_image("input"),
            order=order,
            rounding_chooses=True,
        ),
        Case(
            op,
            {"input": np.moveaxis(arrays["input"], -1, 1), "filters": element(1, 3, 2)},
            {"data_format": "NCHW"},
            label="NCHW",
            oracle=channels_first(oracle),
            rounding_chooses=True,
        ),
        Case(
            op,
            {"input": distinct(1, 6, 7, 1), "filters": element(2, 2, 1)},
            {"dilations": (2, 1)},
            label="dilated",
            rounding_chooses=True,
        ),
    ]


MARKED = {"marker": distinct(2, 5, 6, 2), "mask": distinct(2, 5, 6, 2, seed=1) + 0.031}

CASES = [
    *windows(nn.dilation2d, "input", dilation),
    *windows(nn.erosion2d, "value", erosion),
    *composed(nn.opening2d, opening),
    *composed(nn.closing2d, closing),
    *composed(nn.morphological_gradient2d, gradient),
    *composed(nn.white_tophat2d, lambda tf, input, filters: input - opening(tf, input, filters)),
    *composed(nn.black_tophat2d, lambda tf, input, filters: closing(tf, input, filters) - input),
    Case(
        nn.reconstruct2d,
        MARKED,
        {"steps": 3},
        oracle=functools.partial(reconstruction, steps=3),
        # at a tie a cell keeps its own value here, and takes that of the window's first cell there
        ties=False,
        batched=("marker", "mask"),
        bad=(
            bad("`marker` must be of rank 4", marker=np.ones((3, 3, 2), np.float32)),
            bad("`mask` must have shape", mask=np.ones((2, 5, 6, 1), np.float32)),
            bad("`mask` must be integer or floating point", TypeError, mask=np.ones((2, 5, 6, 2), bool)),
            bad("`filters` must have the 2 channels of", filters=np.ones((2, 2, 3), np.float32)),
            bad("`steps` must be at least 0", steps=-1),
            bad("`steps` must be a static integer", TypeError, steps=1.5),
            bad("`data_format` must be 'NHWC' or 'NCHW'", data_format="NWHC"),
        ),
    ),
    Case(
        nn.reconstruct2d,
        MARKED,
        label="until-stable",
        oracle=functools.partial(reconstruction, steps=30),
        oracle_gradient=False,
        # the loop has forward mode only
        order=0,
    ),
    Case(
        nn.reconstruct2d,
        {**MARKED, "filters": element(3, 3, 2) - 0.2},
        {"steps": 2, "dilations": (1, 2)},
        label="element",
    ),
]
