"""Which of the leaves of a pytree are tables."""

from collections.abc import Callable

import jax

from jnnops._types import Tree

DENSE = -1


def table_numbers(op: str, tables: Callable[[Tree], Tree], params: Tree) -> Tree:
    """A pytree like ``params`` with the number of the table at each leaf that is one and ``DENSE`` at all others.

    Args:
        op: The name for errors.
        tables: Gets ``params``, with only a shape and a dtype for each leaf, and returns the leaves that are tables.
        params: A pytree of arrays.

    Raises:
        ValueError: If ``tables`` returns anything else, nothing, or a leaf twice.
    """
    leaves, treedef = jax.tree.flatten(jax.eval_shape(lambda params: params, params))
    # Each leaf is replaced by an object of its own, so that those which `tables` returns are known by identity: two
    # tables may have the same shape.
    marks = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    positions = {id(mark): position for position, mark in enumerate(marks)}
    numbers = [DENSE] * len(leaves)
    selected = jax.tree.leaves(tables(treedef.unflatten(marks)))
    if not selected:
        raise ValueError(f"{op}: `tables` must return at least one leaf of the parameters, got none")
    for number, leaf in enumerate(selected):
        if id(leaf) not in positions:
            raise ValueError(f"{op}: `tables` must return leaves of the parameters as they are, got {leaf!r}")
        if numbers[positions[id(leaf)]] != DENSE:
            name = leaf_names(params)[positions[id(leaf)]]
            raise ValueError(f"{op}: `tables` must return each leaf once, got `{name}` twice")
        numbers[positions[id(leaf)]] = number
    return treedef.unflatten(numbers)


def leaf_names(params: Tree) -> list[str]:
    """What to call each leaf in an error: where it is in ``params``."""
    return [f"params{jax.tree_util.keystr(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(params)]
