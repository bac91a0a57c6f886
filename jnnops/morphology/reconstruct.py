"""Reconstruction: dilations of a marker that a mask cuts off, until nothing changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_number_arrays, as_static_int, check_rank, check_shape
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import DataFormat, Ints
from jnnops._windows.geometry import Window
from jnnops._windows.layout import move_channels
from jnnops.morphology._extrema import dilate, resolve_element, same_size


@answers_tensorflow_names
def reconstruct2d(
    marker: ArrayLike,
    mask: ArrayLike,
    filters: ArrayLike | None = None,
    data_format: DataFormat = "NHWC",
    *,
    steps: int | None = None,
    dilations: Ints = 1,
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
    arguments = same_size(op, data_format, dilations)
    channels_last = arguments.channels_last(2)
    if not channels_last:
        marker, mask = (move_channels(array, 2, to_last=True) for array in (marker, mask))
    if flat is None:
        flat = _flat_square(marker.shape[-1], marker.dtype)
    if steps is not None:
        steps = as_static_int(op, "steps", steps, minimum=0)
    window = resolve_element(arguments, "marker", marker, flat)
    result = _reconstruct(marker, mask, flat, window, steps)
    return result if channels_last else move_channels(result, 2, to_last=False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _flat_square(channels: int, dtype: np.dtype) -> jax.Array:
    return jnp.zeros((3, 3, channels), dtype)


@functools.partial(jax.jit, static_argnames=("window", "steps"))
def _reconstruct(
    marker: jax.Array, mask: jax.Array, filters: jax.Array, window: Window, steps: int | None
) -> jax.Array:
    def grow(x: jax.Array) -> jax.Array:
        dilated = dilate(x, filters, window)
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
