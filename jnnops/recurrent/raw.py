"""A cell run by a function that decides after each step what comes next."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._check import as_array, as_size, as_static_bool, at_least, check_callable, check_shape
from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops._primitives.varying import vary_with
from jnnops._types import Tree
from jnnops.recurrent._chunks import scan_in_chunks
from jnnops.recurrent.cell import check_cell, check_result, with_wide_gradient
from jnnops.recurrent.dynamic import as_arrays, as_state, select_rows, zero_rows

# loop_fn(time, cell_output, cell_state, loop_state)
# -> (finished, next_input, next_cell_state, emit_output, next_loop_state)
LoopFunction = Callable[..., Sequence[Any]]
# All that is asked of a cell here: the first state comes from the loop function.
Cell = Callable[[Tree, Tree], tuple[Tree, Tree]]
_RETURNS = ("finished", "next_input", "next_cell_state", "emit_output", "next_loop_state")


@serializable
class RawRNNResult(NamedTuple):
    """What all steps have emitted, and the states after the last one."""

    outputs: Tree
    state: Tree
    loop_state: Tree


class _Carry(NamedTuple):
    """What a step leaves to the next one."""

    finished: jax.Array
    input: Tree
    state: Tree
    loop_state: Tree


@answers_tensorflow_names
def raw_rnn(
    cell: Cell,
    loop_fn: LoopFunction,
    *,
    max_steps: int,
    unroll: int = 1,
    remat: bool = False,
    early_exit: bool = False,
) -> RawRNNResult:
    """Runs a cell over steps whose inputs a function makes of the outputs before, such as a decoder's.

    ``loop_fn`` is called once before the first step and once after each step, with ``time`` the number of steps so far.
    Rows of the batch finish one by one: the outputs of a finished row are zero and its state stays as it is. After all
    rows have finished nothing changes, as if the loop had ended, but it runs on to ``max_steps``, which is what makes
    it differentiable.

    Args:
        cell: Computes one step, see :func:`dynamic_rnn`.
        loop_fn: ``loop_fn(time, cell_output, cell_state, loop_state)`` returns ``(finished, next_input,
            next_cell_state, emit_output, next_loop_state)``. In the first call ``time`` is 0 and the others are None,
            and it returns the first inputs, trees of arrays ``[batch, ...]``; the first state; as ``emit_output`` a
            tree of arrays like those that the later calls emit, but without the batch, or None; and the first loop
            state, any tree of arrays, or None. Later it is given what the cell has returned and the last loop state.
            ``finished``, ``[batch]`` booleans, tells which rows make no further step; a row does not start again. A
            ``next_loop_state`` of None leaves the loop state as it is. All calls return trees of the same structure,
            shapes and dtypes, where dtypes of the first call are promoted to those of the others.
        max_steps: The largest number of steps. TensorFlow runs until all rows have finished.
        unroll: How many steps to compile into one iteration of the loop.
        remat: Whether derivatives compute the steps again to save memory, see :func:`dynamic_rnn`.
        early_exit: Whether to stop when all rows have finished. The results are the same, but there are no
            reverse-mode derivatives.

    Returns:
        ``(outputs, state, loop_state)``: what the steps have emitted, ``[max_steps, batch, ...]``, time first and with
        zeros where a row had finished; the state after each row's last step; and the loop state after the last step of
        the longest row. TensorFlow's outputs end there.

    Raises:
        ValueError: If ``loop_fn`` returns trees of another structure or shape than in its first call, or the cell
            returns a state of another structure or shape than it was given.
        TypeError: If ``cell`` is no cell, ``loop_fn`` no function or does not return five results, ``finished`` is not
            of booleans, or the dtypes of the others are not those of the first call.

    Outside of ``jit`` each call is compiled anew. A finished row is still computed, on its last state and the inputs
    that ``loop_fn`` gives it, and thrown away: where these have infinite derivatives gradients are NaN, as in
    TensorFlow.

    Example:
        >>> cell = nn.layers.GRUCell.init(3, 3, key=jax.random.key(0))
        >>> def feed_back(time, cell_output, cell_state, loop_state):
        ...     if cell_output is None:
        ...         return jnp.array([False, False]), jnp.ones((2, 3)), cell.zero_state(2), None, None
        ...     return time >= jnp.array([2, 4]), cell_output, cell_state, cell_output, None
        >>> outputs, state, _ = nn.raw_rnn(cell, feed_back, max_steps=5)
        >>> outputs.shape, (outputs != 0).any(axis=2).sum(axis=0).tolist()
        ((5, 2, 3), [2, 4])
        >>> bool((outputs[1, 0] == state[0]).all() and (outputs[3, 1] == state[1]).all())
        True

    References:
        ``tf.compat.v1.nn.raw_rnn``.
    """
    op = "raw_rnn"
    check_cell(op, "cell", cell)
    check_callable(op, "loop_fn", loop_fn, "loop_fn(time, cell_output, cell_state, loop_state)")
    max_steps = as_size(op, "max_steps", max_steps, minimum=0)
    unroll = as_size(op, "unroll", unroll)
    remat, early_exit = as_static_bool(op, "remat", remat), as_static_bool(op, "early_exit", early_exit)
    if remat and early_exit:
        raise ValueError(f"{op}: `early_exit` must be False if `remat` is True, got True")
    carry, structure_of_outputs = _first_call(op, loop_fn)
    step = functools.partial(_step, op, _cell_of(cell), loop_fn, structure_of_outputs)
    carry, output = _settle(op, step, carry)
    if early_exit:
        carry, outputs = _run_until_all_finished(step, carry, output, max_steps)
    else:
        scan = scan_in_chunks if remat else lax.scan
        times = jnp.arange(max_steps, dtype=jnp.int32)
        carry, outputs = scan(step, carry, times, reverse=False, unroll=unroll)
    return RawRNNResult(outputs, carry.state, carry.loop_state)


def _first_call(op: str, loop_fn: LoopFunction) -> tuple[_Carry, Tree]:
    """What the first step begins with, and the tree of what later calls emit, if the first call tells."""
    result = loop_fn(jnp.zeros((), jnp.int32), None, None, None)
    finished, inputs, state, emitted, loop_state = _as_five(op, result)
    inputs = as_arrays(op, "loop_fn -> next_input", inputs, rank=at_least(1))
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise ValueError(f"{op}: `loop_fn` must return a next_input that holds an array, got {inputs!r}")
    batch = leaves[0].shape[0]
    for leaf in leaves:
        if leaf.shape[0] != batch:
            message = f"must return a next_input of shapes [{batch}, ...] throughout"
            raise ValueError(f"{op}: `loop_fn` {message}, got {leaf.shape}")
    carry = _Carry(
        _as_finished(op, finished, batch),
        inputs,
        as_state(op, "loop_fn -> next_cell_state", state, batch),
        as_arrays(op, "loop_fn -> next_loop_state", loop_state),
    )
    return carry, None if emitted is None else as_arrays(op, "loop_fn -> emit_output", emitted)


def _step(
    op: str,
    cell: Callable[[], Cell],
    loop_fn: LoopFunction,
    structure_of_outputs: Tree,
    carry: _Carry,
    time: jax.Array,
) -> tuple[_Carry, Tree]:
    """A step of the cell and the call after it."""
    batch = carry.finished.shape[0]
    output, state = check_result(op, "cell", cell()(carry.input, carry.state), carry.state, batch)
    result = loop_fn(time + 1, output, state, carry.loop_state)
    finished, inputs, state, emitted, loop_state = _as_five(op, result)
    finished = _as_finished(op, finished, batch)
    inputs = _as_like(op, "next_input", inputs, carry.input)
    state = _as_like(op, "next_cell_state", state, carry.state)
    loop_state = carry.loop_state if loop_state is None else loop_state
    loop_state = _as_like(op, "next_loop_state", loop_state, carry.loop_state)
    emitted = _as_emitted(op, emitted, structure_of_outputs, batch)

    # After all rows have finished, scalars and the loop state are to stay, too.
    done = jnp.all(carry.finished)

    def keep_row(old: jax.Array, new: jax.Array) -> jax.Array:
        return select_rows(carry.finished, old.astype(new.dtype), new) if new.ndim else keep(old, new)

    def keep(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(done, old.astype(new.dtype), new)

    state = jax.tree.map(keep_row, carry.state, state)
    loop_state = jax.tree.map(keep, carry.loop_state, loop_state)
    return _Carry(carry.finished | finished, inputs, state, loop_state), zero_rows(~carry.finished, emitted)


def _settle(op: str, step: Callable[..., Any], carry: _Carry) -> tuple[_Carry, Tree]:
    """The first carry in the types that the steps give it, and the types of what a step emits."""
    leaves, structure = jax.tree.flatten(carry)
    for _ in range(2):
        program, (after, output) = jax.make_jaxpr(step, return_shape=True)(structure.unflatten(leaves), jnp.int32(0))
        found = jax.tree.leaves(after)
        if all(leaf.dtype == like.dtype for leaf, like in zip(leaves, found, strict=True)):
            # What a step computes with may vary over more axes of a `shard_map` than what it begins with.
            return vary_with(structure.unflatten(leaves), *program.out_avals), output
        with jax.numpy_dtype_promotion("standard"):  # what no type holds is found out in the next round
            leaves = [
                leaf if leaf.dtype == like.dtype else leaf.astype(jnp.promote_types(leaf.dtype, like.dtype))
                for leaf, like in zip(leaves, found, strict=True)
            ]
    given, found = structure.unflatten(leaves), after  # pyright: ignore[reportPossiblyUnboundVariable]
    for name, before, now in zip(_RETURNS[1:3] + _RETURNS[4:], given[1:], found[1:], strict=True):
        before, now = ([str(leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (before, now))
        if before != now:
            message = f"must return a {name} of the dtypes {before}, as in its first call"
            raise TypeError(f"{op}: `loop_fn` {message}, got {now}")
    raise AssertionError("one of them has another dtype")


def _run_until_all_finished(step: Any, carry: _Carry, output: Tree, max_steps: int) -> tuple[_Carry, Tree]:
    """``lax.scan`` over ``max_steps`` that stops when all rows have finished."""
    outputs = jax.tree.map(lambda leaf: jnp.zeros((max_steps, *leaf.shape), leaf.dtype), output)

    def goes_on(loop: tuple[jax.Array, _Carry, Tree]) -> jax.Array:
        time, carry, _ = loop
        return (time < max_steps) & ~jnp.all(carry.finished)

    def advance(loop: tuple[jax.Array, _Carry, Tree]) -> tuple[jax.Array, _Carry, Tree]:
        time, carry, outputs = loop
        carry, output = step(carry, time)
        write = functools.partial(lax.dynamic_update_index_in_dim, index=time, axis=0)
        return time + 1, carry, jax.tree.map(lambda all, one: write(all, one), outputs, output)

    start = vary_with((jnp.int32(0), carry, outputs), carry)
    return lax.while_loop(goes_on, advance, start)[1:]


def _cell_of(cell: Cell) -> Callable[[], Cell]:
    """The cell with gradients that are summed over time in float32, to be made inside of the loop."""
    weights, structure = jax.tree.flatten(cell)
    weights = [with_wide_gradient(weight) for weight in weights]
    return lambda: structure.unflatten(weight() for weight in weights)


def _as_five(op: str, result: Any) -> tuple[Any, ...]:
    if not isinstance(result, tuple | list) or len(result) != 5:
        got = f"{type(result).__name__} of {len(result)}" if isinstance(result, tuple | list) else type(result).__name__
        raise TypeError(f"{op}: `loop_fn` must return ({', '.join(_RETURNS)}), got {got}")
    return tuple(result)


def _as_finished(op: str, finished: Any, batch: int) -> jax.Array:
    array = as_array(op, "loop_fn -> finished", finished)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{op}: `loop_fn` must return a finished of booleans, got {array.dtype}")
    check_shape(op, "loop_fn -> finished", array, (batch,), f"one for each row of the batch of {batch}")
    return array


def _as_like(op: str, name: str, tree: Tree, like: Tree) -> Tree:
    """The tree as arrays, or an error unless it has the structure and the shapes of the first call."""
    tree = as_arrays(op, f"loop_fn -> {name}", tree)
    given, found = jax.tree.structure(like), jax.tree.structure(tree)
    if found != given:
        message = f"must return {_an(name)} of the structure {given}, as in its first call"
        raise ValueError(f"{op}: `loop_fn` {message}, got {found}")
    given, found = ([leaf.shape for leaf in jax.tree.leaves(each)] for each in (like, tree))
    if found != given:
        message = f"must return {_an(name)} of the shapes {given}, as in its first call"
        raise ValueError(f"{op}: `loop_fn` {message}, got {found}")
    return tree


def _an(name: str) -> str:
    return f"an {name}" if name.startswith("e") else f"a {name}"


def _as_emitted(op: str, emitted: Tree, like: Tree, batch: int) -> Tree:
    """What a step emits, as arrays with the batch first."""
    emitted = as_arrays(op, "loop_fn -> emit_output", emitted)
    for leaf in jax.tree.leaves(emitted):
        if leaf.shape[:1] != (batch,):
            raise ValueError(f"{op}: `loop_fn` must return an emit_output of shapes [{batch}, ...], got {leaf.shape}")
    if like is None:
        return emitted
    with_batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype), like)
    emitted = _as_like(op, "emit_output", emitted, with_batch)
    given, found = ([str(leaf.dtype) for leaf in jax.tree.leaves(each)] for each in (with_batch, emitted))
    if found != given:
        message = f"must return an emit_output of the dtypes {given}, as in its first call"
        raise TypeError(f"{op}: `loop_fn` {message}, got {found}")
    return emitted
