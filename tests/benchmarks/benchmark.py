"""What the machinery needs to know to time an op: one ``Benchmark`` for each size that matters."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np


def as_given(*arrays: Any) -> Sequence[Any]:
    """Leaves arrays in the layout of this library."""
    return arrays


@dataclasses.dataclass(frozen=True)
class Peer:
    """How TensorFlow or PyTorch computes the same.

    Attributes:
        call: ``call(module, *arrays, *constants)``, where the module is ``tf`` or ``torch``.
        pack: Brings the arrays into the layout that ``call`` takes, which need not have as many; outside the time
            taken. Linear and in ``jax.numpy``, since its transpose brings the gradients back.
        unpack: Brings the results of ``call`` into this library's layout; likewise.
    """

    call: Callable[..., Any]
    pack: Callable[..., Sequence[Any]] = as_given
    unpack: Callable[..., Sequence[Any]] = as_given


@dataclasses.dataclass(frozen=True, repr=False)
class Benchmark:
    """One op at one size.

    Attributes:
        op: The name of the public function.
        label: Tells the sizes of one op apart.
        arrays: The float32 arguments to differentiate by; none for an op without a gradient.
        constants: All other array arguments.
        ours: ``ours(*arrays, *constants)``.
        plain: The same in the obvious lax or ``jax.nn`` form.
        tensorflow: The same in TensorFlow.
        torch: The same in PyTorch.
        differs: The implementations whose numbers are not ours, because they are drawn or defined otherwise; of
            these only the shapes of the values are compared.
        tolerance: The difference to ours that rounding explains, relative to the largest number of the result.
        shared: The arguments that all micro-batches of the scan have in common, such as weights.
    """

    op: str
    label: str
    ours: Callable[..., Any]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    plain: Callable[..., Any] | None = None
    tensorflow: Peer | None = None
    torch: Peer | None = None
    differs: Collection[str] = ()
    tolerance: float = 1e-4
    shared: Collection[str] = ()

    @property
    def id(self) -> str:
        return f"{self.op}-{self.label}"

    def __repr__(self) -> str:
        return self.id


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers."""
    return scale * np.random.default_rng(seed).standard_normal(shape, np.float32)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform int32 numbers in ``[low, high)``."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)


def is_floating(array: Any) -> bool:
    """Whether an array can be differentiated."""
    return np.issubdtype(array.dtype, np.floating)
