"""The resolution of strides, dilations, padding and data_format, against TensorFlow and by hand."""

import itertools

import numpy as np
import pytest

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

    def test_windows_may_be_one_cell_too_long(self):
        # TensorFlow's rule: an empty result is one, a negative size is an error
        assert outputs_of(3, 4, 1, 1, "VALID") == 0
        assert outputs_of(3, 5, 2, 1, "VALID") == 0
        with pytest.raises(ValueError, match="op: `padding` must make the input at least as large as the window"):
            outputs_of(3, 5, 1, 1, "VALID")


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
