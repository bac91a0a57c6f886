"""Greyscale morphology: dilation and erosion of images by a structuring element, and what is composed of them.

Layout: images are ``[batch, height, width, channels]``, or ``[batch, channels, height, width]`` with
``data_format="NCHW"``. A structuring element, ``filters``, is ``[height, width, channels]``: every channel has its own.
``-inf`` in it is a cell that does not belong to it, zeros everywhere are a flat one.

Windows: strides, dilations and padding are those of :mod:`jnnops.convolution`. Cells outside of the image never win, as
if they were minus infinity in a dilation and infinity in an erosion. A window of such cells alone gives the lowest
finite number of the dtype, or the highest.

Gradients go to the first extremum of each window in row-major order, to the image and to ``filters`` alike. NaN is the
extremum of a window that has one.

Numbers may be integers, which wrap on overflow as everywhere in JAX.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jnnops._check import as_number_arrays, as_static_int, check_rank, check_shape
from jnnops._primitives.varying import vary_alike
from jnnops._taps import fold_taps
from jnnops._window import Window, is_channels_last, move_channels, pad_cells, resolve_window
from jnnops._winners import NO_WINNER, first_real_cells, take_taps, take_winners, winners_dtype

__all__ = [
    "black_tophat2d",
    "closing2d",
    "dilation2d",
    "erosion2d",
    "morphological_gradient2d",
    "opening2d",
    "reconstruct2d",
    "white_tophat2d",
]


def dilation2d(
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    dilations: Any = 1,
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
    return _morph("dilation2d", "input", input, filters, strides, padding, data_format, dilations, erode=False)


def erosion2d(
    value: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None = "NHWC",
    dilations: Any = 1,
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
    return _morph("erosion2d", "value", value, filters, strides, padding, data_format, dilations, erode=True)


def opening2d(
    input: ArrayLike, filters: ArrayLike, data_format: str | None = "NHWC", *, dilations: Any = 1
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
    return _compose("opening2d", _opening, input, filters, data_format, dilations)


def closing2d(
    input: ArrayLike, filters: ArrayLike, data_format: str | None = "NHWC", *, dilations: Any = 1
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
    return _compose("closing2d", _closing, input, filters, data_format, dilations)


def morphological_gradient2d(
    input: ArrayLike, filters: ArrayLike, data_format: str | None = "NHWC", *, dilations: Any = 1
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
    return _compose("morphological_gradient2d", _gradient, input, filters, data_format, dilations)


def white_tophat2d(
    input: ArrayLike, filters: ArrayLike, data_format: str | None = "NHWC", *, dilations: Any = 1
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
    return _compose("white_tophat2d", _white_tophat, input, filters, data_format, dilations)


def black_tophat2d(
    input: ArrayLike, filters: ArrayLike, data_format: str | None = "NHWC", *, dilations: Any = 1
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
    return _compose("black_tophat2d", _black_tophat, input, filters, data_format, dilations)


def reconstruct2d(
    marker: ArrayLike,
    mask: ArrayLike,
    filters: ArrayLike | None = None,
    data_format: str | None = "NHWC",
    *,
    steps: int | None = None,
    dilations: Any = 1,
) -> jax.Array:
    """Morphological reconstruction by dilation: floods ``mask`` from the places that ``marker`` marks.

    The marker, cut off at the mask, is dilated and cut off again until nothing changes. What remains of the mask is its
    peaks that the marker reaches, as high as it reaches them.

    Args:
        marker: ``[batch, height, width, channels]``, or with the channels second, integer or floating point.
        mask: Of the same shape. All arguments are promoted to one dtype.
        filters: The structuring element, ``[filter_height, filter_width, channels]``; 3x3 zeros unless given.
        data_format: ``"NHWC"`` or ``"NCHW"``.
        steps: How many dilations there are at most; as many as change anything unless given.
        dilations: Cells from one cell of a window to the next: an int, two or four of them.

    Returns:
        The reconstruction, of the shape of ``mask`` and nowhere above it.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape, dilation, ``data_format`` or ``steps`` does not fit.

    Note:
        Without ``steps`` there is forward mode only, as how often the loop runs is known at run time. With ``steps``
        there are all derivatives; where the mask cuts the marker off, the gradient goes to the mask, and at a tie to
        the marker.

    Example:
        >>> mask = jnp.array([3.0, 3, 0, 5, 5]).reshape(1, 1, 5, 1)
        >>> nn.reconstruct2d(jnp.array([2.0, 0, 0, 0, 0]).reshape(1, 1, 5, 1), mask).ravel()
        Array([2., 2., 0., 0., 0.], dtype=float32)

    References:
        L. Vincent, "Morphological Grayscale Reconstruction in Image Analysis", 1993.
    """
    op = "reconstruct2d"
    if filters is None:
        marker, mask = as_number_arrays(op, marker=marker, mask=mask)
        flat = None
    else:
        marker, mask, flat = as_number_arrays(op, marker=marker, mask=mask, filters=filters)
    check_rank(op, "marker", marker, 4)
    check_shape(op, "mask", mask, marker.shape, "that of marker")
    channels_last = is_channels_last(op, data_format, 2)
    if not channels_last:
        marker, mask = (move_channels(array, 2, to_last=True) for array in (marker, mask))
    if flat is None:
        flat = jnp.zeros((3, 3, marker.shape[-1]), marker.dtype)
    if steps is not None:
        steps = as_static_int(op, "steps", steps, minimum=0)
    window = _resolve(op, "marker", marker, flat, 1, "SAME", channels_last, dilations)
    result = _reconstruct(marker, mask, flat, window, steps)
    return result if channels_last else move_channels(result, 2, to_last=False)


def _morph(
    op: str,
    argument: str,
    input: ArrayLike,
    filters: ArrayLike,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
    *,
    erode: bool,
) -> jax.Array:
    x, f = as_number_arrays(op, **{argument: input, "filters": filters})
    check_rank(op, argument, x, 4)
    channels_last = is_channels_last(op, data_format, 2)
    x = x if channels_last else move_channels(x, 2, to_last=True)
    window = _resolve(op, argument, x, f, strides, padding, channels_last, dilations)
    y = _erode(x, f, window) if erode else _dilate(x, f, window)
    return y if channels_last else move_channels(y, 2, to_last=False)


def _compose(
    op: str, composition: Any, input: ArrayLike, filters: ArrayLike, data_format: str | None, dilations: Any
) -> jax.Array:
    """An operation made of dilations and erosions that keep the size."""
    x, f = as_number_arrays(op, input=input, filters=filters)
    check_rank(op, "input", x, 4)
    channels_last = is_channels_last(op, data_format, 2)
    x = x if channels_last else move_channels(x, 2, to_last=True)
    window = _resolve(op, "input", x, f, 1, "SAME", channels_last, dilations)
    y = composition(x, f, window)
    return y if channels_last else move_channels(y, 2, to_last=False)


def _resolve(
    op: str,
    argument: str,
    x: jax.Array,
    filters: jax.Array,
    strides: Any,
    padding: Any,
    channels_last: bool,
    dilations: Any,
) -> Window:
    """Checks the structuring element and the window; the channels of ``x`` are last."""
    check_rank(op, "filters", filters, 3)
    if filters.shape[2] != x.shape[3]:
        raise ValueError(
            f"{op}: `filters` must have the {x.shape[3]} channels of `{argument}`, got filters.shape = {filters.shape}"
        )
    if 0 in filters.shape[:2]:
        raise ValueError(f"{op}: `filters` must have at least one cell, got filters.shape = {filters.shape}")
    return resolve_window(
        op,
        input_shape=x.shape[1:3],
        size=filters.shape[:2],
        strides=strides,
        padding=padding,
        dilations=dilations,
        channels_last=channels_last,
    )


@functools.partial(jax.jit, static_argnames="window")
def _dilate(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _extrema(x, filters.reshape(-1, filters.shape[-1]), window, erode=False)


@functools.partial(jax.jit, static_argnames="window")
def _erode(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _extrema(x, filters[::-1, ::-1].reshape(-1, filters.shape[-1]), window, erode=True)


def _opening(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _dilate(_erode(x, filters, window), filters, _adjoint(window))


def _closing(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _erode(_dilate(x, filters, window), filters, _adjoint(window))


def _gradient(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _dilate(x, filters, window) - _erode(x, filters, window)


def _white_tophat(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return x - _opening(x, filters, window)


def _black_tophat(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    return _closing(x, filters, window) - x


def _adjoint(window: Window) -> Window:
    """The window of the dilation whose adjoint is the erosion with ``window``, and the other way round.

    With stride 1 a cell that is ``t`` taps and ``before`` cells of padding from the one is as many from the other,
    counted from the end; windows of even size have their odd cell of padding on the other side.
    """
    return dataclasses.replace(window, padding=tuple((after, before) for before, after in window.padding))


@functools.partial(jax.jit, static_argnames=("window", "steps"))
def _reconstruct(
    marker: jax.Array, mask: jax.Array, filters: jax.Array, window: Window, steps: int | None
) -> jax.Array:
    def grow(x: jax.Array) -> jax.Array:
        dilated = _dilate(x, filters, window)
        higher = jnp.where((x >= dilated) | (x != x), x, dilated)
        return _cut_off(higher, mask)

    start = _cut_off(marker, mask)
    if steps is not None:
        return lax.scan(lambda x, _: (grow(x), None), start, length=steps)[0]

    def changes(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        before, x = state
        return jnp.any((before != x) & ((before == before) | (x == x)))  # NaN stays as it is

    return lax.while_loop(changes, lambda state: (state[1], grow(state[1])), (start, grow(start)))[1]


def _cut_off(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The minimum; NaN if there is one, and at a tie with the gradient of ``x``."""
    return jnp.where((x <= mask) | (x != x), x, mask)


def _extrema(x: jax.Array, filters: jax.Array, window: Window, *, erode: bool) -> jax.Array:
    """The maxima of sums, or the minima of differences; ``filters`` is ``[taps, channels]``."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return _float_extrema(x, filters, window, erode)
    return _find_extrema(x, filters, window, erode)[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _float_extrema(x: jax.Array, filters: jax.Array, window: Window, erode: bool) -> jax.Array:
    return _find_extrema(x, filters, window, erode)[0]


def _float_extrema_jvp(window: Window, erode: bool, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """By the recorded winners: a gather of them in each direction.

    JAX's own derivative of the shifted maxima takes 100 to 480 ms for 8x56x56x64, this 5 (3x3) and 8 (5x5) for the
    image, 8 and 20 for the structuring element.
    """
    (x, filters), (x_tangent, filters_tangent) = primals, tangents
    values, winners = _find_extrema(x, filters, window, erode)
    winners = lax.optimization_barrier(winners)
    tangent = jnp.zeros_like(values)
    if not isinstance(x_tangent, SymbolicZero):
        tangent = tangent + take_winners(x_tangent, winners, window=window)
    if not isinstance(filters_tangent, SymbolicZero):
        picked = take_taps(filters_tangent, winners, taps=math.prod(window.size))
        tangent = tangent - picked if erode else tangent + picked
    return values, tangent


_float_extrema.defjvp(_float_extrema_jvp, symbolic_zeros=True)


def _find_extrema(x: jax.Array, filters: jax.Array, window: Window, erode: bool) -> tuple[jax.Array, jax.Array]:
    """The extremum of each window and the number of the first tap that has it, both over shifted slices."""
    x, filters = vary_alike(x, filters)
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    info = jnp.finfo(x.dtype) if floating else jnp.iinfo(x.dtype)
    extreme = info.max if erode else info.min
    outside = np.asarray((np.inf if erode else -np.inf) if floating else extreme, x.dtype)
    # what is padding; minus infinity stays itself when something is added, the lowest integer does not
    inside = None if floating else pad_cells(jnp.ones((1, *window.input_shape, 1), bool), window.padding)
    belongs = filters > -np.inf if floating else None
    # without the barrier XLA computes the padding anew in every tap
    padded = lax.optimization_barrier(pad_cells(x, window.padding, outside))

    def step(found: Any, number: Any, cells: jax.Array, *real: jax.Array) -> Any:
        values, winners = found
        offset = _tap(filters, number)
        candidates = cells - offset if erode else cells + offset
        counts = real[0] if belongs is None else _tap(belongs, number)
        candidates = jnp.where(counts, candidates, outside)
        first = (values <= candidates if erode else values >= candidates) | (values != values)
        winners = jnp.where(first, winners, jnp.asarray(number, winners.dtype))
        return (jnp.minimum if erode else jnp.maximum)(values, candidates), winners

    first_real = first_real_cells(window)
    shape = (x.shape[0], *window.output_shape, x.shape[-1])
    winners = jnp.broadcast_to(first_real.astype(winners_dtype(math.prod(window.size))), shape)
    start = jnp.full_like(x, outside, shape=shape), winners
    values, winners = fold_taps(step, start, window, padded, *([] if inside is None else [inside]))
    if (first_real == NO_WINNER).any():
        values = jnp.where(first_real == NO_WINNER, np.asarray(extreme, x.dtype), values)
    return values, winners


def _tap(filters: jax.Array, number: Any) -> jax.Array:
    """The entries of one tap, for each channel."""
    return lax.dynamic_index_in_dim(filters, number, keepdims=False).reshape(1, 1, 1, -1)
