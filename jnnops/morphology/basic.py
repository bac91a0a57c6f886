"""The two operations that all others are made of: dilation and erosion."""

import jax
from jax.typing import ArrayLike

from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments
from jnnops.morphology._extrema import dilate, erode, morph


@answers_tensorflow_names
def dilation2d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
) -> jax.Array:
    """Greyscale dilation: the largest sum of a cell of each window and its cell of the structuring element.

    ``output[n, y, x, c] = max over (dy, dx) of input[n, s_y y + d_y dy - p_y, s_x x + d_x dx - p_x, c] +
    filters[dy, dx, c]``, with strides ``s``, dilations ``d`` and padding before ``p``.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: ``[filter_height, filter_width, channels]``. Both arguments are promoted to one dtype.
        strides: Cells from one window to the next: an int, two or four of them.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next, as ``strides``.

    Returns:
        ``[batch, out_height, out_width, channels]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        The gradient goes to the first maximum of each window in row-major order. TensorFlow knows ``"NHWC"``, four
        numbers for ``strides`` and ``dilations``, and no explicit padding.

    Example:
        >>> nn.dilation2d(jnp.array([0.0, 3, 0, 0, 1]).reshape(1, 1, 5, 1), jnp.zeros((1, 3, 1)), 1, "SAME").ravel()
        Array([3., 3., 3., 1., 1.], dtype=float32)

    References:
        ``tf.nn.dilation2d``.
    """
    arguments = WindowArguments("dilation2d", strides, padding, data_format, dilations)
    return morph(dilate, arguments, input, filters)


@answers_tensorflow_names
def erosion2d(
    value: ArrayLike,
    filters: ArrayLike,
    strides: Ints,
    padding: Padding,
    data_format: DataFormat = "NHWC",
    dilations: Ints = 1,
) -> jax.Array:
    """Greyscale erosion: the smallest difference of a cell of each window and its cell of the structuring element.

    ``output[n, y, x, c] = min over (dy, dx) of value[n, s_y y + d_y dy - p_y, s_x x + d_x dx - p_x, c] -
    filters[-dy, -dx, c]``, with strides ``s``, dilations ``d``, padding before ``p``, and ``filters`` reversed in both
    directions.

    Args:
        value: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: ``[filter_height, filter_width, channels]``. Both arguments are promoted to one dtype.
        strides: Cells from one window to the next: an int, two or four of them.
        padding: ``"SAME"``, ``"VALID"``, or two or four pairs ``(before, after)``.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next, as ``strides``.

    Returns:
        ``[batch, out_height, out_width, channels]``, or with the channels second.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, stride, dilation, padding or ``data_format`` does not fit.

    Note:
        The gradient goes to the first minimum of each window in row-major order of the reversed structuring element,
        which is TensorFlow's choice. TensorFlow has no unsigned integers here, ``"NHWC"`` alone, and no explicit
        padding.

    Example:
        >>> nn.erosion2d(jnp.array([4.0, 3, 4, 4, 1]).reshape(1, 1, 5, 1), jnp.zeros((1, 3, 1)), 1, "SAME").ravel()
        Array([3., 3., 3., 1., 1.], dtype=float32)

    References:
        ``tf.nn.erosion2d``.
    """
    arguments = WindowArguments("erosion2d", strides, padding, data_format, dilations)
    return morph(erode, arguments, value, filters, argument="value")
