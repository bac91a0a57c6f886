"""What :func:`jnnops.sparse.lazy` has to know of an optax transformation, found out by trying it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jnnops._check import is_traced
from jnnops._types import Tree
from jnnops.sparse._tables import DENSE, leaf_names

_OP = "sparse.lazy"
# Transformations are tried on tables with axes of this length; with shorter ones optax.adafactor does something else.
_SIZE = 128
# Numbers that show in the result if they take part in it at all: NaN shows in a sum even if that is multiplied by a
# learning rate of 0, and a large number shows where it is only compared.
_CONSPICUOUS = (np.nan, 1e30)
# What to do about rows that depend on each other.
_CLIP = (
    "It does so only where gradients are large, as clipping does: clip the gradients with "
    "nn.sparse.clip_by_global_norm before instead"
)
_LEAVE_OUT = "Choose another, or leave the table out of `tables`, here and in value_and_grad, to train it densely"
# What stands for a number that is known only at run time, such as a traced learning rate.
_UNKNOWN = 0.5


def study(
    transform: optax.GradientTransformationExtraArgs,
    params: Tree,
    tables: Tree,
    extra: Mapping[str, Any],
    *,
    decays: bool,
) -> Tree:
    """Checks that a transformation can be run on some rows of a table alone, and finds those rows in its state.

    Args:
        transform: The transformation.
        params: The shapes and dtypes of the parameters.
        tables: For each of them the number of the table that it is, or ``DENSE``.
        extra: More arguments of its ``update``.
        decays: Whether the state of a row must shrink by a factor in a step in which its gradient is zero.

    Returns:
        A pytree like its state with the number of the table whose rows each leaf has, or ``DENSE``.

    Raises:
        ValueError: If it cannot.
    """
    state_tables = _tables_of_state(transform, params, tables)
    small = jax.tree.map(_small, params, tables)
    _check_rows_are_independent(transform, small, tables, state_tables, extra)
    if decays:
        _check_state_decays(transform, small, tables, state_tables, extra)
    return state_tables


def decay_factors(
    transform: optax.GradientTransformationExtraArgs,
    grads: Tree,
    state: Tree,
    params: Tree,
    tables: Tree,
    state_tables: Tree,
    extra: Mapping[str, Any],
) -> Tree:
    """The factor by which the rows in each leaf of the state shrink in a step in which their gradient is zero.

    Args:
        transform: A transformation that passed :func:`study`.
        grads: Gradients, with any rows of the tables'.
        state: The state, likewise.
        params: The parameters, likewise, or None.
        tables: For each parameter the number of the table that it is, or ``DENSE``.
        state_tables: From :func:`study`.
        extra: More arguments of its ``update``.

    Returns:
        A pytree like the state with a scalar in place of each leaf that has rows.
    """

    def one_element(fill: float) -> Callable[[int, Any], Any]:
        return lambda table, leaf: leaf if table == DENSE else jnp.full((1,) * leaf.ndim, fill, leaf.dtype)

    still = jax.tree.map(jnp.zeros_like, jax.tree.map(one_element(0), tables, grads))
    ones = jax.tree.map(one_element(1), state_tables, state)
    if params is not None:
        params = jax.tree.map(one_element(0), tables, params)
    _, after = transform.update(still, ones, params, **extra)
    return jax.tree.map(lambda table, leaf: leaf if table == DENSE else leaf.reshape(()), state_tables, after)


def _tables_of_state(transform: optax.GradientTransformationExtraArgs, params: Tree, tables: Tree) -> Tree:
    """For each leaf of the state the table with which its first axis grows."""

    def longer(param: Any, table: int) -> Any:
        if table == DENSE:
            return param
        more = table + 1  # so that the length of a state tells which table it grew with
        return jax.ShapeDtypeStruct((param.shape[0] + more, *param.shape[1:]), param.dtype)

    num_rows = {table: param.shape[0] for table, param in zip(*map(jax.tree.leaves, (tables, params)), strict=True)}

    def table_of(old: Any, new: Any) -> int:
        if old.shape == new.shape:
            return DENSE
        table = new.shape[0] - old.shape[0] - 1
        if old.shape[0] != num_rows.get(table) or old.shape[1:] != new.shape[1:]:
            raise ValueError(
                f"{_OP}: `transform` must keep its state of a table in rows like those of the table, got an array of "
                f"shape {old.shape}"
            )
        return table

    state, of_longer = (jax.eval_shape(transform.init, each) for each in (params, jax.tree.map(longer, params, tables)))
    postponing = (optax.MultiStepsState, optax.ApplyEvery)
    if any(
        isinstance(node, postponing) for node in jax.tree.leaves(state, is_leaf=lambda n: isinstance(n, postponing))
    ):
        raise ValueError(
            f"{_OP}: `transform` must apply each gradient in its own step, got one that gathers several: only rows "
            "looked up in the last step would be updated. Concatenate the slices of several micro-batches instead"
        )
    return jax.tree.map(table_of, state, of_longer)


def _check_rows_are_independent(
    transform: optax.GradientTransformationExtraArgs,
    params: Tree,
    tables: Tree,
    state_tables: Tree,
    extra: Mapping[str, Any],
) -> None:
    """Takes two steps, and again with a conspicuous first row of each table, which must show nowhere else."""

    def all_else(params: Tree, *gradients: Tree) -> Tree:
        def without_first_row(table: int, leaf: Any) -> Any:
            return leaf if table == DENSE else leaf[1:]

        state, seen = transform.init(params), []
        for gradient in gradients:
            updates, state = transform.update(gradient, state, params, **extra)
            seen += jax.tree.leaves(jax.tree.map(without_first_row, tables, updates))
        remembered = jax.tree.leaves(jax.tree.map(without_first_row, state_tables, state))
        # Integers and flags are not compared: a count, such as of numbers that are not finite, has no effect by itself.
        return seen + [leaf for leaf in remembered if jnp.issubdtype(leaf.dtype, jnp.inexact)]

    def with_first_row(value: float, table: int, leaf: np.ndarray) -> np.ndarray:
        return leaf if table == DENSE else np.concatenate([np.full_like(leaf[:1], value), leaf[1:]])

    params, first, second = (_random(params, seed) for seed in range(3))
    run = _compile(all_else, params, first, second)
    expected = run(params, first, second)
    names = 2 * leaf_names(params)
    for value in _CONSPICUOUS:
        change = functools.partial(with_first_row, value)
        changed = [jax.tree.map(change, tables, each) for each in (params, first)]
        for number, (old, new) in enumerate(zip(expected, run(*changed, second), strict=True)):
            if not np.array_equal(old, new, equal_nan=True):
                what = f"the update of {names[number]}" if number < len(names) else "its state"
                raise ValueError(
                    f"{_OP}: `transform` must treat each row of a table by itself, but {what} depends on other rows. "
                    + (_CLIP if _clips(run, params, (first, second), tables) else _LEAVE_OUT)
                )


def _clips(run: Callable[..., list[np.ndarray]], params: Tree, gradients: Sequence[Tree], tables: Tree) -> bool:
    """Whether rows depend on each other only if gradients are large, as they do where those are clipped."""

    def times(factor: float, of_first_row: float) -> list[Tree]:
        def multiply(table: int, leaf: np.ndarray) -> np.ndarray:
            if table == DENSE:
                return leaf * np.float32(factor)
            return np.concatenate([leaf[:1] * np.float32(of_first_row), leaf[1:]]) * np.float32(factor)

        return [jax.tree.map(multiply, tables, each) for each in gradients]

    def depend(factor: float, of_first_row: float) -> bool:
        one, other = run(params, *times(factor, 1)), run(params, *times(factor, of_first_row))
        return any(not np.array_equal(old, new, equal_nan=True) for old, new in zip(one, other, strict=True))

    return depend(1, 1e30) and not depend(1e-6, 2)


def _check_state_decays(
    transform: optax.GradientTransformationExtraArgs,
    params: Tree,
    tables: Tree,
    state_tables: Tree,
    extra: Mapping[str, Any],
) -> None:
    """Compares what a step without a gradient does to the state with the factors."""

    def with_and_by_factors(params: Tree, gradient: Tree) -> Tree:
        _, state = transform.update(gradient, transform.init(params), params, **extra)
        _, after = transform.update(jax.tree.map(jnp.zeros_like, gradient), state, params, **extra)
        factors = decay_factors(transform, gradient, state, params, tables, state_tables, extra)
        has_rows = [table != DENSE for table in jax.tree.leaves(state_tables)]
        leaves = zip(has_rows, *map(jax.tree.leaves, (after, state, factors)), strict=True)
        return [pair for rows, new, old, factor in leaves if rows for pair in (new, old * factor)]

    params, gradient = (_random(params, seed) for seed in range(2))
    results = _compile(with_and_by_factors, params, gradient)(params, gradient)
    for actual, expected in zip(results[::2], results[1::2], strict=True):
        if not np.allclose(actual, expected, rtol=1e-3, atol=0):
            raise ValueError(
                f"{_OP}: `transform` must do no more to the state of a row without a gradient than shrink it by a "
                "factor, or it cannot catch up on missed steps; got one that does"
            )


def _small(param: Any, table: int) -> jax.ShapeDtypeStruct:
    """The shape of a parameter to try a transformation on."""
    if table == DENSE:
        return jax.ShapeDtypeStruct(tuple(min(size, 2) for size in param.shape), jnp.float32)
    return jax.ShapeDtypeStruct((_SIZE, *(min(size, _SIZE) for size in param.shape[1:])), jnp.float32)


def _random(shapes: Tree, seed: int) -> Tree:
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.asarray(generator.standard_normal(leaf.shape), leaf.dtype), shapes)


def _compile(function: Callable[..., Any], *arguments: Any) -> Callable[..., list[np.ndarray]]:
    """A function that runs at once, even if JAX traces what is around it and knows some of its numbers only later."""
    closed = jax.make_jaxpr(function)(*arguments)
    consts = [
        np.full(const.shape, _UNKNOWN).astype(const.dtype) if is_traced(const) else const for const in closed.consts
    ]
    compiled = jax.jit(jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts)))

    def run(*arguments: Any) -> list[np.ndarray]:
        with jax.ensure_compile_time_eval(), jax.debug_nans(False), jax.debug_infs(False):
            return [np.asarray(result) for result in compiled(*jax.tree.leaves(arguments))]

    return run
