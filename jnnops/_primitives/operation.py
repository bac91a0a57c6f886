"""Operations with derivatives of their own: the only place where the library registers primitives with JAX.

A ``custom_vjp`` has no forward mode, ``jax.custom_derivatives.linear_call`` no batching rule, and a ``custom_jvp`` is
forgotten inside of loops: in the forward derivative of a reverse derivative of a ``scan``, JAX differentiates the body
of the function instead of calling its rule. A linear operation whose transpose is another such operation needs none of
them: forward mode, reverse mode and all mixtures of any order follow from the two, and each of them has the lowering
that is fastest for it. What is not linear says its forward derivative in terms of such operations.

An operation is made of a function that computes it, of arrays and of static parameters that are hashable, and of a
batching rule. It makes its arrays vary over the same axes of a ``shard_map``, as a primitive of several arguments must.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jnnops._primitives.varying import vary_alike, vary_with

Function = Callable[..., jax.Array]
BatchRule = Callable[..., tuple[jax.Array, int]]


@dataclasses.dataclass(frozen=True)
class Operation:
    """A primitive that is called as a function is, with arrays and with parameters by keyword."""

    primitive: Primitive

    def __call__(self, *arrays: jax.Array, **params: Any) -> Any:
        """The result of the primitive, or the list of its results if it has several."""
        return self.primitive.bind(*vary_alike(*arrays), **params)


def linear_pair(
    there: Function, back: Function, batch: BatchRule, batch_back: BatchRule | None = None
) -> tuple[Operation, Operation]:
    """Makes operations of two functions that are each other's transposes.

    Args:
        there: ``there(array, *indices, **params)``, linear in ``array``. The indices are integers.
        back: Its transpose, with the same indices and parameters.
        batch: ``batch(operation, arrays, axes, **params)``, the batching rule of ``there``. An axis is None for an
            array that is not mapped. It returns the result and the place of the mapped axis in it.
        batch_back: The batching rule of ``back``, unless it is the same.

    Returns:
        The two operations.
    """
    first, second = _declare(_name(there), there, batch), _declare(_name(back), back, batch_back or batch)
    _be_linear(first, second)
    _be_linear(second, first)
    return first, second


def differentiable(
    compute: Function,
    jvp: Callable[..., tuple[jax.Array, jax.Array]],
    batch: BatchRule,
    *,
    on_cpu: Function | None = None,
) -> Operation:
    """Makes an operation of a function with a forward derivative of its own.

    Args:
        compute: The function.
        jvp: ``jvp(primals, tangents, **params)`` returns the value and its tangent, which is linear in the tangents; of
            these, None stands for zero. To be right in every order, the value must come from operations that have this
            derivative, too.
        batch: The batching rule, as in :func:`linear_pair`.
        on_cpu: What computes the same where the program runs on CPU, if it is not the same function.
    """
    operation = _declare(_name(compute), compute, batch, on_cpu=on_cpu)

    return _with_jvp(operation, jvp)


def indifferentiable(compute: Function, batch: BatchRule, *, on_cpu: Function) -> Operation:
    """Makes an operation of a function whose result, integers, has no derivative.

    Args:
        compute: The function.
        batch: The batching rule, as in :func:`linear_pair`.
        on_cpu: What computes the same where the program runs on CPU.
    """
    operation = _declare(_name(compute), compute, batch, on_cpu=on_cpu)

    def rule(primals: Any, tangents: Any, **params: Any) -> Any:
        del tangents
        value = operation(*primals, **params)
        return value, ad.Zero(jax.typeof(value).to_tangent_aval())

    ad.primitive_jvps[operation.primitive] = rule
    return operation


def bilinear(name: str, compute: Function, batch: BatchRule, *, on_cpu: Function) -> Operation:
    """Makes an operation of a function of two arrays that is linear in each; see :func:`transpose_bilinear`.

    Args:
        name: What it is called in a program.
        compute: The function.
        batch: The batching rule, as in :func:`linear_pair`.
        on_cpu: What computes the same where the program runs on CPU.
    """
    return _declare(name, compute, batch, on_cpu=on_cpu)


def transpose_bilinear(operation: Operation, by_first: Function, by_second: Function) -> None:
    """Says what the transposes of a bilinear operation are.

    Args:
        operation: The operation.
        by_first: ``by_first(cotangent, first, second, **params)``, the transpose in the first array, of which there is
            only the abstract value, as ``first.aval``.
        by_second: ``by_second(cotangent, first, second, **params)``, the transpose in the second array, likewise.
    """
    ad.defbilinear(operation.primitive, by_first, by_second)


def of_several_results(
    compute: Callable[..., Sequence[jax.Array]],
    jvp: Callable[..., tuple[Sequence[jax.Array], Sequence[jax.Array]]],
    batch: Callable[..., tuple[Sequence[jax.Array], Sequence[int]]],
) -> Operation:
    """Makes an operation of a function that returns several arrays, with a forward derivative of its own.

    Args:
        compute: The function.
        jvp: As in :func:`differentiable`; both results are sequences.
        batch: The batching rule, as in :func:`linear_pair`, whose results are sequences, too.
    """
    operation = _declare(_name(compute), compute, batch, multiple_results=True)

    return _with_jvp(operation, jvp)


def transpose_several(operation: Operation, transpose: Callable[..., Sequence[jax.Array | None]]) -> None:
    """Says what the transpose of an operation of several results is.

    Args:
        operation: The operation.
        transpose: ``transpose(cotangents, arrays, **params)`` returns a cotangent for each array, or None. The
            cotangents are None where they are 0, and the arrays where they are those to transpose by.
    """

    def rule(cotangents: Any, *arrays: Any, **params: Any) -> Any:
        given = [None if isinstance(cotangent, ad.Zero) else cotangent for cotangent in cotangents]
        known = [None if ad.is_undefined_primal(array) else array for array in arrays]
        if all(cotangent is None for cotangent in given):
            return [ad.Zero(array.aval) if ad.is_undefined_primal(array) else None for array in arrays]
        return transpose(given, known, **params)

    ad.primitive_transposes[operation.primitive] = rule


def transpose_in_last(operation: Operation, transpose: Function) -> None:
    """Says what the transpose of an operation is that is linear in its last array.

    Args:
        operation: The operation.
        transpose: ``transpose(cotangent, *others, **params)``, where the others are all arrays but the last.
    """

    def rule(cotangent: Any, *arrays: Any, **params: Any) -> Any:
        none = (None,) * (len(arrays) - 1)
        if isinstance(cotangent, ad.Zero):
            return *none, ad.Zero(arrays[-1].aval)
        return *none, transpose(cotangent, *arrays[:-1], **params)

    ad.primitive_transposes[operation.primitive] = rule


def _with_jvp(operation: Operation, jvp: Callable[..., Any]) -> Operation:
    def rule(primals: Any, tangents: Any, **params: Any) -> Any:
        given = [None if isinstance(tangent, ad.Zero) else tangent for tangent in tangents]
        if all(tangent is None for tangent in given):
            results = operation(*primals, **params)
            return results, jax.tree.map(lambda result: ad.Zero(jax.typeof(result).to_tangent_aval()), results)
        return jvp(primals, given, **params)

    ad.primitive_jvps[operation.primitive] = rule
    return operation


def _name(function: Callable[..., Any]) -> str:
    return function.__name__.strip("_")


def _declare(
    name: str,
    compute: Callable[..., Any],
    batch: Callable[..., tuple[Any, Any]],
    on_cpu: Function | None = None,
    *,
    multiple_results: bool = False,
) -> Operation:
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results
    operation = Operation(primitive)

    @functools.partial(jax.jit, static_argnames=("params",))
    def run(*arrays: jax.Array, params: tuple[tuple[str, Any], ...]) -> Any:
        return primitive.bind(*arrays, **dict(params))

    def abstract(*arrays: Any, **params: Any) -> Any:
        results = jax.make_jaxpr(functools.partial(compute, **params))(*arrays).out_avals
        return results if multiple_results else results[0]

    def batched(arrays: Sequence[Any], axes: Sequence[int | None], /, **params: Any) -> tuple[Any, Any]:
        if 0 in (array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None):
            results = _of_no_copies(operation, arrays, axes, params)
            return results, jax.tree.map(lambda _: 0, results)
        return batch(operation, arrays, axes, **params)

    primitive.def_impl(lambda *arrays, **params: run(*arrays, params=tuple(params.items())))
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=multiple_results))
    if on_cpu is not None:
        mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=multiple_results), platform="cpu")
    return operation


def _of_no_copies(operation: Operation, arrays: Sequence[Any], axes: Sequence[int | None], params: Any) -> Any:
    """What mapping over an axis of size 0 results in, where there is nothing for a batching rule to merge."""

    def one(array: Any, axis: int | None) -> jax.ShapeDtypeStruct:
        shape = [size for at, size in enumerate(array.shape) if at != axis]
        return jax.ShapeDtypeStruct(shape, array.dtype)

    results = jax.eval_shape(functools.partial(operation, **params), *map(one, arrays, axes))
    return vary_with(jax.tree.map(lambda result: jnp.zeros((0, *result.shape), result.dtype), results), *arrays)


def _be_linear(operation: Operation, transpose: Operation) -> None:
    """Linear in the first array; the others have no derivative."""

    def jvp(primals: Any, tangents: Any, **params: Any) -> Any:
        result, tangent = operation(*primals, **params), tangents[0]
        if isinstance(tangent, ad.Zero):
            return result, ad.Zero(jax.typeof(result).to_tangent_aval())
        return result, operation(tangent, *primals[1:], **params)

    def transposed(cotangent: Any, array: Any, *indices: Any, **params: Any) -> Any:
        none = (None,) * len(indices)
        if isinstance(cotangent, ad.Zero):
            return ad.Zero(array.aval), *none
        return transpose(cotangent, *indices, **params), *none

    ad.primitive_jvps[operation.primitive] = jvp
    ad.primitive_transposes[operation.primitive] = transposed


def merging_into(axis: int) -> BatchRule:
    """The batching rule that merges the mapped axis into one that the operation treats element by element.

    Args:
        axis: 0, the batch of every array and of the result, or -1, the channels.
    """

    def batch(
        operation: Function, arrays: Sequence[Any], axes: Sequence[int | None], **params: Any
    ) -> tuple[jax.Array, int]:
        size = next(array.shape[at] for array, at in zip(arrays, axes, strict=True) if at is not None)
        # in front of the batch, or between the last spatial axis and the channels
        place = 0 if axis == 0 else -2
        merged = []
        for array, at in zip(arrays, axes, strict=True):
            if at is None:
                stacked = jnp.repeat(jnp.expand_dims(array, place), size, axis=place)
            else:
                stacked = jnp.moveaxis(array, at, place)
            merged.append(stacked.reshape(_joined(stacked.shape, axis)))
        out = operation(*merged, **params)
        if axis == 0:
            return out.reshape(size, out.shape[0] // size, *out.shape[1:]), 0
        return out.reshape(*out.shape[:-1], size, out.shape[-1] // size), out.ndim - 1

    return batch


def _joined(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (shape[0] * shape[1], *shape[2:]) if axis == 0 else (*shape[:-2], shape[-2] * shape[-1])
