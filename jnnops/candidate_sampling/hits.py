"""Which candidates happen to be true classes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_integer_array, as_static_bool
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import signed_alike
from jnnops.candidate_sampling._sample import as_true_classes

MASK = float(np.finfo(np.float32).min)


@serializable
class AccidentalHits(NamedTuple):
    """What ``compute_accidental_hits`` returns: three arrays of the same size, and an entry of each for a hit.

    Attributes:
        indices: The row of the true class, int32; the batch size, which is out of range, where there is no hit.
        ids: The place of the candidate in ``sampled_candidates``, int32; likewise ``num_sampled``.
        weights: What to add to the logit, float32: the lowest number, -3.4e38, or 0.
    """

    indices: jax.Array
    ids: jax.Array
    weights: jax.Array


@answers_tensorflow_names
def compute_accidental_hits(
    true_classes: ArrayLike, sampled_candidates: ArrayLike, num_true: int, *, unique: bool = False
) -> AccidentalHits:
    """Finds the candidates that are a true class of a row, where they must not count as false ones.

    The result is made to be added to the logits of the candidates, ``[batch, num_sampled]``:
    ``logits.at[hits.indices, hits.ids].add(hits.weights)``. Its size is that of the most hits there can be; entries
    that are no hits have indices out of range, which JAX drops, and weights of 0.

    TensorFlow returns as many entries as there are hits. Of a candidate drawn more than once it reports one occurrence
    only, and of a class given more than once for a row as many hits; here every occurrence of a candidate is reported
    and none twice.

    Args:
        true_classes: ``[batch, num_true]``, integers.
        sampled_candidates: ``[num_sampled]``, integers.
        num_true: The number of true classes of each row.
        unique: Whether the candidates are known to be distinct. Then each true class has one hit at most, and the
            result is smaller; of candidates that are not distinct only the first occurrence would be found.

    Returns:
        ``AccidentalHits(indices, ids, weights)``, each of size ``batch * num_sampled``, or ``batch * num_true`` if
        unique, in the order of the rows.

    Raises:
        ValueError: If ``true_classes`` does not have ``num_true`` columns or ``sampled_candidates`` is not of rank 1.
        TypeError: If they are not integer or ``unique`` is not a bool.

    Example:
        >>> hits = nn.compute_accidental_hits([[7], [4]], [4, 1, 4], 1)
        >>> jnp.zeros((2, 3)).at[hits.indices, hits.ids].add(hits.weights).astype(bool).tolist()
        [[False, False, False], [True, False, True]]

    References:
        ``tf.nn.compute_accidental_hits``.
    """
    op = "compute_accidental_hits"
    true = as_true_classes(op, true_classes, num_true)
    sampled = as_integer_array(op, "sampled_candidates", sampled_candidates, rank=1)
    return _accidental_hits(*signed_alike(true, sampled), as_static_bool(op, "unique", unique))


@functools.partial(jax.jit, static_argnames="unique")
def _accidental_hits(true: jax.Array, sampled: jax.Array, unique: bool) -> AccidentalHits:
    places = lax.iota(jnp.int32, sampled.size)
    hit = true[:, :, None] == sampled[None, None, :]  # [batch, num_true, num_sampled]
    if unique:
        place = jnp.min(jnp.where(hit, places[None, None, :], sampled.size), axis=2, initial=sampled.size)
        repeated = jnp.tril(true[:, :, None] == true[:, None, :], -1).any(2)
        found = (place < sampled.size) & ~repeated  # [batch, num_true]
    else:
        found = jnp.any(hit, axis=1)  # [batch, num_sampled]
        place = jnp.broadcast_to(places[None, :], found.shape)
    row = lax.broadcasted_iota(jnp.int32, found.shape, 0)
    return AccidentalHits(
        jnp.where(found, row, true.shape[0]).ravel(),
        jnp.where(found, place, sampled.size).ravel(),
        jnp.where(found, jnp.float32(MASK), 0).ravel(),
    )
