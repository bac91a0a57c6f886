"""The layers that convolve each channel by itself: depthwise and separable."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_dtype, as_float_arrays, as_key, as_size, check_shape, draw
from jnnops._types import DataFormat, Initializer, Ints, Key, Padding
from jnnops.convolution._bilinear import Sums
from jnnops.convolution.depthwise import convolve_channels, mix_channels
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers._windows import add_bias, arguments_of, as_images, draw_kernel_and_bias, window_settings


@layer
class DepthwiseConv:
    """A convolution of each channel with filters of its own, over one, two or three dimensions, with a bias.

    Output ``c * multiplier + m`` is channel ``c`` convolved with ``kernel[..., c, m]``.

    Attributes:
        kernel: ``[*window, in_channels, multiplier]``.
        bias: ``[in_channels * multiplier]``, or None.
        strides: One for each spatial dimension.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        data_format: As in :func:`jnnops.convolution`; channels last unless given.
        dilations: One for each spatial dimension.
        compute_dtype: The dtype to compute in and to return; None for what ``x`` and the arrays promote to.

    Example:
        >>> conv = nn.layers.DepthwiseConv.init(8, (3, 3), multiplier=2, strides=2, key=jax.random.key(0))
        >>> conv(jnp.ones((1, 16, 16, 8))).shape
        (1, 8, 8, 16)

    References:
        ``tf.keras.layers.DepthwiseConv1D`` and ``DepthwiseConv2D``, less the activation; ``multiplier`` is their
        ``depth_multiplier``.
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    strides: tuple[int, ...] | int = static(default=1)
    padding: str | tuple[tuple[int, int], ...] = static(default="SAME")
    data_format: DataFormat = static(default=None)
    dilations: tuple[int, ...] | int = static(default=1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_channels: int,
        kernel_size: Sequence[int],
        *,
        multiplier: int = 1,
        strides: Ints = 1,
        padding: Padding = "SAME",
        data_format: DataFormat = None,
        dilations: Ints = 1,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "DepthwiseConv":
        """Draws a new layer.

        Args:
            in_channels: Channels of the inputs.
            kernel_size: Size of the window: one, two or three ints, which say how many dimensions there are.
            multiplier: How many filters each channel has.
            strides: Cells from one window to the next.
            padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
            data_format: As in :func:`jnnops.convolution`.
            dilations: Cells from one tap of the window to the next.
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
            ValueError: If a size, stride, dilation, padding or ``data_format`` does not fit.
        """
        op = "DepthwiseConv.init"
        size, settings = window_settings(op, kernel_size, strides, padding, data_format, dilations)
        channels, multiplier = as_size(op, "in_channels", in_channels), as_size(op, "multiplier", multiplier)
        shape = (*size, channels, multiplier)
        arrays = draw_kernel_and_bias(op, kernel_init, shape, channels * multiplier, use_bias, dtype, key)
        return cls(**arrays, **settings, compute_dtype=as_compute_dtype(op, compute_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, in_channels]`` to ``[batch, *out_spatial, in_channels * multiplier]``."""
        arguments, rank = arguments_of(self), self.kernel.ndim - 2
        x = as_images(arguments, x, rank, self.kernel.shape[-2])
        x, kernel, bias = cast((x, self.kernel, self.bias), self.compute_dtype)
        x, kernel = as_float_arrays(arguments.op, x=x, kernel=kernel)
        return add_bias(arguments, convolve_channels(arguments, x, kernel, Sums()), bias, rank)


@layer
class SeparableConv:
    """A convolution of each channel by itself, then a mixture of the channels cell by cell, with a bias.

    Attributes:
        depthwise_kernel: ``[*window, in_channels, multiplier]``, as in :class:`DepthwiseConv`.
        pointwise_kernel: ``[1, ..., 1, in_channels * multiplier, features]``.
        bias: ``[features]``, or None.
        strides: One for each spatial dimension.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        data_format: As in :func:`jnnops.convolution`; channels last unless given.
        dilations: One for each spatial dimension.
        compute_dtype: The dtype to compute in and to return; None for what ``x`` and the arrays promote to.

    Example:
        >>> conv = nn.layers.SeparableConv.init(8, 32, (3, 3), strides=2, key=jax.random.key(0))
        >>> conv(jnp.ones((1, 16, 16, 8))).shape
        (1, 8, 8, 32)

    References:
        ``tf.keras.layers.SeparableConv1D`` and ``SeparableConv2D``, less the activation; ``multiplier`` is their
        ``depth_multiplier``. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.
    """

    depthwise_kernel: jax.Array
    pointwise_kernel: jax.Array
    bias: jax.Array | None = None
    strides: tuple[int, ...] | int = static(default=1)
    padding: str | tuple[tuple[int, int], ...] = static(default="SAME")
    data_format: DataFormat = static(default=None)
    dilations: tuple[int, ...] | int = static(default=1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_channels: int,
        features: int,
        kernel_size: Sequence[int],
        *,
        multiplier: int = 1,
        strides: Ints = 1,
        padding: Padding = "SAME",
        data_format: DataFormat = None,
        dilations: Ints = 1,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "SeparableConv":
        """Draws a new layer.

        Args:
            in_channels: Channels of the inputs.
            features: Channels of the outputs.
            kernel_size: Size of the window: one, two or three ints, which say how many dimensions there are.
            multiplier: How many filters each channel has before the mixture.
            strides: Cells from one window to the next.
            padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
            data_format: As in :func:`jnnops.convolution`.
            dilations: Cells from one tap of the window to the next.
            use_bias: Whether to have a bias, which starts at 0.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a kernel, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given. It draws both.
            dtype: Of the arrays.
            compute_dtype: To compute in and to return; None for what ``x`` and the arrays promote to.
            key: A ``jax.random`` key.

        Returns:
            The layer.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size, stride, dilation, padding or ``data_format`` does not fit.
        """
        op = "SeparableConv.init"
        size, settings = window_settings(op, kernel_size, strides, padding, data_format, dilations)
        channels, features = as_size(op, "in_channels", in_channels), as_size(op, "features", features)
        multiplier = as_size(op, "multiplier", multiplier)
        first, second = jax.random.split(as_key(op, key))
        shape = (*(1 for _ in size), channels * multiplier, features)
        arrays = draw_kernel_and_bias(op, kernel_init, shape, features, use_bias, dtype, second)
        drawn_as = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            depthwise_kernel=draw(op, "kernel_init", kernel_init, first, (*size, channels, multiplier), drawn_as),
            pointwise_kernel=arrays["kernel"],
            bias=arrays["bias"],
            **settings,
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, in_channels]`` to ``[batch, *out_spatial, features]``, or with channels second."""
        arguments, rank = arguments_of(self), self.depthwise_kernel.ndim - 2
        x = as_images(arguments, x, rank, self.depthwise_kernel.shape[-2])
        arrays = cast((x, self.depthwise_kernel, self.pointwise_kernel), self.compute_dtype)
        x, depthwise, pointwise = as_float_arrays(
            arguments.op, **dict(zip(("x", "depthwise_kernel", "pointwise_kernel"), arrays, strict=True))
        )
        between = depthwise.shape[-2] * depthwise.shape[-1]
        wanted = (*(1 for _ in range(rank)), between, *pointwise.shape[-1:])
        check_shape(arguments.op, "pointwise_kernel", pointwise, wanted, "channels times multiplier to features")
        y = mix_channels(arguments, convolve_channels(arguments, x, depthwise, Sums()), pointwise, Sums())
        return add_bias(arguments, y, cast(self.bias, self.compute_dtype), rank)
