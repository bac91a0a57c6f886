"""Drawing from any distribution in constant time: the alias method."""

import jax
import jax.numpy as jnp
import numpy as np


def alias_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``draw_from_alias_table`` needs to draw each outcome in proportion to its weight.

    Every outcome has a cell, and all cells are drawn alike. A cell whose outcome weighs less than the average means
    for the rest of the time another outcome, its alias, which weighs more.

    Args:
        weights: ``[outcomes]``, float64, none negative and some positive.

    Returns:
        ``[cells]`` each, a power of two: the thresholds, uint32, below which a uniform word means the cell's own
        outcome, and the aliases, int32.

    References:
        Walker, "An Efficient Method for Generating Discrete Random Variables with General Distributions", 1977.
    """
    cells = 1 << (len(weights) - 1).bit_length()
    share = np.zeros(cells)
    share[: len(weights)] = weights * (cells / weights.sum())
    share[np.argmax(share)] = max(share.max(), 1)  # so that some are rich, in spite of rounding
    poor, rich = np.flatnonzero(share < 1), np.flatnonzero(share >= 1)
    # All that is spare lies in a row, by its owners. The poor take what they lack from it one after the other. An owner
    # whose part ends within what one of them takes is left with less than 1 itself, and takes that from the next.
    owned = np.cumsum(share[rich] - 1)
    end = np.cumsum(1 - share[poor])
    start = np.concatenate([[0], end])[:-1]
    alias = np.arange(cells)
    alias[poor] = rich[np.minimum(np.searchsorted(owned, start, side="right"), len(rich) - 1)]
    share[rich] = 1
    taker = np.searchsorted(end, owned[:-1], side="right")
    owner = np.flatnonzero(taker < len(poor))
    owner = owner[start[taker[owner]] < owned[owner]]
    share[rich[owner]] = 1 - (end[taker[owner]] - owned[owner])
    alias[rich[owner]] = rich[owner + 1]
    # An outcome that is possible at all stays possible, whatever the rounding.
    threshold = np.clip(np.round(share * 2.0**32), share > 0, 2.0**32 - 1)
    return threshold.astype(np.uint32), alias.astype(np.int32)


def draw_from_alias_table(threshold: jax.Array, alias: jax.Array, words: jax.Array) -> jax.Array:
    """The outcome that each column of ``[2, count]`` uniform words means, int32."""
    bits = threshold.size.bit_length() - 1
    # With a single cell there is nothing to draw, and a shift by 32 bits would be undefined.
    cell = (words[0] >> np.uint32(32 - bits)).astype(jnp.int32) if bits else jnp.zeros_like(words[0], jnp.int32)
    own = words[1] < threshold.at[cell].get(mode="promise_in_bounds")
    return jnp.where(own, cell, alias.at[cell].get(mode="promise_in_bounds"))
