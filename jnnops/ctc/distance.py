"""How far what was read is from the truth."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_integer_array, as_static_bool
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.varying import vary_with
from jnnops._tables.ids import as_lengths, checked_lengths, signed_alike


@answers_tensorflow_names
def edit_distance(
    hypothesis: ArrayLike,
    truth: ArrayLike,
    hypothesis_length: ArrayLike,
    truth_length: ArrayLike,
    normalize: bool = True,
) -> jax.Array:
    """Counts the fewest insertions, deletions and substitutions that make the truth of the hypothesis.

    This is Levenshtein's distance, normalised by the length of the truth: the label error rate of a row. That of a
    corpus is the sum of the distances that are not normalised, divided by the sum of the lengths. Rows are compared by
    anti-diagonals of the table of distances, in as many steps as both have labels together.

    Args:
        hypothesis: ``[batch, max_hypothesis_length]``, integer, as in ``CTCDecoded.decoded[0]``. Entries past
            ``hypothesis_length`` may hold anything.
        truth: ``[batch, max_truth_length]``, integer; likewise.
        hypothesis_length: ``[batch]``, integer: the number of labels of each row.
        truth_length: ``[batch]``, integer; likewise.
        normalize: Whether distances are divided by ``truth_length``. That of an empty truth is then infinity, or 0 if
            the hypothesis is empty too.

    Returns:
        ``[batch]`` distances, float32, without gradient. A row with a length that is negative or beyond its array gets
        NaN, and ``checkify`` with ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the others.
        TypeError: If an array is not integer or ``normalize`` not a boolean.

    Note:
        TensorFlow takes sparse arrays, of any type and rank. For more axes, as that of the paths of a beam search,
        there is ``jax.vmap``.

    Example:
        >>> hypothesis, truth = jnp.array([[1, 2, 3, -1]]), jnp.array([[1, 3, 3, 4]])
        >>> nn.edit_distance(hypothesis, truth, [3], [4], normalize=False)  # 3 for 2, and a 4 more
        Array([2.], dtype=float32)
        >>> nn.edit_distance(hypothesis, truth, [3], [4])
        Array([0.5], dtype=float32)

    References:
        ``tf.edit_distance``. Wagner and Fischer, "The String-to-String Correction Problem", 1974.
    """
    op = "edit_distance"
    hypothesis = as_integer_array(op, "hypothesis", hypothesis, rank=2)
    truth = as_integer_array(op, "truth", truth, rank=2)
    if truth.shape[0] != hypothesis.shape[0]:
        raise ValueError(
            f"{op}: `truth` must have the batch of `hypothesis`, "
            f"got truth.shape = {truth.shape} for hypothesis.shape = {hypothesis.shape}"
        )
    hypothesis_length = as_lengths(op, "hypothesis_length", hypothesis_length, hypothesis.shape[0])
    truth_length = as_lengths(op, "truth_length", truth_length, hypothesis.shape[0])
    normalize = as_static_bool(op, "normalize", normalize)
    return _edit_distance(hypothesis, truth, hypothesis_length, truth_length, normalize=normalize)


@functools.partial(jax.jit, static_argnames="normalize")
def _edit_distance(
    hypothesis: jax.Array, truth: jax.Array, hypothesis_length: jax.Array, truth_length: jax.Array, *, normalize: bool
) -> jax.Array:
    op = "edit_distance"
    hypothesis_length, good = checked_lengths(op, "hypothesis_length", hypothesis_length, hypothesis.shape[1])
    truth_length, good_truth = checked_lengths(op, "truth_length", truth_length, truth.shape[1])
    valid = good & good_truth
    ours, theirs = (jnp.where(valid, length, 0).astype(jnp.int32) for length in (hypothesis_length, truth_length))
    hypothesis, truth = signed_alike(hypothesis, truth)
    distance = _levenshtein(hypothesis.T, truth.T, ours, theirs).astype(jnp.float32)
    if normalize:
        distance = jnp.where(distance == 0, 0, distance / theirs.astype(jnp.float32))
    return jnp.where(valid, distance, jnp.nan)


def _levenshtein(
    hypothesis: jax.Array, truth: jax.Array, hypothesis_length: jax.Array, truth_length: jax.Array
) -> jax.Array:
    """The distances of labels ``[length, batch]``.

    Lane ``i`` of diagonal ``k`` holds the distance between the first ``i`` labels of the hypothesis and the first
    ``k - i`` of the truth. Lanes where that is negative hold more than any distance, and no other lane depends on those
    where there are not as many.
    """
    lanes, columns = hypothesis.shape[0], truth.shape[0]
    # On diagonal k the labels i = 1, 2, ... meet those of the truth before k - 1, k - 2, ...
    backward = jnp.pad(jnp.flip(truth, axis=0), ((lanes, lanes), (0, 0)))
    total = hypothesis_length + truth_length

    def step(carry: tuple[jax.Array, jax.Array, jax.Array], k: jax.Array) -> tuple[tuple, None]:
        before_last, last, found = carry
        met = lax.dynamic_slice_in_dim(backward, lanes + columns + 1 - k, lanes, axis=0)
        substituted = before_last[:-1] + (hypothesis != met).astype(jnp.int32)
        moved = jnp.minimum(jnp.minimum(last[:-1], last[1:]) + 1, substituted)
        current = jnp.concatenate([last[:1] + 1, moved])
        at_end = jnp.take_along_axis(current, hypothesis_length[None], axis=0, mode="promise_in_bounds")[0]
        return (last, current, jnp.where(k == total, at_end, found)), None

    beyond = jnp.full((lanes + 1, hypothesis.shape[1]), lanes + columns + 1, jnp.int32)
    start = vary_with((beyond, beyond.at[0].set(0), jnp.zeros_like(total)), hypothesis, truth, total)
    (_, _, found), _ = lax.scan(step, start, jnp.arange(1, lanes + columns + 1, dtype=jnp.int32))
    return found
