"""What is done to labels before a loss: which of them are alike, and repeated ones merged."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import as_integer_array
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import as_lengths, checked_lengths
from jnnops.ctc._arguments import is_real


@serializable
class CTCUniqueLabels(NamedTuple):
    """The distinct labels of each row.

    Attributes:
        labels: ``[batch, max_label_length]``: the distinct labels in the order of their first places, then zeros.
        indices: ``[batch, max_label_length]``, int32: where each of the given labels stands among the distinct ones.
    """

    labels: jax.Array
    indices: jax.Array


@serializable
class CollapsedLabels(NamedTuple):
    """Labels without repetitions.

    Attributes:
        labels: ``[batch, max_label_length]``: the labels that are left, then zeros.
        lengths: ``[batch]``: how many are left in each row.
    """

    labels: jax.Array
    lengths: jax.Array


@answers_tensorflow_names
def ctc_unique_labels(labels: ArrayLike) -> CTCUniqueLabels:
    """Finds the distinct labels of each row, for the argument ``unique`` of :func:`ctc_loss`.

    Padding takes part as any other label does. Each label is compared with all others of its row.

    Args:
        labels: ``[batch, max_label_length]``, integer.

    Returns:
        ``(labels, indices)``, see :class:`CTCUniqueLabels`, the first with the dtype of ``labels``.

    Raises:
        ValueError: If ``labels`` is not of rank 2.
        TypeError: If ``labels`` is not integer.

    Note:
        TensorFlow's distinct labels are int64, and it refuses a batch of no rows.

    Example:
        >>> unique = nn.ctc_unique_labels([[3, 4, 4, 3]])
        >>> unique.labels, unique.indices
        (Array([[3, 4, 0, 0]], dtype=int32), Array([[0, 1, 1, 0]], dtype=int32))

    References:
        ``tf.nn.ctc_unique_labels``.
    """
    return _ctc_unique_labels(as_integer_array("ctc_unique_labels", "labels", labels, rank=2))


@jax.jit
def _ctc_unique_labels(labels: jax.Array) -> CTCUniqueLabels:
    size = labels.shape[1]
    position = jnp.arange(size, dtype=jnp.int32)[None]
    alike = labels[:, :, None] == labels[:, None, :]
    first = jnp.min(jnp.where(alike, position[None], size), axis=2, initial=size)
    is_first = first == position
    rank = jnp.cumsum(is_first, axis=1, dtype=jnp.int32) - 1
    indices = jnp.take_along_axis(rank, first, axis=1, mode="clip")
    return CTCUniqueLabels(_write(labels, rank, is_first), indices)


@answers_tensorflow_names
def collapse_repeated(labels: ArrayLike, seq_length: ArrayLike) -> CollapsedLabels:
    """Merges labels that repeat one after the other, as CTC does with the classes of frames.

    Args:
        labels: ``[batch, max_label_length]``, integer. Entries past ``seq_length`` may hold anything.
        seq_length: ``[batch]``, integer: the number of labels of each row.

    Returns:
        ``(labels, lengths)``, see :class:`CollapsedLabels`, with the dtypes of ``labels`` and ``seq_length``. A row
        whose length is negative or beyond ``max_label_length`` gets no labels and keeps its length, so that
        :func:`ctc_loss` makes NaN of it; ``checkify`` with ``user_checks`` reports it.

    Raises:
        ValueError: If a shape does not fit the other.
        TypeError: If an argument is not integer.

    Note:
        TensorFlow's labels are as many as the longest row that is left, which no compiled program can know before it
        runs. It takes a negative length for 0 and one that is too large for the largest, and fails for no rows.

    Example:
        >>> collapsed = nn.collapse_repeated([[1, 1, 2, 2, 1], [1, 2, 3, 4, 5]], [5, 5])
        >>> collapsed.labels.tolist(), collapsed.lengths.tolist()
        ([[1, 2, 1, 0, 0], [1, 2, 3, 4, 5]], [3, 5])

    References:
        ``tf.nn.collapse_repeated``.
    """
    op = "collapse_repeated"
    labels = as_integer_array(op, "labels", labels, rank=2)
    given = as_integer_array(op, "seq_length", seq_length, rank=1)
    collapsed = _collapse_repeated(labels, as_lengths(op, "seq_length", given, labels.shape[0]))
    return collapsed._replace(lengths=collapsed.lengths.astype(given.dtype))


@jax.jit
def _collapse_repeated(labels: jax.Array, seq_length: jax.Array) -> CollapsedLabels:
    size = labels.shape[1]
    seq_length, valid = checked_lengths("collapse_repeated", "seq_length", seq_length, size)
    kept = is_real(size, jnp.where(valid, seq_length, 0).astype(jnp.int32)).T
    kept &= jnp.pad(labels[:, 1:] != labels[:, :-1], ((0, 0), (min(1, size), 0)), constant_values=True)
    position = jnp.cumsum(kept, axis=1, dtype=jnp.int32) - 1
    left = jnp.sum(kept, axis=1, dtype=jnp.int32).astype(seq_length.dtype)
    return CollapsedLabels(_write(labels, position, kept), jnp.where(valid, left, seq_length))


def _write(labels: jax.Array, position: jax.Array, kept: jax.Array) -> jax.Array:
    """Zeros, and the labels that are kept at their new positions in the row."""
    position = jnp.where(kept, position, labels.shape[1])
    write = jax.vmap(lambda labels, position: jnp.zeros_like(labels).at[position].set(labels, mode="drop"))
    return write(labels, position)
