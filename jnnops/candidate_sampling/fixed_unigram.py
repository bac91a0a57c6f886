"""The sampler whose distribution is given by the counts of a vocabulary."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jnnops._check import as_static_float, as_static_int, describe, is_traced
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._types import Key
from jnnops.candidate_sampling._alias import alias_table, draw_from_alias_table
from jnnops.candidate_sampling._distinct import Distribution
from jnnops.candidate_sampling._random import random_words
from jnnops.candidate_sampling._sample import SampledCandidates, check_sampler, sample


@serializable
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("probabilities", "threshold", "alias"),
    meta_fields=("num_possible",),
)
@dataclasses.dataclass(frozen=True, eq=False)
class UnigramTable:
    """A distribution prepared for ``fixed_unigram_candidate_sampler``: built once, used for every call.

    It is a pytree of arrays, so it can be an argument of a jitted function.

    Attributes:
        probabilities: ``[range_max]``, float32: that of each id, reserved ones included.
        threshold: ``[cells]``, uint32, of the alias method.
        alias: ``[cells]``, int32, of the alias method.
        num_possible: How many ids have a probability above 0.
    """

    probabilities: jax.Array
    threshold: jax.Array
    alias: jax.Array
    num_possible: int

    @property
    def range_max(self) -> int:
        """The number of ids."""
        return self.probabilities.shape[0]

    @classmethod
    def from_unigrams(
        cls,
        unigrams: ArrayLike | Sequence[float],
        distortion: float = 1.0,
        num_reserved_ids: int = 0,
        num_shards: int = 1,
        shard: int = 0,
    ) -> "UnigramTable":
        """Builds the table of counts.

        Args:
            unigrams: The count or probability of each id after the reserved ones: not negative, some positive.
            distortion: The power to raise them to: 1 leaves them, 0 makes all ids equally likely.
            num_reserved_ids: The number of ids of probability 0 in front, such as those of special words.
            num_shards: The number of parts to split the ids into.
            shard: Which part to keep, in ``[0, num_shards)``.

        Returns:
            The table.

        Raises:
            ValueError: If a count is negative or not finite, none is positive, or an option is out of range.
            TypeError: If ``unigrams`` is traced or not numbers, or an option is not static.

        Example:
            >>> table = nn.UnigramTable.from_unigrams([1.0, 3.0], num_reserved_ids=1)
            >>> table.probabilities.tolist()
            [0.0, 0.25, 0.75]
        """
        return _table("UnigramTable.from_unigrams", unigrams, distortion, num_reserved_ids, num_shards, shard)

    @classmethod
    def from_vocab_file(
        cls,
        vocab_file: str | os.PathLike[str],
        distortion: float = 1.0,
        num_reserved_ids: int = 0,
        num_shards: int = 1,
        shard: int = 0,
    ) -> "UnigramTable":
        r"""Builds the table of a file's counts.

        Args:
            vocab_file: A text file with a line for each id after the reserved ones, whose last column, after the last
                comma if there is one, is the count. Empty lines are skipped.
            distortion: As in ``from_unigrams``; likewise the others.
            num_reserved_ids: The number of ids of probability 0 in front.
            num_shards: The number of parts to split the ids into.
            shard: Which part to keep.

        Returns:
            The table.

        Raises:
            ValueError: If a line has no valid count, no line has one, or as ``from_unigrams``.
            TypeError: If ``vocab_file`` is not a path, or an option is not static.
            OSError: If the file cannot be read.

        Example:
            >>> import pathlib, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = pathlib.Path(folder, "vocab.csv")
            ...     _ = file.write_text("the,30\nof,10\n")
            ...     nn.UnigramTable.from_vocab_file(file).probabilities.tolist()
            [0.75, 0.25]
        """
        op = "UnigramTable.from_vocab_file"
        counts = _read_counts(op, vocab_file)
        return _table(op, counts, distortion, num_reserved_ids, num_shards, shard, argument="vocab_file")


def _read_counts(op: str, vocab_file: str | os.PathLike[str]) -> list[float]:
    if not isinstance(vocab_file, str | os.PathLike):
        raise TypeError(f"{op}: `vocab_file` must be a path, got {describe(vocab_file)}")
    counts = []
    with open(vocab_file, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text:
                continue
            try:
                count = float(text.rpartition(",")[2])
            except ValueError:
                count = -1.0
            if not 0 <= count < float("inf"):
                raise ValueError(
                    f"{op}: `vocab_file` must have a count of at least 0 in the last column of every line, "
                    f"got {text!r} in line {number} of {os.fspath(vocab_file)}"
                )
            counts.append(count)
    if not counts:
        raise ValueError(f"{op}: `vocab_file` must have a line with a count, got none in {os.fspath(vocab_file)}")
    return counts


def _table(
    op: str,
    unigrams: ArrayLike | Sequence[float],
    distortion: float,
    num_reserved_ids: int,
    num_shards: int,
    shard: int,
    argument: str = "unigrams",
) -> UnigramTable:
    counts, distortion = _as_counts(op, unigrams, distortion)
    num_reserved_ids = as_static_int(op, "num_reserved_ids", num_reserved_ids, minimum=0)
    num_shards = as_static_int(op, "num_shards", num_shards, minimum=1)
    shard = as_static_int(op, "shard", shard)
    if not 0 <= shard < num_shards:
        raise ValueError(f"{op}: `shard` must be in [0, num_shards) = [0, {num_shards}), got {shard}")
    # Ids are dealt out in turns. As in TensorFlow the counts are numbered from the reserved ids of this shard on, so
    # that shards overlap where both options are used.
    reserved = len(range(shard, num_reserved_ids, num_shards))
    kept = counts[(shard - reserved) % num_shards :: num_shards]
    with np.errstate(divide="ignore"):
        weights = np.concatenate([np.zeros(reserved), kept**distortion])
    if not np.all(np.isfinite(weights)) or not np.any(weights > 0):
        raise ValueError(
            f"{op}: `{argument}` must have a positive, finite count raised to distortion = {distortion}, and none that "
            f"is not finite, got {describe(unigrams)}"
        )
    weights = weights / weights.sum()
    threshold, alias = alias_table(weights)
    return UnigramTable(
        jnp.asarray(weights, jnp.float32), jnp.asarray(threshold), jnp.asarray(alias), int(np.sum(weights > 0))
    )


def _as_counts(op: str, unigrams: ArrayLike | Sequence[float], distortion: float) -> tuple[np.ndarray, float]:
    """Converts and checks the counts, and the power to raise them to."""
    if is_traced(unigrams) or is_traced(distortion):
        raise TypeError(f"{op}: `unigrams` and `distortion` must be static numbers; a UnigramTable may be traced")
    try:
        counts = np.asarray(unigrams, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{op}: `unigrams` must be numbers, got {describe(unigrams)}") from error
    if counts.ndim != 1:
        raise ValueError(f"{op}: `unigrams` must be of rank 1, got shape {counts.shape}")
    if not np.all((counts >= 0) & np.isfinite(counts)):
        index = int(np.argmin((counts >= 0) & np.isfinite(counts)))
        raise ValueError(f"{op}: `unigrams` must be finite and not negative, got {counts[index]} at {index}")
    return counts, as_static_float(op, "distortion", distortion)


@answers_tensorflow_names
def fixed_unigram_candidate_sampler(
    true_classes: ArrayLike,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: str | os.PathLike[str] = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: ArrayLike | Sequence[float] | UnigramTable = (),
    *,
    key: Key,
) -> SampledCandidates:
    """Draws candidates in proportion to given counts, or to a power of them.

    To prepare the distribution takes a pass over all counts. Do so once, with ``UnigramTable.from_unigrams`` or
    ``UnigramTable.from_vocab_file``, and pass the table as ``unigrams``; given a list or a file, every call that is not
    jitted prepares it anew.

    Args:
        true_classes: ``[batch, num_true]``, integers in ``[0, range_max)``.
        num_true: The number of true classes of each row.
        num_sampled: The number of candidates to draw.
        unique: Whether to draw without replacement.
        range_max: The number of ids to draw from: that of the counts and the reserved ids, of the shard if there are
            several.
        vocab_file: A file of counts; see ``UnigramTable.from_vocab_file``.
        distortion: The power to raise the counts to.
        num_reserved_ids: The number of ids in front that are never drawn.
        num_shards: The number of parts to split the ids into. TensorFlow numbers counts from the reserved ids of the
            shard on, and so does this; with both options in use the shards may overlap.
        shard: Which part to draw from.
        unigrams: The counts, if no file is given; or a ``UnigramTable``, which settles the five arguments above.
        key: A ``jax.random`` key.

    Returns:
        ``SampledCandidates``: the candidates, ``[num_sampled]`` int32, and the expected counts of the true classes,
        ``[batch, num_true]`` float32, and of the candidates, ``[num_sampled]`` float32; see
        :mod:`jnnops.candidate_sampling`.

    Raises:
        ValueError: If ``true_classes`` does not have ``num_true`` columns, a size is less than 1, ``range_max`` is not
            the number of ids, more unique candidates are asked for than there are ids of positive probability, the
            counts come from none or several of the sources, or as ``UnigramTable.from_vocab_file``.
        TypeError: If ``true_classes`` is not integer, or a static argument is not what it should be.

    Note:
        Unique candidates take as many draws as in TensorFlow, which are many if a few ids have nearly all the
        probability, unless ``num_sampled`` is at least half of ``range_max``.

    Example:
        >>> table = nn.UnigramTable.from_unigrams([6.0, 3.0, 1.0])
        >>> nn.fixed_unigram_candidate_sampler(
        ...     [[0], [2]], 1, 5, False, 3, unigrams=table, key=jax.random.key(0)
        ... ).true_expected_count.tolist()
        [[3.0], [0.5]]

    References:
        ``tf.random.fixed_unigram_candidate_sampler``.
    """
    op = "fixed_unigram_candidate_sampler"
    ids, key, num_sampled, unique, range_max = check_sampler(
        op, true_classes, num_true, num_sampled, unique, range_max, key
    )
    options = (distortion, num_reserved_ids, num_shards, shard)
    listed = isinstance(unigrams, UnigramTable) or np.size(unigrams) > 0
    if bool(vocab_file) == listed:
        raise ValueError(f"{op}: `vocab_file` or `unigrams` must be given, got {'both' if listed else 'neither'}")
    if isinstance(unigrams, UnigramTable):
        if options != (1.0, 0, 1, 0):
            raise ValueError(
                f"{op}: `unigrams` must be a list for distortion, num_reserved_ids, num_shards and shard to be given, "
                "got a UnigramTable, which settles them"
            )
        table = unigrams
    else:
        counts = unigrams if listed else _read_counts(op, vocab_file)
        table = _table(op, counts, *options, argument="unigrams" if listed else "vocab_file")
    if table.range_max != range_max:
        raise ValueError(f"{op}: `range_max` must be {table.range_max}, the number of ids, got {range_max}")
    if unique and num_sampled > table.num_possible:
        raise ValueError(
            f"{op}: `num_sampled` must be at most {table.num_possible}, the number of ids of positive probability, for "
            f"unique candidates, got {num_sampled}"
        )
    return _sample_fixed_unigram(ids, key, table, num_sampled, unique)


@functools.partial(jax.jit, static_argnames=("num_sampled", "unique"))
def _sample_fixed_unigram(
    true_classes: jax.Array, key: jax.Array, table: UnigramTable, num_sampled: int, unique: bool
) -> SampledCandidates:
    def draw(key: jax.Array, stream: int | jax.Array, count: int) -> jax.Array:
        return draw_from_alias_table(table.threshold, table.alias, random_words(key, stream, (2, count)))

    def probability(ids: jax.Array) -> jax.Array:
        return table.probabilities.at[ids].get(mode="promise_in_bounds")

    return sample(
        "fixed_unigram_candidate_sampler",
        Distribution(table.range_max, draw, probability),
        true_classes,
        key,
        num_sampled,
        # Counts by Zipf's law need 1.8 times as many draws as distinct ids.
        batch=2 * num_sampled if unique else None,
        race=2 * num_sampled >= table.range_max,
    )
