"""Pooling as layers."""

import itertools
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.typing import ArrayLike

from jnnops._check import as_float_array, as_number_array, as_size, as_static_ints, check_choice, is_sequence
from jnnops._types import DataFormat, Ints, Padding
from jnnops._windows.geometry import WindowArguments, explicit_padding
from jnnops._windows.layout import DATA_FORMATS
from jnnops.layers._layer import layer, static
from jnnops.pooling._arguments import POOLED_RANKS
from jnnops.pooling.average import average
from jnnops.pooling.maximum import maximum

Pool = TypeVar("Pool", "MaxPool", "AvgPool")


@layer
class MaxPool:
    """:func:`jnnops.max_pool` as a layer.

    Attributes:
        kernel_size: Size of the window: an int, or one for each spatial dimension.
        strides: Cells from one window to the next; ``kernel_size`` unless given, so that windows do not overlap.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        data_format: As in :func:`jnnops.max_pool`; channels last unless given.
        dilations: Cells from one cell of a window to the next.

    Example:
        >>> nn.layers.MaxPool(kernel_size=2)(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]

    References:
        ``tf.keras.layers.MaxPool1D``, ``MaxPool2D`` and ``MaxPool3D``, whose padding is ``"valid"`` unless given.
    """

    kernel_size: int | tuple[int, ...] = static()
    strides: int | tuple[int, ...] | None = static(default=None)
    padding: str | tuple[tuple[int, ...], ...] = static(default="SAME")
    data_format: DataFormat = static(default=None)
    dilations: int | tuple[int, ...] = static(default=1)

    @classmethod
    def init(
        cls,
        kernel_size: Ints,
        *,
        strides: Ints | None = None,
        padding: Padding = "SAME",
        data_format: DataFormat = None,
        dilations: Ints = 1,
    ) -> "MaxPool":
        """Takes lists too, and returns the layer with tuples; the arguments are the attributes."""
        return _init_pool(cls, kernel_size, strides, padding, data_format, dilations)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, channels]`` to ``[batch, *out_spatial, channels]``, or with channels second."""
        return _pool(maximum, self, as_number_array("MaxPool", "x", x, rank=POOLED_RANKS))


@layer
class AvgPool:
    """:func:`jnnops.avg_pool` as a layer.

    Attributes:
        kernel_size: Size of the window: an int, or one for each spatial dimension.
        strides: Cells from one window to the next; ``kernel_size`` unless given, so that windows do not overlap.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension; padding does not count.
        data_format: As in :func:`jnnops.avg_pool`; channels last unless given.
        dilations: Cells from one cell of a window to the next.

    Example:
        >>> nn.layers.AvgPool(kernel_size=2)(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [2.5, 4.5, 10.5, 12.5]

    References:
        ``tf.keras.layers.AveragePooling1D``, ``AveragePooling2D`` and ``AveragePooling3D``, whose padding is
        ``"valid"`` unless given.
    """

    kernel_size: int | tuple[int, ...] = static()
    strides: int | tuple[int, ...] | None = static(default=None)
    padding: str | tuple[tuple[int, ...], ...] = static(default="SAME")
    data_format: DataFormat = static(default=None)
    dilations: int | tuple[int, ...] = static(default=1)

    @classmethod
    def init(
        cls,
        kernel_size: Ints,
        *,
        strides: Ints | None = None,
        padding: Padding = "SAME",
        data_format: DataFormat = None,
        dilations: Ints = 1,
    ) -> "AvgPool":
        """Takes lists too, and returns the layer with tuples; the arguments are the attributes."""
        return _init_pool(cls, kernel_size, strides, padding, data_format, dilations)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, channels]`` to ``[batch, *out_spatial, channels]``, or with channels second."""
        return _pool(average, self, as_float_array("AvgPool", "x", x, rank=POOLED_RANKS))


def _init_pool(
    cls: type[Pool],
    kernel_size: Ints,
    strides: Ints | None,
    padding: Padding,
    data_format: DataFormat,
    dilations: Ints,
) -> Pool:
    op = f"{cls.__name__}.init"
    return cls(
        kernel_size=_sizes(op, "kernel_size", kernel_size),
        strides=None if strides is None else _sizes(op, "strides", strides),
        padding=_padding(op, padding),
        data_format=_data_format(op, data_format),
        dilations=_sizes(op, "dilations", dilations),
    )


def _sizes(op: str, argument: str, value: Ints) -> tuple[int, ...]:
    """Ints for as many dimensions as an input of the layer may have."""
    sizes = tuple(as_size(op, argument, size) for size in as_static_ints(op, argument, value))
    if not 0 < len(sizes) <= max(DATA_FORMATS) + 2:
        raise ValueError(f"{op}: `{argument}` must be an int or one for each dimension of the input, got {sizes}")
    return sizes


def _padding(op: str, padding: Padding) -> str | tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f"{op}: `padding` must be 'SAME', 'VALID' or pairs of ints, got {padding!r}")
        return padding
    # The rank of the input is known from the first call on; pairs may be there for two dimensions more.
    rank = min(len(padding), max(DATA_FORMATS)) if is_sequence(padding) else 1
    return explicit_padding(op, padding, max(rank, 1), channels_last=True)


def _data_format(op: str, data_format: DataFormat) -> DataFormat:
    if data_format is not None:
        check_choice(op, "data_format", data_format, tuple(itertools.chain(*DATA_FORMATS.values())))
    return data_format


def _pool(pool: Callable[..., jax.Array], layer: MaxPool | AvgPool, x: jax.Array) -> jax.Array:
    strides = layer.kernel_size if layer.strides is None else layer.strides
    arguments = WindowArguments(
        type(layer).__name__,
        strides,
        layer.padding,
        layer.data_format,
        layer.dilations,
        strides_argument="kernel_size" if layer.strides is None else "strides",
        size_argument="kernel_size",
    )
    return pool(arguments, x, layer.kernel_size, POOLED_RANKS)
