"""Drawing without replacement as TensorFlow does: with replacement, and repeats do not count."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.varying import vary_with
from jnnops.candidate_sampling._random import random_words

# `_running_count` counts within blocks of this many draws, by a product of matrices.
BLOCK = 128


class Distribution(NamedTuple):
    """What a sampler draws from.

    Attributes:
        range_max: The number of ids.
        draw: ``draw(key, stream, count)`` gives int32 ids, independent for each stream of the key.
        probability: ``probability(ids)`` of ids in range, float32.
    """

    range_max: int
    draw: Callable[[jax.Array, int | jax.Array, int], jax.Array]
    probability: Callable[[jax.Array], jax.Array]


class Drawn(NamedTuple):
    """The distinct ids in the order drawn, how many of them there are yet, and how many draws that took."""

    ids: jax.Array
    found: jax.Array
    tries: jax.Array


def enough_draws(num_sampled: int, distinct: Callable[[float], tuple[float, float]]) -> int:
    """A number of draws among which nearly always enough ids are distinct.

    Args:
        num_sampled: The number of distinct ids needed.
        distinct: The mean and the variance of their number after so many draws; a bound of the variance will do.
    """

    def enough(draws: int) -> bool:
        mean, variance = distinct(draws)
        return mean - 4 * variance**0.5 > num_sampled - 0.5

    too_few, draws = 0, num_sampled
    while not enough(draws):
        too_few, draws = draws, 2 * draws
    while draws - too_few > 1:
        middle = (too_few + draws) // 2
        too_few, draws = (too_few, middle) if enough(middle) else (middle, draws)
    return draws


def draw_by_rejection(
    distribution: Distribution, key: jax.Array, num_sampled: int, batch: int
) -> tuple[jax.Array, jax.Array]:
    """Draws ids, ``batch`` at a time or a few more, until ``num_sampled`` of them are distinct.

    Returns:
        These ids, ``[num_sampled]``, in the order drawn, and the number of draws up to the last of them, float32.
    """
    batch = -(-batch // BLOCK) * BLOCK
    place = lax.iota(jnp.int32, num_sampled + batch)

    def more(state: tuple[jax.Array, Drawn]) -> tuple[jax.Array, Drawn]:
        stream, drawn = state
        ids = distribution.draw(key, stream, batch)
        active = (place < drawn.found) | (place >= num_sampled)
        new = first_occurrences(jnp.concatenate([drawn.ids, ids]), active)[num_sampled:]
        return stream + 1, _append(drawn, ids, new)

    nothing = Drawn(jnp.zeros(num_sampled, jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
    nothing = vary_with(nothing, distribution.draw(key, 0, 1))
    drawn = lax.while_loop(lambda state: state[1].found < num_sampled, more, (jnp.uint32(0), nothing))[1]
    return drawn.ids, drawn.tries


def _append(drawn: Drawn, ids: jax.Array, new: jax.Array) -> Drawn:
    """Adds those of ``ids`` that are ``new``, until there are enough."""
    wanted = drawn.ids.size
    count = drawn.found + _running_count(new)
    place = jnp.where(new, count - 1, wanted)
    needed = jnp.minimum(jnp.sum(count < wanted) + 1, ids.size)
    return Drawn(
        drawn.ids.at[place].set(ids, mode="drop"),
        jnp.minimum(count[-1], wanted),
        drawn.tries + needed.astype(jnp.float32),
    )


def _running_count(flags: jax.Array) -> jax.Array:
    """How many of the flags are set up to each place, itself included.

    It takes less time than ``jnp.cumsum``, and less to compile than an associative scan (docs/lowerings.rst, "Candidate
    sampling").
    """
    blocks = flags.reshape(-1, BLOCK).astype(jnp.float32)
    within = (blocks @ np.triu(np.ones((BLOCK, BLOCK), np.float32))).astype(jnp.int32)
    before = jnp.cumsum(within[:, -1]) - within[:, -1]
    return (within + before[:, None]).reshape(-1)


def first_occurrences(ids: jax.Array, active: jax.Array) -> jax.Array:
    """Which of the active ids no active one before them is equal to.

    By hashing: every place of a table goes to the earliest of the ids that hash to it. An id that finds itself there
    is the first of its kind; one that finds its equal is not; one that finds another tries again with another hash,
    which few need to do more than once. A sort would take longer (docs/lowerings.rst, "Candidate sampling").
    """
    bits = ids.size.bit_length() + 1
    places = lax.iota(jnp.int32, ids.size)

    def claim(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        turn, first, active = state
        odd = np.uint32(0x9E3779B1) + turn * np.uint32(0x85EBCA76)
        slot = ((ids.astype(jnp.uint32) * odd) >> np.uint32(32 - bits)).astype(jnp.int32)
        table = jnp.full(1 << bits, ids.size, jnp.int32)
        table = table.at[jnp.where(active, slot, 1 << bits)].min(places, mode="drop")
        earliest = table.at[slot].get(mode="promise_in_bounds")
        equal = ids.at[earliest].get(mode="clip") == ids
        return turn + 1, first | (active & (earliest == places)), active & ~equal

    start = (jnp.uint32(0), *vary_with((jnp.zeros_like(active), active), ids))
    return lax.while_loop(lambda state: jnp.any(state[2]), claim, start)[1]


def draw_by_race(distribution: Distribution, key: jax.Array, num_sampled: int) -> tuple[jax.Array, jax.Array]:
    """The same result in distribution as ``draw_by_rejection``, in a time that depends on the number of ids alone.

    Let the draws arrive at random times, as a Poisson process does. Then those of each id do too, at a rate that is
    its probability, so the ids arrive first at independent exponential times. How many repeats come between does not
    depend on which ids come first: while ids of probability ``r`` are left in all, the next draw is a repeat with
    probability ``1 - r``, and so on until it is not.
    """
    ids = lax.iota(jnp.int32, distribution.range_max)
    probability = distribution.probability(ids)
    words = random_words(key, 0, (4, distribution.range_max))
    times = _exponential(words[0], words[1]) / probability
    # Positive floating point numbers are in the order of their bits, and integers sort faster.
    _, order = lax.sort((lax.bitcast_convert_type(times, jnp.uint32), ids), num_keys=1)
    left = jnp.minimum(lax.cumsum(probability.at[order].get(mode="promise_in_bounds"), reverse=True), 1)
    repeats = jnp.floor(_exponential(words[2], words[3]) / -jnp.log1p(-left))[1:num_sampled]
    return order[:num_sampled], num_sampled + jnp.sum(repeats)


def _exponential(high: jax.Array, low: jax.Array) -> jax.Array:
    """Exponential times from words, precise in both tails."""

    def fraction(high: jax.Array, low: jax.Array) -> jax.Array:
        return high.astype(jnp.float32) * np.float32(2.0**-32) + (low.astype(jnp.float32) + 0.5) * np.float32(2.0**-64)

    return jnp.where(high < np.uint32(1 << 31), -jnp.log1p(-fraction(high, low)), -jnp.log(fraction(~high, ~low)))
