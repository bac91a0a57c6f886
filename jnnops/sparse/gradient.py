"""Value and gradient, the gradients of tables being slices."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jnnops._check import as_static_bool, as_static_ints, check_callable
from jnnops._primitives.order import after, read_once
from jnnops._tables.ids import signed_alike
from jnnops._types import Tree
from jnnops.sparse._lookups import Lookup, Made, find_lookups, run_probed
from jnnops.sparse._tables import DENSE, leaf_names, table_numbers
from jnnops.sparse.slices import IndexedSlices

_OP = "sparse.value_and_grad"


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    tables: Callable[[Tree], Tree],
) -> Callable[..., Any]:
    """Value and gradient of a function, as ``jax.value_and_grad``, but of tables only the rows that are looked up.

    The function is traced as under ``jax.jit``: what Python does in it may depend on the shapes of what it is
    differentiated by, not on the values. All other arguments it gets as they are.

    Args:
        fun: A function that returns a scalar, or with ``has_aux`` a scalar and anything else.
        argnums: The argument to differentiate by, or several.
        has_aux: Whether ``fun`` returns more than the value to differentiate.
        tables: Selects the tables: gets the argument to differentiate by (where ``argnums`` is a sequence, the tuple of
            them), with only a shape and a dtype for each array, and returns some of its leaves in any pytree. Tables
            are floating point, ``[num_rows, *row_shape]``.

    Returns:
        A function of the arguments of ``fun`` that returns ``(value, gradient)``, or ``((value, aux), gradient)``. The
        gradient is that of ``jax.grad``, but for a table it is :class:`IndexedSlices`: a slice for each id that was
        looked up, repeated ids and ids out of range included.

    Raises:
        ValueError: In the call, if ``argnums`` names an argument twice, if anything else happens to a table than that
            rows of it are looked up, or if that happens where its gradient cannot come out as slices, or if ``tables``
            returns anything but leaves.
        TypeError: If an argument is not what it should be; in the call, if a table is not floating point or the result
            of ``fun`` is not what it should be.

    Note:
        Lookups are those by ops of this library. They may happen under ``jit``, under ``vmap`` over the ids, in
        ``jax.checkpoint``, and in ``lax.scan`` over anything but the table; but not in ``while_loop``, ``cond``,
        ``custom_jvp``, ``custom_vjp`` or ``shard_map``, and not of a table that ``vmap`` maps. What has gone through
        ``lax.stop_gradient`` may be used in any way.

    Example:
        >>> def loss(params, ids):
        ...     return jnp.sum(params["scale"] * nn.embedding_lookup(params["table"], ids))
        >>> params = {"table": jnp.ones((1000, 2)), "scale": jnp.array(3.0)}
        >>> value, grads = nn.sparse.value_and_grad(loss, tables=lambda p: p["table"])(params, jnp.array([7, 5, 7]))
        >>> value.item(), grads["scale"].item()
        (18.0, 6.0)
        >>> grads["table"].indices.tolist(), grads["table"].values.tolist()
        ([7, 5, 7], [[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]])

    References:
        ``jax.value_and_grad``; ``tf.GradientTape``, whose gradients of lookups are ``tf.IndexedSlices``.
    """
    check_callable(_OP, "fun", fun, "fun(params)")
    check_callable(_OP, "tables", tables, "tables(params)")
    numbers, single = as_static_ints(_OP, "argnums", argnums), not isinstance(argnums, Sequence)
    if not numbers:
        raise ValueError(f"{_OP}: `argnums` must name an argument, got {argnums!r}")
    has_aux = as_static_bool(_OP, "has_aux", has_aux)

    @functools.wraps(fun)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        if not all(-len(args) <= number < len(args) for number in numbers):
            raise TypeError(f"{_OP}: `argnums` must name positional arguments, got {argnums!r} for {len(args)} of them")
        if len({number % len(args) for number in numbers}) != len(numbers):
            raise ValueError(f"{_OP}: `argnums` must name each argument once, got {argnums!r}")

        def of_chosen(chosen: Tree) -> Tree:
            replaced = list(args)
            for number, argument in zip(numbers, (chosen,) if single else chosen, strict=True):
                replaced[number] = argument
            return fun(*replaced, **kwargs)

        chosen = tuple(args[number] for number in numbers)
        return _value_and_grad(of_chosen, chosen[0] if single else chosen, has_aux, tables)

    return value_and_gradient


def _value_and_grad(
    fun: Callable[[Tree], Tree], params: Tree, has_aux: bool, tables: Callable[[Tree], Tree]
) -> tuple[Tree, Tree]:
    leaves, treedef = jax.tree.flatten(params)
    numbers = jax.tree.leaves(table_numbers(_OP, tables, params))
    closed, result_shapes = jax.make_jaxpr(fun, return_shape=True)(params)
    avals, names = closed.in_avals, leaf_names(params)
    name_of = {number: name for number, name in zip(numbers, names, strict=True) if number != DENSE}
    _check_tables([(name, aval) for name, aval in zip(names, avals, strict=True) if name in name_of.values()])
    lookups = find_lookups(
        closed.jaxpr,
        numbers,
        lambda number: f"{_OP}: `{name_of[number]}` must only be looked up, being one of `tables`",
    )
    _check_result(result_shapes, has_aux)

    def run(dense: list[Any], probes: Tree) -> tuple[Tree, tuple[Tree, Tree]]:
        remaining = iter(dense)
        arguments = [next(remaining) if number == DENSE else leaf for number, leaf in zip(numbers, leaves, strict=True)]
        results, made = run_probed(closed, arguments, [number != DENSE for number in numbers], probes)
        result = jax.tree.unflatten(jax.tree.structure(result_shapes), results)
        return (result[0], (result[1], made)) if has_aux else (result, (None, made))

    dense = [leaf for number, leaf in zip(numbers, leaves, strict=True) if number == DENSE]
    probes = jax.tree.map(Lookup.probe, lookups)
    (value, (aux, made)), (dense_gradients, rows) = jax.value_and_grad(run, (0, 1), has_aux=True)(dense, probes)

    value, found = _of_lookups(value, made, rows)
    of_table = [lookup.table for lookup in jax.tree.leaves(lookups)]
    remaining = iter(dense_gradients)
    gradients = [
        next(remaining)
        if number == DENSE
        else _slices(aval, [pair for table, pair in zip(of_table, found, strict=True) if table == number])
        for number, aval in zip(numbers, avals, strict=True)
    ]
    return ((value, aux) if has_aux else value), treedef.unflatten(gradients)


def _check_tables(named: list[tuple[str, Any]]) -> None:
    """Raises unless what `tables` selects, given with its type, can be a table."""
    for name, aval in named:
        if not aval.ndim or not jnp.issubdtype(aval.dtype, jnp.inexact):
            raise TypeError(f"{_OP}: `tables` must select floating point arrays of rank at least 1, got {name}: {aval}")


def _check_result(shapes: Tree, has_aux: bool) -> None:
    """Raises unless a function with results of these shapes can be differentiated."""
    if has_aux and (not isinstance(shapes, tuple) or len(shapes) != 2):
        raise TypeError(f"{_OP}: `fun` must return a pair with `has_aux`, got {type(shapes).__name__}")
    value = shapes[0] if has_aux else shapes
    if not isinstance(value, jax.ShapeDtypeStruct):
        got = type(value).__name__
    elif value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        got = f"{value.dtype} of shape {value.shape}"
    else:
        return
    what = "a pair whose first item is a" if has_aux else "a"
    raise TypeError(f"{_OP}: `fun` must return {what} floating point scalar, got {got}")


def _of_lookups(value: jax.Array, made: Tree, rows: Tree) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    """The value, and for each lookup its ids and the gradient of its rows, which exist once all tables were read."""
    made = jax.tree.leaves(made, is_leaf=lambda node: isinstance(node, Made))
    # `jax.checkpoint` makes its lookups once more for the gradient, so what comes with the gradient was read as well.
    value, *rows = read_once([value, *jax.tree.leaves(rows)])
    # The gradients of the rows wait for all that was read, and the ids do not, so that an optimiser can read its state
    # while the gradient is computed (docs/lowerings.rst, "Tables in place").
    rows = after([value, *rows, *(each.first for each in made)], rows)
    return value, list(zip((each.ids for each in made), rows, strict=True))


def _slices(table: Any, lookups: Sequence[tuple[jax.Array, jax.Array]]) -> IndexedSlices:
    """The gradient of a table that was looked up with these ids, whose rows have these gradients."""
    num_rows, *row_shape = table.shape
    indices = signed_alike(jnp.zeros(0, jnp.int32), *(ids.reshape(-1) for ids, _ in lookups))
    values = [jnp.zeros((0, *row_shape), table.dtype), *(rows.reshape(ids.size, *row_shape) for ids, rows in lookups)]
    return IndexedSlices(jnp.concatenate(indices), jnp.concatenate(values), num_rows)
