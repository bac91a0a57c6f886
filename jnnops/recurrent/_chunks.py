"""Loops over time that remember little of it for their derivatives."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._types import Tree

Step = Callable[[Tree, Tree], tuple[Tree, Tree]]


def scan_in_chunks(step: Step, state: Tree, inputs: Tree, *, reverse: bool, unroll: int) -> tuple[Tree, Tree]:
    """``lax.scan`` whose derivatives remember the states between chunks of steps, and compute a chunk's steps again.

    With about as many chunks as each has steps, what is remembered at one time grows with the square root of time: the
    states between the chunks and what the steps of one chunk need. Chen et al., "Training Deep Nets with Sublinear
    Memory Cost", 2016.
    """
    time = jax.tree.leaves(inputs)[0].shape[0]
    scan = functools.partial(lax.scan, step, reverse=reverse, unroll=unroll)
    if not isinstance(time, int) or time < 4:  # no number is known where `jax.export` leaves it open
        return jax.checkpoint(scan)(state, inputs)
    root = math.isqrt(time)
    # Chunks of one size, if possible, since what is left over is another loop to compile.
    sizes = [size for size in range(root // 2 + 1, 2 * root) if time % size == 0]
    size = min(sizes, key=lambda size: abs(size - root), default=root)
    whole = time // size * size
    chunks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), inputs)
    rest = jax.tree.map(lambda leaf: leaf[whole:], inputs)
    # A loop is in no danger of what `prevent_cse` prevents, that the compiler finds out that it computes a thing twice.
    in_chunks = functools.partial(lax.scan, jax.checkpoint(scan, prevent_cse=False), reverse=reverse)
    if whole == time:
        state, outputs = in_chunks(state, chunks)
        return state, _merged(outputs)
    if reverse:
        state, last = jax.checkpoint(scan)(state, rest)
        state, outputs = in_chunks(state, chunks)
    else:
        state, outputs = in_chunks(state, chunks)
        state, last = jax.checkpoint(scan)(state, rest)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), _merged(outputs), last)


def _merged(chunks: Tree) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), chunks)
