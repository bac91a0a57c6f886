"""The fully connected layer."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    accumulation_dtype,
    as_dtype,
    as_float_arrays,
    as_key,
    as_number_array,
    as_size,
    as_static_bool,
    at_least,
    check_rank,
    draw,
)
from jnnops._types import Initializer, Key
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static


@layer
class Dense:
    """A fully connected layer, ``x @ kernel + bias``.

    16-bit products are summed in float32.

    Attributes:
        kernel: ``[in_features, features]``.
        bias: ``[features]``, or None.
        compute_dtype: The dtype to compute in and to return; None for what ``x`` and the arrays promote to.

    Example:
        >>> dense = nn.layers.Dense.init(4, 3, key=jax.random.key(0))
        >>> dense(jnp.ones((2, 4))).shape
        (2, 3)

    References:
        ``tf.keras.layers.Dense``, less the activation.
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_features: int,
        features: int,
        *,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "Dense":
        """Draws a new layer.

        Args:
            in_features: Width of the inputs.
            features: Width of the outputs.
            use_bias: Whether to have a bias, which starts at 0.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            compute_dtype: To compute in and to return; None for what ``x`` and the arrays promote to.
            key: A ``jax.random`` key.

        Returns:
            The layer.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size is below 1.
        """
        op = "Dense.init"
        shape = as_size(op, "in_features", in_features), as_size(op, "features", features)
        dtype, use_bias = as_dtype(op, "dtype", dtype, floating=True), as_static_bool(op, "use_bias", use_bias)
        kernel = draw(op, "kernel_init", kernel_init, as_key(op, key), shape, dtype)
        bias = jnp.zeros(shape[1:], dtype) if use_bias else None
        return cls(kernel=kernel, bias=bias, compute_dtype=as_compute_dtype(op, compute_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[..., in_features]`` to ``[..., features]``."""
        x, kernel, bias = cast((as_number_array("Dense", "x", x), self.kernel, self.bias), self.compute_dtype)
        x, kernel, *biases = as_float_arrays("Dense", x=x, kernel=kernel, **({} if bias is None else {"bias": bias}))
        check_rank("Dense", "x", x, at_least(1))
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(f"Dense: `x` must have {kernel.shape[0]} features on its last axis, got shape {x.shape}")
        return _dense(x, kernel, *biases)


@jax.jit
def _dense(x: jax.Array, kernel: jax.Array, *biases: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    y = jnp.matmul(x, kernel, preferred_element_type=wide)
    for bias in biases:
        y += jnp.broadcast_to(bias.astype(wide), y.shape)
    return y.astype(x.dtype)
