"""Sums, multiples and norms of pytrees of gradients, some of which are slices."""

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    NOT_NEGATIVE,
    accumulation_dtype,
    as_array,
    as_inexact_array,
    as_number_array,
    as_scalar,
    at_least,
    promote,
)
from jnnops._tables.ids import signed_alike
from jnnops._types import Tree
from jnnops.sparse.slices import IndexedSlices, check_slices, is_slices

T = TypeVar("T")


def add(*gradients: T) -> T:
    """The sum of several gradients.

    Slices are put one after the other, so their number grows: ``deduplicate`` sums those of one row, which :func:`lazy`
    and :func:`apply_updates` do themselves. In a loop of JAX, whose shapes are fixed, use :func:`sum_stacked`.

    Args:
        gradients: Pytrees of arrays and :class:`IndexedSlices`, of one structure and with the same shapes.

    Returns:
        A pytree of that structure. Arrays are summed in float32 at least and rounded once.

    Raises:
        ValueError: If there are none, or they differ in their structure, in a shape, or in what is slices.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2]), jnp.array([1.0]), num_rows=4)
        >>> others = nn.sparse.IndexedSlices(jnp.array([0]), jnp.array([3.0]), num_rows=4)
        >>> total = nn.sparse.add({"table": slices, "bias": jnp.ones(1)}, {"table": others, "bias": jnp.ones(1)})
        >>> total["table"].to_dense().tolist(), total["bias"].tolist()
        ([3.0, 0.0, 1.0, 0.0], [2.0])

    References:
        ``optax.tree.add``, ``tf.math.add_n``.
    """
    op = "sparse.add"
    if not gradients:
        raise ValueError(f"{op}: `gradients` must be at least one pytree, got none")
    structures = [jax.tree.structure(tree, is_leaf=is_slices) for tree in gradients]
    for number, structure in enumerate(structures):
        if structure != structures[0]:
            raise ValueError(
                f"{op}: `gradients[{number}]` must be a pytree like `gradients[0]`, {structures[0]}, got {structure}"
            )

    def add_leaves(path: Any, *leaves: Any) -> Any:
        names = [f"gradients[{number}]{jax.tree_util.keystr(path)}" for number in range(len(leaves))]
        return _concatenated(op, names, leaves) if any(map(is_slices, leaves)) else _sum(op, names, leaves)

    return jax.tree_util.tree_map_with_path(add_leaves, *gradients, is_leaf=is_slices)


def _concatenated(op: str, names: Sequence[str], leaves: Sequence[Any]) -> IndexedSlices:
    for name, leaf in zip(names, leaves, strict=True):
        if not is_slices(leaf):
            raise ValueError(
                f"{op}: `{name}` must be IndexedSlices, as others in its place are, got {type(leaf).__name__}; "
                "IndexedSlices.to_dense makes arrays of those"
            )
        check_slices(op, name, leaf)
        tables = [(slices.num_rows, *slices.values.shape[1:]) for slices in (leaf, leaves[0])]
        if tables[0] != tables[1]:
            raise ValueError(
                f"{op}: `{name}` must be slices of an array of shape {tables[1]}, as `{names[0]}`, got {tables[0]}"
            )
    if len(leaves) == 1:
        return leaves[0]
    values = promote(**{name: leaf.values for name, leaf in zip(names, leaves, strict=True)})
    indices = signed_alike(*(leaf.indices for leaf in leaves))
    return IndexedSlices(jnp.concatenate(indices), jnp.concatenate(values), leaves[0].num_rows)


def _sum(op: str, names: Sequence[str], leaves: Sequence[Any]) -> jax.Array:
    arrays = promote(**{name: as_array(op, name, leaf) for name, leaf in zip(names, leaves, strict=True)})
    for name, array in zip(names, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"{op}: `{name}` must have the shape of `{names[0]}`, {arrays[0].shape}, got {array.shape}"
            )
    wide = accumulation_dtype(arrays[0].dtype)
    return functools.reduce(jnp.add, [array.astype(wide) for array in arrays]).astype(arrays[0].dtype)


def sum_stacked(gradients: T) -> T:
    """The sum of gradients that ``lax.scan`` or ``vmap`` stacked along a first axis.

    Args:
        gradients: A pytree of arrays ``[m, ...]`` and :class:`IndexedSlices`, whose indices are ``[m, n]`` and whose
            values ``[m, n, *row_shape]``.

    Returns:
        A pytree of arrays ``[...]``, summed in float32 at least, and of ``m * n`` slices.

    Raises:
        ValueError: If an array has no axis, or slices do not have that axis.

    Example:
        >>> def step(_, ids):
        ...     loss = lambda table: jnp.sum(nn.embedding_lookup(table, ids) ** 2)
        ...     return None, nn.sparse.value_and_grad(loss, tables=lambda table: table)(jnp.ones(4))[1]
        >>> _, gradients = jax.lax.scan(step, None, jnp.array([[2, 0], [2, 3]]))
        >>> nn.sparse.sum_stacked(gradients).to_dense().tolist()
        [2.0, 0.0, 4.0, 2.0]
    """
    op = "sparse.sum_stacked"

    def total(path: Any, leaf: Any) -> Any:
        name = f"gradients{jax.tree_util.keystr(path)}"
        if isinstance(leaf, IndexedSlices):
            check_slices(op, name, leaf, stacked=True)
            return IndexedSlices(leaf.indices.reshape(-1), _merge_first_axes(leaf.values), leaf.num_rows)
        array = as_array(op, name, leaf, rank=at_least(1))
        return jnp.sum(array, 0, accumulation_dtype(array.dtype)).astype(array.dtype)

    return jax.tree_util.tree_map_with_path(total, gradients, is_leaf=is_slices)


def _merge_first_axes(array: jax.Array) -> jax.Array:
    first, second, *rest = array.shape
    return array.reshape(first * second, *rest)


def scale(gradients: T, factor: ArrayLike) -> T:
    """The gradients times a number.

    Args:
        gradients: A pytree of arrays and :class:`IndexedSlices`, floating point.
        factor: The number, a scalar, which may be traced.

    Returns:
        The same pytree, in the dtypes of ``gradients``, each product rounded once.

    Raises:
        ValueError: If ``factor`` is not a scalar.
        TypeError: If ``factor`` is not a number, or a gradient not floating point.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 0]), jnp.array([1.0, 2.0]), num_rows=4)
        >>> half = nn.sparse.scale({"table": slices, "bias": jnp.array([4.0])}, 0.5)
        >>> half["table"].to_dense().tolist(), half["bias"].tolist()
        ([1.0, 0.0, 0.5, 0.0], [2.0])

    References:
        ``optax.tree.scale``, ``tf.math.scalar_mul``.
    """
    op = "sparse.scale"
    number = as_number_array(op, "factor", factor, rank=0)

    def multiply(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, IndexedSlices):
            return leaf.with_values(multiply(path, leaf.values))
        array = as_inexact_array(op, f"gradients{jax.tree_util.keystr(path)}", leaf)
        wide = accumulation_dtype(array.dtype)
        return (array.astype(wide) * number.astype(wide)).astype(array.dtype)

    return jax.tree_util.tree_map_with_path(multiply, gradients, is_leaf=is_slices)


def global_norm(grads: Tree) -> jax.Array:
    """The Euclidean norm of all gradients together, as if the slices were dense.

    Args:
        grads: A pytree of arrays and :class:`IndexedSlices`.

    Returns:
        A scalar, float32 at least.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 2]), jnp.array([1.0, 2.0]), num_rows=4)
        >>> nn.sparse.global_norm({"table": slices, "bias": jnp.array([4.0])}).item()
        5.0

    References:
        ``optax.global_norm``, ``tf.linalg.global_norm``.
    """
    return _norm_of(_deduplicated("sparse.global_norm", grads))


def clip_by_global_norm(grads: Tree, max_norm: ArrayLike) -> Tree:
    """Scales all gradients by one factor so that their norm is at most ``max_norm``.

    What ``optax.clip_by_global_norm`` does to dense gradients. To be called before the optimiser, since :func:`lazy`
    refuses transformations in which one row's update depends on another's.

    Args:
        grads: A pytree of arrays and :class:`IndexedSlices`.
        max_norm: The largest norm allowed, a scalar.

    Returns:
        The gradients, with the slices deduplicated. A norm that is not finite makes them NaN or 0, as in optax.

    Raises:
        ValueError: If ``max_norm`` is not a scalar, or less than 0; ``checkify`` reports one that is traced.
        TypeError: If ``max_norm`` is not a number.

    Example:
        >>> slices = nn.sparse.IndexedSlices(jnp.array([2, 2]), jnp.array([1.0, 2.0]), num_rows=4)
        >>> clipped = nn.sparse.clip_by_global_norm({"table": slices, "bias": jnp.array([4.0])}, 2.5)
        >>> clipped["table"].to_dense().tolist(), clipped["bias"].tolist()
        ([0.0, 0.0, 1.5, 0.0], [2.0])

    References:
        ``optax.clip_by_global_norm``, ``tf.clip_by_global_norm``.
    """
    limit = as_scalar("sparse.clip_by_global_norm", "max_norm", max_norm, NOT_NEGATIVE)
    grads = _deduplicated("sparse.clip_by_global_norm", grads)
    norm = _norm_of(grads)
    kept = (norm < jnp.asarray(limit, norm.dtype)) | (norm == 0)
    divisor = jnp.where(kept, 1, norm)  # the quotient has a derivative where it is not taken, too

    def clip(grad: Any) -> Any:
        if isinstance(grad, IndexedSlices):
            return grad.with_values(clip(grad.values))
        array = jnp.asarray(grad)
        wide = accumulation_dtype(array.dtype)
        scaled = array.astype(wide) / divisor.astype(wide) * jnp.asarray(limit, wide)
        return jnp.where(kept, array, scaled.astype(array.dtype))

    return jax.tree.map(clip, grads, is_leaf=is_slices)


def _deduplicated(op: str, grads: Tree) -> Tree:
    """The gradients as arrays and slices of distinct rows."""

    def deduplicate(path: Any, grad: Any) -> Any:
        if isinstance(grad, IndexedSlices):
            return grad.deduplicate()
        return as_array(op, f"grads{jax.tree_util.keystr(path)}", grad)

    return jax.tree_util.tree_map_with_path(deduplicate, grads, is_leaf=is_slices)


def _norm_of(grads: Tree) -> jax.Array:
    """The norm of all arrays and of the values of all slices, which are distinct; its derivative at 0 is 0."""
    leaves = [
        jnp.asarray(grad.values if isinstance(grad, IndexedSlices) else grad)
        for grad in jax.tree.leaves(grads, is_leaf=is_slices)
    ]
    parts = [part for leaf in leaves for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))]
    dtypes = [accumulation_dtype(part.dtype) for part in parts]
    dtype = functools.reduce(jnp.promote_types, dtypes, jnp.dtype(jnp.float32))

    def sum_of_squares(unit: jax.Array) -> jax.Array:
        squares = [jnp.sum(jnp.square(part.astype(dtype) / unit)) for part in parts]
        return functools.reduce(jnp.add, squares, jnp.zeros((), dtype))

    square = sum_of_squares(jnp.ones((), dtype))
    unit = _unit_of(square)
    square = lax.cond(unit == 1, lambda: square, lambda: sum_of_squares(unit))
    return jnp.where(square == 0, 0, unit * jnp.sqrt(jnp.where(square == 0, 1, square)))


def _unit_of(square: jax.Array) -> jax.Array:
    """The power of two to measure numbers in so that the sum of their squares, given in 1, does not overflow or vanish.

    It is 1 as a rule, and a constant to derivatives.
    """
    exponent = jnp.finfo(square.dtype).maxexp  # 128 in float32: the largest number is just below 2 ** 128

    def power(eighths: int) -> jax.Array:
        return jnp.asarray(2.0 ** (eighths * exponent // 8), square.dtype)

    unit = jnp.where(square > power(6), power(5), jnp.where(square < power(-6), power(-5), power(0)))
    return lax.stop_gradient(unit)
