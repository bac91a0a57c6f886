"""Random words, and integers made of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def random_words(key: jax.Array, stream: int | jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform uint32 words, independent for each ``stream`` of the key.

    They are what Threefry, the generator of ``jax.random``, makes of the counters ``(stream, 0), (stream, 1), ...``.
    ``jax.random.bits`` on CPU runs the rounds in a loop, each a pass over memory, and keeps one word of two, which
    takes several times as long (docs/lowerings.rst, "Candidate sampling").
    """
    count = math.prod(shape)
    data = jax.random.key_data(key)
    # Threefry's own keys are two words. From keys of other generators, whose sizes differ, two words are drawn.
    first, second = data if data.shape == (2,) else jax.random.bits(key, (2,), jnp.uint32)
    counter = lax.iota(jnp.uint32, (count + 1) // 2)
    words = threefry_2x32(first, second, jnp.full_like(counter, stream), counter)
    # Without the barrier XLA computes the words anew for everything that uses them.
    return lax.optimization_barrier(jnp.concatenate(words)[:count].reshape(shape))


def threefry_2x32(
    first_key: jax.Array, second_key: jax.Array, first: jax.Array, second: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Two words for each pair of counters: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011."""
    schedule = (first_key, second_key, first_key ^ second_key ^ np.uint32(0x1BD11BDA))
    first, second = first + schedule[0], second + schedule[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            first = first + second
            second = first ^ ((second << np.uint32(rotation)) | (second >> np.uint32(32 - rotation)))
        first = first + schedule[(group + 1) % 3]
        second = second + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return first, second


def scale_words(high: jax.Array, low: jax.Array, limit: jax.Array | np.uint32) -> jax.Array:
    """Integers in ``[0, limit)``: the 64-bit fractions ``high.low`` times ``limit``, rounded down.

    Their probabilities differ by ``limit / 2**64`` at most. (Those of ``jax.random.randint`` differ by half for some
    limits near ``2**31``.)
    """
    product = high * limit
    carry = product + _high_product(low, limit) < product
    return _high_product(high, limit) + carry.astype(jnp.uint32)


def _high_product(x: jax.Array, y: jax.Array | np.uint32) -> jax.Array:
    """The upper half of a product of 64 bits, from products of 16 bits."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    x1, x0, y1, y0 = x >> half, x & mask, y >> half, y & mask
    middle = x1 * y0 + ((x0 * y0) >> half)
    return x1 * y1 + (middle >> half) + ((x0 * y1 + (middle & mask)) >> half)
