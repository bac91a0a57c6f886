"""Extrema over the sums of shifted images and a structuring element, with the first winner's derivative."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_number_arrays, check_rank
from jnnops._primitives.operation import Operation, differentiable, merging_into
from jnnops._primitives.varying import vary_alike
from jnnops._types import DataFormat, Ints
from jnnops._windows.geometry import Window, WindowArguments
from jnnops._windows.layout import in_layout, pad_cells
from jnnops._windows.taps import fold_taps
from jnnops._windows.winners import NO_WINNER, first_real_cells, take_taps, take_winners, winners_dtype


def morph(
    operation: Callable[[jax.Array, jax.Array, Window], jax.Array],
    arguments: WindowArguments,
    input: ArrayLike,
    filters: ArrayLike,
    *,
    argument: str = "input",
) -> jax.Array:
    """Checks the arguments of an op, of which ``argument`` names the image, and computes in either layout."""
    x, element = as_number_arrays(arguments.op, **{argument: input, "filters": filters})
    check_rank(arguments.op, argument, x, 4)

    def compute(x: jax.Array) -> jax.Array:
        return operation(x, element, resolve_element(arguments, argument, x, element))

    return in_layout(compute, x, 2, arguments.channels_last(2))


def same_size(op: str, data_format: DataFormat, dilations: Ints) -> WindowArguments:
    """The window of an op that keeps the size of the image."""
    return WindowArguments(op, 1, "SAME", data_format, dilations)


def resolve_element(arguments: WindowArguments, argument: str, x: jax.Array, filters: jax.Array) -> Window:
    """Checks the structuring element and the window; the channels of ``x`` are last."""
    op = arguments.op
    check_rank(op, "filters", filters, 3)
    if filters.shape[2] != x.shape[3]:
        raise ValueError(
            f"{op}: `filters` must have the {x.shape[3]} channels of `{argument}`, got filters.shape = {filters.shape}"
        )
    if 0 in filters.shape[:2]:
        raise ValueError(f"{op}: `filters` must have at least one cell, got filters.shape = {filters.shape}")
    return arguments.resolve(input_shape=x.shape[1:3], size=filters.shape[:2])


@functools.partial(jax.jit, static_argnames="window")
def dilate(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    """The largest sums of cells and the structuring element."""
    return _extrema(x, filters.reshape(-1, filters.shape[-1]), window, erode=False)


@functools.partial(jax.jit, static_argnames="window")
def erode(x: jax.Array, filters: jax.Array, window: Window) -> jax.Array:
    """The smallest differences of cells and the reversed structuring element."""
    return _extrema(x, filters[::-1, ::-1].reshape(-1, filters.shape[-1]), window, erode=True)


def _extrema(x: jax.Array, filters: jax.Array, window: Window, *, erode: bool) -> jax.Array:
    """The maxima of sums, or the minima of differences; ``filters`` is ``[taps, channels]``."""
    values, winners = _find(lax.stop_gradient(x), lax.stop_gradient(filters), window, erode)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return values
    return _of_extrema(values, x, filters, winners, window=window, erode=erode)


def _extremum(
    values: jax.Array, x: jax.Array, filters: jax.Array, winners: jax.Array, *, window: Window, erode: bool
) -> jax.Array:
    del x, filters, winners, window, erode
    return values


def _extremum_jvp(primals: Any, tangents: Any, *, window: Window, erode: bool) -> tuple[jax.Array, jax.Array]:
    """By the recorded winners: a gather of them in each direction ("Morphology" in docs/lowerings.rst)."""
    (values, x, filters, winners), (_, x_tangent, filters_tangent, _) = primals, tangents
    winners = lax.optimization_barrier(winners)
    tangent = jnp.zeros_like(values)
    if x_tangent is not None:
        tangent = tangent + take_winners(x_tangent, winners, window=window)
    if filters_tangent is not None:
        picked = take_taps(filters_tangent, winners, taps=math.prod(window.size))
        tangent = tangent - picked if erode else tangent + picked
    return _of_extrema(values, x, filters, winners, window=window, erode=erode), tangent


def _batch_extrema(operation: Operation, arrays: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
    """Into the channels, which alone the structuring element has, or into the batch if it is not mapped."""
    if axes[2] is not None:
        return merging_into(-1)(operation, arrays, axes, **params)
    values, x, filters, winners = arrays

    def of_images(*images: jax.Array, **params: Any) -> jax.Array:
        return operation(images[0], images[1], filters, images[2], **params)

    return merging_into(0)(of_images, (values, x, winners), (axes[0], axes[1], axes[3]), **params)


# (values, x, filters, winners, *, window, erode) -> values, as a function of the image and of the structuring element
_of_extrema = differentiable(_extremum, _extremum_jvp, _batch_extrema)


class _Outside(NamedTuple):
    """What stands for cells outside of the image.

    Attributes:
        extreme: The value of a window of nothing else, the lowest finite number in a dilation.
        fill: What never wins against a cell of the image: minus infinity, or the lowest integer.
    """

    extreme: np.ndarray
    fill: np.ndarray


def _outside(dtype: Any, erode: bool) -> _Outside:
    if not jnp.issubdtype(dtype, jnp.floating):
        extreme = np.asarray(jnp.iinfo(dtype).max if erode else jnp.iinfo(dtype).min, dtype)
        return _Outside(extreme, extreme)
    extreme = jnp.finfo(dtype).max if erode else jnp.finfo(dtype).min
    return _Outside(np.asarray(extreme, dtype), np.asarray(np.inf if erode else -np.inf, dtype))


def _find(x: jax.Array, filters: jax.Array, window: Window, erode: bool) -> tuple[jax.Array, jax.Array]:
    """The extremum of each window and the number of the first tap that has it, both over shifted slices."""
    x, filters = vary_alike(x, filters)
    outside, floating = _outside(x.dtype, erode), jnp.issubdtype(x.dtype, jnp.floating)
    # what is padding; minus infinity stays itself when something is added, the lowest integer does not
    inside = [] if floating else [pad_cells(jnp.ones((1, *window.input_shape, 1), bool), window.padding)]
    # without the barrier XLA computes the padding anew in every tap
    padded = lax.optimization_barrier(pad_cells(x, window.padding, outside.fill))

    def step(found: Any, number: Any, cells: jax.Array, *real: jax.Array) -> Any:
        values, winners = found
        offset = _tap(filters, number)
        candidates = cells - offset if erode else cells + offset
        counts = real[0] if real else offset > -np.inf
        candidates = jnp.where(counts, candidates, outside.fill)
        first = (values <= candidates if erode else values >= candidates) | (values != values)
        winners = jnp.where(first, winners, jnp.asarray(number, winners.dtype))
        return (jnp.minimum if erode else jnp.maximum)(values, candidates), winners

    first_real = first_real_cells(window)
    shape = (x.shape[0], *window.output_shape, x.shape[-1])
    winners = jnp.broadcast_to(first_real.astype(winners_dtype(math.prod(window.size))), shape)
    start = jnp.full_like(x, outside.fill, shape=shape), winners
    values, winners = fold_taps(step, start, window, padded, *inside)
    if (first_real == NO_WINNER).any():
        values = jnp.where(first_real == NO_WINNER, outside.extreme, values)
    return values, winners


def _tap(filters: jax.Array, number: Any) -> jax.Array:
    """The entries of one tap, for each channel."""
    return lax.dynamic_index_in_dim(filters, number, keepdims=False).reshape(1, 1, 1, -1)
