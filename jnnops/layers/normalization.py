"""Normalization layers."""

import functools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    FRACTION,
    NOT_NEGATIVE,
    accumulation_dtype,
    as_axis_names,
    as_dtype,
    as_float_array,
    as_size,
    as_static_bool,
    as_static_float,
    as_static_ints,
    at_least,
    canonical_axes,
    check_shape,
    describe,
)
from jnnops._primitives.serialization import serializable
from jnnops._types import AxisNames, Ints
from jnnops.layers._compute import as_compute_dtype, cast
from jnnops.layers._layer import layer, static
from jnnops.normalization import batch_normalization
from jnnops.normalization._centred import normalize, unbiased_variance
from jnnops.normalization.local_response import divide_by_neighbours

MAX_RANK = max(at_least(0))


@serializable
class BatchNormState(NamedTuple):
    """The running moments of a :class:`BatchNorm`, each ``[features]``."""

    mean: jax.Array
    variance: jax.Array


@layer
class BatchNorm:
    r"""Batch normalization over all axes but that of the features, the last unless ``axis`` says another.

    .. math::
        y = \text{scale} \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \text{offset}

    In training the moments are those of the batch, and gradients go through them; a call also returns the running
    moments updated by ``momentum * old + (1 - momentum) * batch``. Otherwise they are the running moments.

    The running moments are not part of the layer but a state of their own, so no optimiser or weight decay sees
    them. As in ``fused_batch_norm`` (and in Keras for images) the batch's variance enters them unbiased, multiplied
    by :math:`n / (n - 1)` for the :math:`n` values of a feature.

    Attributes:
        scale: ``[features]``, or None for 1.
        offset: ``[features]``, or None for 0.
        features: The size of the axis, or those of several.
        momentum: The weight of the old running moments in the new.
        epsilon: Added to the variance.
        axis: The axis of the features, or several: each of their places has moments of its own.
        compute_dtype: The dtype to return; None for that of ``x``. The moments are of at least 32 bits.

    Example:
        >>> bn = nn.layers.BatchNorm.init(2)
        >>> state = bn.init_state()
        >>> y, state = bn(jnp.array([[1.0, 2.0], [3.0, 6.0]]), state, training=True)
        >>> y.round(2).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> y, state = bn(jnp.array([[1.0, 2.0], [3.0, 6.0]]), state)

    References:
        ``tf.keras.layers.BatchNormalization``. Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network
        Training by Reducing Internal Covariate Shift", 2015.
    """

    scale: jax.Array | None
    offset: jax.Array | None
    features: int | tuple[int, ...] = static()
    momentum: float = static(default=0.99)
    epsilon: float = static(default=1e-3)
    axis: int | tuple[int, ...] = static(default=-1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        features: Ints,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        use_scale: bool = True,
        use_offset: bool = True,
        axis: Ints = -1,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
    ) -> "BatchNorm":
        """Makes a layer with scale 1 and offset 0.

        Args:
            features: The size of the inputs' axis, or those of several.
            momentum: The weight of the old running moments in the new.
            epsilon: Added to the variance.
            use_scale: Whether to learn a scale.
            use_offset: Whether to learn an offset.
            axis: The axis of the features, the last unless given, or as many as ``features`` has sizes.
            dtype: Of the scale and the offset.
            compute_dtype: To return; None for that of ``x``.

        Returns:
            The layer.

        Raises:
            ValueError: If ``features`` is negative or does not fit ``axis``, or ``momentum`` not in [0, 1].
            TypeError: If ``features`` is not an integer.
        """
        op = "BatchNorm.init"
        return cls(
            **_features(op, features, axis, use_scale, use_offset, dtype),
            momentum=as_static_float(op, "momentum", momentum, FRACTION),
            epsilon=as_static_float(op, "epsilon", epsilon, NOT_NEGATIVE),
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def init_state(self) -> BatchNormState:
        """Running moments to start with: mean 0 and variance 1, in float32 unless the layer is float64."""
        arrays = [array for array in (self.scale, self.offset) if array is not None]
        dtype = accumulation_dtype(arrays[0].dtype) if arrays else jnp.float32
        return BatchNormState(jnp.zeros(self.features, dtype), jnp.ones(self.features, dtype))

    def __call__(
        self,
        x: ArrayLike,
        state: BatchNormState,
        *,
        training: bool = False,
        axis_name: AxisNames = None,
    ) -> tuple[jax.Array, BatchNormState]:
        """Normalizes ``x``.

        Args:
            x: ``[batch, ..., features]``, or with the features where ``axis`` says, floating point.
            state: From ``init_state`` or the last call in training.
            training: Whether to normalize by the moments of the batch, and to update the running ones.
            axis_name: The mapped axis (of ``shard_map``, ``vmap`` or ``pmap``) or axes that split the batch: its
                moments are then those of the whole.

        Returns:
            ``(y, state)``: ``y`` like ``x``, and the new state, which is the old one unless training.

        Raises:
            ValueError: If ``x`` or ``state`` do not fit the layer.
            TypeError: If ``x`` is not floating point.
        """
        x, axes = _with_features(self, x, at_least(2))
        if not isinstance(state, Sequence) or len(state) != 2:
            given = describe(state)
            raise ValueError(f"BatchNorm: `state` must be what `init_state` or the last call returned, got {given}")
        old = BatchNormState(
            as_float_array("BatchNorm", "state.mean", state[0]), as_float_array("BatchNorm", "state.variance", state[1])
        )
        for name, moment in old._asdict().items():
            check_shape("BatchNorm", f"state.{name}", moment, _as_shape(self.features), "one per feature")
        if as_static_bool("BatchNorm", "training", training):
            y, state = _normalize_and_update(self, x, old, axes, as_axis_names(axis_name))
        else:
            spread = functools.partial(_spread, axes=axes, rank=x.ndim)
            mean, variance = map(spread, old)
            offset, scale = (None if array is None else spread(array) for array in (self.offset, self.scale))
            y, state = batch_normalization(x, mean, variance, offset, scale, self.epsilon), old
        return cast(y, self.compute_dtype), state


@functools.partial(jax.jit, static_argnames=("axes", "axis_name"))
def _normalize_and_update(
    bn: BatchNorm, x: jax.Array, old: BatchNormState, axes: tuple[int, ...], axis_name: AxisNames
) -> tuple[jax.Array, BatchNormState]:
    # Once, so that the gradients by way of `y` and of the moments are added before they are rounded.
    wide, over = x.astype(accumulation_dtype(x.dtype)), tuple(axis for axis in range(x.ndim) if axis not in axes)
    scale, offset = (None if array is None else _spread(array, axes, x.ndim) for array in (bn.scale, bn.offset))
    normalized = normalize(wide, scale, offset, bn.epsilon, over, axis_name)

    def update(old: jax.Array, batch: jax.Array) -> jax.Array:
        return bn.momentum * old + (1 - bn.momentum) * _collect(batch, axes).astype(old.dtype)

    unbiased = unbiased_variance(normalized, over, axis_name)
    state = BatchNormState(update(old.mean, normalized.mean), update(old.variance, unbiased))
    return normalized.values.astype(bn.compute_dtype or x.dtype), state


def _features(
    op: str, features: Ints, axis: Ints, use_scale: bool, use_offset: bool, dtype: DTypeLike
) -> dict[str, Any]:
    """The arrays of a new layer, and where its features are, by name."""
    sizes = tuple(as_size(op, "features", size, minimum=0) for size in as_static_ints(op, "features", features))
    axes = as_static_ints(op, "axis", axis)
    canonical_axes(op, "axis", axes, MAX_RANK)
    if not sizes or len(sizes) != len(axes):
        raise ValueError(f"{op}: `features` must have a size for each of axis = {axes}, got {describe(features)}")
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    return {
        "scale": jnp.ones(sizes, dtype) if as_static_bool(op, "use_scale", use_scale) else None,
        "offset": jnp.zeros(sizes, dtype) if as_static_bool(op, "use_offset", use_offset) else None,
        "features": sizes if len(sizes) != 1 else sizes[0],
        "axis": axes if len(axes) != 1 else axes[0],
    }


def _as_shape(features: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what there is one of for each feature."""
    return (features,) if isinstance(features, int) else features


def _spread(parameter: jax.Array, axes: tuple[int, ...], rank: int) -> jax.Array:
    """A parameter, whose dimensions belong to these axes, in a shape that broadcasts to an array of a rank."""
    sizes = dict(zip(axes, parameter.shape, strict=True))
    in_order = sorted(range(len(axes)), key=axes.__getitem__)
    return parameter.transpose(in_order).reshape([sizes.get(axis, 1) for axis in range(rank)])


def _collect(moment: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The inverse: a moment with axes of size 1 in the shape of the parameters."""
    moment = moment.squeeze(tuple(axis for axis in range(moment.ndim) if axis not in axes))
    return moment.transpose([sorted(axes).index(axis) for axis in axes])


@layer
class LayerNorm:
    r"""Layer normalization: of each example by itself, over the last axis unless ``axis`` says others.

    .. math::
        y = \text{scale} \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \text{offset}

    with the mean :math:`\mu` and the variance :math:`\sigma^2` of the features. Where all are equal the result is
    ``offset``.

    Attributes:
        scale: ``[features]``, or None for 1.
        offset: ``[features]``, or None for 0.
        features: The size of the axis, or those of several.
        epsilon: Added to the variance.
        axis: The axis over which to normalize, or several.
        compute_dtype: The dtype to return; None for that of ``x``. The moments are of at least 32 bits.

    Example:
        >>> nn.layers.LayerNorm.init(2)(jnp.array([[1.0, 5.0], [6.0, 2.0]])).round(2).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]

    References:
        ``tf.keras.layers.LayerNormalization``. Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    scale: jax.Array | None
    offset: jax.Array | None
    features: int | tuple[int, ...] = static()
    epsilon: float = static(default=1e-3)
    axis: int | tuple[int, ...] = static(default=-1)
    compute_dtype: DTypeLike | None = static(default=None)

    @classmethod
    def init(
        cls,
        features: Ints,
        *,
        epsilon: float = 1e-3,
        use_scale: bool = True,
        use_offset: bool = True,
        axis: Ints = -1,
        dtype: DTypeLike = jnp.float32,
        compute_dtype: DTypeLike | None = None,
    ) -> "LayerNorm":
        """Makes a layer with scale 1 and offset 0.

        Args:
            features: The size of the inputs' axis, or those of several.
            epsilon: Added to the variance.
            use_scale: Whether to learn a scale.
            use_offset: Whether to learn an offset.
            axis: The axis of the features, the last unless given, or as many as ``features`` has sizes.
            dtype: Of the scale and the offset.
            compute_dtype: To return; None for that of ``x``.

        Returns:
            The layer.

        Raises:
            ValueError: If ``features`` or ``epsilon`` is negative, or ``axis`` does not fit ``features``.
            TypeError: If ``features`` is not an integer.
        """
        op = "LayerNorm.init"
        return cls(
            **_features(op, features, axis, use_scale, use_offset, dtype),
            epsilon=as_static_float(op, "epsilon", epsilon, NOT_NEGATIVE),
            compute_dtype=as_compute_dtype(op, compute_dtype),
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Normalizes ``x``, ``[..., features]``, floating point; the result is like it."""
        return _normalize_layer(self, *_with_features(self, x, at_least(1)))


@functools.partial(jax.jit, static_argnames="axes")
def _normalize_layer(layer: LayerNorm, x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    y = normalize(x.astype(wide), None, None, layer.epsilon, axes).values
    if layer.scale is not None:
        y = y * _spread(layer.scale.astype(wide), axes, x.ndim)
    if layer.offset is not None:
        y = y + _spread(layer.offset.astype(wide), axes, x.ndim)
    return y.astype(layer.compute_dtype or x.dtype)


def _with_features(
    layer: BatchNorm | LayerNorm, x: ArrayLike, rank: Collection[int]
) -> tuple[jax.Array, tuple[int, ...]]:
    """The input, checked, and the axes of its features."""
    op, features = type(layer).__name__, _as_shape(layer.features)
    array = as_float_array(op, "x", x, rank=rank)
    axes = canonical_axes(op, "axis", layer.axis, array.ndim)
    if tuple(array.shape[axis] for axis in axes) != features:
        sizes = " x ".join(map(str, features))
        where = "its last axis" if axes == (array.ndim - 1,) else f"axis {layer.axis}"
        raise ValueError(f"{op}: `x` must have {sizes} features on {where}, got shape {array.shape}")
    return array, axes


@layer
class LocalResponseNorm:
    """:func:`jnnops.local_response_normalization` as a layer, of inputs ``[batch, height, width, channels]``.

    Attributes:
        depth_radius: The number of neighbouring channels on each side.
        bias: What is added to the sum of squares.
        alpha: The factor of that sum.
        beta: The exponent.

    Example:
        >>> norm = nn.layers.LocalResponseNorm(depth_radius=1, bias=0.0, beta=1.0)
        >>> norm(jnp.array([1.0, 1.0, 1.0]).reshape(1, 1, 1, 3)).ravel().tolist()
        [0.5, 0.333..., 0.5]

    References:
        ``tf.nn.local_response_normalization``; ``torch.nn.LocalResponseNorm``, whose ``alpha`` is that of the mean.
    """

    depth_radius: int = static(default=5)
    bias: float = static(default=1.0)
    alpha: float = static(default=1.0)
    beta: float = static(default=0.5)

    @classmethod
    def init(
        cls, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
    ) -> "LocalResponseNorm":
        """Checks the settings; the arguments are the attributes."""
        op = "LocalResponseNorm.init"
        return cls(
            depth_radius=as_size(op, "depth_radius", depth_radius, minimum=0),
            bias=as_static_float(op, "bias", bias),
            alpha=as_static_float(op, "alpha", alpha),
            beta=as_static_float(op, "beta", beta),
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Divides each value by a power of the squared sum of its neighbours; the result is like ``x``."""
        x = as_float_array("LocalResponseNorm", "x", x, rank=4)
        return divide_by_neighbours(x, self.depth_radius, self.bias, self.alpha, self.beta)
