"""Pooling as layers."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.typing import ArrayLike

from jnnops._check import as_static_ints, describe
from jnnops._types import DataFormat, Ints, Padding
from jnnops.layers._layer import layer, static
from jnnops.pooling import avg_pool, max_pool

Pool = TypeVar("Pool", "MaxPool", "AvgPool")


@layer
class MaxPool:
    """:func:`jnnops.max_pool` as a layer.

    Attributes:
        ksize: Size of the window: an int, or one for each spatial dimension.
        strides: Cells from one window to the next; ``ksize`` unless given, so that windows do not overlap.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        data_format: As in :func:`jnnops.max_pool`; channels last unless given.

    Example:
        >>> nn.layers.MaxPool(ksize=2)(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]

    References:
        ``tf.keras.layers.MaxPool1D``, ``MaxPool2D`` and ``MaxPool3D``.
    """

    ksize: int | tuple[int, ...] = static()
    strides: int | tuple[int, ...] | None = static(default=None)
    padding: str | tuple[tuple[int, ...], ...] = static(default="VALID")
    data_format: DataFormat = static(default=None)

    @classmethod
    def init(
        cls, ksize: Ints, strides: Ints | None = None, padding: Padding = "VALID", data_format: DataFormat = None
    ) -> "MaxPool":
        """Takes lists too, and returns the layer with tuples; the arguments are the attributes."""
        return _init_pool(cls, ksize, strides, padding, data_format)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, channels]`` to ``[batch, *out_spatial, channels]``, or with channels second."""
        return _pool(max_pool, self, x)


@layer
class AvgPool:
    """:func:`jnnops.avg_pool` as a layer.

    Attributes:
        ksize: Size of the window: an int, or one for each spatial dimension.
        strides: Cells from one window to the next; ``ksize`` unless given, so that windows do not overlap.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension; padding does not count.
        data_format: As in :func:`jnnops.avg_pool`; channels last unless given.

    Example:
        >>> nn.layers.AvgPool(ksize=2)(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [2.5, 4.5, 10.5, 12.5]

    References:
        ``tf.keras.layers.AveragePooling1D``, ``AveragePooling2D`` and ``AveragePooling3D``.
    """

    ksize: int | tuple[int, ...] = static()
    strides: int | tuple[int, ...] | None = static(default=None)
    padding: str | tuple[tuple[int, ...], ...] = static(default="VALID")
    data_format: DataFormat = static(default=None)

    @classmethod
    def init(
        cls, ksize: Ints, strides: Ints | None = None, padding: Padding = "VALID", data_format: DataFormat = None
    ) -> "AvgPool":
        """Takes lists too, and returns the layer with tuples; the arguments are the attributes."""
        return _init_pool(cls, ksize, strides, padding, data_format)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, channels]`` to ``[batch, *out_spatial, channels]``, or with channels second."""
        return _pool(avg_pool, self, x)


def _init_pool(cls: type[Pool], ksize: Ints, strides: Ints | None, padding: Padding, data_format: DataFormat) -> Pool:
    op = f"{cls.__name__}.init"
    if not isinstance(padding, str):
        if not hasattr(padding, "__len__"):
            raise ValueError(f"{op}: `padding` must be 'SAME', 'VALID' or pairs of ints, got {describe(padding)}")
        padding = tuple(as_static_ints(op, "padding", pair) for pair in padding)
    return cls(
        ksize=as_static_ints(op, "ksize", ksize, minimum=1),
        strides=None if strides is None else as_static_ints(op, "strides", strides, minimum=1),
        padding=padding,
        data_format=data_format,
    )


def _pool(op: Callable[..., jax.Array], layer: MaxPool | AvgPool, x: ArrayLike) -> jax.Array:
    strides = layer.ksize if layer.strides is None else layer.strides
    return op(x, layer.ksize, strides, layer.padding, layer.data_format)
