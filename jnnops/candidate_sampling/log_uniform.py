"""The sampler by Zipf's law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._keywords import answers_tensorflow_names
from jnnops._types import Key
from jnnops.candidate_sampling._alias import alias_table, draw_from_alias_table
from jnnops.candidate_sampling._distinct import Distribution, enough_draws
from jnnops.candidate_sampling._random import random_words
from jnnops.candidate_sampling._sample import SampledCandidates, check_sampler, sample

# Each octave of the log-uniform distribution is cut into 2**PIECES_BITS pieces of equal width. Within a piece the
# density, 1 / x, differs from a straight line by at most 5e-7 of itself.
PIECES_BITS = 9


@answers_tensorflow_names
def log_uniform_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int, *, key: Key
) -> SampledCandidates:
    r"""Draws candidates by Zipf's law: for ids in the order of their frequency, the most frequent first.

    .. math::
        p(c) = \frac{\log (c + 2) - \log (c + 1)}{\log (\text{range_max} + 1)}

    Args:
        true_classes: ``[batch, num_true]``, integers in ``[0, range_max)``.
        num_true: The number of true classes of each row.
        num_sampled: The number of candidates to draw.
        unique: Whether to draw without replacement.
        range_max: The number of ids to draw from, at most ``2**31 - 1``.
        key: A ``jax.random`` key.

    Returns:
        ``SampledCandidates``: the candidates, ``[num_sampled]`` int32, and the expected counts of the true classes,
        ``[batch, num_true]`` float32, and of the candidates, ``[num_sampled]`` float32; see
        :mod:`jnnops.candidate_sampling`.

    Raises:
        ValueError: If ``true_classes`` does not have ``num_true`` columns, a size is less than 1 or too large, or
            more unique candidates are asked for than there are ids.
        TypeError: If ``true_classes`` is not integer, or a static argument is not what it should be.

    Example:
        >>> sampled = nn.log_uniform_candidate_sampler([[0], [99]], 1, 5, False, 1000, key=jax.random.key(0))
        >>> [round(count, 4) for count in sampled.true_expected_count[:, 0].tolist()]
        [0.5016, 0.0072]

    References:
        ``tf.random.log_uniform_candidate_sampler``.
    """
    op = "log_uniform_candidate_sampler"
    ids, key, num_sampled, unique, range_max = check_sampler(
        op, true_classes, num_true, num_sampled, unique, range_max, key
    )
    return sample_log_uniform(ids, key, num_sampled, unique, range_max, op, "true_classes")


@functools.partial(jax.jit, static_argnames=("num_sampled", "unique", "range_max", "op", "argument"))
def sample_log_uniform(
    true_classes: jax.Array,
    key: jax.Array,
    num_sampled: int,
    unique: bool,
    range_max: int,
    op: str,
    argument: str,
) -> SampledCandidates:
    """The sampler, of arguments that were checked, for an op that calls the true classes ``argument``."""
    # The id plus 1 is the integer part of a number x of density 1 / x in [1, range_max + 1). The exponential of a
    # float32 number is too coarse for that, so a piece of the range is drawn first, then an integer in it.
    start, bits = log_uniform_pieces(range_max)
    mass = np.log1p(2.0**bits / start) / np.log1p(range_max)
    threshold, alias = alias_table(mass)

    def draw(key: jax.Array, stream: int | jax.Array, count: int) -> jax.Array:
        words = random_words(key, stream, (4, count))
        piece = draw_from_alias_table(jnp.asarray(threshold), jnp.asarray(alias), words[:2])
        at = jnp.asarray(start, jnp.uint32).at[piece].get(mode="promise_in_bounds")
        width = jnp.uint32(1) << jnp.asarray(bits, jnp.uint32).at[piece].get(mode="promise_in_bounds")
        return draw_in_piece(at, width, words[2:]).astype(jnp.int32) - 1

    def probability(ids: jax.Array) -> jax.Array:
        return jnp.log1p(1 / (ids.astype(jnp.float32) + 1)) * np.float32(1 / np.log1p(range_max))

    def distinct(draws: float) -> tuple[float, float]:
        missed = (1 - mass / 2.0**bits) ** draws
        return float(2.0**bits @ (1 - missed)), float(2.0**bits @ (missed * (1 - missed)))

    return sample(
        op,
        Distribution(range_max, draw, probability),
        true_classes,
        key,
        num_sampled,
        batch=enough_draws(num_sampled, distinct) if unique else None,
        argument=argument,
    )


def draw_in_piece(start: jax.Array, width: jax.Array, words: jax.Array) -> jax.Array:
    """Integers in ``[start, start + width)``, of a density that falls like ``1 / x`` but straight, from two words each.

    The line is that of a mixture: of a constant density, and of one that falls to 0, which is that of the lesser of
    two numbers. The widths are powers of two up to ``2**21``; the upper bits of the words say which of the two it is.
    """
    first, second = words[0] & (width - 1), words[1] & (width - 1)
    upper = ((words[0] >> 21) << 11) | (words[1] >> 21)
    falling = width.astype(jnp.float32) / (2 * start + width).astype(jnp.float32)
    lesser = (upper.astype(jnp.float32) + 0.5) * 2.0**-22 < falling
    return start + jnp.where(lesser, jnp.minimum(first, second), first)


def log_uniform_pieces(range_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ``[1, range_max + 1)`` into pieces ``[start, start + 2**bits)`` that are narrow for where they are."""
    end = range_max + 1
    octaves = range(max(1, end.bit_length() - PIECES_BITS))
    first = 1 << PIECES_BITS
    start = np.concatenate([np.arange(1, first), *(np.arange(first, 2 * first) << octave for octave in octaves)])
    bits = np.concatenate([np.zeros(first - 1, int), np.repeat(octaves, first)])
    whole = start + (1 << bits) <= end
    start, bits = start[whole].tolist(), bits[whole].tolist()
    # What is left of the last octave is less than a piece of it.
    at = start[-1] + (1 << bits[-1])
    while at < end:
        start.append(at)
        bits.append((end - at).bit_length() - 1)
        at += 1 << bits[-1]
    return np.array(start), np.array(bits)
