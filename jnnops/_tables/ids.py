"""Integers that are known only at run time and must lie in a range: ids of rows, labels of classes, lengths.

They come in any integer dtype and are computed with as int32, or as int64 if they have 64 bits. Those too large for
that wrap to negative numbers, which are out of every range too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import as_integer_array, check_shape, debug_check


def signed(ids: jax.Array) -> jax.Array:
    """The ids as int32 or int64."""
    return ids.astype(jnp.int64 if ids.dtype.itemsize == 8 else jnp.int32)


def signed_alike(*ids: jax.Array) -> list[jax.Array]:
    """The ids, all as int64 if any of them has 64 bits, and else as int32."""
    dtype = max((signed(each).dtype for each in ids), key=lambda dtype: dtype.itemsize)
    return [signed(each).astype(dtype) for each in ids]


def in_range(ids: jax.Array, size: int) -> jax.Array:
    """Which ids, of any integer dtype, are in ``[0, size)``."""
    ids = signed(ids)
    # A dimension that `jax.export` leaves open is no int.
    if isinstance(size, int) and size > np.iinfo(ids.dtype).max:
        return ids >= 0
    return (ids >= 0) & (ids < size)


def checked_ids(op: str, argument: str, ids: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The signed ids, and which of them are in ``[0, size)``; ``checkify`` reports the others."""
    return _checked(op, argument, f"be in [0, {size})", ids, size)


def as_lengths(op: str, argument: str, lengths: ArrayLike, batch: int) -> jax.Array:
    """Converts ``[batch]`` integers."""
    array = as_integer_array(op, argument, lengths, rank=1)
    check_shape(op, argument, array, (batch,), f"one for each row of the batch of {batch}")
    if jnp.issubdtype(array.dtype, jnp.unsignedinteger):  # too long for signed ones too, but not negative
        array = jnp.minimum(array, np.iinfo(np.int32).max)
    return array


def checked_lengths(op: str, argument: str, lengths: jax.Array, longest: int) -> tuple[jax.Array, jax.Array]:
    """The signed lengths, and which of them are in ``[0, longest]``; ``checkify`` reports the others."""
    return _checked(op, argument, f"be in [0, {longest}]", lengths, longest + 1)


def _checked(op: str, argument: str, requirement: str, ids: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    ids = debug_check(op, argument, requirement, signed(ids), in_range(ids, size))
    # Computed from the ids that were checked, so that the report comes also if only this is used.
    return ids, in_range(ids, size)
