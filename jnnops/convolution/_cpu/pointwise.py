"""Convolutions of one tap: matrix products of the cells, which XLA runs faster than a convolution of 1x1."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._windows.geometry import Window


def fits(window: Window) -> bool:
    """Whether the window has one tap and no padding."""
    return set(window.size) == {1} and set(itertools.chain(*window.padding)) == {0}


def forward(x: jax.Array, w: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The convolution."""
    return dot(_take_strides(x, window), w, precision)


def input_gradient(y: jax.Array, w: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The transpose in the input."""
    return _put_strides(dot(y, jnp.swapaxes(w, -1, -2), precision), window)


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, precision: lax.PrecisionLike) -> jax.Array:
    """The transpose in the filters; the transposition of the cells in the product costs nothing."""
    cells = _take_strides(x, window).reshape(-1, x.shape[-1])
    w = lax.dot(cells.T, y.reshape(-1, y.shape[-1]), precision=precision)
    return w.reshape(*window.size, *w.shape)


def dot(x: jax.Array, w: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """``x`` times the only matrix of the filters."""
    return lax.dot_general(x, w.reshape(w.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def _take_strides(x: jax.Array, window: Window) -> jax.Array:
    return lax.slice(x, (0,) * x.ndim, x.shape, (1, *window.strides, 1))


def _put_strides(x: jax.Array, window: Window) -> jax.Array:
    """The transpose of ``_take_strides``."""
    if math.prod(window.strides) == 1:
        return x
    gaps = [(*dim.transposed_padding, dim.stride - 1) for dim in window.dimensions]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *gaps, (0, 0, 0)])
