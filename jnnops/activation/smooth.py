"""Activation functions that bend: exponential linear units, squashing functions and smooth rectifiers."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    as_float_array,
    as_float_arrays,
    as_static_bool,
    broadcast_to_rank,
    check_broadcastable,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops.activation._accumulation import in_accumulation_dtype
from jnnops.activation._accurate import EXPM1, GELU_TANH, NORMAL_GATE, SILU, SWISH

# Klambauer et al. 2017, equation 14: the fixed point of mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@answers_tensorflow_names
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
    return jnp.where(x < 0, EXPM1(jnp.where(x < 0, x, 0)), x)


@answers_tensorflow_names
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
    return SELU_SCALE * jnp.where(x < 0, SELU_ALPHA * EXPM1(jnp.where(x < 0, x, 0)), x)


@answers_tensorflow_names
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
    return _gelu_tanh(x) if as_static_bool("gelu", "approximate", approximate) else _gelu(x)


@jax.jit
@in_accumulation_dtype
def _gelu(x: jax.Array) -> jax.Array:
    return NORMAL_GATE(x)


@jax.jit
@in_accumulation_dtype
def _gelu_tanh(x: jax.Array) -> jax.Array:
    return GELU_TANH(x)


@answers_tensorflow_names
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
        [-0.0, 0.0, 0.731]

    References:
        ``tf.nn.silu``, ``tf.nn.swish``. Elfwing et al., "Sigmoid-Weighted Linear Units for Neural Network Function
        Approximation in Reinforcement Learning", 2017. Ramachandran et al., "Searching for Activation Functions", 2017.
    """
    x = as_float_array("silu", "features", features)
    if isinstance(beta, float) and beta == 1:
        return _silu(x)
    x, steepness = as_float_arrays("silu", features=x, beta=beta)
    check_broadcastable("silu", "beta", steepness, x.shape, "features")
    return _swish(x, steepness)


swish = silu


@jax.jit
@in_accumulation_dtype
def _silu(x: jax.Array) -> jax.Array:
    return SILU(x)


@jax.jit
@in_accumulation_dtype
def _swish(x: jax.Array, steepness: jax.Array) -> jax.Array:
    return SWISH(x, jnp.broadcast_to(broadcast_to_rank(steepness, x.ndim), x.shape))


@answers_tensorflow_names
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


@answers_tensorflow_names
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


@answers_tensorflow_names
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


@answers_tensorflow_names
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
