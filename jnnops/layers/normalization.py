"""Normalization layers."""

import functools
from collections.abc import Collection, Sequence
from typing import NamedTuple

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
    at_least,
    broadcast_to_rank,
    check_shape,
    describe,
)
from jnnops._primitives.serialization import serializable
from jnnops._types import AxisNames
from jnnops.layers._layer import layer, static
from jnnops.normalization import batch_normalization
from jnnops.normalization._centred import normalize, unbiased_variance
from jnnops.normalization.local_response import divide_by_neighbours


@serializable
class BatchNormState(NamedTuple):
    """The running moments of a :class:`BatchNorm`, each ``[features]``."""

    mean: jax.Array
    variance: jax.Array


@layer
class BatchNorm:
    r"""Batch normalization of inputs ``[batch, ..., features]`` over all axes but the last.

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
        features: The size of the last axis.
        momentum: The weight of the old running moments in the new.
        epsilon: Added to the variance.

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
    features: int = static()
    momentum: float = static(default=0.99)
    epsilon: float = static(default=1e-3)

    @classmethod
    def init(
        cls,
        features: int,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        use_scale: bool = True,
        use_offset: bool = True,
        dtype: DTypeLike = jnp.float32,
    ) -> "BatchNorm":
        """Makes a layer with scale 1 and offset 0.

        Args:
            features: The size of the inputs' last axis.
            momentum: The weight of the old running moments in the new.
            epsilon: Added to the variance.
            use_scale: Whether to learn a scale.
            use_offset: Whether to learn an offset.
            dtype: Of the scale and the offset.

        Returns:
            The layer.

        Raises:
            ValueError: If ``features`` is negative or ``momentum`` not in [0, 1].
            TypeError: If ``features`` is not an integer.
        """
        op = "BatchNorm.init"
        features = as_size(op, "features", features, minimum=0)
        scale, offset = _scale_and_offset(op, features, use_scale, use_offset, dtype)
        return cls(
            scale=scale,
            offset=offset,
            features=features,
            momentum=as_static_float(op, "momentum", momentum, FRACTION),
            epsilon=as_static_float(op, "epsilon", epsilon, NOT_NEGATIVE),
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
            x: ``[batch, ..., features]``, floating point.
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
        x = _with_features("BatchNorm", x, self.features, at_least(2))
        if not isinstance(state, Sequence) or len(state) != 2:
            given = describe(state)
            raise ValueError(f"BatchNorm: `state` must be what `init_state` or the last call returned, got {given}")
        old = BatchNormState(
            as_float_array("BatchNorm", "state.mean", state[0]), as_float_array("BatchNorm", "state.variance", state[1])
        )
        for name, moment in old._asdict().items():
            check_shape("BatchNorm", f"state.{name}", moment, (self.features,), "one per feature")
        if not as_static_bool("BatchNorm", "training", training):
            return batch_normalization(x, old.mean, old.variance, self.offset, self.scale, self.epsilon), old
        return _normalize_and_update(self, x, old, as_axis_names(axis_name))


@functools.partial(jax.jit, static_argnames="axis_name")
def _normalize_and_update(
    bn: BatchNorm, x: jax.Array, old: BatchNormState, axis_name: AxisNames
) -> tuple[jax.Array, BatchNormState]:
    # Once, so that the gradients by way of `y` and of the moments are added before they are rounded.
    wide, axes = x.astype(accumulation_dtype(x.dtype)), tuple(range(x.ndim - 1))
    scale, offset = _broadcast_to_rank(bn.scale, x.ndim), _broadcast_to_rank(bn.offset, x.ndim)
    normalized = normalize(wide, scale, offset, bn.epsilon, axes, axis_name)

    def update(old: jax.Array, batch: jax.Array) -> jax.Array:
        return bn.momentum * old + (1 - bn.momentum) * batch.squeeze(axes).astype(old.dtype)

    unbiased = unbiased_variance(normalized, axes, axis_name)
    state = BatchNormState(update(old.mean, normalized.mean), update(old.variance, unbiased))
    return normalized.values.astype(x.dtype), state


def _scale_and_offset(
    op: str, features: int, use_scale: bool, use_offset: bool, dtype: DTypeLike
) -> tuple[jax.Array | None, jax.Array | None]:
    dtype = as_dtype(op, "dtype", dtype, floating=True)
    scale = jnp.ones(features, dtype) if as_static_bool(op, "use_scale", use_scale) else None
    return scale, jnp.zeros(features, dtype) if as_static_bool(op, "use_offset", use_offset) else None


def _broadcast_to_rank(parameter: jax.Array | None, rank: int) -> jax.Array | None:
    return None if parameter is None else broadcast_to_rank(parameter, rank)


@layer
class LayerNorm:
    r"""Layer normalization: of each example and place by itself, over the last axis.

    .. math::
        y = \text{scale} \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \text{offset}

    with the mean :math:`\mu` and the variance :math:`\sigma^2` of the features. Where all are equal the result is
    ``offset``.

    Attributes:
        scale: ``[features]``, or None for 1.
        offset: ``[features]``, or None for 0.
        features: The size of the last axis.
        epsilon: Added to the variance.

    Example:
        >>> nn.layers.LayerNorm.init(2)(jnp.array([[1.0, 5.0], [6.0, 2.0]])).round(2).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]

    References:
        ``tf.keras.layers.LayerNormalization``. Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    scale: jax.Array | None
    offset: jax.Array | None
    features: int = static()
    epsilon: float = static(default=1e-3)

    @classmethod
    def init(
        cls,
        features: int,
        *,
        epsilon: float = 1e-3,
        use_scale: bool = True,
        use_offset: bool = True,
        dtype: DTypeLike = jnp.float32,
    ) -> "LayerNorm":
        """Makes a layer with scale 1 and offset 0.

        Args:
            features: The size of the inputs' last axis.
            epsilon: Added to the variance.
            use_scale: Whether to learn a scale.
            use_offset: Whether to learn an offset.
            dtype: Of the scale and the offset.

        Returns:
            The layer.

        Raises:
            ValueError: If ``features`` or ``epsilon`` is negative.
            TypeError: If ``features`` is not an integer.
        """
        op = "LayerNorm.init"
        features = as_size(op, "features", features, minimum=0)
        scale, offset = _scale_and_offset(op, features, use_scale, use_offset, dtype)
        return cls(
            scale=scale,
            offset=offset,
            features=features,
            epsilon=as_static_float(op, "epsilon", epsilon, NOT_NEGATIVE),
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Normalizes ``x``, ``[..., features]``, floating point; the result is like it."""
        return _normalize_layer(self, _with_features("LayerNorm", x, self.features, at_least(1)))


@jax.jit
def _normalize_layer(layer: LayerNorm, x: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    y = normalize(x.astype(wide), None, None, layer.epsilon, (x.ndim - 1,)).values
    if layer.scale is not None:
        y = y * broadcast_to_rank(layer.scale.astype(wide), x.ndim)
    if layer.offset is not None:
        y = y + broadcast_to_rank(layer.offset.astype(wide), x.ndim)
    return y.astype(x.dtype)


def _with_features(op: str, x: ArrayLike, features: int, rank: Collection[int]) -> jax.Array:
    array = as_float_array(op, "x", x, rank=rank)
    if array.shape[-1] != features:
        raise ValueError(f"{op}: `x` must have {features} features on its last axis, got shape {array.shape}")
    return array


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
