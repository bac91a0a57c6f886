"""The sampler that draws nothing."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import as_key, as_size, as_static_bool, as_static_int
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import Key
from jnnops.candidate_sampling._sample import SampledCandidates, as_true_classes, checked_classes


@answers_tensorflow_names
def all_candidate_sampler(
    true_classes: ArrayLike,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int | None = None,
    *,
    key: Key | None = None,
) -> SampledCandidates:
    """Takes every id as a candidate, which makes a sampled loss the full one: to test and to compare.

    Args:
        true_classes: ``[batch, num_true]``, integers in ``[0, num_sampled)``.
        num_true: The number of true classes of each row.
        num_sampled: The number of ids.
        unique: Of no effect, as in TensorFlow: the candidates are always unique.
        range_max: The number of ids again, as the other samplers take it; may be left out.
        key: Not used, as nothing is drawn; taken so that samplers can take each other's place.

    Returns:
        ``SampledCandidates``: the ids ``0, 1, ...``, ``[num_sampled]`` int32, and the expected counts, which are 1, of
        the true classes, ``[batch, num_true]`` float32, and of the candidates, ``[num_sampled]`` float32.

    Raises:
        ValueError: If ``true_classes`` does not have ``num_true`` columns, a size is less than 1, or ``range_max`` is
            not ``num_sampled``.
        TypeError: If ``true_classes`` is not integer, or a static argument is not what it should be.

    Example:
        >>> nn.all_candidate_sampler([[1]], 1, 3, True).sampled_candidates.tolist()
        [0, 1, 2]

    References:
        ``tf.random.all_candidate_sampler``.
    """
    op = "all_candidate_sampler"
    if key is not None:
        as_key(op, key)
    ids = as_true_classes(op, true_classes, num_true)
    num_sampled = as_size(op, "num_sampled", num_sampled)
    as_static_bool(op, "unique", unique)
    if range_max is not None and as_static_int(op, "range_max", range_max) != num_sampled:
        raise ValueError(f"{op}: `range_max` must be num_sampled = {num_sampled}, got {range_max}")
    return _all_candidates(ids, num_sampled)


@functools.partial(jax.jit, static_argnames="num_sampled")
def _all_candidates(true_classes: jax.Array, num_sampled: int) -> SampledCandidates:
    _, valid = checked_classes("all_candidate_sampler", true_classes, num_sampled)
    return SampledCandidates(
        jnp.arange(num_sampled, dtype=jnp.int32), valid.astype(jnp.float32), jnp.ones(num_sampled, jnp.float32)
    )
