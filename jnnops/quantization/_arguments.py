"""The arguments that all quantized ops have in common: integers that stand for real numbers, and their ranges."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnnops._check import as_array, as_number_array, check_shape, debug_check, describe, is_traced, join_alternatives

# What TensorFlow calls quint8, qint8, quint16, qint16 and qint32.
QUANTIZED = ("uint8", "int8", "uint16", "int16", "int32")


def as_quantized_array(
    op: str, argument: str, value: Any, *, dtypes: Sequence[str] = QUANTIZED, rank: int | Collection[int] | None = None
) -> jax.Array:
    """``as_array`` of one of the integer dtypes that stand for real numbers."""
    array = as_array(op, argument, value, rank=rank)
    if str(array.dtype) not in dtypes:
        raise TypeError(f"{op}: `{argument}` must be {join_alternatives(dtypes)}, got {array.dtype}")
    return array


def as_quantized_dtype(op: str, argument: str, value: Any, dtypes: Sequence[str] = QUANTIZED) -> np.dtype:
    """Converts what names one of the integer dtypes that stand for real numbers."""
    try:
        dtype = None if value is None or isinstance(value, list | tuple | dict) else jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in dtypes:
        raise TypeError(f"{op}: `{argument}` must be {join_alternatives(dtypes)}, got {describe(value)}")
    return dtype


def as_range(
    op: str,
    low_name: str,
    low: Any,
    high_name: str,
    high: Any,
    *,
    shape: tuple[int, ...] = (),
    dtype: Any = np.float32,
    has_width: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Converts the ends of a range, or of one for each slice along an axis.

    Of ends that are known only at run time ``checkify`` reports those that make no range. They become NaN.

    Args:
        op: The name of the op.
        low_name: Of the argument.
        low: Where the range starts.
        high_name: Of the argument.
        high: Where it ends.
        shape: That of both.
        dtype: Of the result.
        has_width: Whether the op computes with the difference of the ends, which must be finite then.
    """
    ends = []
    for name, value in ((low_name, low), (high_name, high)):
        array = as_number_array(op, name, value, rank=0 if shape == () else None)
        if shape != ():
            check_shape(op, name, array, shape, "one for each slice along `axis`")
        ends.append(array.astype(dtype))
    start, stop = ends
    requirement = f"be at most `{high_name}`, and {'their difference' if has_width else 'both'} finite"
    if not (is_traced(start) or is_traced(stop)):
        with np.errstate(over="ignore", invalid="ignore"):
            is_range = np.all(_is_range(np.asarray(start), np.asarray(stop), has_width))
        if not is_range:
            raise ValueError(f"{op}: `{low_name}` must {requirement}, got {describe(low)} and {describe(high)}")
        return start, stop
    is_range = _is_range(start, stop, has_width)
    start = debug_check(op, low_name, requirement, start, is_range)
    return jnp.where(is_range, start, jnp.nan), jnp.where(is_range, stop, jnp.nan)


def _is_range(start: Any, stop: Any, has_width: bool) -> Any:
    return (start <= stop) & ((stop - start < np.inf) if has_width else (abs(start) < np.inf) & (abs(stop) < np.inf))
