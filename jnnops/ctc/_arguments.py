"""Arguments that the ops of this room share."""

import jax
import jax.numpy as jnp

from jnnops._check import as_static_int


def is_real(size: int, lengths: jax.Array) -> jax.Array:
    """Whether each of ``size`` positions is among the first ``lengths`` (int32) of a row, ``[size, batch]``."""
    return jnp.arange(size, dtype=jnp.int32)[:, None] < lengths[None]


def canonical_blank(op: str, blank_index: int, classes: int) -> int:
    """Resolves a blank index, possibly negative."""
    index = as_static_int(op, "blank_index", blank_index)
    if not -classes <= index < classes:
        raise ValueError(f"{op}: `blank_index` must be in [{-classes}, {classes}), got {index} for {classes} classes")
    return index % classes
