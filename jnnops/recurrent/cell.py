"""What the loop asks of a cell, and makes of what a step returns."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jnnops._types import Tree


class RNNCell(Protocol):
    """What :func:`dynamic_rnn` asks of a cell."""

    def __call__(self, inputs: Tree, state: Tree, /) -> tuple[Tree, Tree]:
        """Computes ``(output, new_state)`` of one step; the new state is like ``state`` in structure and shapes."""
        ...

    def zero_state(self, batch_size: int, dtype: DTypeLike, /) -> Tree:
        """Makes the state of a sequence that has not begun."""
        ...


class LinearCell(RNNCell, Protocol):
    """A cell that is linear in its state, element by element, and may say so by one further method.

    :func:`dynamic_rnn` and its kin then compute what does not depend on the state for all steps at once, such as
    matrix products of the inputs, and the states of all steps in O(log time) where that is faster than one after
    another. The results are those of the cell's steps but for rounding; states of 16 bits are rounded once only.

    Example:
        >>> class Average:
        ...     def zero_state(self, batch_size, dtype):
        ...         return jnp.zeros((batch_size, 4), dtype)
        ...     def linear_step(self, inputs):
        ...         return 0.9, 0.1 * inputs, jax.tree_util.Partial(jnp.subtract, inputs)
        ...     def __call__(self, inputs, state):
        ...         decay, addend, read = self.linear_step(inputs)
        ...         new_state = decay * state + addend
        ...         return read(new_state), new_state
        >>> nn.dynamic_rnn(Average(), jnp.ones((2, 5, 4))).outputs.shape
        (2, 5, 4)

    References:
        Martin and Cundy, "Parallelizing Linear Recurrent Neural Nets over Sequence Length", 2018.
    """

    def linear_step(self, inputs: Tree, /) -> tuple[Tree, Tree, Callable[[Tree], Tree]]:
        """Computes ``(decay, addend, read)`` of one step, of its inputs alone.

        Args:
            inputs: As :meth:`__call__` takes them.

        Returns:
            ``decay`` and ``addend`` such that ``decay * state + addend`` is the new state, leaf by leaf: trees of the
            structure of the state, the addends of its shapes and the decays of shapes that broadcast to them. For a
            state of 16 bits addends have its dtype, and decays it or float32: near 1 16 bits are too coarse.
            ``read`` is a ``jax.tree_util.Partial`` such that ``read(new_state)`` is the output.
        """
        ...


def check_result(op: str, argument: str, result: Any, state: Tree, batch: int) -> tuple[Tree, Tree]:
    """Returns the output and the new state of one step as arrays, or raises if the loop could not carry them."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{op}: `{argument}` must return a pair (output, new_state), got {type(result).__name__}")
    output, new_state = jax.tree.map(jnp.asarray, result)
    for leaf in jax.tree.leaves(output):
        if leaf.shape[:1] != (batch,):
            raise ValueError(f"{op}: `{argument}` must return outputs of shape [{batch}, ...], got {leaf.shape}")
    given, found = jax.tree.structure(state), jax.tree.structure(new_state)
    if found != given:
        raise ValueError(f"{op}: `{argument}` must return a state of the structure {given}, as given, got {found}")
    given, found = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (state, new_state))
    if found != given:
        raise ValueError(f"{op}: `{argument}` must return a state of the shapes {given}, as given, got {found}")
    return output, new_state


def promote_state(op: str, argument: str, trace: Callable[[Tree], tuple[Tree, Tree]], state: Tree) -> Tree:
    """Casts the first state to the dtypes that the cell promotes it to, since a loop's carry keeps its types."""
    given, found = _dtypes(state), _dtypes(trace(state)[1])
    if found != given:
        leaves, structure = jax.tree.flatten(state)
        state = structure.unflatten(
            leaf if dtype == leaf.dtype else leaf.astype(jnp.promote_types(leaf.dtype, dtype))
            for leaf, dtype in zip(leaves, found, strict=True)
        )
        given, found = _dtypes(state), _dtypes(trace(state)[1])
    if found != given:
        given, found = ([str(dtype) for dtype in dtypes] for dtypes in (given, found))
        raise TypeError(f"{op}: `{argument}` must return a state of the dtypes {given}, as given, got {found}")
    return state


def _dtypes(tree: Tree) -> list[jnp.dtype]:
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


def with_wide_gradient(leaf: Any) -> Callable[[], Any]:
    """Returns a function that gives ``leaf`` inside a loop; gradients of 16-bit arrays are summed in float32.

    A loop sums the gradient of an array that all steps share in the dtype of the array, which is too coarse for the sum
    of many steps (docs/lowerings.rst, "Recurrent networks").
    """
    if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.dtype.itemsize != 2:
        return lambda: leaf
    return functools.partial(_value_with_gradient_of, lax.stop_gradient(leaf), leaf.astype(jnp.float32))


@jax.custom_jvp
def _value_with_gradient_of(value: jax.Array, wide: jax.Array) -> jax.Array:
    del wide
    return value


@_value_with_gradient_of.defjvp
def _value_with_gradient_of_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    value, wide = primals
    return _value_with_gradient_of(value, wide), tangents[1].astype(value.dtype)


# What cells name their state; those of flax take it first.
_NAMES_OF_STATES = ("carry", "hidden", "prev_state", "state", "states")


def check_cell(op: str, argument: str, cell: Any) -> None:
    """Raises unless ``cell`` is an object that can be called as a cell is."""
    wanted = f"{op}: `{argument}` must be callable as cell(inputs, state)"
    if isinstance(cell, type) or not callable(cell):
        given = f"the class {cell.__name__}, not a cell of it" if isinstance(cell, type) else type(cell).__name__
        raise TypeError(f"{wanted}, got {given}")
    is_function = inspect.isroutine(cell) or isinstance(cell, functools.partial)
    names = _first_two_arguments(cell) if is_function else _first_two_of_class(type(cell))
    if len(names) == 2 and names[0] in _NAMES_OF_STATES and names[1] not in _NAMES_OF_STATES:
        raise TypeError(
            f"{wanted} and return (output, new_state), got a {type(cell).__name__} that takes ({', '.join(names)}): "
            'call it from a cell of this order, as "Cells of other libraries" in the documentation shows'
        )


def _first_two_arguments(function: Any) -> tuple[str, ...]:
    """The names of the first two arguments of what can be called; none if it does not tell."""
    try:
        return tuple(inspect.signature(function).parameters)[:2]
    except (TypeError, ValueError):
        return ()


@functools.lru_cache(maxsize=128)
def _first_two_of_class(cls: type) -> tuple[str, ...]:
    """The names of the first two arguments after ``self`` with which objects of a class are called."""
    return _first_two_arguments(functools.partial(cls.__call__, None))
