"""Activation functions, dropout and biases.

The activation functions work element by element on an array of any shape and return the same shape and dtype.
16-bit inputs are computed in float32 and rounded once. Where a function has a kink its docstring states the
gradient there, which is TensorFlow's; at infinities the functions return their limits.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_array,
    as_float_array,
    as_float_arrays,
    as_integer_array,
    as_key,
    as_number_array,
    as_number_arrays,
    as_static_int,
    at_least,
    broadcast_to_rank,
    canonical_axis,
    check_broadcastable,
    check_choice,
    check_rank,
    check_shape,
    debug_check,
    is_traced,
)

__all__ = [
    "bias_add",
    "crelu",
    "dropout",
    "elu",
    "gelu",
    "general_dropout",
    "leaky_relu",
    "relu",
    "relu6",
    "relu_layer",
    "relu_x",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "stateless_dropout",
    "swish",
    "tanh",
    "xw_plus_b",
    "zero_fraction",
]

# Klambauer et al. 2017, equation 14: the fixed point of mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

# Beyond this the normal distribution's tail is 0 in float64 too, and x**3 is still finite in float32.
GELU_SATURATION = 40.0


def in_accumulation_dtype(f: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Computes ``f(x, ...)`` of a 16-bit ``x`` in float32 and rounds the result once."""

    @functools.wraps(f)
    def wide(x: jax.Array, *arrays: jax.Array) -> jax.Array:
        return f(*(array.astype(accumulation_dtype(x.dtype)) for array in (x, *arrays))).astype(x.dtype)

    return wide


def relu(features: ArrayLike) -> jax.Array:
    """Rectified linear unit, ``max(features, 0)``.

    The gradient at 0 is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.

    Example:
        >>> nn.relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
        [0.0, 0.0, 2.0]

    References:
        ``tf.nn.relu``. Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.
    """
    return _relu(as_number_array("relu", "features", features))


@jax.jit
def _relu(x: jax.Array) -> jax.Array:
    return jnp.where(x <= 0, 0, x)  # and not maximum, whose gradient at 0 is 1/2


def relu6(features: ArrayLike) -> jax.Array:
    """Rectified linear unit with a ceiling of 6, ``min(max(features, 0), 6)``.

    The gradient at 0 and at 6 is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.

    Example:
        >>> nn.relu6(jnp.array([-1.0, 2.0, 7.0])).tolist()
        [0.0, 2.0, 6.0]

    References:
        ``tf.nn.relu6``. Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010.
    """
    return _relu_x(as_number_array("relu6", "features", features), jnp.asarray(6))


def relu_x(features: ArrayLike, max_value: ArrayLike) -> jax.Array:
    """Rectified linear unit with a ceiling, ``min(max(features, 0), max_value)``.

    The gradient with respect to ``features`` at 0 and at ``max_value`` is 0. NaN propagates.

    Args:
        features: Any shape, floating point or integer.
        max_value: The ceiling: a number, or an array that broadcasts to ``features``.

    Returns:
        The shape of ``features``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If ``max_value`` does not broadcast to ``features``.

    Example:
        >>> nn.relu_x(jnp.array([-1.0, 0.5, 7.0]), max_value=1.0).tolist()
        [0.0, 0.5, 1.0]

    References:
        ``tf.raw_ops.QuantizedReluX``, on plain numbers.
    """
    x, ceiling = as_number_arrays("relu_x", features=features, max_value=max_value)
    check_broadcastable("relu_x", "max_value", ceiling, x.shape, "features")
    return _relu_x(x, ceiling)


@jax.jit
def _relu_x(x: jax.Array, ceiling: jax.Array) -> jax.Array:
    ceiling = broadcast_to_rank(ceiling.astype(x.dtype), x.ndim)
    return jnp.where(x <= 0, 0, jnp.where(x >= ceiling, ceiling, x))


def crelu(features: ArrayLike, axis: int = -1) -> jax.Array:
    """Concatenated rectified linear unit: ``relu`` of ``features`` and of its negative, side by side.

    The gradient at 0 is 0.

    Args:
        features: Any shape of rank 1 or more, floating point or integer.
        axis: The axis to concatenate along, which doubles in size.

    Returns:
        The same shape, twice as large along ``axis``, and the same dtype.

    Raises:
        TypeError: If ``features`` is neither integer nor floating point.
        ValueError: If ``axis`` is out of range.

    Example:
        >>> nn.crelu(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0, 1.0, 0.0]

    References:
        ``tf.nn.crelu``. Shang et al., "Understanding and Improving Convolutional Neural Networks via Concatenated
        Rectified Linear Units", 2016.
    """
    x = as_number_array("crelu", "features", features, rank=at_least(1))
    return _relu(jnp.concatenate([x, -x], axis=canonical_axis("crelu", "axis", axis, x.ndim)))


def elu(features: ArrayLike) -> jax.Array:
    """Exponential linear unit: ``exp(features) - 1`` below 0, the identity from there on.

    The gradient is continuous, 1 at 0.

    Args:
        features: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is not floating point.

    Example:
        >>> nn.elu(jnp.array([-jnp.inf, 0.0, 2.0])).tolist()
        [-1.0, 0.0, 2.0]

    References:
        ``tf.nn.elu``. Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)",
        2015.
    """
    return _elu(as_float_array("elu", "features", features))


@jax.jit
@in_accumulation_dtype
def _elu(x: jax.Array) -> jax.Array:
    return jnp.where(x < 0, jnp.expm1(jnp.where(x < 0, x, 0)), x)


def selu(features: ArrayLike) -> jax.Array:
    """Scaled exponential linear unit: ``scale * alpha * (exp(features) - 1)`` below 0, ``scale * features`` above.

    ``scale = 1.0507...`` and ``alpha = 1.6733...`` keep mean 0 and variance 1 through the layers of a network.
    The gradient at 0 is ``scale``.

    Args:
        features: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is not floating point.

    Example:
        >>> [round(y, 3) for y in nn.selu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
        [-1.111, 0.0, 1.051]

    References:
        ``tf.nn.selu``. Klambauer et al., "Self-Normalizing Neural Networks", 2017.
    """
    return _selu(as_float_array("selu", "features", features))


@jax.jit
@in_accumulation_dtype
def _selu(x: jax.Array) -> jax.Array:
    return SELU_SCALE * jnp.where(x < 0, SELU_ALPHA * jnp.expm1(jnp.where(x < 0, x, 0)), x)


def leaky_relu(features: ArrayLike, alpha: ArrayLike = 0.2) -> jax.Array:
    """Leaky rectified linear unit: ``alpha * features`` up to 0, the identity above.

    The gradient at 0 is ``alpha``.

    Args:
        features: Any shape, floating point, or integer, which is taken as float32.
        alpha: The slope up to 0, also above 1: a number, or an array that broadcasts to ``features`` (one slope for
            each channel is the parametric unit of He et al., 2015). It is differentiable.

    Returns:
        The shape of ``features``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If ``alpha`` does not broadcast to ``features``.

    Note:
        TensorFlow rounds ``alpha`` to float32 for float64 features too; here it has their precision.

    Example:
        >>> nn.leaky_relu(jnp.array([-1.0, 0.0, 2.0]), alpha=0.5).tolist()
        [-0.5, 0.0, 2.0]

    References:
        ``tf.nn.leaky_relu``. Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.
    """
    x = as_number_array("leaky_relu", "features", features)
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = x.astype(jnp.float32)
    x, slope = as_float_arrays("leaky_relu", features=x, alpha=alpha)
    check_broadcastable("leaky_relu", "alpha", slope, x.shape, "features")
    return _leaky_relu(x, slope)


@jax.jit
def _leaky_relu(x: jax.Array, slope: jax.Array) -> jax.Array:
    # The inner select keeps the gradient by slope free of inf * 0.
    return jnp.where(x > 0, x, broadcast_to_rank(slope, x.ndim) * jnp.where(x > 0, 0, x))


def gelu(features: ArrayLike, approximate: bool = False) -> jax.Array:
    r"""Gaussian error linear unit: ``features`` times the standard normal distribution function of it.

    .. math::
        x \, \Phi(x) = \frac{x}{2} \Big(1 + \operatorname{erf} \frac{x}{\sqrt 2}\Big)
        \approx \frac{x}{2} \Big(1 + \tanh\big(\sqrt{2 / \pi} \, (x + 0.044715 x^3)\big)\Big)

    Args:
        features: Any shape, floating point.
        approximate: Whether to compute the second form.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is not floating point.
        ValueError: If ``approximate`` is not a bool.

    Note:
        TensorFlow gives NaN for minus infinity, keeps the constants in float32 for float64 features, and loses the
        digits of the lower tail, where the sum in brackets cancels; here it does not.

    Example:
        >>> [round(y, 3) for y in nn.gelu(jnp.array([-1.0, 0.0, 1.0])).tolist()]
        [-0.159, 0.0, 0.841]

    References:
        ``tf.nn.gelu``. Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", 2016.
    """
    x = as_float_array("gelu", "features", features)
    return _gelu_tanh(x) if check_choice("gelu", "approximate", approximate, (False, True)) else _gelu(x)


@jax.jit
@in_accumulation_dtype
def _gelu(x: jax.Array) -> jax.Array:
    near = jnp.clip(x, -GELU_SATURATION, GELU_SATURATION)
    return jnp.where(x > GELU_SATURATION, x, 0.5 * near * jax.lax.erfc(near * -(0.5**0.5)))


@jax.jit
@in_accumulation_dtype
def _gelu_tanh(x: jax.Array) -> jax.Array:
    near = jnp.clip(x, -GELU_SATURATION, GELU_SATURATION)
    argument = (2 / jnp.pi) ** 0.5 * (near + 0.044715 * near * near * near)
    # sigmoid(2 u) = (1 + tanh(u)) / 2 without the cancellation.
    return jnp.where(x > GELU_SATURATION, x, near * jax.lax.logistic(2 * argument))


def silu(features: ArrayLike, beta: ArrayLike = 1.0) -> jax.Array:
    """Sigmoid linear unit, ``features * sigmoid(beta * features)``. ``swish`` is another name of it.

    Args:
        features: Any shape, floating point.
        beta: The gate's steepness: a number, or an array that broadcasts to ``features``. It is differentiable.

    Returns:
        The shape of ``features``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If ``features`` is not floating point.
        ValueError: If ``beta`` does not broadcast to ``features``.

    Note:
        TensorFlow gives NaN for minus infinity, and stops the gradient by ``beta``.

    Example:
        >>> [round(y, 3) for y in nn.silu(jnp.array([-jnp.inf, 0.0, 1.0])).tolist()]
        [0.0, 0.0, 0.731]

    References:
        ``tf.nn.silu``, ``tf.nn.swish``. Elfwing et al., "Sigmoid-Weighted Linear Units for Neural Network Function
        Approximation in Reinforcement Learning", 2017. Ramachandran et al., "Searching for Activation Functions", 2017.
    """
    x = as_float_array("silu", "features", features)
    x, steepness = as_float_arrays("silu", features=x, beta=beta)
    check_broadcastable("silu", "beta", steepness, x.shape, "features")
    return _silu(x, steepness)


swish = silu


@jax.jit
@in_accumulation_dtype
def _silu(x: jax.Array, steepness: jax.Array) -> jax.Array:
    gate = jax.lax.logistic(broadcast_to_rank(steepness, x.ndim) * x)
    return jnp.where(gate == 0, 0, x) * gate  # inf * 0 is 0 here, as is its gradient


def softplus(features: ArrayLike) -> jax.Array:
    """Smooth rectifier, ``log(1 + exp(features))``, to full precision in both tails.

    Args:
        features: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is not floating point.

    Example:
        >>> [round(y, 3) for y in nn.softplus(jnp.array([-100.0, 0.0, 100.0])).tolist()]
        [0.0, 0.693, 100.0]

    References:
        ``tf.nn.softplus``. Glorot et al., "Deep Sparse Rectifier Neural Networks", 2011.
    """
    return _softplus(as_float_array("softplus", "features", features))


@jax.jit
@in_accumulation_dtype
def _softplus(x: jax.Array) -> jax.Array:
    return _softplus_primitive(x)


@jax.custom_jvp
def _softplus_primitive(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@_softplus_primitive.defjvp
def _softplus_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return _softplus_primitive(x), jax.lax.logistic(x) * dx


def softsign(features: ArrayLike) -> jax.Array:
    """Rational squashing function, ``features / (1 + abs(features))``.

    Args:
        features: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``features`` is not floating point.

    Note:
        TensorFlow gives NaN at infinities, here it is -1 and 1.

    Example:
        >>> nn.softsign(jnp.array([-jnp.inf, -1.0, 0.0, 3.0])).tolist()
        [-1.0, -0.5, 0.0, 0.75]

    References:
        ``tf.nn.softsign``. Bergstra et al., "Quadratic Polynomials Learn Better Image Features", 2009.
    """
    return _softsign(as_float_array("softsign", "features", features))


@jax.jit
@in_accumulation_dtype
def _softsign(x: jax.Array) -> jax.Array:
    finite = jnp.where(jnp.isinf(x), 0, x)
    return jnp.where(jnp.isinf(x), jnp.sign(x), finite / (1 + jnp.abs(finite)))


def sigmoid(x: ArrayLike) -> jax.Array:
    """Logistic function, ``1 / (1 + exp(-x))``.

    Args:
        x: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``x`` is not floating point.

    Example:
        >>> nn.sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf])).tolist()
        [0.0, 0.5, 1.0]

    References:
        ``tf.nn.sigmoid``.
    """
    return _sigmoid(as_float_array("sigmoid", "x", x))


@jax.jit
@in_accumulation_dtype
def _sigmoid(x: jax.Array) -> jax.Array:
    return jax.lax.logistic(x)


def tanh(x: ArrayLike) -> jax.Array:
    """Hyperbolic tangent.

    Args:
        x: Any shape, floating point.

    Returns:
        The same shape and dtype.

    Raises:
        TypeError: If ``x`` is not floating point.

    Example:
        >>> nn.tanh(jnp.array([-jnp.inf, 0.0, jnp.inf])).tolist()
        [-1.0, 0.0, 1.0]

    References:
        ``tf.nn.tanh``.
    """
    return _tanh(as_float_array("tanh", "x", x))


@jax.jit
@in_accumulation_dtype
def _tanh(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


def dropout(
    x: ArrayLike, rate: ArrayLike, noise_shape: Sequence[int | None] | None = None, *, key: jax.Array
) -> jax.Array:
    """Sets elements to 0 at random and scales the others by ``1 / (1 - rate)``, which keeps the mean.

    Args:
        x: Any shape, floating point.
        rate: Scalar, the probability of dropping an element, in [0, 1). It may be traced. At a static 0 the result
            is ``x``.
        noise_shape: Shape of the random decisions, which broadcast to ``x``: ``(batch, 1, 1, channels)`` drops whole
            feature maps. None as an entry stands for the size of ``x`` there, None for all of its shape.
        key: A ``jax.random`` key, typed or raw.

    Returns:
        The shape and dtype of ``x``. A traced rate outside [0, 1) gives NaN, and ``checkify`` reports it.

    Raises:
        TypeError: If ``x`` is not floating point, or ``key`` is no key.
        ValueError: If ``rate`` is a known number outside [0, 1), or ``noise_shape`` does not broadcast to ``x``.

    Example:
        >>> kept = nn.dropout(jnp.ones(1000), rate=0.25, key=jax.random.key(0))
        >>> sorted({round(value, 4) for value in kept.tolist()}), 0.9 < kept.mean() < 1.1
        ([0.0, 1.3333], Array(True, dtype=bool))

    References:
        ``tf.nn.dropout``. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.
    """
    return _drop("dropout", x, rate, functools.partial(jax.random.uniform, as_key("dropout", key)), noise_shape)


def general_dropout(
    x: ArrayLike,
    rate: ArrayLike,
    uniform_sampler: Callable[..., ArrayLike],
    noise_shape: Sequence[int | None] | None = None,
) -> jax.Array:
    """:func:`dropout` with random numbers from a function of the caller's.

    Args:
        x: Any shape, floating point.
        rate: Scalar, the probability of dropping an element, in [0, 1). It may be traced.
        uniform_sampler: ``uniform_sampler(shape=..., dtype=...)`` returns float32 numbers from [0, 1); an element
            is dropped where its number is below ``rate``.
        noise_shape: Shape of the random decisions, as in :func:`dropout`.

    Returns:
        The shape and dtype of ``x``. A traced rate outside [0, 1) gives NaN, and ``checkify`` reports it.

    Raises:
        TypeError: If ``x`` is not floating point, or ``uniform_sampler`` cannot be called.
        ValueError: If ``rate`` is a known number outside [0, 1), ``noise_shape`` does not broadcast to ``x``, or the
            sampler returns another shape than it was asked for.

    Example:
        >>> nn.general_dropout(jnp.ones(2), 0.5, lambda shape, dtype: jnp.array([0.4, 0.5], dtype)).tolist()
        [0.0, 2.0]

    References:
        ``tf.nn.experimental.general_dropout``.
    """
    if not callable(uniform_sampler):
        raise TypeError(f"general_dropout: `uniform_sampler` must be a function, got {type(uniform_sampler).__name__}")
    return _drop("general_dropout", x, rate, uniform_sampler, noise_shape)


def stateless_dropout(
    x: ArrayLike,
    rate: ArrayLike,
    seed: ArrayLike | None = None,
    rng_alg: str | None = None,
    noise_shape: Sequence[int | None] | None = None,
    *,
    key: jax.Array | None = None,
) -> jax.Array:
    """:func:`dropout` with TensorFlow's stateless signature: the randomness is a seed of two integers.

    Args:
        x: Any shape, floating point.
        rate: Scalar, the probability of dropping an element, in [0, 1). It may be traced.
        seed: ``[2]`` integers. The same seed gives the same result, another one than TensorFlow's generators give.
        rng_alg: None or ``"auto_select"``: JAX's default generator.
        noise_shape: Shape of the random decisions, as in :func:`dropout`.
        key: A ``jax.random`` key, in place of ``seed``.

    Returns:
        The shape and dtype of ``x``. A traced rate outside [0, 1) gives NaN, and ``checkify`` reports it.

    Raises:
        TypeError: If ``x`` is not floating point or ``seed`` not integer, or ``key`` is no key.
        ValueError: If not just one of ``seed`` and ``key`` is given, ``seed`` does not have shape ``[2]``, ``rng_alg``
            is another one, ``rate`` is a known number outside [0, 1), or ``noise_shape`` does not broadcast to ``x``.

    Example:
        >>> a, b = (nn.stateless_dropout(jnp.ones(100), 0.5, seed=[1, 2]) for _ in range(2))
        >>> bool((a == b).all())
        True

    References:
        ``tf.nn.experimental.stateless_dropout``.
    """
    op = "stateless_dropout"
    check_choice(op, "rng_alg", rng_alg, (None, "auto_select"))
    if (seed is None) == (key is None):
        given = "neither" if seed is None else "both"
        raise ValueError(f"{op}: `seed` must be given, or else `key`, got {given}")
    if seed is not None:
        words = as_integer_array(op, "seed", seed, rank=1)
        check_shape(op, "seed", words, (2,), "two integers")
        words = words.astype(jnp.uint32)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), words[0]), words[1])
    return _drop(op, x, rate, functools.partial(jax.random.uniform, as_key(op, key)), noise_shape)


def _drop(
    op: str,
    x: ArrayLike,
    rate: ArrayLike,
    uniform_sampler: Callable[..., Any],
    noise_shape: Sequence[int | None] | None,
) -> jax.Array:
    x = as_float_array(op, "x", x)
    probability = as_number_array(op, "rate", rate, rank=0)
    if not is_traced(probability):
        known = float(probability)
        if not 0 <= known < 1:
            raise ValueError(f"{op}: `rate` must be in [0, 1), got {known}")
        if known == 0:
            return x
    else:
        valid = (probability >= 0) & (probability < 1)
        probability = debug_check(op, "rate", "be in [0, 1)", probability, valid)
    shape = _noise_shape(op, noise_shape, x.shape)
    # float32 for every x, so that a key drops the same elements whatever the dtype
    noise = as_float_array(op, "uniform_sampler", uniform_sampler(shape=shape, dtype=jnp.dtype(jnp.float32)))
    check_shape(op, "uniform_sampler", noise, shape, "as it was asked for")
    return _apply_noise(x, probability, noise)


def _noise_shape(op: str, noise_shape: Sequence[int | None] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    if noise_shape is None:
        return shape
    given = tuple(noise_shape)
    if len(given) <= len(shape):
        resolved = tuple(
            size if entry is None else as_static_int(op, "noise_shape", entry, minimum=0)
            for entry, size in zip((1,) * (len(shape) - len(given)) + given, shape, strict=True)
        )
        if all(entry in (1, size) for entry, size in zip(resolved, shape, strict=True)):
            return resolved
    raise ValueError(f"{op}: `noise_shape` must broadcast to x.shape = {shape}, got {given}")


@jax.jit
def _apply_noise(x: jax.Array, rate: jax.Array, noise: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    valid = (rate >= 0) & (rate < 1)
    scale = jnp.where(valid, 1 / (1 - jnp.where(valid, rate, 0).astype(wide)), jnp.nan)
    dropped = valid & (noise < rate.astype(noise.dtype))
    return jnp.where(dropped, 0, x.astype(wide) * scale).astype(x.dtype)


def bias_add(value: ArrayLike, bias: ArrayLike, data_format: str | None = None) -> jax.Array:
    """Adds a bias to every channel.

    Args:
        value: ``[batch, ..., channels]``, or ``[batch, channels, ...]`` for a ``data_format`` that begins with NC;
            rank 2 or more, floating point or integer.
        bias: ``[channels]``.
        data_format: None or the form ``"N...C"`` for channels last, ``"NC..."`` for channels second.

    Returns:
        The shape of ``value``, with the dtype that ``jax.numpy`` promotes both to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a rank, the size of ``bias`` or ``data_format`` is wrong.

    Example:
        >>> nn.bias_add(jnp.zeros((1, 2)), jnp.array([1.0, 2.0])).tolist()
        [[1.0, 2.0]]

    References:
        ``tf.nn.bias_add``.
    """
    x, b = as_number_arrays("bias_add", value=value, bias=bias)
    check_rank("bias_add", "value", x, at_least(2))
    axis = _channel_axis(data_format, x.ndim)
    check_shape("bias_add", "bias", b, (x.shape[axis],), f"the channels of `value` of shape {x.shape}")
    return x + b.reshape(tuple(x.shape[axis] if i == axis else 1 for i in range(x.ndim)))


def _channel_axis(data_format: str | None, rank: int) -> int:
    if isinstance(data_format, str) and data_format.startswith("NC"):
        return 1
    if data_format is None or (
        isinstance(data_format, str) and data_format.startswith("N") and data_format.endswith("C")
    ):
        return rank - 1
    raise ValueError(f"bias_add: `data_format` must have the form 'N...C' or 'NC...', got {data_format!r}")


def relu_layer(x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    """A dense layer with a rectifier, ``relu(x @ weights + biases)``.

    The gradient at 0 is 0. 16-bit products are summed in float32.

    Args:
        x: ``[..., in_units]``, rank 2 or more, floating point or integer.
        weights: ``[in_units, out_units]``.
        biases: ``[out_units]``.

    Returns:
        ``[..., out_units]``, with the dtype that ``jax.numpy`` promotes the arguments to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> nn.relu_layer([[1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]).tolist()
        [[1.5, 0.0]]

    References:
        ``tf.compat.v1.nn.relu_layer``.
    """
    return _relu(_affine("relu_layer", x, weights, biases))


def xw_plus_b(x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    """A dense layer, ``x @ weights + biases``. 16-bit products are summed in float32.

    Args:
        x: ``[..., in_units]``, rank 2 or more, floating point or integer.
        weights: ``[in_units, out_units]``.
        biases: ``[out_units]``.

    Returns:
        ``[..., out_units]``, with the dtype that ``jax.numpy`` promotes the arguments to.

    Raises:
        TypeError: If an argument is neither integer nor floating point.
        ValueError: If a shape does not fit.

    Example:
        >>> nn.xw_plus_b([[1.0, -2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]).tolist()
        [[1.5, -1.5]]

    References:
        ``tf.compat.v1.nn.xw_plus_b``.
    """
    return _affine("xw_plus_b", x, weights, biases)


def _affine(op: str, x: ArrayLike, weights: ArrayLike, biases: ArrayLike) -> jax.Array:
    inputs, matrix, bias = as_number_arrays(op, x=x, weights=weights, biases=biases)
    check_rank(op, "x", inputs, at_least(2))
    check_rank(op, "weights", matrix, 2)
    if inputs.shape[-1] != matrix.shape[0]:
        raise ValueError(
            f"{op}: `weights` must have as many rows as `x` has columns, got shapes {matrix.shape} and {inputs.shape}"
        )
    check_shape(op, "biases", bias, matrix.shape[1:], "the columns of `weights`")
    return _matmul_plus(inputs, matrix, bias)


@jax.jit
def _matmul_plus(x: jax.Array, matrix: jax.Array, bias: jax.Array) -> jax.Array:
    wide = accumulation_dtype(x.dtype)
    product = jnp.matmul(x, matrix, preferred_element_type=wide)
    return (product + broadcast_to_rank(bias.astype(wide), x.ndim)).astype(x.dtype)


def zero_fraction(value: ArrayLike) -> jax.Array:
    """The fraction of elements that are 0, for looking at how sparse an activation is.

    Its derivative is 0 everywhere.

    Args:
        value: Any shape and dtype.

    Returns:
        A float32 scalar; NaN for an empty ``value``.

    Raises:
        TypeError: If ``value`` is no array.

    Example:
        >>> nn.zero_fraction(jnp.array([0.0, 1.0, 0.0, 2.0])).item()
        0.5

    References:
        ``tf.nn.zero_fraction``.
    """
    return _zero_fraction(as_array("zero_fraction", "value", value))


@jax.jit
def _zero_fraction(x: jax.Array) -> jax.Array:
    return jnp.sum(x == jnp.zeros((), x.dtype)).astype(jnp.float32) / jnp.float32(x.size)
