"""Gradients and updates of a few rows of a table."""

from collections.abc import Iterable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import GetAttrKey
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_static_int
from jnnops._tables.ids import in_range, signed
from jnnops._tables.rows import add_rows
from jnnops.sparse._sealed import is_sealed, seal, unseal


@jax.tree_util.register_pytree_with_keys_class
class IndexedSlices:
    """A table that is zero but for a few rows: the gradient of a table of which a few rows were looked up.

    A pytree of indices and values, which goes wherever arrays go. As a leaf the indices have a dtype without
    arithmetic: what ``jax.tree.map``, ``optax`` or ``lax.pmean`` would make of integers names other rows, so it is an
    error. :func:`add`, :func:`sum_stacked`, :func:`scale`, :func:`global_norm` and :func:`clip_by_global_norm`
    calculate with pytrees of slices and arrays; for anything else there is :meth:`with_values`.

    Args:
        indices: ``[n]``, integers: the row of each slice. Slices of one row are summed; those of no row, with an index
            below 0 or not below ``num_rows``, are padding and count for nothing.
        values: ``[n, *row_shape]``.
        num_rows: How many rows the table has.
        unique: Whether the indices are distinct and in order, and the values of padding zero, as ``deduplicate`` makes
            them.

    Raises:
        TypeError: If ``indices`` is an array, but not of integers.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 3.0]), num_rows=4)
        >>> slices.indices.tolist(), slices.values.tolist()
        ([2, 0, 2], [1.0, 2.0, 3.0])
        >>> slices.to_dense().tolist()
        [2.0, 0.0, 4.0, 0.0]

    References:
        ``tf.IndexedSlices``.
    """

    # NumPy leaves arithmetic with its arrays to the methods below.
    __array_ufunc__ = None

    def __init__(self, indices: ArrayLike, values: ArrayLike, num_rows: int, unique: bool = False) -> None:
        num_rows = as_static_int("IndexedSlices", "num_rows", num_rows, minimum=0)
        sealed = _sealed(_as_array(indices))
        self._set(sealed, _as_array(values), num_rows, _length(sealed) if unique else None)

    def _set(self, sealed: Any, values: Any, num_rows: int, unique_length: int | None) -> None:
        self._sealed, self._values, self._num_rows = sealed, values, num_rows
        # How many indices are known to be distinct: those of several slices that were concatenated as pytrees are not.
        self._unique_length = unique_length

    @property
    def indices(self) -> jax.Array:
        """``[n]``, int32 or int64."""
        return unseal(self._sealed) if is_sealed(self._sealed) else self._sealed

    @property
    def values(self) -> jax.Array:
        """``[n, *row_shape]``."""
        return self._values

    @property
    def num_rows(self) -> int:
        """How many rows the table has."""
        return self._num_rows

    @property
    def unique(self) -> bool:
        """Whether the indices are distinct and in order, and the values of padding zero."""
        return self._unique_length is not None and self._unique_length == _length(self._sealed)

    def with_values(self, values: ArrayLike) -> "IndexedSlices":
        """Slices of the same rows.

        Args:
            values: ``[n, *row_shape]``. Where indices are padding they must be zero if the slices are ``unique``.

        Returns:
            Slices with these indices, ``num_rows`` and ``unique``.

        Example:
            >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0]), jnp.array([1.0, -2.0]), num_rows=4)
            >>> slices.with_values(jnp.sign(slices.values)).to_dense().tolist()
            [-1.0, 0.0, 1.0, 0.0]
        """
        return self.tree_unflatten((self._num_rows, self._unique_length), (self._sealed, _as_array(values)))

    def to_dense(self) -> jax.Array:
        """The table: ``[num_rows, *row_shape]``, summed in float32 at least and rounded once."""
        check_slices("IndexedSlices.to_dense", "slices", self)
        return add_rows(self.values, self.indices, self.num_rows)

    def deduplicate(self) -> "IndexedSlices":
        """The same table with one slice for each row.

        Their number must not depend on the data: it is ``n`` or ``num_rows``, whichever is less, and those at the end
        that are not needed are padding.

        Returns:
            Slices with distinct indices in ascending order, padding included; values are summed in float32 at least
            and rounded once.

        Example:
            >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0, 2]), jnp.array([1.0, 2.0, 3.0]), num_rows=4)
            >>> slices = slices.deduplicate()
            >>> slices.indices.tolist(), slices.values.tolist()
            ([0, 2, 6], [2.0, 4.0, 0.0])
        """
        check_slices("IndexedSlices.deduplicate", "slices", self)
        return self if self.unique else _deduplicate(self)

    def __repr__(self) -> str:
        return (
            f"IndexedSlices(indices={self.indices!r}, values={self.values!r}, num_rows={self.num_rows!r}, "
            f"unique={self.unique!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # By way of integers, as JAX before 0.10 cannot pickle what is sealed.
        return IndexedSlices, (self.indices, self.values, self.num_rows, self.unique)

    def _no_arithmetic(self, *_: object) -> NoReturn:
        raise TypeError(
            "IndexedSlices have no operators: nn.sparse.apply_updates (not that of optax) adds them to parameters, "
            "nn.sparse.add to each other, and nn.sparse.scale multiplies them by a number"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _no_arithmetic
    __pow__ = __rpow__ = __neg__ = __abs__ = _no_arithmetic

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """The leaves with their names, and what is static."""
        children = ((GetAttrKey("indices"), self._sealed), (GetAttrKey("values"), self._values))
        return children, (self._num_rows, self._unique_length)

    def tree_flatten(self) -> tuple[Any, Any]:
        """The leaves, and what is static."""
        return (self._sealed, self._values), (self._num_rows, self._unique_length)

    @classmethod
    def tree_unflatten(cls, static: tuple[int, int | None], leaves: Iterable[Any]) -> "IndexedSlices":
        """Slices of leaves, which may be anything that stands for arrays."""
        sealed, values = leaves
        if isinstance(sealed, jax.Array | np.ndarray) and sealed.ndim and jnp.issubdtype(sealed.dtype, jnp.number):
            raise TypeError(
                f"IndexedSlices: the leaf of the indices must be kept as it is, got an array of {sealed.dtype} in its "
                "place; calculate with nn.sparse.add, scale and their like, or IndexedSlices.with_values"
            )
        slices = cls.__new__(cls)
        slices._set(sealed, values, *static)
        return slices


def _as_array(leaf: Any) -> Any:
    """The array that a leaf is, or whatever stands for one in a pytree: an axis, a sharding, a shape."""
    return jnp.asarray(leaf) if type(leaf) in (list, tuple) or isinstance(leaf, jax.Array | np.ndarray) else leaf


def _sealed(indices: Any) -> Any:
    if is_sealed(indices) or not isinstance(indices, jax.Array):
        return indices
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"IndexedSlices: `indices` must be an integer array, got {indices.dtype}")
    return seal(indices)


def _length(leaf: Any) -> int | None:
    """The length of an array of rank 1."""
    shape = getattr(leaf, "shape", ())
    return shape[0] if len(shape) == 1 else None


@jax.jit
def _deduplicate(slices: IndexedSlices) -> IndexedSlices:
    num_rows = slices.num_rows
    ids = signed(slices.indices)
    size = min(len(ids), num_rows)
    ids = jnp.where(in_range(ids, num_rows), ids, num_rows)
    # The ids alone are sorted, and each slice then finds its place among them by bisection: XLA on CPU is fast at
    # sorting one array only (docs/lowerings.rst, "Tables in place").
    ordered = lax.sort(ids)
    is_first = jnp.concatenate([jnp.ones(min(len(ids), 1), bool), ordered[1:] != ordered[:-1]])
    place = jnp.cumsum(is_first, dtype=ids.dtype) - 1
    padding = num_rows + lax.iota(ids.dtype, size)
    indices = padding.at[place].set(jnp.where(ordered < num_rows, ordered, num_rows + place), mode="drop")
    target = jnp.where(ids < num_rows, place[jnp.searchsorted(ordered, ids)], size)
    wide = accumulation_dtype(slices.values.dtype)
    sums = jnp.zeros((size, *slices.values.shape[1:]), wide)
    sums = sums.at[target].add(slices.values.astype(wide), mode="drop")
    return IndexedSlices(indices, sums.astype(slices.values.dtype), num_rows, unique=True)


def is_slices(leaf: Any) -> bool:
    """Where a tree of gradients ends."""
    return isinstance(leaf, IndexedSlices)


def check_slices(op: str, argument: str, slices: IndexedSlices, table: Any = None, *, stacked: bool = False) -> None:
    """Raises unless the slices make sense, and fit the table if one is given; if ``stacked``, with one more axis."""
    indices, values = slices._sealed, slices.values
    if not is_sealed(indices) or not isinstance(values, jax.Array):
        got = f"{type(indices).__name__} and {type(values).__name__}"
        raise TypeError(f"{op}: `{argument}` must have integer indices and an array of values, got {got}")
    axes = ["m", "n"] if stacked else ["n"]
    if indices.ndim != len(axes) or values.shape[: len(axes)] != indices.shape:
        raise ValueError(
            f"{op}: `{argument}` must have indices of shape [{', '.join(axes)}] and values of shape "
            f"[{', '.join(axes)}, ...], got {indices.shape} and {values.shape}"
        )
    if table is not None and table.shape != (slices.num_rows, *values.shape[1:]):
        raise ValueError(
            f"{op}: `{argument}` must be slices of an array of shape {table.shape}, got {slices.num_rows} rows of "
            f"shape {values.shape[1:]}"
        )
