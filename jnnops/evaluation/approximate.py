"""Most of the largest or smallest numbers of a row."""

import sys
from collections.abc import Callable

import jax
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    MAX_SIZE,
    Interval,
    as_float_array,
    as_static_bool,
    as_static_float,
    as_static_int,
    at_least,
    canonical_axis,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops.evaluation.top_k import TopK

_RECALL = Interval("be above 0 and at most 1", low=sys.float_info.min, high=1)


@answers_tensorflow_names
def approx_max_k(
    operand: ArrayLike,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> TopK:
    """The ``k`` largest numbers of each row, most of them: on TPU much faster than all of them.

    Elsewhere they are those of :func:`top_k`, but for NaN, which may have any place. The gradient of the values goes to
    the numbers that they are.

    Args:
        operand: Rank 1 or more, floating point.
        k: How many, from 1 to the size of ``reduction_dimension``.
        reduction_dimension: The axis of a row.
        recall_target: The fraction of the largest that must be among those found, above 0 and at most 1.
        reduction_input_size_override: The size of the row of which ``operand`` has a part, for the recall; -1 for its
            own.
        aggregate_to_topk: Whether to choose ``k`` of the candidates of all parts of a row, or to return all.

    Returns:
        ``TopK(values, indices)``, in descending order.

    Raises:
        ValueError: If ``k`` does not fit the row, or ``recall_target`` is out of range.
        TypeError: If ``operand`` is not floating point, or an option no static number.

    Example:
        >>> nn.approx_max_k([1.0, 5.0, 2.0], k=2).indices.tolist()
        [1, 2]

    References:
        ``tf.nn.approx_max_k``, ``jax.lax.approx_max_k``. Chern et al., "TPU-KNN: K Nearest Neighbor Search at Peak
        FLOP/s", 2022.
    """
    return _approximate(
        "approx_max_k", lax.approx_max_k, operand, k, reduction_dimension, recall_target,
        reduction_input_size_override, aggregate_to_topk,
    )  # fmt: skip


@answers_tensorflow_names
def approx_min_k(
    operand: ArrayLike,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> TopK:
    """The ``k`` smallest numbers of each row, most of them, as :func:`approx_max_k`.

    Args:
        operand: Rank 1 or more, floating point.
        k: How many, from 1 to the size of ``reduction_dimension``.
        reduction_dimension: The axis of a row.
        recall_target: The fraction of the smallest that must be among those found, above 0 and at most 1.
        reduction_input_size_override: The size of the row of which ``operand`` has a part, for the recall; -1 for its
            own.
        aggregate_to_topk: Whether to choose ``k`` of the candidates of all parts of a row, or to return all.

    Returns:
        ``TopK(values, indices)``, in ascending order.

    Raises:
        ValueError: If ``k`` does not fit the row, or ``recall_target`` is out of range.
        TypeError: If ``operand`` is not floating point, or an option no static number.

    Example:
        >>> nn.approx_min_k([1.0, 5.0, 2.0], k=2).indices.tolist()
        [0, 2]

    References:
        ``tf.nn.approx_min_k``, ``jax.lax.approx_min_k``.
    """
    return _approximate(
        "approx_min_k", lax.approx_min_k, operand, k, reduction_dimension, recall_target,
        reduction_input_size_override, aggregate_to_topk,
    )  # fmt: skip


def _approximate(
    op: str,
    search: Callable[..., tuple[jax.Array, jax.Array]],
    operand: ArrayLike,
    k: int,
    reduction_dimension: int,
    recall_target: float,
    reduction_input_size_override: int,
    aggregate_to_topk: bool,
) -> TopK:
    x = as_float_array(op, "operand", operand, rank=at_least(1))
    axis = canonical_axis(op, "reduction_dimension", reduction_dimension, x.ndim)
    whole = as_static_int(
        op, "reduction_input_size_override", reduction_input_size_override, minimum=-1, maximum=MAX_SIZE
    )
    return TopK(
        *search(
            x,
            as_static_int(op, "k", k, minimum=1, maximum=x.shape[axis]),
            axis,
            as_static_float(op, "recall_target", recall_target, _RECALL),
            whole,
            as_static_bool(op, "aggregate_to_topk", aggregate_to_topk),
        )
    )
