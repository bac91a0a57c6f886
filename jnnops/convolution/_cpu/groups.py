"""Convolutions in groups, which XLA on CPU runs as scalar loops.

Some groups share a convolution whose filters are zero between them, until it has enough channels for a matrix kernel;
the arrays of these parts are stacked for a loop over them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# The channels, in or out, that a convolution of some groups at once should have.
MIN_CHANNELS = 32


def number_of_parts(groups: int, channels: int) -> int:
    """In how many convolutions without groups one is done whose groups have that many channels, in or out."""
    divisors = (n for n in range(1, groups + 1) if groups % n == 0)
    return max((n for n in divisors if groups // n * channels >= MIN_CHANNELS), default=1)


def map_parts(function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, w: jax.Array) -> jax.Array:
    """``function`` of each part of the channels of ``x`` and its filters; the results' channels side by side."""
    found = lax.map(lambda part: function(*part), (x, w))
    return jnp.moveaxis(found, 0, -2).reshape(*found.shape[1:-1], -1)


def split_channels(x: jax.Array, parts: int) -> jax.Array:
    """``[parts, ..., channels // parts]``."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], parts, -1), -2, 0)


def block_diagonal(w: jax.Array, groups: int, parts: int) -> jax.Array:
    """The filters of each part: ``[parts, *window, in_channels // parts, out_channels // parts]``."""
    *size, i, o = w.shape
    m, o = groups // parts, o // groups
    blocks = jnp.moveaxis(w.reshape(*size, i, parts, m, o), -3, 0)  # [parts, *window, i, m, o]
    of_group = jnp.eye(m, dtype=bool)[:, None, :, None]
    return jnp.where(of_group, blocks[..., None, :, :, :], 0).reshape(parts, *size, m * i, m * o)


def diagonal_blocks(w: jax.Array, m: int) -> jax.Array:
    """The transpose of ``block_diagonal``, for parts of ``m`` groups."""
    parts, *size, i, o = w.shape
    blocks = w.reshape(parts, *size, m, i // m, m, o // m)
    of_group = jnp.eye(m, dtype=bool)[:, None, :, None]
    blocks = jnp.where(of_group, blocks, 0).sum(-4)  # [parts, *window, i, m, o]
    return jnp.moveaxis(blocks, 0, -3).reshape(*size, i // m, parts * o)
