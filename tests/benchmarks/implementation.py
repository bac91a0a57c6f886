"""What is timed: a pass of one side of a ``Benchmark``, compiled, on arrays that are already in place.

The forward pass gives the values. The gradient pass gives the values, and pulls a random cotangent of every
floating one back to the ``arrays``. (The gradient of a plain sum would not do: with a cotangent of ones compilers
remove work that training has.)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.benchmark import Benchmark, is_floating, normal

Pass = Literal["forward", "gradient"]


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One side of a benchmark.

    Attributes:
        name: ``ours``, ``plain``, ``tensorflow`` or ``torch``; ``loop`` or ``scan``.
        run: Computes once, to the end.
        results: Brings what ``run`` returns into this library's layout: values, then gradients.
        compile_seconds: The time JAX took to trace and compile it.
    """

    name: str
    run: Callable[[], Any]
    results: Callable[[Any], list[np.ndarray]]
    compile_seconds: float | None = None


def cotangents(benchmark: Benchmark) -> list[np.ndarray]:
    """A random cotangent for every floating value."""
    values = jax.eval_shape(benchmark.ours, *benchmark.arrays.values(), *benchmark.constants.values())
    shapes = [value.shape for value in jax.tree.leaves(values) if is_floating(value)]
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes, 1)]
