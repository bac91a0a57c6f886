"""Normalization layers."""

import functools
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    FRACTION,
    NOT_NEGATIVE,
    accumulation_dtype,
    as_dtype,
    as_float_array,
    as_size,
    as_static_bool,
    as_static_float,
    at_least,
    check_shape,
    describe,
)
from jnnops._primitives.serialization import serializable
from jnnops._types import AxisNames
from jnnops.layers._layer import layer, static
from jnnops.normalization import batch_normalization, moments
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
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        return cls(
            scale=jnp.ones(features, dtype) if as_static_bool(op, "use_scale", use_scale) else None,
            offset=jnp.zeros(features, dtype) if as_static_bool(op, "use_offset", use_offset) else None,
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
        x = as_float_array("BatchNorm", "x", x, rank=at_least(2))
        if x.shape[-1] != self.features:
            raise ValueError(f"BatchNorm: `x` must have {self.features} features on its last axis, got shape {x.shape}")
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
        return _normalize_and_update(self, x, old, tuple(axis_name) if isinstance(axis_name, list) else axis_name)


@functools.partial(jax.jit, static_argnames="axis_name")
def _normalize_and_update(
    bn: BatchNorm, x: jax.Array, old: BatchNormState, axis_name: Hashable
) -> tuple[jax.Array, BatchNormState]:
    # Once, so that the gradients by way of `y` and of the moments are added before they are rounded.
    wide = x.astype(accumulation_dtype(x.dtype))
    mean, variance = moments(wide, tuple(range(x.ndim - 1)))
    count = math.prod(x.shape[:-1])
    if axis_name is not None:
        # The parts are equally large, so the variance of the whole is the mean of their variances plus the variance of
        # their means. Unlike a mean of squares less the squared mean this does not cancel.
        part_mean, mean = mean, lax.pmean(mean, axis_name)
        variance = lax.pmean(variance + jnp.square(part_mean - mean), axis_name)
        count *= lax.psum(1, axis_name)

    def update(old: jax.Array, batch: jax.Array) -> jax.Array:
        return bn.momentum * old + (1 - bn.momentum) * batch.astype(old.dtype)

    y = batch_normalization(wide, mean, variance, bn.offset, bn.scale, bn.epsilon).astype(x.dtype)
    unbiased = variance * (count / max(count - 1, 1))
    return y, BatchNormState(update(old.mean, mean), update(old.variance, unbiased))


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
