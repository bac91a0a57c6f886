"""Named types of arguments."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import jax
from jax import lax
from jax.typing import ArrayLike

# One for all spatial dimensions, one for each of them, or one for each dimension of the input.
Ints: TypeAlias = int | Sequence[int]
# "SAME", "VALID" or pairs (before, after).
Padding: TypeAlias = str | Sequence[Sequence[int]]
# Which dimension the channels are, such as "NHWC" or "NCHW"; None for channels last.
DataFormat: TypeAlias = str | None
# How precisely to multiply, as `jax.lax` takes it.
Precision: TypeAlias = lax.PrecisionLike
# One axis, several, or None for all of them.
Axes: TypeAlias = int | Sequence[int] | None
# The name of a mapped axis of `shard_map` or `vmap`, several, or None for none.
AxisNames: TypeAlias = Hashable | Sequence[Hashable] | None
# A `jax.random` key, typed or raw.
Key: TypeAlias = jax.Array
# The shape of random decisions, with None for the sizes of what they are about; None for all of its shape.
NoiseShape: TypeAlias = Sequence[int | None] | None
# A table of rows, or the list of its shards.
Table: TypeAlias = ArrayLike | Sequence[ArrayLike]
# A function of one array, to be applied to each element.
Activation: TypeAlias = Callable[[jax.Array], jax.Array]
# `initializer(key, shape, dtype)` draws an array, as those of `jax.nn.initializers` do.
Initializer: TypeAlias = Callable[..., jax.Array]
# A pytree of arrays; what else is known of its structure Python's types cannot say.
Tree: TypeAlias = Any
