"""What the steps and the constructors of all cells share."""

import dataclasses
import functools
from typing import Any

import jax
from jax import lax
from jax.typing import DTypeLike

from jnnops._check import (
    accumulation_dtype,
    as_float_arrays,
    as_size,
    check_callable,
    check_rank,
    check_shape,
)
from jnnops._types import Activation
from jnnops.layers.cells._gates import zeros


def affine(inputs: jax.Array, state: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """``[inputs, state] @ kernel + bias``, in float32 for 16-bit arrays.

    As two products, since the inputs' need not wait for the state.
    """
    dot = functools.partial(lax.dot, preferred_element_type=accumulation_dtype(inputs.dtype))
    rows = inputs.shape[-1]
    product = dot(inputs, kernel[:rows]) + dot(state, kernel[rows:])
    return product + bias.astype(product.dtype)[None]


def promote_step(op: str, cell: Any, **values: Any) -> tuple[Any, ...]:
    """The cell and ``values`` with all arrays in the dtype that they promote to."""
    fields = [field.name for field in dataclasses.fields(cell) if not field.metadata.get("static")]
    weights = {name: getattr(cell, name) for name in fields if getattr(cell, name) is not None}
    arrays = as_float_arrays(op, **values, **weights)
    promoted = dict(zip(weights, arrays[len(values) :], strict=True))
    return dataclasses.replace(cell, **promoted), *arrays[: len(values)]


def check_step(
    op: str,
    inputs: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    prefix: str = "",
    gates: int = 1,
    **states: tuple[jax.Array, int],
) -> None:
    """Checks the arrays of a step; ``states`` gives each part of the state and its width, the last one's in kernel."""
    check_rank(op, "inputs", inputs, 2)
    check_rank(op, f"{prefix}kernel", kernel, 2)
    units = kernel.shape[1] // gates
    if kernel.shape[1] != gates * units:
        raise ValueError(f"{op}: `{prefix}kernel` must have {gates} columns for each unit, got shape {kernel.shape}")
    check_shape(op, f"{prefix}bias", bias, kernel.shape[1:], f"`{prefix}kernel` has {kernel.shape[1]} columns")
    batch, (_, width) = inputs.shape[0], list(states.values())[-1]
    features = kernel.shape[0] - width
    check_shape(op, "inputs", inputs, (batch, features), f"`{prefix}kernel` has {features} rows for them")
    for name, (state, size) in states.items():
        check_shape(op, name, state, (batch, size), "[batch, units]")


def as_sizes(op: str, in_features: int, num_units: int) -> tuple[int, int]:
    """Checks the sizes of a cell."""
    return as_size(op, "in_features", in_features), as_size(op, "num_units", num_units)


def as_activation(op: str, activation: Activation) -> Activation:
    """Checks the activation of a cell."""
    check_callable(op, "activation", activation, "activation(array)")
    return activation


def zero_state(op: str, batch_size: int, units: int, dtype: DTypeLike) -> jax.Array:
    """Zeros ``[batch_size, units]``."""
    return zeros(op, batch_size, (units,), dtype)
