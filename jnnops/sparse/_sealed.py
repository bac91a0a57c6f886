"""Indices in a dtype that has no arithmetic.

``jax.tree.map(lambda leaf: 2 * leaf, gradients)`` reaches every leaf of a pytree, and would make row 6 of row 3 if
indices were integers. So the leaf that holds them is an array of ``jax.random`` keys of a kind of its own: such arrays
go through every transformation, control flow, donation, sharding and checkpoints, can be reshaped, stacked and
concatenated, and JAX refuses to calculate with them, in an error that quotes the name of their dtype. Of the
alternatives, integers of a rare dtype calculate as well, a class of arrays of our own stops at ``jit``, and other
dtypes of our own need private parts of JAX. Sealing costs nothing in a compiled program: the bits stay where they are.
"""

from collections.abc import Hashable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import define_prng_impl

from jnnops._primitives.releases import register_keys
from jnnops._tables.ids import signed

# What JAX's errors call the dtype.
_NAME = "indices of nn.sparse.IndexedSlices, which add, scale and global_norm of nn.sparse calculate with"


def _no_randomness(*_: Any) -> NoReturn:
    raise TypeError("IndexedSlices: the indices must not be used as keys of jax.random; get integers by `.indices`")


def _kind_of_keys(words: int) -> Hashable:
    """Keys that hold so many words of 32 bits; they have a name for those who save and restore keys."""
    name = f"jnnops.sparse.indices{32 * words}"
    randomness = dict.fromkeys(("seed", "split", "random_bits", "fold_in"), _no_randomness)
    return register_keys(name, define_prng_impl(key_shape=(words,), name=name, tag=_NAME, **randomness))


_KINDS = {words: _kind_of_keys(words) for words in (1, 2)}


def seal(indices: jax.Array) -> jax.Array:
    """Integers of any shape and dtype, sealed as int32 or int64."""
    indices = signed(indices)
    words = indices.dtype.itemsize // 4
    bits = lax.bitcast_convert_type(indices, jnp.uint32).reshape(*indices.shape, words)
    return jax.random.wrap_key_data(bits, impl=_KINDS[words])


def unseal(sealed: Any) -> Any:
    """The int32 or int64 that were sealed, or their shape and dtype alone where ``sealed`` has no more."""
    dtype = jnp.int32 if sealed.dtype.itemsize == 4 else jnp.int64
    if isinstance(sealed, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(sealed.shape, dtype)
    bits = jax.random.key_data(sealed)
    return lax.bitcast_convert_type(bits.reshape(sealed.shape) if dtype == jnp.int32 else bits, dtype)


def is_sealed(leaf: Any) -> bool:
    """Whether a leaf of a pytree holds sealed indices, or stands for an array that does."""
    return getattr(getattr(leaf, "dtype", None), "name", None) == f"key<{_NAME}>"
