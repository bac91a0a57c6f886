"""Dropout as a layer."""

import jax
from jax.typing import ArrayLike

from jnnops._check import as_float_array
from jnnops._types import Key, NoiseShape
from jnnops.activation import dropout
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
        if not isinstance(rate, float | int) or not 0 <= rate < 1:
            raise ValueError(f"Dropout.init: `rate` must be a number in [0, 1), got {rate!r}")
        return cls(rate=float(rate), noise_shape=None if noise_shape is None else tuple(noise_shape))

    def __call__(self, x: ArrayLike, *, training: bool = False, key: Key | None = None) -> jax.Array:
        """Drops elements of ``x`` if ``training``, which needs a ``key``; otherwise returns ``x``."""
        x = as_float_array("Dropout", "x", x)
        if not training:
            return x
        if key is None:
            raise ValueError("Dropout: `key` must be a jax.random key when training, got None")
        return dropout(x, self.rate, self.noise_shape, key=key)
