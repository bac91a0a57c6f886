"""A table as one array or as a list of shards, in either of TensorFlow's two orders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jnnops._check import FLOATING, as_number_array, at_least, check_choice
from jnnops._tables.rows import take_rows
from jnnops._types import Table


def as_shards(op: str, argument: str, table: Table, partition_strategy: str) -> tuple[jax.Array, ...]:
    """Converts and checks the shards of a table; a table that is no list of arrays is its only shard."""
    check_choice(op, "partition_strategy", partition_strategy, ("mod", "div"))
    if not isinstance(table, list | tuple) or (table and not any(map(_is_array, table))):
        return (as_number_array(op, argument, table, rank=at_least(1)),)
    if not table:
        raise ValueError(f"{op}: `{argument}` must have at least one shard, got {table!r}")
    shards = tuple(
        as_number_array(op, f"{argument}[{number}]", shard, rank=at_least(1)) for number, shard in enumerate(table)
    )
    if len({shard.dtype for shard in shards}) > 1:
        raise TypeError(f"{op}: `{argument}` must have shards of one dtype, got {[str(s.dtype) for s in shards]}")
    if len({shard.shape[1:] for shard in shards}) > 1:
        shapes = [shard.shape for shard in shards]
        raise ValueError(f"{op}: `{argument}` must have shards that differ in their first dimension only, got {shapes}")
    sizes = [shard.shape[0] for shard in shards]
    rest, more = divmod(sum(sizes), len(sizes))
    even = [rest + 1] * more + [rest] * (len(sizes) - more)
    if sizes != even:
        raise ValueError(f"{op}: `{argument}` must have shards of {even} rows for {sum(sizes)} rows, got {sizes}")
    return shards


def check_floating(op: str, argument: str, shards: tuple[jax.Array, ...]) -> None:
    """Raises unless the table is floating point."""
    if not jnp.issubdtype(shards[0].dtype, jnp.floating):
        raise TypeError(f"{op}: `{argument}` must be {FLOATING}, got {shards[0].dtype}")


def count_rows(shards: tuple[jax.Array, ...]) -> int:
    """The rows of all shards together."""
    return sum(shard.shape[0] for shard in shards)


def take_sharded_rows(shards: tuple[jax.Array, ...], ids: jax.Array, partition_strategy: str) -> jax.Array:
    """The row of each id, which must be signed; zeros for ids out of range.

    Each shard is asked for the ids that it holds and gives zeros for the others.
    """
    if len(shards) == 1:
        return take_rows(shards[0], ids)
    if partition_strategy == "mod":
        owner, place = ids % len(shards), ids // len(shards)
        places = [jnp.where(owner == number, place, -1) for number in range(len(shards))]
    else:
        starts = np.cumsum([0, *(shard.shape[0] for shard in shards[:-1])])
        places = [ids - int(start) for start in starts]
    return functools.reduce(jnp.add, map(take_rows, shards, places))


def _is_array(value: object) -> bool:
    return hasattr(value, "shape") or hasattr(value, "__jax_array__")
