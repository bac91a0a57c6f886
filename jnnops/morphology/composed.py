"""What is composed of dilations and erosions by one structuring element, and keeps the size of the image."""

import jax
from jax.typing import ArrayLike

from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints
from jnnops._windows.geometry import Window
from jnnops.morphology._extrema import dilate, erode, morph, same_size


@answers_tensorflow_names
def opening2d(
    input: ArrayLike, filters: ArrayLike, data_format: DataFormat = "NHWC", *, dilations: Ints = 1
) -> jax.Array:
    """Opening: what a structuring element can reach from below; removes bright details smaller than it.

    An erosion, then a dilation that undoes it, by the same structuring element and of the image's size. With any
    structuring element the result is nowhere above the input, and opening it again changes nothing.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: The structuring element, ``[filter_height, filter_width, channels]``. Both arguments are promoted to
            one dtype.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The opened image, of the shape of ``input``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation or ``data_format`` does not fit.

    Note:
        Gradients are those of the two steps.

    Example:
        >>> nn.opening2d(jnp.array([0.0, 5, 0, 4, 4, 4]).reshape(1, 1, 6, 1), jnp.zeros((1, 2, 1))).ravel()
        Array([0., 0., 0., 4., 4., 4.], dtype=float32)

    References:
        J. Serra, *Image Analysis and Mathematical Morphology*, 1982.
    """
    return morph(_opening, same_size("opening2d", data_format, dilations), input, filters)


@answers_tensorflow_names
def closing2d(
    input: ArrayLike, filters: ArrayLike, data_format: DataFormat = "NHWC", *, dilations: Ints = 1
) -> jax.Array:
    """Closing: fills what a structuring element cannot reach from above, dark details smaller than it.

    A dilation, then the erosion that undoes it, by the same structuring element and of the image's size. The result is
    nowhere below the input, and closing it again changes nothing.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: The structuring element, ``[filter_height, filter_width, channels]``. Both arguments are promoted to
            one dtype.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The closed image, of the shape of ``input``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation or ``data_format`` does not fit.

    Note:
        Gradients are those of the two steps.

    Example:
        >>> nn.closing2d(jnp.array([5.0, 0, 5, 1, 1, 1]).reshape(1, 1, 6, 1), jnp.zeros((1, 2, 1))).ravel()
        Array([5., 5., 5., 1., 1., 1.], dtype=float32)

    References:
        J. Serra, *Image Analysis and Mathematical Morphology*, 1982.
    """
    return morph(_closing, same_size("closing2d", data_format, dilations), input, filters)


@answers_tensorflow_names
def morphological_gradient2d(
    input: ArrayLike, filters: ArrayLike, data_format: DataFormat = "NHWC", *, dilations: Ints = 1
) -> jax.Array:
    """The dilation less the erosion: how steep the image is within the reach of a structuring element.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: The structuring element, ``[filter_height, filter_width, channels]``. Both arguments are promoted to
            one dtype.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The difference, of the shape of ``input``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation or ``data_format`` does not fit.

    Note:
        Both are those of :func:`dilation2d` and :func:`erosion2d` with stride 1 and ``"SAME"`` padding.

    Example:
        >>> nn.morphological_gradient2d(jnp.array([0.0, 0, 0, 4, 4]).reshape(1, 1, 5, 1), jnp.zeros((1, 3, 1))).ravel()
        Array([0., 0., 4., 4., 0.], dtype=float32)

    References:
        J.-F. Rivest, P. Soille and S. Beucher, "Morphological Gradients", 1993.
    """
    return morph(_gradient, same_size("morphological_gradient2d", data_format, dilations), input, filters)


@answers_tensorflow_names
def white_tophat2d(
    input: ArrayLike, filters: ArrayLike, data_format: DataFormat = "NHWC", *, dilations: Ints = 1
) -> jax.Array:
    """The image less its opening: the bright details that are smaller than a structuring element.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: The structuring element, ``[filter_height, filter_width, channels]``. Both arguments are promoted to
            one dtype.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The difference, nowhere negative, of the shape of ``input``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation or ``data_format`` does not fit.

    Example:
        >>> nn.white_tophat2d(jnp.array([0.0, 5, 0, 4, 4, 4]).reshape(1, 1, 6, 1), jnp.zeros((1, 2, 1))).ravel()
        Array([0., 5., 0., 0., 0., 0.], dtype=float32)

    References:
        F. Meyer, "Iterative Image Transformations for an Automatic Screening of Cervical Smears", 1979.
    """
    return morph(_white_tophat, same_size("white_tophat2d", data_format, dilations), input, filters)


@answers_tensorflow_names
def black_tophat2d(
    input: ArrayLike, filters: ArrayLike, data_format: DataFormat = "NHWC", *, dilations: Ints = 1
) -> jax.Array:
    """The closing of an image less the image: the dark details that are smaller than a structuring element.

    Args:
        input: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        filters: The structuring element, ``[filter_height, filter_width, channels]``. Both arguments are promoted to
            one dtype.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The difference, nowhere negative, of the shape of ``input``.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation or ``data_format`` does not fit.

    Example:
        >>> nn.black_tophat2d(jnp.array([5.0, 0, 5, 1, 1, 1]).reshape(1, 1, 6, 1), jnp.zeros((1, 2, 1))).ravel()
        Array([0., 5., 0., 0., 0., 0.], dtype=float32)

    References:
        F. Meyer, "Iterative Image Transformations for an Automatic Screening of Cervical Smears", 1979.
    """
    return morph(_black_tophat, same_size("black_tophat2d", data_format, dilations), input, filters)


def _opening(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return dilate(erode(x, filters, window), filters, _adjoint(window))


def _closing(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return erode(dilate(x, filters, window), filters, _adjoint(window))


def _gradient(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return dilate(x, filters, window) - erode(x, filters, window)


def _white_tophat(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return x - _opening(x, filters, window)


def _black_tophat(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _closing(x, filters, window) - x


def _adjoint(window: Window) -> Window:
    """The window of the dilation whose adjoint is the erosion with ``window``, and the other way round.

    With stride 1 a cell that is ``t`` taps and ``before`` cells of padding from the one is as many from the other,
    counted from the end; windows of even size have their odd cell of padding on the other side.
    """
    return Window(tuple(dim._replace(before=dim.after, after=dim.before) for dim in window.dimensions))
