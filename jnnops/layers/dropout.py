"""Dropout as a layer."""

import functools

import jax
from jax.typing import ArrayLike

from jnnops._check import (
    PROBABILITY_BELOW_1,
    as_float_array,
    as_key,
    as_static_bool,
    as_static_float,
    as_static_int,
    describe,
    is_sequence,
)
from jnnops._types import Key, NoiseShape
from jnnops.activation.dropout import drop
from jnnops.layers._layer import layer, static


@layer
class Dropout:
    """:func:`jnnops.dropout` as a layer: the identity unless training.

    Attributes:
        rate: The probability of dropping an element, in [0, 1).
        noise_shape: The shape of the random decisions, with None for the sizes of the input; None for all of them.

    Example:
        >>> drop = nn.layers.Dropout(rate=0.5)
        >>> drop(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]
        >>> sorted(set(drop(jnp.ones(100), training=True, key=jax.random.key(0)).tolist()))
        [0.0, 2.0]

    References:
        ``tf.keras.layers.Dropout``.
    """

    rate: float = static()
    noise_shape: tuple[int | None, ...] | None = static(default=None)

    @classmethod
    def init(cls, rate: float, noise_shape: NoiseShape = None) -> "Dropout":
        """Takes lists too, and checks that ``rate`` is in [0, 1); the arguments are the attributes."""
        op = "Dropout.init"
        rate = as_static_float(op, "rate", rate, PROBABILITY_BELOW_1)
        if noise_shape is not None:
            if not is_sequence(noise_shape):
                raise TypeError(f"{op}: `noise_shape` must be a sequence of ints, got {describe(noise_shape)}")
            noise_shape = tuple(
                None if size is None else as_static_int(op, "noise_shape", size, minimum=0) for size in noise_shape
            )
        return cls(rate=rate, noise_shape=noise_shape)

    def __call__(self, x: ArrayLike, *, training: bool = False, key: Key | None = None) -> jax.Array:
        """Drops elements of ``x`` if ``training``, which needs a ``key``; otherwise returns ``x``."""
        x = as_float_array("Dropout", "x", x)
        if not as_static_bool("Dropout", "training", training):
            return x
        if key is None:
            raise ValueError("Dropout: `key` must be a jax.random key when training, got None")
        sampler = functools.partial(jax.random.uniform, as_key("Dropout", key))
        return drop("Dropout", x, self.rate, sampler, self.noise_shape)
