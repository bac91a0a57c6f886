"""What the generic tests need to know of an op: one ``Case`` for each way of calling it that matters."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from machinery.numbers import few_values

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


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed weights between 0.5 and 1.5, multiples of 1/64, which all dtypes hold exactly."""
    return np.random.default_rng(7).integers(32, 97, shape) / 64.0


def large_cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed weights between 96 and 104, multiples of 1/2, which all dtypes hold exactly.

    An op that does not change when a constant is added to its argument has a gradient in which the mean of the weights
    cancels, and so do two parts of it: what rounds each of them first shows.
    """
    return 96 + np.random.default_rng(7).integers(0, 17, shape) / 2.0


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
        straight_through: Whether derivatives are those of another function by design, not limits of differences.
        batched: The arguments whose first axis is a batch of independent examples, also that of every result.
        batch_axis: The axis of that batch.
        independent: Whether each example's results depend on that example alone, which noise does not.
        dtypes: The floating dtypes the op takes; results have the same.
        result_dtypes: The dtypes of the results where they are not that of the input.
        ulps: Rounding errors allowed in the 16-bit results, in units of the largest result's last place.
        tolerance: Relative error allowed against the oracle, where the dtype's own is too strict.
        ties: Whether TensorFlow's gradient is ours at ties and kinks too.
        gradient_ulps: Rounding errors allowed in the 16-bit gradients, in units of the largest gradient's last place.
        rounding_chooses: Whether the rounding of sums decides which cell wins, so that 16 bits are compared with
            float64 at few values, whose sums all dtypes hold.
        lists: Whether lists are taken like arrays: those of integers are of 32 bits.
        bad: The calls that must be refused.
        weights: What the results are multiplied by for a scalar to differentiate, by their shape.
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
    straight_through: bool = False
    batched: Sequence[str] = ()
    batch_axis: int = 0
    independent: bool = True
    dtypes: Sequence[str] = ("float16", "bfloat16", "float32", "float64")
    result_dtypes: Sequence[str] | None = None
    ulps: float = 2.0
    tolerance: float | None = None
    ties: bool = True
    gradient_ulps: float = 1.5
    rounding_chooses: bool = False
    lists: bool = True
    bad: Sequence[Bad] = ()
    weights: Callable[[tuple[int, ...]], np.ndarray] = cotangent

    @property
    def id(self) -> str:
        return self.op.__name__ + (f"-{self.label}" if self.label else "")

    @property
    def float_names(self) -> tuple[str, ...]:
        return tuple(name for name, array in self.arrays.items() if np.issubdtype(array.dtype, np.floating))

    @property
    def gradient_names(self) -> tuple[str, ...]:
        return self.float_names if self.differentiable is None else tuple(self.differentiable)

    @property
    def is_differentiable(self) -> bool:
        return bool(self.order and self.gradient_names)

    @property
    def first_dtype(self) -> Any:
        return jnp.float32 if "float32" in self.dtypes else jnp.dtype(self.dtypes[0])

    def cast(self, dtype: Any) -> dict[str, jax.Array]:
        """The array arguments with the floating ones in ``dtype``."""
        return {
            name: jnp.asarray(array, dtype if name in self.float_names else None) for name, array in self.arrays.items()
        }

    def at_ties(self) -> "Case":
        """The same call of arrays with few values, zeros among them."""
        few = {name: few_values(array) if name in self.float_names else array for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=few)

    def at_zeros(self) -> "Case":
        """The same call of zeros, but for arrays that are positive throughout."""
        zeros = {
            name: np.zeros_like(array) if name in self.float_names and not np.all(array > 0) else array
            for name, array in self.arrays.items()
        }
        return dataclasses.replace(self, arrays=zeros)

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
            (jnp.sum(leaf.astype(wide) * jnp.asarray(self.weights(leaf.shape), wide)) for leaf in leaves),
            jnp.zeros((), wide),
        )

    def gradient(self, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The gradient of the weighted sum of the results."""
        chosen, rest = self.split(arrays)
        return jax.grad(lambda chosen: self.weighted_sum(**rest, **chosen))(chosen)

    def values_and_gradient(self, arrays: Mapping[str, Any]) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        """The results, flat, and the gradient, which is empty if there is none."""
        return jax.tree.leaves(self(**arrays)), self.gradient(arrays) if self.is_differentiable else {}

    def split(self, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments to differentiate by, and the others."""
        chosen = {name: arrays[name] for name in self.gradient_names}
        return chosen, {name: array for name, array in arrays.items() if name not in chosen}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float64 numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform int32 numbers in ``[low, high)``."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)
