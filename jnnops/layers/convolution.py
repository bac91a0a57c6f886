"""The convolutional layer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_dtype,
    as_float_array,
    as_key,
    as_size,
    as_static_bool,
    as_static_ints,
    describe,
    draw,
    is_sequence,
    join_alternatives,
)
from jnnops._types import DataFormat, Initializer, Ints, Key, Padding
from jnnops._windows.geometry import WindowArguments, explicit_padding, resolve_ints
from jnnops._windows.layout import DATA_FORMATS, is_channels_last
from jnnops.activation import bias_add
from jnnops.convolution._bilinear import Sums
from jnnops.convolution.forward import convolve_as
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static


@layer
class Conv:
    """A convolution over one, two or three dimensions, with a bias.

    Attributes:
        kernel: ``[*window, in_channels // groups, features]``.
        bias: ``[features]``, or None.
        strides: One for each spatial dimension.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        dilations: One for each spatial dimension.
        data_format: As in :func:`jnnops.convolution`; channels last unless given.

    Example:
        >>> conv = nn.layers.Conv.init(3, 16, kernel_size=(3, 3), strides=2, key=jax.random.key(0))
        >>> conv(jnp.ones((1, 8, 8, 3))).shape
        (1, 4, 4, 16)

    References:
        ``tf.keras.layers.Conv1D``, ``Conv2D`` and ``Conv3D``, less the activation.
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    strides: tuple[int, ...] | int = static(default=1)
    padding: str | tuple[tuple[int, int], ...] = static(default="SAME")
    dilations: tuple[int, ...] | int = static(default=1)
    data_format: DataFormat = static(default=None)

    @classmethod
    def init(
        cls,
        in_channels: int,
        features: int,
        kernel_size: Sequence[int],
        *,
        strides: Ints = 1,
        padding: Padding = "SAME",
        dilations: Ints = 1,
        groups: int = 1,
        data_format: DataFormat = None,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "Conv":
        """Draws a new layer.

        Args:
            in_channels: Channels of the inputs.
            features: Channels of the outputs.
            kernel_size: Size of the window: one, two or three ints, which say how many dimensions there are.
            strides: Cells from one window to the next.
            padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
            dilations: Cells from one tap of the window to the next.
            groups: Into how many groups the channels are split; it divides ``in_channels`` and ``features``.
            data_format: As in :func:`jnnops.convolution`.
            use_bias: Whether to have a bias, which starts at 0.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns the kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The layer.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size, stride, dilation, padding or ``data_format`` does not fit.
        """
        op = "Conv.init"
        size = tuple(as_size(op, "kernel_size", each) for each in as_static_ints(op, "kernel_size", kernel_size))
        if not is_sequence(kernel_size) or len(size) not in DATA_FORMATS:
            raise ValueError(
                f"{op}: `kernel_size` must be a sequence of {join_alternatives(DATA_FORMATS)} ints, one for each "
                f"spatial dimension, got {describe(kernel_size)}"
            )
        in_channels, features = as_size(op, "in_channels", in_channels), as_size(op, "features", features)
        groups = as_size(op, "groups", groups)
        if in_channels % groups or features % groups:
            raise ValueError(
                f"{op}: `groups` must divide in_channels = {in_channels} and features = {features}, got {groups}"
            )
        rank, channels_last = len(size), is_channels_last(op, data_format, len(size))
        if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
            padding = explicit_padding(op, padding, rank, channels_last)
        shape, dtype = (*size, in_channels // groups, features), as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            kernel=draw(op, "kernel_init", kernel_init, as_key(op, key), shape, dtype),
            bias=jnp.zeros(features, dtype) if as_static_bool(op, "use_bias", use_bias) else None,
            strides=resolve_ints(op, "strides", strides, rank, channels_last),
            padding=padding,
            dilations=resolve_ints(op, "dilations", dilations, rank, channels_last),
            data_format=data_format,
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, in_channels]`` to ``[batch, *out_spatial, features]``, or with channels second."""
        arguments = WindowArguments("Conv", self.strides, self.padding, self.data_format, self.dilations)
        x = as_float_array("Conv", "x", x)
        y = convolve_as(arguments, self.kernel.ndim - 2, x, self.kernel, Sums(), input_name="x")
        if self.bias is None:
            return y
        channels_last = self.data_format is None or self.data_format.endswith("C")
        return bias_add(y, self.bias, "N...C" if channels_last else "NC...")
