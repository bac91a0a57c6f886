"""What decoders return."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnnops._primitives.serialization import serializable


class SparseTensorValue(NamedTuple):
    """The parts of TensorFlow's ``SparseTensor``, as int64 numpy arrays."""

    indices: np.ndarray
    values: np.ndarray
    dense_shape: np.ndarray


@serializable
class CTCDecoded(NamedTuple):
    """The best paths that a CTC decoder found.

    Attributes:
        decoded: ``[top_paths, batch, max_time]``, int32: the labels of each path, then -1.
        lengths: ``[top_paths, batch]``, int32: the number of labels of each path.
        scores: ``[batch, top_paths]``, what the decoder says of each path.
    """

    decoded: jax.Array
    lengths: jax.Array
    scores: jax.Array

    def to_sparse(self) -> list[SparseTensorValue]:
        """Converts ``decoded`` to the form of TensorFlow's decoders; not under ``jit`` or ``vmap``.

        Returns:
            For each of the top paths the triple of a sparse matrix ``[batch, max_decoded_length]``.

        Example:
            >>> logits = jnp.log(jnp.array([[[0.1, 0.8, 0.1]], [[0.2, 0.1, 0.7]], [[0.9, 0.05, 0.05]]]))
            >>> path = nn.ctc_greedy_decoder(logits, [3]).to_sparse()[0]
            >>> path.values, path.dense_shape
            (array([1, 0]), array([1, 2]))
        """
        paths = []
        for decoded, lengths in zip(np.asarray(self.decoded), np.asarray(self.lengths), strict=True):
            indices = np.argwhere(np.arange(decoded.shape[1]) < lengths[:, None])
            shape = len(lengths), lengths.max(initial=0)
            parts = indices, decoded[tuple(indices.T)], shape
            paths.append(SparseTensorValue(*(np.asarray(part, np.int64) for part in parts)))
        return paths


def merge_repeats(decoded: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Drops labels that repeat the one before from paths ``[..., time]``; returns these and their lengths."""
    time = decoded.shape[-1]
    before = jnp.concatenate([jnp.full_like(decoded[..., :1], -1), decoded[..., :-1]], axis=-1)
    return compact(decoded, (decoded >= 0) & (decoded != before[..., :time]))


def compact(labels: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The labels that are kept, ``[..., time]``, then -1, and how many they are."""
    *outer, time = labels.shape
    rows = math.prod(outer), time
    position = jnp.where(kept, jnp.cumsum(kept, axis=-1, dtype=jnp.int32) - 1, time)

    def write(position: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.full((time,), -1, labels.dtype).at[position].set(labels, mode="drop")

    compacted = jax.vmap(write)(position.reshape(rows), labels.reshape(rows))
    return compacted.reshape(labels.shape), jnp.sum(kept, axis=-1, dtype=jnp.int32)
