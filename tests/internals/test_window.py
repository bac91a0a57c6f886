"""The resolution of strides, dilations, padding and data_format, against TensorFlow and by hand."""

import itertools

import jax
import numpy as np
import pytest

import jnnops as nn
from jnnops._windows.geometry import explicit_padding, resolve_ints, resolve_window, same_padding
from jnnops._windows.layout import is_channels_last


def outputs_of(size, window, stride, dilation, padding):
    return resolve_window(
        "op", input_shape=(size,), size=(window,), strides=stride, padding=padding, dilations=dilation
    ).output_shape[0]


class TestSame:
    @pytest.mark.parametrize(
        ("size", "window", "stride", "expected"),
        [
            (5, 3, 1, (1, 1)),
            (5, 2, 1, (0, 1)),
            (5, 2, 2, (0, 1)),
            (4, 2, 2, (0, 0)),
            (7, 1, 3, (0, 0)),
            (6, 5, 4, (1, 2)),
        ],
    )
    def test_the_odd_cell_goes_after(self, size, window, stride, expected):
        assert same_padding(size, window, stride) == expected

    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    def test_outputs_are_those_of_tensorflow(self, padding):
        from machinery import oracle

        grid = itertools.product(range(6, 10), range(1, 6), range(1, 4))
        for size, window, stride in grid:
            image = oracle.tf.zeros((1, size, 1, 1))
            expected = oracle.tf.nn.conv2d(image, oracle.tf.zeros((window, 1, 1, 1)), [stride, 1], padding).shape[1]
            assert outputs_of(size, window, stride, 1, padding) == expected

    def test_same_outputs_depend_on_the_stride_alone(self):
        for size, window, stride, dilation in itertools.product(range(5), range(1, 5), range(1, 4), range(1, 4)):
            assert outputs_of(size, window, stride, dilation, "same") == -(-size // stride)

    @pytest.mark.parametrize(
        ("window", "stride", "dilation", "padding"),
        [(4, 1, 1, "VALID"), (4, 3, 1, "valid"), (5, 2, 1, "VALID"), (2, 1, 3, "VALID"), (6, 4, 1, [(1, 1)])],
    )
    def test_windows_must_not_be_too_long(self, window, stride, dilation, padding):
        # not even by one cell, which would make an empty result: TensorFlow refuses them all in a graph
        with pytest.raises(ValueError, match="op: `padding` must make the input at least as large as the window"):
            outputs_of(3, window, stride, dilation, padding)

    @pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 1)]])
    def test_no_cells_have_no_windows(self, padding):
        for window, stride in itertools.product((3, 5), (1, 2)):
            assert outputs_of(0, window, stride, 1, padding) == 0


class TestForms:
    @pytest.mark.parametrize(
        ("value", "channels_last"),
        [
            (2, True),
            ([2], True),
            ((2, 2), False),
            ([1, 2, 2, 1], True),
            ((1, 1, 2, 2), False),
            (np.array([2, 2]), True),
        ],
    )
    def test_ints(self, value, channels_last):
        assert resolve_ints("op", "strides", value, 2, channels_last) == (2, 2)

    @pytest.mark.parametrize(
        ("value", "channels_last"),
        [
            ([[1, 2], [0, 3]], True),
            (((0, 0), (1, 2), (0, 3), (0, 0)), True),
            ([[0, 0], [0, 0], [1, 2], [0, 3]], False),
            (np.array([[1, 2], [0, 3]]), False),
        ],
    )
    def test_padding(self, value, channels_last):
        assert explicit_padding("op", value, 2, channels_last) == ((1, 2), (0, 3))

    def test_data_format(self):
        assert is_channels_last("op", None, 2)
        assert is_channels_last("op", "NDHWC", 3)
        assert not is_channels_last("op", "NCW", 1)
        with pytest.raises(ValueError, match="op: `data_format` must be 'NWC' or 'NCW', got 'nwc'"):
            is_channels_last("op", "nwc", 1)
        with pytest.raises(ValueError, match="op: `data_format` must be 'NWC' or 'NCW', got 3"):
            is_channels_last("op", 3, 1)  # pyright: ignore


def shape_of(op, x, window, **options):
    """What an op with a square window, as it takes it, makes of an image."""
    given = {name: np.ones(shape, np.float32) for name, shape in window.items()}
    return jax.eval_shape(lambda x: jax.tree.leaves(op(x, **given, **options))[0], x).shape


class TestOps:
    """What all windowed ops do about windows that are larger than the image by one cell."""

    @pytest.mark.parametrize(
        ("op", "window", "options"),
        [
            (nn.conv2d, {"filters": (4, 4, 2, 2)}, {}),
            (nn.convolution, {"filters": (4, 4, 2, 2)}, {}),
            (nn.depthwise_conv2d, {"filter": (4, 4, 2, 1)}, {}),
            (nn.separable_conv2d, {"depthwise_filter": (4, 4, 2, 1), "pointwise_filter": (1, 1, 2, 2)}, {}),
            (nn.atrous_conv2d, {"filters": (2, 2, 2, 2)}, {"rate": 3}),
            (nn.dilation2d, {"filters": (4, 4, 2)}, {}),
            (nn.erosion2d, {"filters": (4, 4, 2)}, {}),
            *((op, {}, {"ksize": 4}) for op in (nn.max_pool, nn.avg_pool2d, nn.max_pool_with_argmax)),
            *((nn.pool, {}, {"window_shape": 4, "pooling_type": kind}) for kind in ("MAX", "AVG")),
        ],
    )
    def test_refuse_them_unless_the_image_is_empty(self, op, window, options):
        strides = {} if op is nn.atrous_conv2d else {"strides": 1}
        image, empty = (jax.ShapeDtypeStruct((1, size, size, 2), np.float32) for size in (3, 0))
        with pytest.raises(ValueError, match=f"{op.__name__}: `padding` must make the input at least as large as the"):
            shape_of(op, image, window, padding="VALID", **strides, **options)
        assert shape_of(op, image, window, padding="SAME", **strides, **options) == (1, 3, 3, 2)
        for padding, stride in (("VALID", 1), ("SAME", 1), ("SAME", 3)):
            strides = strides and {"strides": stride}
            assert shape_of(op, empty, window, padding=padding, **strides, **options) == (1, 0, 0, 2)

    def test_transposes_of_no_outputs_are_zeros_as_in_tensorflow(self):
        from machinery import oracle

        y, filters, shape = np.ones((1, 0, 3, 1), np.float32), np.ones((4, 1, 1, 1), np.float32), [1, 3, 3, 1]
        expected = oracle.tf.nn.conv2d_transpose(y, filters, np.array(shape), 1, "VALID")
        np.testing.assert_array_equal(nn.conv2d_transpose(y, filters, shape, 1, "VALID"), expected)
