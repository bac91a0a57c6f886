"""The arguments of the ops that know the labels: what is checked of them now, and what when they run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import as_float_array, as_integer_array, as_static_bool, debug_check
from jnnops._tables.ids import as_lengths, checked_lengths, in_range, signed
from jnnops.ctc._arguments import is_real


class Transcripts(NamedTuple):
    """What each row spells, in how many of its frames."""

    labels: jax.Array  # [batch, max_labels]
    label_length: jax.Array  # [batch]
    logit_length: jax.Array  # [batch]


def as_transcripts(
    op: str,
    labels: ArrayLike,
    logits: ArrayLike,
    label_length: ArrayLike,
    logit_length: ArrayLike,
    logits_time_major: bool,
) -> tuple[jax.Array, Transcripts, bool]:
    """Converts the logits and the transcripts, and checks that their shapes fit."""
    labels = as_integer_array(op, "labels", labels, rank=2)
    logits = as_float_array(op, "logits", logits, rank=3)
    batch, _ = labels.shape
    time_major = as_static_bool(op, "logits_time_major", logits_time_major)
    if logits.shape[1 if time_major else 0] != batch:
        layout = "[time, batch, classes]" if time_major else "[batch, time, classes]"
        raise ValueError(
            f"{op}: `logits` must be {layout} with the batch of `labels`, "
            f"got logits.shape = {logits.shape} for labels.shape = {labels.shape}"
        )
    label_length = as_lengths(op, "label_length", label_length, batch)
    logit_length = as_lengths(op, "logit_length", logit_length, batch)
    return logits, Transcripts(labels, label_length, logit_length), time_major


def checked_transcripts(
    op: str, given: Transcripts, *, time: int, classes: int, blank_index: int
) -> tuple[Transcripts, jax.Array]:
    """The transcripts in int32, all in range, and which rows were so before; ``checkify`` reports the others."""
    max_labels = given.labels.shape[1]
    label_length, good_label_length = checked_lengths(op, "label_length", given.label_length, max_labels)
    logit_length, good_logit_length = checked_lengths(op, "logit_length", given.logit_length, time)
    label_length = jnp.where(good_label_length, label_length, 0).astype(jnp.int32)
    logit_length = jnp.where(good_logit_length, logit_length, time).astype(jnp.int32)
    in_use = is_real(max_labels, label_length).T
    labels = signed(given.labels)
    good_label = (in_range(labels, classes) & (labels != blank_index)) | ~in_use
    requirement = f"be in [0, {classes}) and not the blank, {blank_index}"
    labels = debug_check(op, "labels", requirement, labels, good_label)
    labels = jnp.where(in_use & good_label, labels, blank_index).astype(jnp.int32)
    valid = jnp.all(good_label, axis=1) & good_label_length & good_logit_length
    return Transcripts(labels, label_length, logit_length), valid
