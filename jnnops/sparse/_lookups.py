"""Finds the lookups of tables in a traced program, and runs the program with a probe added to the rows of each.

A program is a jaxpr of which some arguments are tables. A table may go into :func:`~jnnops._tables.rows.take_rows`,
and into calls in which nothing else happens to it. Any other use would give it a gradient that is not one of rows,
and is an error. A probe is an array of zeros that is added to the rows of one lookup: its gradient is the gradient of
the rows.

A program may call other programs (``jit``, ``checkpoint``, ``scan``), and so what is known of its lookups, or given for
them, is a nested list: an item for each lookup and a list for each call, in the order in which the program makes them.
A program ``rows = take(table, ids); f(table)``, where ``f`` makes two lookups, has ``[Lookup, [Lookup, Lookup]]`` and
takes the probes ``[probe, [probe, probe]]``.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.sharding import Sharding

from jnnops._primitives.order import first_of, read_once
from jnnops._primitives.releases import bind_again, called_jaxpr, scan_counts
from jnnops._primitives.varying import vary_with
from jnnops._tables.rows import TAKE
from jnnops.sparse._tables import DENSE

_LIBRARIES = (os.path.dirname(jax.__file__), os.path.dirname(os.path.dirname(__file__)))
_JIT = ("jit", "pjit")
_CHECKPOINT = ("checkpoint", "remat2")
# What `table[ids]`, `table[:n]`, `jnp.take` and their kin become.
_INDEXING = ("gather", "slice", "dynamic_slice")
# Calls into which no probe can be passed, or out of which no ids: a table that goes into one is an error.
_CLOSED = ("scan", "while", "cond", "custom_jvp_call", "custom_vjp_call", "shard_map", "xla_pmap")


@dataclasses.dataclass(frozen=True)
class Lookup:
    """A lookup that a program makes.

    Attributes:
        table: The number of the table.
        rows: The abstract value of the rows.
        shape: Their shape, with the steps of the loops around the lookup in front.
    """

    table: int
    rows: Any
    shape: tuple[int, ...]

    def repeated(self, times: int) -> "Lookup":
        """The same in each step of a loop."""
        return dataclasses.replace(self, shape=(times, *self.shape))

    def probe(self) -> jax.Array:
        """Zeros to add to the rows."""
        return vary_with(jnp.zeros(self.shape, self.rows.dtype), self.rows)


class Made(NamedTuple):
    """A lookup that was made.

    Attributes:
        ids: The ids.
        first: A number that was read from the table.
    """

    ids: jax.Array
    first: jax.Array


def find_lookups(jaxpr: Jaxpr, tables: Sequence[int], describe: Callable[[int], str], place: str = "") -> list[Any]:
    """The lookups in a program.

    Args:
        jaxpr: The program.
        tables: For each of its arguments the number of the table that it is, or ``DENSE``.
        describe: Begins the error about the table of a number.
        place: The line of code that calls the program.

    Returns:
        A :class:`Lookup` for each.

    Raises:
        ValueError: If anything else happens to a table.
    """
    number_of = {var: number for var, number in zip(jaxpr.invars, tables, strict=True) if number != DENSE}
    found = []
    for eqn in jaxpr.eqns:
        numbers = [DENSE if isinstance(atom, Literal) else number_of.get(atom, DENSE) for atom in eqn.invars]
        number = max(numbers, default=DENSE)
        if number == DENSE or eqn.primitive.name == "stop_gradient":
            continue
        if eqn.primitive is TAKE.primitive:
            rows: Any = eqn.outvars[0].aval
            found.append(Lookup(number, rows, rows.shape))
        elif eqn.primitive.name in _JIT + _CHECKPOINT:
            found.append(find_lookups(called_jaxpr(eqn.params["jaxpr"]), numbers, describe, _place(eqn, place)))
        elif eqn.primitive.name == "scan" and max(numbers[scan_counts(eqn.params)[0] :], default=DENSE) == DENSE:
            repeat = functools.partial(Lookup.repeated, times=eqn.params["length"])
            called = called_jaxpr(eqn.params["jaxpr"])
            found.append(jax.tree.map(repeat, find_lookups(called, numbers, describe, _place(eqn, place))))
        else:
            raise ValueError(f"{describe(number)}, {_complaint(eqn.primitive.name)} ({_place(eqn, place)})")
    for atom in jaxpr.outvars:
        if not isinstance(atom, Literal) and atom in number_of:
            raise ValueError(f"{describe(number_of[atom])}, but the function returns it")
    return found


def _complaint(primitive: str) -> str:
    if primitive in _CLOSED:
        return (
            f"but is used inside `{primitive}`, which the gradient of its rows cannot leave: look the rows up before "
            "and pass them in, or leave the table out of `tables` to get a dense gradient"
        )
    if primitive in _INDEXING:
        return (
            f"but JAX's own indexing (`{primitive}`) does it here, whose gradient is the whole table: call "
            "nn.embedding_lookup(table, ids) in place of table[ids] or jnp.take(table, ids, 0), or leave the table out "
            "of `tables` to get a dense gradient"
        )
    return (
        f"but `{primitive}` uses the whole of it, so its gradient is not one of rows: look the rows up with an op of "
        "jnnops that is not under a `vmap` over the table, or leave the table out of `tables` to get a dense gradient"
    )


def _place(eqn: JaxprEqn, caller: str) -> str:
    """The line of the user's code that an operation comes from; that of its caller for one inside a function of JAX."""
    traceback = eqn.source_info.traceback
    for frame in traceback.frames if traceback else ():
        if not frame.file_name.startswith(_LIBRARIES):
            return f"{frame.file_name}:{frame.line_num} ({frame.function_name})"
    return caller or source_info_util.summarize(eqn.source_info)


def run_probed(
    closed: ClosedJaxpr, arguments: Sequence[Any], tables: Sequence[bool], probes: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Runs a program in which :func:`find_lookups` found nothing wrong.

    Args:
        closed: The program.
        arguments: Its arguments.
        tables: Which of them are tables.
        probes: What to add to the rows of each lookup.

    Returns:
        The results, and a :class:`Made` for each lookup.
    """
    jaxpr = closed.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *arguments), strict=True))
    table_vars = {var for var, is_table in zip(jaxpr.invars, tables, strict=True) if is_table}
    remaining = iter(probes)
    found = []
    for eqn in jaxpr.eqns:
        inputs = [atom.val if isinstance(atom, Literal) else values[atom] for atom in eqn.invars]
        used = tuple(not isinstance(atom, Literal) and atom in table_vars for atom in eqn.invars)
        # What is run again keeps the names of scopes and the lines of code that the user's program has.
        scope = source_info_util.current_name_stack() + eqn.source_info.name_stack
        with source_info_util.user_context(eqn.source_info.traceback, name_stack=scope), eqn.ctx.manager:
            if not any(used) or eqn.primitive.name == "stop_gradient":
                outputs = bind_again(eqn, inputs)
            elif eqn.primitive is TAKE.primitive:
                rows = read_once(bind_again(eqn, inputs)[0])
                outputs = [rows + next(remaining)]
                found.append(Made(inputs[1], first_of(rows)))
            else:
                outputs, made = _probed_call(eqn, used)(next(remaining), *inputs)
                found.append(made)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in jaxpr.outvars], found


def _probed_call(eqn: JaxprEqn, tables: tuple[bool, ...]) -> Callable[..., tuple[list[Any], list[Any]]]:
    """A function of probes and the arguments of a call, which returns what ``run_probed`` does."""
    params = eqn.params
    if eqn.primitive.name in _JIT:
        shardings = tuple(
            tuple(sharding if isinstance(sharding, Sharding) else None for sharding in params[name])
            for name in ("in_shardings", "out_shardings")
        )
        return _probed_jit(params["jaxpr"], tables, params["name"], *shardings)
    if eqn.primitive.name in _CHECKPOINT:
        run = _probed_function(ClosedJaxpr(params["jaxpr"], ()), tables)
        return jax.checkpoint(run, prevent_cse=params["prevent_cse"], policy=params["policy"])
    return functools.partial(_probed_scan, params, tables)


def _probed_function(closed: ClosedJaxpr, tables: tuple[bool, ...]) -> Callable[..., tuple[list[Any], list[Any]]]:
    def run(probes: Sequence[Any], *arguments: Any) -> tuple[list[Any], list[Any]]:
        return run_probed(closed, arguments, tables, probes)

    return run


# JAX keeps a compiled program for as long as the function that was jitted. As the function is kept here, a loss that is
# called again and again outside of `jit` is compiled only once.
@functools.lru_cache(maxsize=128)
def _probed_jit(
    closed: ClosedJaxpr, tables: tuple[bool, ...], name: str, in_shardings: Any, out_shardings: Any
) -> Callable[..., tuple[list[Any], list[Any]]]:
    run = _probed_function(closed, tables)
    run.__name__ = name
    if all(sharding is None for sharding in in_shardings + out_shardings):
        return jax.jit(run)
    return jax.jit(run, in_shardings=(None, *in_shardings), out_shardings=(list(out_shardings), None))


def _probed_scan(params: Any, tables: tuple[bool, ...], probes: Any, *arguments: Any) -> tuple[list[Any], list[Any]]:
    num_consts, num_carry = scan_counts(params)
    consts, start = arguments[:num_consts], arguments[num_consts : num_consts + num_carry]

    def step(carry: Any, slices: Any) -> Any:
        probes, rest = slices
        outputs, made = run_probed(params["jaxpr"], [*consts, *carry, *rest], tables, probes)
        return outputs[:num_carry], (outputs[num_carry:], made)

    slices = (probes, arguments[num_consts + num_carry :])
    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    carry, (stacked, made) = lax.scan(step, list(start), slices, **options)
    return [*carry, *stacked], made
