"""Converts arguments and words the errors, for every op.

Every message reads ``op: `argument` must ..., got ...``: ``TypeError`` for a wrong dtype or a value that is
not static, ``ValueError`` for everything else. All of it happens before any computation, under ``jit`` at
trace time.
"""

import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from jnnops._primitives.checked import checked_p

FLOATING = "floating point (float16, bfloat16, float32 or float64)"


def as_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """Converts ``value`` as ``jnp.asarray`` does and checks its rank."""
    if value is None:
        raise ValueError(f"{op}: `{argument}` must be an array, got None")
    try:
        array = jnp.asarray(value)
    except TypeError as error:
        raise TypeError(f"{op}: `{argument}` must be an array, got {type(value).__name__}") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{op}: `{argument}` must be an array, got {value!r} ({error})") from error
    if rank is not None:
        check_rank(op, argument, array, rank)
    return array


def as_number_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """``as_array`` of integers or real floating point numbers."""
    array = as_array(op, argument, value, rank=rank)
    if not is_real_number(array.dtype):
        raise TypeError(f"{op}: `{argument}` must be integer or {FLOATING}, got {array.dtype}")
    return array


def as_float_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """``as_array`` of real floating point numbers."""
    array = as_array(op, argument, value, rank=rank)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{op}: `{argument}` must be {FLOATING}, got {array.dtype}")
    return array


def as_limit(op: str, argument: str, value: Any) -> jax.Array:
    """``as_number_array`` of a scalar of at least 0; one that is traced ``checkify`` reports."""
    array = as_number_array(op, argument, value, rank=0)
    if is_traced(value):
        return debug_check(op, argument, "be at least 0", array, array >= 0)
    if not np.asarray(value) >= 0:  # nor NaN
        raise ValueError(f"{op}: `{argument}` must be at least 0, got {value}")
    return array


def as_integer_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """``as_array`` of integers."""
    array = as_array(op, argument, value, rank=rank)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{op}: `{argument}` must be an integer array, got {array.dtype}")
    return array


def as_float_arrays(op: str, /, **values: Any) -> tuple[jax.Array, ...]:
    """Converts several arguments to the one floating point dtype that ``jax.numpy`` promotes them to."""
    arrays = promote(**{argument: as_number_array(op, argument, value) for argument, value in values.items()})
    for argument, array in zip(values, arrays, strict=True):
        as_float_array(op, argument, array)
    return arrays


def as_number_arrays(op: str, /, **values: Any) -> tuple[jax.Array, ...]:
    """Converts several arguments to the one dtype, integers included, that ``jax.numpy`` promotes them to."""
    return promote(**{argument: as_number_array(op, argument, value) for argument, value in values.items()})


def promote(**arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Casts all to the dtype of ``jnp.result_type``."""
    dtype = jnp.result_type(*arrays.values())
    return tuple(array.astype(dtype) for array in arrays.values())


def is_real_number(dtype: DTypeLike) -> bool:
    """Whether ``dtype`` is an integer or a real floating point dtype."""
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def accumulation_dtype(dtype: DTypeLike) -> Any:
    """The dtype for sums and exponentials of ``dtype``: float32 for the 16-bit ones, otherwise its own."""
    wide = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if jnp.issubdtype(wide, jnp.floating) and wide.itemsize < 4 else wide


def check_rank(op: str, argument: str, array: jax.Array, rank: int | Collection[int]) -> None:
    """Raises unless the rank is ``rank``, or one of them (a range reads "from ... to ..." or "at least ...")."""
    if isinstance(rank, int):
        wanted, fits = f"of rank {rank}", array.ndim == rank
    else:
        fits = array.ndim in rank
        if isinstance(rank, range) and rank.stop > 32:
            wanted = f"of rank at least {rank.start}"
        else:
            wanted = f"of rank {join_alternatives(rank)}"
    if not fits:
        raise ValueError(f"{op}: `{argument}` must be {wanted}, got shape {array.shape}")


def at_least(rank: int) -> range:
    """The ranks from ``rank`` up, for the ``rank`` argument of the converters."""
    return range(rank, 33)


def join_alternatives(items: Iterable[Any]) -> str:
    """Lists alternatives as a sentence does: ``1, 2 or 3``."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check_shape(op: str, argument: str, array: jax.Array, shape: Sequence[int], why: str) -> None:
    """Raises unless the shape is ``shape``; ``why`` says where that comes from."""
    if array.shape != tuple(shape):
        raise ValueError(f"{op}: `{argument}` must have shape {tuple(shape)} ({why}), got {array.shape}")


def check_broadcastable(op: str, argument: str, array: jax.Array, shape: Sequence[int], to: str) -> None:
    """Raises unless ``array`` broadcasts to ``shape``, which is that of the argument named ``to``."""
    try:
        fits = jnp.broadcast_shapes(array.shape, tuple(shape)) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{op}: `{argument}` must broadcast to `{to}`, got shape {array.shape} for {to}.shape = {tuple(shape)}"
        )


def broadcast_to_rank(array: jax.Array, rank: int) -> jax.Array:
    """Puts axes of size 1 in front, which strict rank promotion asks for."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape) if 0 < array.ndim < rank else array


def check_choice(op: str, argument: str, value: Any, choices: Collection[Any]) -> Any:
    """Returns ``value`` if it is one of ``choices``, otherwise raises."""
    if not isinstance(value, str | int | type(None)) or value not in choices:
        raise ValueError(f"{op}: `{argument}` must be {join_alternatives(map(repr, choices))}, got {value!r}")
    return value


def as_static_int(op: str, argument: str, value: Any, *, minimum: int | None = None) -> int:
    """Converts to a Python int; a traced value or a fraction is a TypeError."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{op}: `{argument}` must be a static integer, got {describe(value)}") from error
    if minimum is not None and number < minimum:
        raise ValueError(f"{op}: `{argument}` must be at least {minimum}, got {number}")
    return number


def as_static_ints(op: str, argument: str, value: Any, *, minimum: int | None = None) -> tuple[int, ...]:
    """Converts an int or a sequence of them to a tuple of Python ints."""
    if isinstance(value, str) or not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0:
        return (as_static_int(op, argument, value, minimum=minimum),)
    return tuple(as_static_int(op, argument, item, minimum=minimum) for item in value)


def as_static_bool(op: str, argument: str, value: Any) -> bool:
    """Converts to a Python bool; a traced value or a number is a TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: `{argument}` must be True or False, got {value!r}")
    return bool(value)


def check_callable(op: str, argument: str, value: Any, call: str) -> None:
    """Raises unless ``value`` can be called, as ``call`` says in the error."""
    if not callable(value):
        raise TypeError(f"{op}: `{argument}` must be callable as {call}, got {type(value).__name__}")


def canonical_axes(op: str, argument: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Resolves an axis or several, negative ones too, to a tuple of distinct non-negative ints."""
    resolved = as_static_ints(op, argument, axes)
    for axis in resolved:
        if not -rank <= axis < rank:
            raise ValueError(f"{op}: `{argument}` must be in [{-rank}, {rank}) for an array of rank {rank}, got {axis}")
    resolved = tuple(axis % rank for axis in resolved)
    if len(set(resolved)) != len(resolved):
        raise ValueError(f"{op}: `{argument}` must not name an axis twice, got {axes!r}")
    return resolved


def canonical_axis(op: str, argument: str, axis: Any, rank: int) -> int:
    """Resolves one axis, possibly negative."""
    return canonical_axes(op, argument, as_static_int(op, argument, axis), rank)[0]


def as_key(op: str, key: Any) -> jax.Array:
    """Checks a ``jax.random`` key, typed or raw."""
    if key is None:
        raise ValueError(f"{op}: `key` must be a jax.random key, such as jax.random.key(0), got None")
    array = as_array(op, "key", key)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        if array.ndim != 0:
            raise ValueError(f"{op}: `key` must be a single jax.random key, got keys of shape {array.shape}")
    elif array.dtype != jnp.uint32 or array.ndim != 1:
        raise TypeError(f"{op}: `key` must be a jax.random key, got {array.dtype} of shape {array.shape}")
    return array


def is_traced(value: Any) -> bool:
    """Whether ``value`` is known only at run time."""
    return isinstance(value, Tracer)


def describe(value: Any) -> str:
    """Words a value for an error message: a traced or large array by its type."""
    if is_traced(value):
        return f"a traced array of shape {value.shape}"
    return repr(value) if len(repr(value)) <= 80 else f"{type(value).__name__}"


def debug_check(op: str, argument: str, requirement: str, value: jax.Array, holds: jax.Array) -> jax.Array:
    """Returns ``value``, of which ``checkify`` reports it where not all of ``holds`` is true.

    The report comes under ``checkify.checkify(f, errors=checkify.user_checks)`` and only if the result is used.
    """
    message = f"{op}: `{argument}` must {requirement}".replace("{", "{{").replace("}", "}}")
    return checked_p.bind(value, jnp.all(holds), message=message)
