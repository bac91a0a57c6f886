"""The contract of numerics: the inputs and the exact results of every elementwise op and every reduction.

The tests hold the library to it (``properties/test_numerics.py``), and ``docs/numerics.py`` writes its table. A new op
is one more ``Numeric`` in ``numerics_of_ops.py``. The exact results come from NumPy and SciPy in float64, of the inputs
as the dtype holds them, never from this library.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, np.ndarray]
Function = Callable[..., Any]

DTYPES = ("float32", "bfloat16", "float16")
REDUCTION = 1e-6  # of the scale of a float32 sum


@dataclasses.dataclass(frozen=True, eq=False)
class Numeric:
    """A call of an op, and what is exact.

    Attributes:
        op: The public function.
        arrays: The array arguments by name, in float64.
        exact: ``exact(**arrays)``, the results in float64, an array or a tuple of some.
        static: All other arguments.
        label: Tells the calls of one op apart.
        terms: ``terms(**arrays)``, for each result the magnitude of the largest number that is added to make it, of
            which an error is a fraction. None for an elementwise op that adds nothing of opposite signs, where it is a
            fraction of the result itself.
        is_reduction: Whether the result is a sum, or is divided by one.
        slopes: For an elementwise op, by the name of an argument the first and the second derivative by it.
        slope_terms: As ``terms``, for the derivatives.
        ulps: The units in the last place that the float32 results of an elementwise op may be off by.
        jax: ``jax(**arrays)``, the same of ``jax.nn`` or optax, and ``tf(tf, **arrays)`` of TensorFlow.
        dtypes: Those that hold the inputs.
    """

    op: Function
    arrays: Arrays
    exact: Function
    static: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    label: str = ""
    terms: Function | None = None
    is_reduction: bool = False
    slopes: Mapping[str, tuple[Function, Function]] = dataclasses.field(default_factory=dict)
    slope_terms: Function | None = None
    ulps: float = 4.0
    jax: Function | None = None
    tf: Function | None = None
    dtypes: Sequence[str] = DTYPES

    @property
    def id(self) -> str:
        return self.op.__name__ + (f"-{self.label}" if self.label else "")

    def given(self, dtype: str) -> Arrays:
        """The arguments in a dtype."""
        with np.errstate(over="ignore"):
            return {
                name: array.astype(jnp.dtype(dtype)) if np.issubdtype(array.dtype, np.floating) else array
                for name, array in self.arrays.items()
            }

    def __call__(self, **arrays: Any) -> Any:
        """Calls the op."""
        return self.op(**arrays, **self.static)

    def exact_of(self, given: Arrays) -> list[np.ndarray]:
        """The exact results of arguments of any dtype."""
        return self._in_float64(self.exact, given)

    def terms_of(self, given: Arrays) -> list[np.ndarray]:
        """For each result what an error is a fraction of."""
        exact = self.exact_of(given)
        terms = exact if self.terms is None else self._in_float64(self.terms, given)
        return [np.broadcast_to(np.maximum(np.abs(t), np.abs(e)), e.shape) for e, t in zip(exact, terms, strict=True)]

    def errors(self, results: Any, given: Arrays) -> list[np.ndarray]:
        """By how many units in the last place each number of the results is off."""
        leaves = jax.tree.leaves(results)
        pairs = zip(leaves, self.exact_of(given), self.terms_of(given), strict=True)
        return [distance(leaf, exact) / unit(terms, str(leaf.dtype)) for leaf, exact, terms in pairs]

    def bars(self, results: Any, given: Arrays) -> list[np.ndarray]:
        """How far from the exact results each number may be."""
        bars = []
        for leaf, exact, terms in zip(
            jax.tree.leaves(results), self.exact_of(given), self.terms_of(given), strict=True
        ):
            finite = np.where(np.isfinite(terms), terms, 0)
            bar = REDUCTION * finite if self.is_reduction else self.ulps * unit(terms, "float32")
            bars.append(bar if leaf.dtype.itemsize > 2 else bar + unit(exact, str(leaf.dtype)) / 2)
        return bars

    @staticmethod
    def _in_float64(f: Function, given: Arrays) -> list[np.ndarray]:
        wide = {
            name: array if np.issubdtype(array.dtype, np.integer) else array.astype(np.float64)
            for name, array in given.items()
        }
        with np.errstate(all="ignore"):
            found = f(**wide)
        return [np.asarray(each, np.float64) for each in (found if isinstance(found, tuple) else (found,))]


def unit(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """The distance from a number of a dtype to the next; of the least normal number for those below it."""
    if jnp.issubdtype(jnp.dtype(dtype), jnp.integer):
        return np.ones(numbers.shape)
    info = jnp.finfo(dtype)
    finite = np.where(np.isfinite(numbers), np.abs(numbers), 1)
    exponent = np.frexp(np.clip(finite, float(info.smallest_normal), float(info.max)))[1] - 1
    return np.ldexp(1.0, exponent - info.nmant)


def distance(result: Any, exact: np.ndarray) -> np.ndarray:
    """How far a result is from the exact one; infinitely if only one of them is infinite, or no number.

    What is below the least normal number of a dtype with the exponents of float32 may be 0: XLA makes that of it.
    """
    found = np.asarray(result).astype(np.float64)
    if jnp.issubdtype(result.dtype, jnp.integer):
        return np.where(found == exact, 0, np.inf)
    info = jnp.finfo(result.dtype)
    # What rounds to more than the largest number is infinite.
    limit = float(info.max) * (1 + 2.0 ** -(info.nmant + 2))
    exact = np.where(np.abs(exact) >= limit, np.copysign(np.inf, exact), exact)
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - exact)
    tiny = float(jnp.finfo(jnp.float32).smallest_normal)
    agrees = (found == exact) | (np.isnan(found) & np.isnan(exact)) | ((np.abs(exact) < tiny) & (apart <= tiny))
    return np.where(agrees, 0, np.where(np.isfinite(apart), apart, np.inf))
