"""What the generic tests need to know of an op: one ``Case`` for each way of calling it that matters."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Bad:
    """An argument that must be refused: what to change in a good call, and what the message must say."""

    match: str
    error: type[Exception] = ValueError
    change: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def bad(match: str, error: type[Exception] = ValueError, /, **change: Any) -> Bad:
    """A ``Bad`` with the changed arguments as keywords."""
    return Bad(match, error, change)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One call of an op.

    Attributes:
        op: The public function.
        arrays: The array arguments by name; they may be traced. Floating ones are given in float64.
        static: All other arguments.
        label: Tells the cases of one op apart.
        oracle: ``oracle(tf, **arrays)`` computes the same with TensorFlow; None where it has no such op, and
            then the op has a reference test of its own.
        oracle_dtype: What TensorFlow computes in; float32 where it has no float64 kernel.
        oracle_gradient: Whether TensorFlow's gradient is right too.
        differentiable: The arguments to differentiate by; all floating ones unless given.
        order: The highest order of derivative that exists.
        gradient_survives_rounding: Whether 16-bit gradients are near float64's. They are not where rounding makes
            equal, or exchanges, the sums of which the largest gets all of the gradient.
        batched: The arguments whose first axis is a batch of independent examples, also that of every result.
        batch_axis: The axis of that batch.
        independent: Whether each example's results depend on that example alone, which noise does not.
        dtypes: The floating dtypes the op takes; results have the same.
        result_dtypes: The dtypes of the results where they are not that of the input.
        ulps: Rounding errors allowed in the 16-bit results, in units of the largest result's last place.
        tolerance: Relative error allowed against the oracle, where the dtype's own is too strict.
        bad: The calls that must be refused.
    """

    op: Callable[..., Any]
    arrays: Arrays
    static: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    label: str = ""
    oracle: Callable[..., Any] | None = None
    oracle_dtype: str = "float64"
    oracle_gradient: bool = True
    differentiable: Sequence[str] | None = None
    order: int = 2
    gradient_survives_rounding: bool = True
    batched: Sequence[str] = ()
    batch_axis: int = 0
    independent: bool = True
    dtypes: Sequence[str] = ("float16", "bfloat16", "float32", "float64")
    result_dtypes: Sequence[str] | None = None
    ulps: float = 2.0
    tolerance: float | None = None
    bad: Sequence[Bad] = ()

    @property
    def id(self) -> str:
        return self.op.__name__ + (f"-{self.label}" if self.label else "")

    @property
    def float_names(self) -> tuple[str, ...]:
        return tuple(name for name, array in self.arrays.items() if np.issubdtype(array.dtype, np.floating))

    @property
    def gradient_names(self) -> tuple[str, ...]:
        return self.float_names if self.differentiable is None else tuple(self.differentiable)

    def cast(self, dtype: Any) -> dict[str, jax.Array]:
        """The array arguments with the floating ones in ``dtype``."""
        return {
            name: jnp.asarray(array, dtype if name in self.float_names else None) for name, array in self.arrays.items()
        }

    def __call__(self, **arrays: Any) -> Any:
        """Calls the op."""
        return self.op(**arrays, **self.static)

    def floats(self, **arrays: Any) -> list[jax.Array]:
        """The floating results only, which can be differentiated."""
        return [leaf for leaf in jax.tree.leaves(self(**arrays)) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def weighted_sum(self, **arrays: Any) -> jax.Array:
        """A scalar whose gradient sends a different cotangent to every result."""
        leaves = self.floats(**arrays)
        wide = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
        return sum(
            (jnp.sum(leaf.astype(wide) * jnp.asarray(cotangent(leaf.shape), wide)) for leaf in leaves),
            jnp.zeros((), wide),
        )

    def gradient(self, arrays: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, jax.Array]:
        """The gradient of the weighted sum by the arguments of these names, or by all that there are."""
        chosen = {name: arrays[name] for name in (self.gradient_names if names is None else names)}
        return jax.grad(lambda chosen: self.weighted_sum(**{**arrays, **chosen}))(chosen)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed weights, different for every element."""
    return np.random.default_rng(7).uniform(0.5, 1.5, shape)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float64 numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform int32 numbers in ``[low, high)``."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)
