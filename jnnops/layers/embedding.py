"""The layer of rows looked up by ids."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_integer_array, as_key, as_size, draw
from jnnops._types import Initializer, Key
from jnnops.embedding import embedding_lookup
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import layer, static


def small_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Uniform on [-0.05, 0.05), as Keras draws tables."""
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


@layer
class Embedding:
    """A row of numbers, which is learnt, for each id: :func:`jnnops.embedding_lookup` as a layer.

    The gradient of ``table`` is as large as it; :mod:`jnnops.sparse` gives that of the rows looked up alone.

    Attributes:
        table: ``[num_embeddings, features]``.
        compute_dtype: The dtype to return; None for that of the table.

    Example:
        >>> embedding = nn.layers.Embedding.init(1000, 3, key=jax.random.key(0))
        >>> embedding([[7, 999], [0, 7]]).shape
        (2, 2, 3)

    References:
        ``tf.keras.layers.Embedding``.
    """

    table: jax.Array
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        num_embeddings: int,
        features: int,
        *,
        table_init: Initializer = small_uniform,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "Embedding":
        """Draws a new layer.

        Args:
            num_embeddings: The number of ids.
            features: Width of the outputs.
            table_init: ``table_init(key, shape, dtype)`` returns the table, as ``jax.nn.initializers`` do; uniform on
                [-0.05, 0.05) unless given.
            dtype: Of the table.
            compute_dtype: To return; None for that of the table.
            key: A ``jax.random`` key.

        Returns:
            The layer.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "Embedding.init"
        shape = as_size(op, "num_embeddings", num_embeddings), as_size(op, "features", features)
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        table = draw(op, "table_init", table_init, as_key(op, key), shape, dtype)
        return cls(table=table, compute_dtype=as_compute_dtype(op, compute_dtype))

    def __call__(self, ids: ArrayLike) -> jax.Array:
        """Maps integers of any shape to ``[*ids.shape, features]``; ids out of range to zeros."""
        rows = embedding_lookup(self.table, as_integer_array("Embedding", "ids", ids))
        return cast(rows, self.compute_dtype)
