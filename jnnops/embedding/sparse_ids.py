"""Sparse ids out of Python lists."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnnops._check import as_integer_array, as_number_array, as_static_int, check_choice, describe

if TYPE_CHECKING:  # Importing it takes longer than importing this library.
    from jax.experimental.sparse import BCOO


class SparseIds(NamedTuple):
    """What :func:`jnnops.embedding_lookup_sparse` combines: its second and third argument.

    Attributes:
        ids: ``[batch, max_ids]``, integers.
        weights: The weight of each id, with the same indices; None for 1.

    Example:
        >>> table = jnp.array([[1.0], [2.0], [5.0]])
        >>> nn.embedding_lookup_sparse(table, *nn.SparseIds.from_lists([[2, 0], [], [1]])).tolist()
        [[3.0], [0.0], [2.0]]
    """

    ids: "BCOO"
    weights: "BCOO | None" = None

    @classmethod
    def from_lists(
        cls,
        ids: Sequence[Sequence[int]],
        weights: Sequence[Sequence[float]] | None = None,
        *,
        max_ids: int | None = None,
        nse: int | None = None,
        n_batch: int = 0,
    ) -> "SparseIds":
        """Builds the matrices from a list of ids for each row.

        Their sizes are part of their types: a jitted function is compiled anew for another ``max_ids`` or ``nse``.

        Args:
            ids: The ids of each row.
            weights: As many numbers, which become floating point.
            max_ids: The second dimension: the length of the longest row unless given.
            nse: The room for entries, of all rows together or, if ``n_batch`` is 1, of each row: what is needed
                unless given.
            n_batch: 1 to keep the entries of each row by themselves, 0 to have them in one list.

        Returns:
            ``ids`` and ``weights`` as BCOO matrices with sorted and unique indices.

        Raises:
            ValueError: If ``weights`` are not as many as ``ids``, a size is too small or ``n_batch`` not 0 or 1.
            TypeError: If ``ids`` are not lists of integers, ``weights`` not of numbers, or a size is not static.
        """
        from jax.experimental.sparse import BCOO

        op = "SparseIds.from_lists"
        lengths = _check_rows(op, ids, weights)
        check_choice(op, "n_batch", n_batch, (0, 1))
        longest = max(lengths, default=0)
        max_ids = longest if max_ids is None else as_static_int(op, "max_ids", max_ids, minimum=longest)
        needed = longest if n_batch else sum(lengths)
        nse = needed if nse is None else as_static_int(op, "nse", nse, minimum=needed)
        shape = (len(lengths), max_ids)

        rows = np.repeat(np.arange(len(lengths)), lengths)
        columns = np.concatenate([np.arange(0), *map(np.arange, lengths)])
        # Where the entries go, and the indices of all places: out of bounds where there is no entry.
        if n_batch:
            places, indices = (rows, columns), np.full((len(lengths), nse, 1), max_ids, np.int32)
            indices[places] = columns[:, None]
        else:
            places, indices = np.arange(needed), np.full((nse, 2), shape, np.int32)
            indices[places] = np.stack([rows, columns], 1)

        def matrix(values: jax.Array) -> BCOO:
            data = np.zeros(indices.shape[:-1], values.dtype)
            data[places] = values
            entries = (jnp.asarray(data), jnp.asarray(indices))
            return BCOO(entries, shape=shape, indices_sorted=True, unique_indices=True)

        with jax.ensure_compile_time_eval():  # The lists are known, even inside of a function that is traced.
            found = as_integer_array(op, "ids", _joined(ids))
            given = None if weights is None else as_number_array(op, "weights", _joined(weights)).astype(float)
            return cls(matrix(found), None if given is None else matrix(given))


def _check_rows(op: str, ids: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] | None) -> list[int]:
    """Raises unless there are lists of ids, and as many weights if any; returns their lengths."""
    _check_lists(op, "ids", ids)
    lengths = [len(row) for row in ids]
    if weights is not None:
        _check_lists(op, "weights", weights)
        if [len(row) for row in weights] != lengths:
            raise ValueError(f"{op}: `weights` must be as many as `ids` in each row, got {weights!r} for {ids!r}")
    return lengths


def _check_lists(op: str, argument: str, lists: Any) -> None:
    """Raises unless this is a list of lists, or what can be read like one."""

    def is_list(value: Any) -> bool:
        if isinstance(value, np.ndarray | jax.Array):
            return value.ndim > 0
        return isinstance(value, Sequence) and not isinstance(value, str | bytes)

    if not is_list(lists) or not all(map(is_list, lists)):
        raise TypeError(f"{op}: `{argument}` must be a list of {argument} for each row, got {describe(lists)}")


def _joined(lists: Sequence[Sequence[Any]]) -> Any:
    return [value for row in lists for value in row] or np.zeros(0, np.int32)
