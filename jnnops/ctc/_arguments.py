"""Arguments that the ops of this room share."""

import jax
import jax.numpy as jnp

from jnnops._check import as_static_int, debug_check
from jnnops._tables.ids import checked_lengths


def is_real(size: int, lengths: jax.Array) -> jax.Array:
    """Whether each of ``size`` positions is among the first ``lengths`` (int32) of a row, ``[size, batch]``."""
    return jnp.arange(size, dtype=jnp.int32)[:, None] < lengths[None]


def canonical_blank(op: str, blank_index: int, classes: int) -> int:
    """Resolves a blank index, possibly negative."""
    index = as_static_int(op, "blank_index", blank_index)
    if not -classes <= index < classes:
        raise ValueError(f"{op}: `blank_index` must be in [{-classes}, {classes}), got {index} for {classes} classes")
    return index % classes


def lengths_of_chunk(
    op: str, sequence_length: jax.Array, time: int, before: jax.Array, max_time: int
) -> tuple[jax.Array, jax.Array]:
    """The lengths of a chunk of ``time`` frames as int32, ``before`` of which came others, 0 where they cannot be.

    Args:
        op: The op, which ``checkify`` names.
        sequence_length: ``[batch]``, of any integer dtype.
        time: How long the chunk is.
        before: ``[batch]``, int32: how many frames of each row came before.
        max_time: How many frames there may be in all, which ``checkify`` also reports.

    Returns:
        The lengths, and which are in range and leave no more than ``max_time`` frames in all.
    """
    length, valid = checked_lengths(op, "sequence_length", sequence_length, time)
    length = jnp.where(valid, length, 0).astype(jnp.int32)
    requirement = f"sum to at most `max_time`, {max_time}, over the chunks"
    length = debug_check(op, "sequence_length", requirement, length, length <= max_time - before)
    return length, valid & (length <= max_time - before)
