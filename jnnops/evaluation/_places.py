"""Where the largest numbers of each row are.

In two stages: the largest of the maxima of chunks of a row tell in which chunks its largest numbers are, and these are
looked at one by one. On CPU that takes an eighth to half of the time of ``lax.top_k`` for the 5 or 10 largest of a row
of 32,000 numbers or a million (jaxlib 0.10.2, AVX2). A sort, to which accelerators are left, has a tenth to sort.

Unlike ``lax.top_k`` nothing here makes XLA gather a sharded batch (jaxlib 0.9.0 to 0.12.0): neither what runs on CPU,
see :mod:`jnnops._primitives.descending`, nor the sort of integers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._primitives.descending import first_descending
from jnnops._primitives.operation import indifferentiable, merging_into

Choice = Callable[[jax.Array, int], jax.Array]

CHUNK = 32  # numbers; XLA on CPU does not vectorise the maxima of longer chunks of integers (jaxlib 0.10.2)
LONG, MANY = 512, 2**17  # numbers of a row, and of all rows, from which on stages pay


def order_keys(x: jax.Array) -> jax.Array:
    """Integers in the order of numbers, of which NaN is the largest, and -0 equals 0.

    The bits are compared, since XLA on CPU takes subnormal numbers for 0.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        if jnp.issubdtype(x.dtype, jnp.signedinteger) or x.dtype.itemsize < 4:
            return _widened(x)
        signed = jnp.dtype(f"int{8 * x.dtype.itemsize}")
        return lax.bitcast_convert_type(x, signed) ^ jnp.iinfo(signed).min
    signed = jnp.dtype(f"int{jnp.finfo(x.dtype).bits}")
    bits, most = lax.bitcast_convert_type(x, signed), jnp.asarray(jnp.iinfo(signed).max, signed)
    keys = jnp.where(bits < 0, -(bits & most), bits)
    return _widened(jnp.where(jnp.isnan(x), most, keys))


def _widened(keys: jax.Array) -> jax.Array:
    return keys.astype(jnp.int32) if keys.dtype.itemsize < 4 else keys


def _by_sorting(keys: jax.Array, k: int) -> jax.Array:
    return lax.sort((~keys, lax.broadcasted_iota(jnp.int32, keys.shape, 1)), num_keys=1)[1][:, :k]


def _by_selecting(keys: jax.Array, k: int) -> jax.Array:
    if keys.dtype == jnp.int32:
        # The floating point numbers whose total order is that of the integers: only these XLA selects.
        bits = jnp.where(keys < 0, keys ^ jnp.iinfo(jnp.int32).max, keys)
        return first_descending(lax.bitcast_convert_type(bits, jnp.float32), k)
    return first_descending(keys, k)


def _find(x: jax.Array, k: int, choose: Choice) -> jax.Array:
    rows, size = x.shape
    if not rows or not k:
        return jnp.zeros((rows, k), jnp.int32)
    if size < max(LONG, 2 * CHUNK * k) or rows * size < MANY:
        return choose(order_keys(x), k)
    return _in_two_stages(x, k, choose)


def _in_two_stages(x: jax.Array, k: int, choose: Choice) -> jax.Array:
    chunks = x.shape[1] // CHUNK
    whole = x[:, : chunks * CHUNK].reshape(-1, chunks, CHUNK)
    maxima = jnp.max(order_keys(whole), 2)
    # Ascending, so that a place among the candidates is before another one where it is so in the row.
    best = jnp.sort(_find(maxima, k, choose), 1)
    candidates = _take(whole, best[:, :, None]).reshape(-1, k * CHUNK)
    keys = order_keys(jnp.concatenate([candidates, x[:, chunks * CHUNK :]], 1))
    # The least of the best maxima is not above any of the k largest numbers. A heap from which all below it are kept
    # out changes less often: the 100 largest of 32,000 numbers are found in a fifth less time (jaxlib 0.10.2, AVX2).
    least = jnp.min(_take(maxima, best), 1, keepdims=True)
    found = choose(jnp.where(keys < least, jnp.iinfo(keys.dtype).min, keys), k)
    chunk = _take(best, jnp.minimum(found // CHUNK, k - 1))
    rest = found + (chunks - k) * CHUNK
    return jnp.where(found < k * CHUNK, chunk * CHUNK + found % CHUNK, rest)


def _take(array: jax.Array, places: jax.Array) -> jax.Array:
    return jnp.take_along_axis(array, places, 1, mode="promise_in_bounds")


def _places_of_largest(x: jax.Array, *, k: int) -> jax.Array:
    return _find(x, k, _by_sorting)


def _places_of_largest_on_cpu(x: jax.Array, *, k: int) -> jax.Array:
    return _find(x, k, _by_selecting)


# places_of_largest([rows, size], *, k) -> [rows, k], int32: the largest first, and of equals the first one
places_of_largest = indifferentiable(_places_of_largest, merging_into(0), on_cpu=_places_of_largest_on_cpu)
