"""What all samplers share: their arguments, and the expected counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_integer_array, as_key, as_size, as_static_bool, as_static_int
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import checked_ids
from jnnops._types import Key
from jnnops.candidate_sampling._distinct import Distribution, draw_by_race, draw_by_rejection

# Without replacement, if more draws than this are needed for each id of the range, they take longer than to look at
# every id.
DRAWS_FOR_EACH = 8


@serializable
class SampledCandidates(NamedTuple):
    """What a sampler returns.

    Attributes:
        sampled_candidates: ``[num_sampled]``, int32.
        true_expected_count: ``[batch, num_true]``, float32: how often each true class is expected among them.
        sampled_expected_count: ``[num_sampled]``, float32: how often each of them is.
    """

    sampled_candidates: jax.Array
    true_expected_count: jax.Array
    sampled_expected_count: jax.Array


def as_true_classes(op: str, true_classes: ArrayLike, num_true: int) -> jax.Array:
    """Checks ``[batch, num_true]`` ids."""
    num_true = as_size(op, "num_true", num_true)
    ids = as_integer_array(op, "true_classes", true_classes, rank=2)
    if ids.shape[1] != num_true:
        raise ValueError(f"{op}: `true_classes` must have num_true = {num_true} columns, got shape {ids.shape}")
    return ids


def check_sampler(
    op: str, true_classes: ArrayLike, num_true: int, num_sampled: int, unique: bool, range_max: int, key: Key
) -> tuple[jax.Array, jax.Array, int, bool, int]:
    """Converts the arguments of a sampler: true classes, key, then the static ones."""
    ids = as_true_classes(op, true_classes, num_true)
    num_sampled = as_size(op, "num_sampled", num_sampled)
    unique = as_static_bool(op, "unique", unique)
    range_max = as_static_int(op, "range_max", range_max, minimum=1)
    if range_max > np.iinfo(np.int32).max:
        raise ValueError(f"{op}: `range_max` must be at most {np.iinfo(np.int32).max}, got {range_max}")
    if unique and num_sampled > range_max:
        raise ValueError(
            f"{op}: `num_sampled` must be at most range_max = {range_max} for unique candidates, got {num_sampled}"
        )
    return ids, as_key(op, key), num_sampled, unique, range_max


def sample(
    op: str,
    distribution: Distribution,
    true_classes: jax.Array,
    key: jax.Array,
    num_sampled: int,
    *,
    batch: int | None,
    race: bool = False,
    argument: str = "true_classes",
) -> SampledCandidates:
    """Draws candidates and computes the expected counts.

    Args:
        op: The name of the sampler.
        distribution: What to draw from.
        true_classes: ``[batch, num_true]``, any integers.
        key: The key.
        num_sampled: How many to draw.
        batch: How many draws to make at a time so that enough of them are distinct; None with replacement.
        race: Whether to draw without replacement by looking at every id instead, as is done for too many draws.
        argument: What the op calls the true classes.
    """
    if batch is None:
        ids, tries = distribution.draw(key, 0, num_sampled), jnp.float32(num_sampled)
    elif race or batch > DRAWS_FOR_EACH * distribution.range_max:
        ids, tries = draw_by_race(distribution, key, num_sampled)
    else:
        ids, tries = draw_by_rejection(distribution, key, num_sampled, batch)

    true_classes, valid = checked_classes(op, true_classes, distribution.range_max, argument)
    p_true = jnp.where(valid, distribution.probability(jnp.where(valid, true_classes, 0)), 0)
    return SampledCandidates(
        ids,
        expected_count(p_true, num_sampled, tries),
        expected_count(distribution.probability(ids), num_sampled, tries),
    )


def expected_count(p: jax.Array, num_sampled: int, tries: jax.Array) -> jax.Array:
    """How often ids of probability ``p`` are expected among candidates that took as many tries, float32."""
    p = lax.stop_gradient(p)
    return jnp.where(tries == num_sampled, num_sampled * p, -jnp.expm1(tries * jnp.log1p(-p)))


def checked_classes(
    op: str, true_classes: jax.Array, range_max: int, argument: str = "true_classes"
) -> tuple[jax.Array, jax.Array]:
    """The true classes as int32, and which of them are in ``[0, range_max)``; ``checkify`` reports the others."""
    ids, valid = checked_ids(op, argument, true_classes, range_max)
    return ids.astype(jnp.int32), valid
