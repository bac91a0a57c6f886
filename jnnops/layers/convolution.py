"""The convolutional layers, forward and transposed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import as_size, as_static_ints, describe
from jnnops._types import DataFormat, Initializer, Ints, Key, Padding
from jnnops._windows.geometry import WindowArguments, effective_size, resolve_ints, resolve_padding
from jnnops._windows.layout import batch_shape, spatial_shape
from jnnops.convolution._bilinear import Sums
from jnnops.convolution._shapes import Sizes
from jnnops.convolution.forward import convolve_as
from jnnops.convolution.transpose import transpose
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers._windows import (
    add_bias,
    arguments_of,
    as_images,
    check_groups,
    draw_kernel_and_bias,
    window_settings,
)


@layer
class Conv:
    """A convolution over one, two or three dimensions, with a bias.

    Attributes:
        kernel: ``[*window, in_channels // groups, features]``.
        bias: ``[features]``, or None.
        strides: One for each spatial dimension.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension.
        data_format: As in :func:`jnnops.convolution`; channels last unless given.
        dilations: One for each spatial dimension.
        groups: Into how many groups the channels are split.
        compute_dtype: The dtype to compute in and to return; None for what ``x`` and the arrays promote to.

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
    data_format: DataFormat = static(default=None)
    dilations: tuple[int, ...] | int = static(default=1)
    groups: int = static(default=1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_channels: int,
        features: int,
        kernel_size: Sequence[int],
        *,
        strides: Ints = 1,
        padding: Padding = "SAME",
        data_format: DataFormat = None,
        dilations: Ints = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "Conv":
        """Draws a new layer.

        Args:
            in_channels: Channels of the inputs.
            features: Channels of the outputs.
            kernel_size: Size of the window: one, two or three ints, which say how many dimensions there are.
            strides: Cells from one window to the next.
            padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
            data_format: As in :func:`jnnops.convolution`.
            dilations: Cells from one tap of the window to the next.
            groups: Into how many groups the channels are split; it divides ``in_channels`` and ``features``.
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
        op = "Conv.init"
        size, settings = window_settings(op, kernel_size, strides, padding, data_format, dilations)
        groups, in_channels, features = check_groups(op, groups, in_channels, features)
        shape = (*size, in_channels // groups, features)
        arrays = draw_kernel_and_bias(op, kernel_init, shape, features, use_bias, dtype, key)
        return cls(**arrays, **settings, groups=groups, compute_dtype=as_compute_dtype(op, compute_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Maps ``[batch, *spatial, in_channels]`` to ``[batch, *out_spatial, features]``, or with channels second."""
        arguments, rank = arguments_of(self), self.kernel.ndim - 2
        x = as_images(arguments, x, rank, self.kernel.shape[-2] * self.groups)
        x, kernel, bias = cast((x, self.kernel, self.bias), self.compute_dtype)
        return add_bias(arguments, convolve_as(arguments, rank, x, kernel, Sums(), input_name="x"), bias, rank)


@layer
class ConvTranspose:
    """A transposed convolution over one, two or three dimensions, with a bias: what enlarges as ``Conv`` reduces.

    With ``strides`` above 1 a convolution maps several sizes to one. Which of them is returned the call says by
    ``output_shape``, or else the layer by ``output_padding``, as in Keras.

    Attributes:
        kernel: ``[*window, features // groups, in_channels]``, that of the convolution the other way.
        bias: ``[features]``, or None.
        strides: One for each spatial dimension: cells of the output from one window to the next.
        padding: ``"SAME"``, ``"VALID"``, or a pair for each spatial dimension, by which the output is smaller.
        output_padding: One for each spatial dimension, or None, as in ``init``.
        data_format: As in :func:`jnnops.conv_transpose`; channels last unless given.
        dilations: One for each spatial dimension.
        groups: Into how many groups the channels are split.
        compute_dtype: The dtype to compute in and to return; None for what ``x`` and the arrays promote to.

    Example:
        >>> conv = nn.layers.ConvTranspose.init(16, 3, kernel_size=(3, 3), strides=2, key=jax.random.key(0))
        >>> conv(jnp.ones((1, 4, 4, 16))).shape
        (1, 8, 8, 3)
        >>> conv(jnp.ones((1, 4, 4, 16)), output_shape=(7, 8)).shape
        (1, 7, 8, 3)

    References:
        ``tf.keras.layers.Conv1DTranspose``, ``Conv2DTranspose`` and ``Conv3DTranspose``, less the activation. With
        explicit padding and ``output_padding`` it is ``torch.nn.ConvTranspose2d``, whose ``output_padding`` is 0
        unless given.
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    strides: tuple[int, ...] | int = static(default=1)
    padding: str | tuple[tuple[int, int], ...] = static(default="SAME")
    output_padding: tuple[int, ...] | int | None = static(default=None)
    data_format: DataFormat = static(default=None)
    dilations: tuple[int, ...] | int = static(default=1)
    groups: int = static(default=1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        in_channels: int,
        features: int,
        kernel_size: Sequence[int],
        *,
        strides: Ints = 1,
        padding: Padding = "SAME",
        output_padding: Ints | None = None,
        data_format: DataFormat = None,
        dilations: Ints = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
        key: Key,
    ) -> "ConvTranspose":
        """Draws a new layer.

        Args:
            in_channels: Channels of the inputs.
            features: Channels of the outputs.
            kernel_size: Size of the window: one, two or three ints, which say how many dimensions there are.
            strides: Cells of the output from one window to the next.
            padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``.
            output_padding: Of ``n`` cells with a window of ``k`` cells (dilation included) and stride ``s``,
                ``"SAME"`` makes ``(n - 1) * s + k % 2 + output_padding``, and other padding as many cells less than
                ``(n - 1) * s + k + output_padding`` as it has. None makes ``n * s``, and of other padding as many less
                than ``(n - 1) * s + max(k, s)``.
            data_format: As in :func:`jnnops.conv_transpose`.
            dilations: Cells from one tap of the window to the next.
            groups: Into how many groups the channels are split; it divides ``in_channels`` and ``features``.
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
        op = "ConvTranspose.init"
        size, settings = window_settings(op, kernel_size, strides, padding, data_format, dilations)
        groups, in_channels, features = check_groups(op, groups, in_channels, features)
        shape = (*size, features // groups, in_channels)
        arrays = draw_kernel_and_bias(op, kernel_init, shape, features, use_bias, dtype, key)
        return cls(
            **arrays,
            **settings,
            output_padding=None
            if output_padding is None
            else _one_each(op, "output_padding", output_padding, len(size)),
            groups=groups,
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def __call__(self, x: ArrayLike, output_shape: Ints | None = None) -> jax.Array:
        """Maps ``[batch, *spatial, in_channels]`` to ``[batch, *out_spatial, features]``, or with channels second.

        Args:
            x: The input, floating point.
            output_shape: The spatial sizes to return: an int or one for each dimension; those that ``output_padding``
                says unless given.

        Returns:
            The output, with more cells than ``x`` by the factor ``strides``, about.

        Raises:
            TypeError: If ``x`` is not floating point.
            ValueError: If ``x`` does not fit the layer, or no convolution makes ``x`` of ``output_shape``.
        """
        arguments, rank = arguments_of(self), self.kernel.ndim - 2
        x = as_images(arguments, x, rank, self.kernel.shape[-1])
        x, kernel, bias = cast((x, self.kernel, self.bias), self.compute_dtype)
        channels_last = arguments.channels_last(rank)
        spatial = spatial_shape(x, rank, channels_last)
        if output_shape is None:
            sizes = _output_sizes(arguments, spatial, kernel.shape[:rank], self.output_padding)
        else:
            sizes = _one_each(arguments.op, "output_shape", output_shape, rank)
        channels = kernel.shape[-2] * self.groups
        shape = (*sizes, channels) if channels_last else (channels, *sizes)
        argument = "output_padding" if output_shape is None and self.output_padding is not None else "output_shape"
        wanted = Sizes(argument, (*batch_shape(x, rank), *shape), "x")
        return add_bias(arguments, transpose(arguments, rank, x, kernel, wanted, Sums()), bias, rank)


def _one_each(op: str, argument: str, value: Ints, rank: int) -> tuple[int, ...]:
    """One size from 0 up for each spatial dimension, from an int or as many of them."""
    ints = tuple(as_size(op, argument, each, minimum=0) for each in as_static_ints(op, argument, value))
    if len(ints) not in (1, rank):
        raise ValueError(
            f"{op}: `{argument}` must be an int or one for each of {rank} spatial dimensions, got {describe(value)}"
        )
    return ints * rank if len(ints) == 1 else ints


def _output_sizes(
    arguments: WindowArguments, spatial: tuple[int, ...], size: tuple[int, ...], output_padding: Ints | None
) -> tuple[int, ...]:
    """The spatial sizes that a transposed convolution has unless the call says others."""
    op, rank, channels_last = arguments.op, len(size), arguments.channels_last(len(size))
    strides = resolve_ints(op, "strides", arguments.strides, rank, channels_last)
    dilations = resolve_ints(op, "dilations", arguments.dilations or 1, rank, channels_last)
    extra = (None,) * rank if output_padding is None else _one_each(op, "output_padding", output_padding, rank)
    windows = effective_size(op, size, dilations)
    if isinstance(arguments.padding, str) and arguments.padding.upper() == "SAME":
        rests = [s if e is None else k % 2 + e for k, s, e in zip(windows, strides, extra, strict=True)]
    else:
        pads = resolve_padding(op, arguments.padding, spatial, windows, strides, channels_last)
        rests = [
            (max(k, s) if e is None else k + e) - sum(pad)
            for k, s, e, pad in zip(windows, strides, extra, pads, strict=True)
        ]
    return tuple(max((n - 1) * s + rest, 0) for n, s, rest in zip(spatial, strides, rests, strict=True))
