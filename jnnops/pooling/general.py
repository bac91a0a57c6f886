"""Pooling whose kind and dimensions are arguments."""

import functools

import jax
from jax.typing import ArrayLike

from jnnops._check import as_float_array, as_number_array, at_least, check_choice
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments
from jnnops._windows.layout import in_layout
from jnnops.pooling._arguments import resolve_pooling
from jnnops.pooling.average import average_of_windows
from jnnops.pooling.maximum import maximum_of_windows


@answers_tensorflow_names
def pool(
    input: ArrayLike,
    window_shape: Ints,
    pooling_type: str,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    data_format: DataFormat = None,
    dilations: Ints | None = None,
) -> jax.Array:
    """:func:`avg_pool` or :func:`max_pool`, over any number of dimensions.

    Args:
        input: ``[batch, *spatial, channels]``, or ``[batch, channels, *spatial]`` as ``data_format`` says, floating
            point, or integer for a maximum.
        window_shape: Size of the window.
        pooling_type: ``"AVG"`` or ``"MAX"``.
        strides: Cells from one window to the next; 1 unless given.
        padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``; padding does not count.
        data_format: One of the formats of that many dimensions; channels last unless given, and with more than three
            spatial dimensions always.
        dilations: Cells from one cell of a window to the next; 1 unless given.

    Returns:
        The same layout with one cell for each window, and the same dtype.

    Raises:
        TypeError: If ``input`` is not floating point, nor an integer whose maximum is asked for.
        ValueError: If a shape, size, stride, padding, ``pooling_type`` or ``data_format`` does not fit, or a window has
            no real cell.

    Note:
        The gradient of a maximum goes to the first one in row-major order. TensorFlow has neither explicit padding, nor
        strides or ``"SAME"`` together with dilations, nor more than three dimensions here.

    Example:
        >>> nn.pool(jnp.arange(5.0).reshape(1, 5, 1), [2], "MAX", dilations=2).ravel().tolist()
        [2.0, 3.0, 4.0]

    References:
        ``tf.nn.pool``.
    """
    op = "pool"
    check_choice(op, "pooling_type", pooling_type, ("AVG", "MAX"))
    is_average = pooling_type == "AVG"
    x = (as_float_array if is_average else as_number_array)(op, "input", input)
    strides = 1 if strides is None else strides
    arguments = WindowArguments(op, strides, padding, data_format, dilations, size_argument="window_shape")
    window, channels_last = resolve_pooling(arguments, x, window_shape, ranks=at_least(3))
    compute = average_of_windows if is_average else maximum_of_windows
    return in_layout(functools.partial(compute, window=window), x, window.rank, channels_last)
