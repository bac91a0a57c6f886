"""The sampler to which all classes are alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._keywords import answers_tensorflow_names
from jnnops._types import Key
from jnnops.candidate_sampling._distinct import Distribution, enough_draws
from jnnops.candidate_sampling._random import random_words, scale_words
from jnnops.candidate_sampling._sample import SampledCandidates, check_sampler, sample


@answers_tensorflow_names
def uniform_candidate_sampler(
    true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int, *, key: Key
) -> SampledCandidates:
    """Draws candidates that are all equally likely.

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
        >>> sampled = nn.uniform_candidate_sampler([[3], [7]], 1, 4, True, 10, key=jax.random.key(0))
        >>> sampled.sampled_candidates.shape
        (4,)
        >>> sampled = nn.uniform_candidate_sampler([[3]], 1, 4, False, 8, key=jax.random.key(0))
        >>> sampled.true_expected_count.tolist()
        [[0.5]]

    References:
        ``tf.random.uniform_candidate_sampler``.
    """
    op = "uniform_candidate_sampler"
    ids, key, num_sampled, unique, range_max = check_sampler(
        op, true_classes, num_true, num_sampled, unique, range_max, key
    )
    return _sample_uniform(ids, key, num_sampled, unique, range_max)


@functools.partial(jax.jit, static_argnames=("num_sampled", "unique", "range_max"))
def _sample_uniform(
    true_classes: jax.Array, key: jax.Array, num_sampled: int, unique: bool, range_max: int
) -> SampledCandidates:
    def draw(key: jax.Array, stream: int | jax.Array, count: int) -> jax.Array:
        high, low = random_words(key, stream, (2, count))
        return scale_words(high, low, np.uint32(range_max)).astype(jnp.int32)

    def probability(ids: jax.Array) -> jax.Array:
        return jnp.full(ids.shape, 1 / range_max, jnp.float32)

    def distinct(draws: float) -> tuple[float, float]:
        missed = (1 - 1 / range_max) ** draws
        return range_max * (1 - missed), range_max * missed * (1 - missed)

    return sample(
        "uniform_candidate_sampler",
        Distribution(range_max, draw, probability),
        true_classes,
        key,
        num_sampled,
        batch=enough_draws(num_sampled, distinct) if unique else None,
    )
