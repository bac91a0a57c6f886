"""The dtype that a layer computes in, where that is not the one of its arrays."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jnnops._check import as_dtype

T = TypeVar("T")


def as_compute_dtype(op: str, compute_dtype: DTypeLike | None) -> np.dtype | None:
    """Checks what ``init`` was given; None is for the dtype that the input and the arrays promote to."""
    return None if compute_dtype is None else as_dtype(op, "compute_dtype", compute_dtype, floating=True)


def cast(tree: T, dtype: DTypeLike | None) -> T:
    """The tree with its floating point arrays in a dtype; as it is for None."""
    if dtype is None:
        return tree

    def cast_leaf(leaf: Any) -> Any:
        is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if is_float else leaf

    return jax.tree.map(cast_leaf, tree)
