"""Pairs of linear primitives that are each other's transposes.

Forward mode, reverse mode and all mixtures of any order follow from such a pair, and each direction has the lowering
that is fastest for it: JAX's own transpose of a chain of slices is a sum of padded arrays, which XLA on CPU fuses into
a kernel that branches for every cell.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jnnops._primitives.varying import vary_alike

Operation = Callable[..., jax.Array]


def linear_pair(
    there: Operation, back: Operation, batch: Callable[..., tuple[jax.Array, int]], *, indices: int
) -> tuple[Operation, Operation]:
    """Makes primitives of two functions that are each other's transposes.

    Args:
        there: ``there(array, *indices, **params)``, linear in ``array``; the indices are integers, the parameters
            static and hashable.
        back: Its transpose, with the same indices and parameters.
        batch: ``batch(operation, arrays, axes, **params)``, the batching rule of both; ``operation`` is either of the
            functions returned.
        indices: How many there are.

    Returns:
        The two functions, as primitives. They make their arguments vary over the same axes of a ``shard_map``, as a
        primitive of several arguments must.
    """
    primitives = tuple(Primitive(function.__name__.strip("_")) for function in (there, back))
    operations = tuple(functools.partial(_bind, primitive) for primitive in primitives)
    for number, function in enumerate((there, back)):
        _register(primitives[number], function, operations[number], operations[1 - number], batch, indices)
    return operations[0], operations[1]


def _bind(primitive: Primitive, *arrays: jax.Array, **params: Any) -> jax.Array:
    return primitive.bind(*vary_alike(*arrays), **params)  # pyright: ignore[reportReturnType]


def _register(
    primitive: Primitive,
    function: Operation,
    operation: Operation,
    transpose: Operation,
    batch: Callable[..., Any],
    indices: int,
) -> None:
    @functools.cache
    def compiled(**params: Any) -> Operation:
        return jax.jit(functools.partial(operation, **params))

    def implementation(*arrays: jax.Array, **params: Any) -> jax.Array:
        return compiled(**params)(*arrays)

    def abstract(*arrays: Any, **params: Any) -> Any:
        return jax.make_jaxpr(functools.partial(function, **params))(*arrays).out_avals[0]

    def tangent(array: Any, _: Any, *indices: Any, **params: Any) -> Any:
        return operation(array, *indices, **params)

    def cotangent(array: Any, _: Any, *indices: Any, **params: Any) -> Any:
        return transpose(array, *indices, **params), *(None for _ in indices)

    def batched(arrays: Any, axes: Any, **params: Any) -> Any:
        return batch(operation, arrays, axes, **params)

    primitive.def_impl(implementation)
    primitive.def_abstract_eval(abstract)
    ad.defjvp(primitive, tangent, *(None,) * indices)
    ad.primitive_transposes[primitive] = cotangent
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))


def merging_into(axis: int) -> Callable[..., tuple[jax.Array, int]]:
    """The batching rule that merges the mapped axis into one that the operation treats element by element.

    Args:
        axis: 0, the batch of every array and of the result, or -1, the channels.
    """

    def batch(operation: Operation, arrays: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
        size = next(array.shape[at] for array, at in zip(arrays, axes, strict=True) if at is not None)
        # in front of the batch, or between the last spatial axis and the channels
        place = 0 if axis == 0 else -2
        merged = []
        for array, at in zip(arrays, axes, strict=True):
            if at is None:
                stacked = jnp.broadcast_to(jnp.expand_dims(array, place), _inserted(array.shape, place, size))
            else:
                stacked = jnp.moveaxis(array, at, place)
            merged.append(stacked.reshape(_joined(stacked.shape, axis)))
        out = operation(*merged, **params)
        if axis == 0:
            return out.reshape(size, out.shape[0] // size, *out.shape[1:]), 0
        return out.reshape(*out.shape[:-1], size, out.shape[-1] // size), out.ndim - 1

    return batch


def _inserted(shape: tuple[int, ...], place: int, size: int) -> tuple[int, ...]:
    at = place if place == 0 else len(shape) - 1
    return (*shape[:at], size, *shape[at:])


def _joined(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    if axis == 0:
        return (shape[0] * shape[1], *shape[2:])
    return (*shape[:-2], shape[-2] * shape[-1])
