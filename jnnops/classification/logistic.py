"""Cross entropies of yes-or-no classes."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_arrays, broadcast_to_rank, check_broadcastable, check_shape
from jnnops._keywords import answers_tensorflow_names


@answers_tensorflow_names
def sigmoid_cross_entropy_with_logits(labels: ArrayLike, logits: ArrayLike) -> jax.Array:
    r"""Cross entropy of independent yes-or-no classes, any number of which may be true at once.

    .. math::
        -z \log \sigma(x) - (1 - z) \log (1 - \sigma(x))

    for labels :math:`z` and logits :math:`x`. The gradient for logits is :math:`\sigma(x) - z`, at 0 too.

    Args:
        labels: Any shape, floating point: the probability that each class is true, usually 0 or 1.
        logits: The same shape, floating point.

    Returns:
        The loss of each element: the same shape, in the dtype that the arguments promote to. A logit of plus or
        minus infinity gives 0 where the label agrees with it entirely (TensorFlow: NaN) and infinity elsewhere.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the arguments are not floating point.

    Example:
        >>> nn.sigmoid_cross_entropy_with_logits([1.0, 0.0], [100.0, 100.0]).tolist()
        [0.0, 100.0]

    References:
        ``tf.nn.sigmoid_cross_entropy_with_logits``.
    """
    op = "sigmoid_cross_entropy_with_logits"
    labels, logits = as_float_arrays(op, labels=labels, logits=logits)
    check_shape(op, "labels", labels, logits.shape, "that of `logits`")
    return _logistic_loss(labels, logits, 1.0)


@answers_tensorflow_names
def weighted_cross_entropy_with_logits(labels: ArrayLike, logits: ArrayLike, pos_weight: ArrayLike) -> jax.Array:
    r"""``sigmoid_cross_entropy_with_logits`` whose positive part counts ``pos_weight`` times.

    .. math::
        -q z \log \sigma(x) - (1 - z) \log (1 - \sigma(x))

    for labels :math:`z`, logits :math:`x` and weight :math:`q`. A weight above 1 makes a missed positive dearer
    than a false alarm: recall rises and precision falls; below 1 the reverse. The gradient for a logit of 0 is
    the true one, :math:`(1 - z - q z) / 2`; TensorFlow's there is :math:`1 - z`.

    Args:
        labels: Any shape, floating point: the probability that each class is true, usually 0 or 1.
        logits: The same shape, floating point.
        pos_weight: A scalar, or an array that broadcasts to ``logits``, such as one weight per class.

    Returns:
        The loss of each element: the shape of ``logits``, in the dtype that the arguments promote to. A logit of
        plus or minus infinity gives 0 where the label agrees with it entirely and infinity elsewhere.

    Raises:
        ValueError: If ``labels`` and ``logits`` differ in shape or ``pos_weight`` does not broadcast to it.
        TypeError: If the arguments are not floating point.

    Example:
        >>> nn.weighted_cross_entropy_with_logits([1.0, 0.0], [-100.0, 100.0], pos_weight=3.0).tolist()
        [300.0, 100.0]

    References:
        ``tf.nn.weighted_cross_entropy_with_logits``.
    """
    op = "weighted_cross_entropy_with_logits"
    labels, logits, pos_weight = as_float_arrays(op, labels=labels, logits=logits, pos_weight=pos_weight)
    check_shape(op, "labels", labels, logits.shape, "that of `logits`")
    check_broadcastable(op, "pos_weight", pos_weight, logits.shape, "logits")
    return _logistic_loss(labels, logits, broadcast_to_rank(pos_weight, logits.ndim))


@jax.jit
def _logistic_loss(labels: jax.Array, logits: jax.Array, pos_weight: ArrayLike) -> jax.Array:
    # With l = (1 - z) + q z both halves of the loss share log1p(exp(-|x|)), which is exact in both tails:
    #     (1 - z) |x| + l log1p(exp(-|x|))  for x >= 0,      q z |x| + l log1p(exp(-|x|))  for x < 0.
    wide = accumulation_dtype(logits.dtype)
    z, x, q = labels.astype(wide), logits.astype(wide), jnp.asarray(pos_weight, wide)
    magnitude = jnp.where(x >= 0, x, -x)  # one side for both at 0, or the gradient there is wrong
    slope = jnp.where(x >= 0, 1 - z, q * z)
    # Infinitely sure and right: 0, and not 0 * inf.
    linear = slope * jnp.where((slope == 0) & jnp.isinf(x), 0, magnitude)
    loss = linear + (1 - z + q * z) * jnp.log1p(jnp.exp(-magnitude))
    return loss.astype(logits.dtype)
