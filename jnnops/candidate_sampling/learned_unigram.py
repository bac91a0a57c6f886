"""The sampler whose distribution is learned from the true classes as they come."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import as_array, as_integer_array, as_static_int, check_shape, debug_check, describe, is_traced
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.order import after, read_once
from jnnops._primitives.serialization import serializable
from jnnops._primitives.varying import vary_with
from jnnops._types import Key
from jnnops.candidate_sampling._distinct import Distribution
from jnnops.candidate_sampling._random import random_words, scale_words
from jnnops.candidate_sampling._sample import SampledCandidates, check_sampler, checked_classes, sample


@serializable
@functools.partial(jax.tree_util.register_dataclass, data_fields=("tree",), meta_fields=("range_max",))
@dataclasses.dataclass(frozen=True, eq=False)
class LearnedUnigramState:
    """How often each class was seen, as ``learned_unigram_candidate_sampler`` needs it.

    It is a pytree. Carried through a ``lax.scan``, or donated to a jitted step that returns the new one, it is updated
    in place.

    Attributes:
        tree: ``[2 * leaves]``, uint32: a binary tree of sums. The root is at 1, the children of node ``i`` at ``2 * i``
            and ``2 * i + 1``, and the counts of the classes, in their order, are the leaves.
        range_max: The number of classes.
    """

    tree: jax.Array
    range_max: int

    @classmethod
    def init(cls, range_max: int) -> "LearnedUnigramState":
        """The state before anything was seen: every class counts 1.

        Args:
            range_max: The number of classes, at most ``2**29``.

        Returns:
            The state.

        Raises:
            ValueError: If ``range_max`` is less than 1 or too large.
            TypeError: If ``range_max`` is not a static integer.

        Example:
            >>> nn.LearnedUnigramState.init(3).counts.tolist()
            [1, 1, 1]
        """
        op = "LearnedUnigramState.init"
        range_max = as_static_int(op, "range_max", range_max, minimum=1)
        if range_max > 2**29:
            raise ValueError(f"{op}: `range_max` must be at most 2**29, got {range_max}")
        return cls._of_counts(jnp.ones(range_max, jnp.uint32))

    @classmethod
    def from_counts(cls, counts: ArrayLike) -> "LearnedUnigramState":
        """The state with given counts, such as ``counts`` of another one.

        Args:
            counts: ``[range_max]``, positive integers whose sum is less than ``2**32``.

        Returns:
            The state.

        Raises:
            ValueError: If ``counts`` is not of rank 1, is empty, holds a number below 1 or sums to ``2**32`` or more.
                ``checkify`` reports a number below 1 that is traced.
            TypeError: If ``counts`` is not integer.

        Example:
            >>> nn.LearnedUnigramState.from_counts([1, 5, 2]).tree.tolist()
            [0, 8, 6, 2, 1, 5, 2, 0]
        """
        op = "LearnedUnigramState.from_counts"
        given = counts if any(map(is_traced, jax.tree.leaves(counts))) else _check_counts(op, counts)
        counts = as_integer_array(op, "counts", given, rank=1)
        if not counts.size:
            raise ValueError(f"{op}: `counts` must hold at least one class, got shape {counts.shape}")
        return cls._of_counts(debug_check(op, "counts", "be at least 1", counts, counts >= 1))

    @classmethod
    def _of_counts(cls, counts: jax.Array) -> "LearnedUnigramState":
        leaves = 1 << (counts.size - 1).bit_length()
        levels = [jnp.pad(counts.astype(jnp.uint32), (0, leaves - counts.size))]
        while levels[0].size > 1:
            levels.insert(0, levels[0][::2] + levels[0][1::2])
        return cls(jnp.concatenate([jnp.zeros(1, jnp.uint32), *levels]), counts.size)

    @property
    def counts(self) -> jax.Array:
        """``[range_max]``, uint32: how often each class was seen, plus 1."""
        first = self.tree.shape[0] // 2
        return self.tree[first : first + self.range_max]


def _check_counts(op: str, counts: ArrayLike) -> ArrayLike:
    """Raises unless numbers that are known can be counts, and returns them in the dtype of the tree."""
    try:
        known = np.asarray(counts)
    except ValueError:
        return counts  # for the checks of dtype and shape, which follow
    is_integer = known.dtype.kind in "iu" or (known.dtype.kind == "O" and all(type(each) is int for each in known.flat))
    if not is_integer or not known.size:
        return counts
    if known.min() < 1:
        raise ValueError(f"{op}: `counts` must be at least 1, got {known.min()} at {known.argmin()}")
    if known.max() >= 2**32 or known.sum(dtype=np.uint64) >= 2**32:
        raise ValueError(f"{op}: `counts` must have a sum of less than 2**32, got {describe(counts)}")
    return known.astype(np.uint32)


@serializable
class LearnedUnigramSample(NamedTuple):
    """``SampledCandidates`` and the new state.

    Attributes:
        sampled_candidates: ``[num_sampled]``, int32.
        true_expected_count: ``[batch, num_true]``, float32.
        sampled_expected_count: ``[num_sampled]``, float32.
        state: The state in which the true classes count once more.
    """

    sampled_candidates: jax.Array
    true_expected_count: jax.Array
    sampled_expected_count: jax.Array
    state: LearnedUnigramState


@answers_tensorflow_names
def learned_unigram_candidate_sampler(
    true_classes: ArrayLike,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    *,
    state: LearnedUnigramState,
    key: Key,
) -> LearnedUnigramSample:
    """Draws candidates in proportion to how often they were true classes until now.

    At first every class counts 1. Candidates are drawn, and the expected counts computed, with the counts of ``state``;
    then every true class counts once more for each time it occurs. TensorFlow keeps the counts inside of the op; here
    they go in and out. A draw and an update take a time of ``log(range_max)`` each.

    Args:
        true_classes: ``[batch, num_true]``, integers in ``[0, range_max)``; others are not counted.
        num_true: The number of true classes of each row.
        num_sampled: The number of candidates to draw.
        unique: Whether to draw without replacement.
        range_max: The number of ids to draw from, at most ``2**29``.
        state: That of the last call, or ``LearnedUnigramState.init(range_max)``.
        key: A ``jax.random`` key.

    Returns:
        ``LearnedUnigramSample``, the fields of ``SampledCandidates`` and the new state: the candidates,
        ``[num_sampled]`` int32, the expected counts of the true classes, ``[batch, num_true]`` float32, and of the
        candidates, ``[num_sampled]`` float32 (see :mod:`jnnops.candidate_sampling`), and a ``LearnedUnigramState``.
        The losses take it as ``sampled_values``, like that of the other samplers.

    Raises:
        ValueError: If ``true_classes`` does not have ``num_true`` columns, a size is less than 1, more unique
            candidates are asked for than there are ids, or ``state`` is for another ``range_max`` or not of its size.
        TypeError: If ``true_classes`` is not integer, ``state`` is no ``LearnedUnigramState``, or a static argument is
            not what it should be.

    Example:
        >>> state = nn.LearnedUnigramState.init(4)
        >>> *_, state = nn.learned_unigram_candidate_sampler(
        ...     [[0], [0], [3]], 1, 2, True, 4, state=state, key=jax.random.key(0)
        ... )
        >>> state.counts.tolist()
        [3, 1, 1, 2]

    References:
        ``tf.random.learned_unigram_candidate_sampler``.
    """
    op = "learned_unigram_candidate_sampler"
    ids, key, num_sampled, unique, range_max = check_sampler(
        op, true_classes, num_true, num_sampled, unique, range_max, key
    )
    if not isinstance(state, LearnedUnigramState):
        raise TypeError(f"{op}: `state` must be a LearnedUnigramState, got {type(state).__name__}")
    if state.range_max != range_max:
        raise ValueError(f"{op}: `state` must be for range_max = {range_max}, got one for {state.range_max}")
    leaves = 1 << (range_max - 1).bit_length()
    tree = as_array(op, "state.tree", state.tree)
    check_shape(op, "state.tree", tree, (2 * leaves,), f"as LearnedUnigramState.init({range_max}) makes it")
    if tree.dtype != jnp.uint32:
        raise TypeError(f"{op}: `state.tree` must be uint32, got {tree.dtype}")
    return _sample_learned_unigram(ids, key, LearnedUnigramState(tree, range_max), num_sampled, unique)


@functools.partial(jax.jit, static_argnames=("num_sampled", "unique"))
def _sample_learned_unigram(
    true_classes: jax.Array, key: jax.Array, state: LearnedUnigramState, num_sampled: int, unique: bool
) -> LearnedUnigramSample:
    op = "learned_unigram_candidate_sampler"
    tree, range_max = state.tree, state.range_max
    leaves = tree.shape[0] // 2

    def probability(ids: jax.Array) -> jax.Array:
        counts = tree.at[leaves + ids].get(mode="promise_in_bounds")
        return counts.astype(jnp.float32) / tree[1].astype(jnp.float32)

    sampled = sample(
        op,
        Distribution(range_max, functools.partial(_draw, tree), probability),
        true_classes,
        key,
        num_sampled,
        # Counts by Zipf's law need 1.8 times as many draws as distinct ids.
        batch=2 * num_sampled if unique else None,
        race=2 * num_sampled >= range_max,
    )
    ids, valid = checked_classes(op, true_classes, range_max)
    above = (leaves + ids)[..., None] >> jnp.arange(leaves.bit_length(), dtype=jnp.int32)[None, None, :]
    # The tree is written only after all that is read of it, or else XLA would copy it (docs/lowerings.rst, "Tables in
    # place").
    sampled = SampledCandidates(*read_once(tuple(sampled)))
    (nodes,) = after(list(sampled), [jnp.where(valid[..., None], above, 2 * leaves)])
    tree = tree.at[nodes].add(1, mode="drop")
    return LearnedUnigramSample(*sampled, LearnedUnigramState(tree, range_max))


def _draw(tree: jax.Array, key: jax.Array, stream: int | jax.Array, count: int) -> jax.Array:
    """Draws classes in proportion to their counts.

    Imagine the classes in a line in which each takes as many places as its count. A place is drawn, and each node of
    the tree tells whether it is among the classes to the left, whose sum is the left child, or to the right.
    """
    high, low = random_words(key, stream, (2, count))
    place, leaves = scale_words(high, low, tree[1]), tree.shape[0] // 2

    def down(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        node, place = carry
        left = tree.at[2 * node].get(mode="promise_in_bounds")
        right = place >= left
        return 2 * node + right.astype(jnp.int32), place - jnp.where(right, left, 0)

    root = jnp.ones_like(place, jnp.int32)
    return lax.fori_loop(0, leaves.bit_length() - 1, down, vary_with((root, place), tree))[0] - leaves
