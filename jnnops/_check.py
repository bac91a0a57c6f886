"""Converts arguments and words the errors, for every op.

Every message reads ``op: `argument` must ..., got ...``: ``TypeError`` for a wrong dtype or a value that is
not static, ``ValueError`` for everything else. All of it happens before any computation, under ``jit`` at
trace time.
"""

import functools
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import DTypeLike

from jnnops._primitives.checked import checked_p
from jnnops._types import AxisNames

FLOATING = "floating point (float16, bfloat16, float32 or float64)"

# No array has more cells along an axis, since XLA counts them in 32 bits.
MAX_SIZE = 2**31 - 1


class Interval(NamedTuple):
    """Where a number must lie: from ``low`` to ``high``, both included unless open; NaN lies nowhere."""

    requirement: str
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False  # at its upper end

    def holds(self, number: Any) -> Any:
        """Whether a number or each of an array lies in it."""
        return (number >= self.low) & ((number < self.high) if self.is_open else (number <= self.high))


ANY_NUMBER = Interval("be a number")
NOT_NEGATIVE = Interval("be at least 0", low=0)
FRACTION = Interval("be in [0, 1]", low=0, high=1)
PROBABILITY_BELOW_1 = Interval("be in [0, 1)", low=0, high=1, is_open=True)


def as_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """Converts ``value`` as ``jnp.asarray`` does and checks its rank."""
    array = value if isinstance(value, jax.Array) else _convert(op, argument, value)
    if rank is not None:
        check_rank(op, argument, array, rank)
    return array


def _convert(op: str, argument: str, value: Any) -> jax.Array:
    if value is None:
        raise ValueError(f"{op}: `{argument}` must be an array, got None")
    try:
        array = jnp.asarray(value)
    except TypeError as error:
        raise TypeError(f"{op}: `{argument}` must be an array, got {type(value).__name__}") from error
    except OverflowError as error:
        raise ValueError(f"{op}: `{argument}` must hold numbers that fit its dtype, got {describe(value)}") from error
    except ValueError as error:
        raise ValueError(f"{op}: `{argument}` must be an array, got {describe(value)} ({error})") from error
    if isinstance(value, np.ndarray | np.generic) and value.dtype.itemsize > array.dtype.itemsize:
        _check_narrowed(op, argument, np.asarray(value), array.dtype)
    return array


def _check_narrowed(op: str, argument: str, value: np.ndarray, dtype: np.dtype) -> None:
    """Raises where 64-bit integers do not fit into 32 bits, which JAX makes of them without a word."""
    if value.size and np.issubdtype(dtype, np.integer):
        limits, low, high = np.iinfo(dtype), value.min(), value.max()
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"{op}: `{argument}` must hold numbers that fit {dtype} unless jax_enable_x64 is set, got numbers from "
                f"{low} to {high}"
            )


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


def as_inexact_array(op: str, argument: str, value: Any, *, rank: int | Collection[int] | None = None) -> jax.Array:
    """``as_array`` of real floating point or complex numbers."""
    array = as_array(op, argument, value, rank=rank)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise TypeError(f"{op}: `{argument}` must be {FLOATING} or complex, got {array.dtype}")
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
    if len({array.dtype for array in arrays.values()}) == 1 and not any(array.weak_type for array in arrays.values()):
        return tuple(arrays.values())
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


def as_static_int(op: str, argument: str, value: Any, *, minimum: int | None = None, maximum: int = 2**63 - 1) -> int:
    """Converts to a Python int; a traced value or a fraction is a TypeError."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{op}: `{argument}` must be a static integer, got {describe(value)}") from error
    if minimum is not None and number < minimum:
        raise ValueError(f"{op}: `{argument}` must be at least {minimum}, got {number}")
    if number > maximum:
        raise ValueError(f"{op}: `{argument}` must be at most {maximum}, got {number}")
    return number


def as_size(op: str, argument: str, value: Any, *, minimum: int = 1) -> int:
    """Converts to a Python int that an axis of an array can have as its size."""
    return as_static_int(op, argument, value, minimum=minimum, maximum=MAX_SIZE)


def is_sequence(value: Any) -> bool:
    """Whether ``value`` is a list, a tuple, an array with axes or the like: of items in an order."""
    if isinstance(value, str | bytes | Mapping | Set) or getattr(value, "ndim", 1) == 0:
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def as_static_ints(op: str, argument: str, value: Any, *, minimum: int | None = None) -> tuple[int, ...]:
    """Converts an int or a sequence of them to a tuple of Python ints."""
    if not is_sequence(value):
        return (as_static_int(op, argument, value, minimum=minimum),)
    return tuple(as_static_int(op, argument, item, minimum=minimum) for item in value)


def as_static_bool(op: str, argument: str, value: Any) -> bool:
    """Converts to a Python bool; a traced value or a number is a TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: `{argument}` must be True or False, got {describe(value)}")
    return bool(value)


def as_static_float(op: str, argument: str, value: Any, within: Interval = ANY_NUMBER) -> float:
    """Converts to a Python float that lies in an interval; a traced value is a TypeError."""
    if is_sequence(value):
        raise ValueError(f"{op}: `{argument}` must be of rank 0, got {describe(value)}")
    is_number = hasattr(value, "__float__") and not isinstance(value, bool | np.bool_ | Tracer)
    try:
        number = float(value) if is_number and not np.iscomplexobj(value) else None
    except (TypeError, ValueError):
        number = None
    except OverflowError as error:
        raise ValueError(f"{op}: `{argument}` must fit a float, got {describe(value)}") from error
    if number is None:
        raise TypeError(f"{op}: `{argument}` must be a static number, got {describe(value)}")
    if not within.holds(number):
        raise ValueError(f"{op}: `{argument}` must {within.requirement}, got {number}")
    return number


def as_scalar(op: str, argument: str, value: Any, within: Interval = ANY_NUMBER) -> float | jax.Array:
    """Converts to a Python float, or to an array of rank 0 if it is traced, that lies in an interval.

    What is known is checked now, and stays a Python number under ``jit``; of what is traced ``checkify`` reports it.
    """
    if not is_traced(value):
        return as_static_float(op, argument, value, within)
    array = as_number_array(op, argument, value, rank=0)
    return array if within is ANY_NUMBER else debug_check(op, argument, within.requirement, array, within.holds(array))


def as_dtype(op: str, argument: str, value: Any, *, floating: bool = False) -> np.dtype:
    """Converts what names a dtype of numbers; it becomes the 32-bit one of its kind unless x64 is enabled."""
    accepted = FLOATING if floating else "a dtype of numbers"
    try:
        dtype = None if value is None or is_sequence(value) else jax.dtypes.canonicalize_dtype(value)
    except (TypeError, ValueError):
        dtype = None
    fits = dtype is not None and (jnp.issubdtype(dtype, jnp.floating) if floating else is_real_number(dtype))
    if dtype is None or not fits:
        raise TypeError(f"{op}: `{argument}` must be {accepted}, got {describe(value)}")
    return dtype


def check_precision(op: str, precision: Any) -> None:
    """Raises unless ``precision`` is one that products of ``jax.lax`` take: None, a name or a pair of them."""
    for each in precision if isinstance(precision, tuple | list) and len(precision) == 2 else (precision,):
        if each is not None and not isinstance(each, lax.Precision | lax.DotAlgorithm | lax.DotAlgorithmPreset):
            _check_name_of_precision(op, each)


def _check_name_of_precision(op: str, name: Any) -> None:
    try:
        known = isinstance(name, str) and bool(lax.Precision(name))
    except ValueError:
        known = name in lax.DotAlgorithmPreset.__members__
    if not known:
        raise ValueError(
            f"{op}: `precision` must be None, a jax.lax.Precision or its name, such as 'highest', or a pair of these, "
            f"got {describe(name)}"
        )


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


def canonical_axes_or_all(op: str, argument: str, axes: Any, rank: int) -> tuple[int, ...]:
    """As ``canonical_axes``, and all axes for None."""
    return tuple(range(rank)) if axes is None else canonical_axes(op, argument, axes, rank)


def canonical_axis(op: str, argument: str, axis: Any, rank: int) -> int:
    """Resolves one axis, possibly negative."""
    return canonical_axes(op, argument, as_static_int(op, argument, axis), rank)[0]


def as_axis_names(axis_name: AxisNames) -> AxisNames:
    """The name of a mapped axis, or several in a tuple, which is hashable."""
    return tuple(axis_name) if isinstance(axis_name, list) else axis_name


def as_key(op: str, key: Any) -> jax.Array:
    """Checks a ``jax.random`` key, typed or raw."""
    accepted = "a jax.random key, such as jax.random.key(0)"
    if key is None:
        raise ValueError(f"{op}: `key` must be {accepted}, got None")
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"{op}: `key` must be {accepted}, got {describe(key)}")
    array = as_array(op, "key", key)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        if array.ndim != 0:
            raise ValueError(f"{op}: `key` must be a single jax.random key, got keys of shape {array.shape}")
    elif array.dtype != jnp.uint32 or array.shape != _raw_key_shape(default_implementation()):
        raise TypeError(f"{op}: `key` must be {accepted}, got {array.dtype} of shape {array.shape}")
    return array


def default_implementation() -> str:
    """The generator of ``jax.random`` in use, which a jitted function does not see change."""
    return jax.config.jax_default_prng_impl  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def _raw_key_shape(implementation: str) -> tuple[int, ...]:
    return jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation))).shape


def draw(op: str, argument: str, initializer: Callable[..., Any], key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """What an initializer draws, of which the user chose both: checked to be an array of that shape and dtype."""
    check_callable(op, argument, initializer, f"{argument}(key, shape, dtype)")
    try:
        array = initializer(key, tuple(shape), dtype)
    except TypeError as error:
        raise TypeError(f"{op}: `{argument}` must be callable as {argument}(key, shape, dtype), got {error}") from error
    if not isinstance(array, jax.Array | np.ndarray):
        raise TypeError(f"{op}: `{argument}` must return an array, got {type(array).__name__}")
    array = as_array(op, argument, array)
    check_shape(op, argument, array, shape, "what it was asked for")
    return array.astype(dtype)


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
