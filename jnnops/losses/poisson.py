"""The loss of counts."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import accumulation_dtype, as_float_arrays, as_static_bool, check_shape
from jnnops._keywords import answers_tensorflow_names


@answers_tensorflow_names
def log_poisson_loss(targets: ArrayLike, log_input: ArrayLike, compute_full_loss: bool = False) -> jax.Array:
    r"""The negative logarithm of the likelihood of counts under Poisson distributions of means ``exp(log_input)``.

    .. math::
        \exp(\text{log\_input}) - \text{targets} \cdot \text{log\_input}
        \;[+ \text{targets} \log \text{targets} - \text{targets} + \tfrac12 \log(2 \pi\, \text{targets})]

    The part in brackets is Stirling's approximation of ``log(targets!)``, which ``compute_full_loss`` adds for targets
    outside [0, 1]. A target of 0 at a mean of 0, ``log_input`` minus infinity, is certain: its loss is 0, where
    TensorFlow has NaN, and at an infinite mean it is infinite.

    Args:
        targets: Any shape, floating point: the counts.
        log_input: The same shape: the logarithms of the means.
        compute_full_loss: Whether to add the part that does not depend on ``log_input``.

    Returns:
        The loss of each element, in that shape and the dtype that ``jax.numpy`` promotes both to. For a target below 0
        the full loss is NaN.

    Raises:
        TypeError: If an argument is not floating point, or ``compute_full_loss`` not True or False.
        ValueError: If the shapes differ.

    Example:
        >>> nn.log_poisson_loss([0.0, 2.0], [0.0, 0.0]).tolist()
        [1.0, 1.0]

    References:
        ``tf.nn.log_poisson_loss``.
    """
    op = "log_poisson_loss"
    compute_full_loss = as_static_bool(op, "compute_full_loss", compute_full_loss)
    targets, log_input = as_float_arrays(op, targets=targets, log_input=log_input)
    check_shape(op, "log_input", log_input, targets.shape, "that of `targets`")
    return _log_poisson_loss(targets, log_input, compute_full_loss)


@functools.partial(jax.jit, static_argnames="full")
def _log_poisson_loss(targets: jax.Array, log_input: jax.Array, full: bool) -> jax.Array:
    wide = accumulation_dtype(targets.dtype)
    counts, logs = targets.astype(wide), log_input.astype(wide)
    # 0 times minus infinity is 0 here, in the loss and in its gradient, and the exponential outweighs all counts.
    is_certain = ((counts == 0) & (logs == -jnp.inf)) | (logs == jnp.inf)
    loss = jnp.exp(logs) - counts * jnp.where(is_certain, 0, logs)
    if full:
        is_small = (counts >= 0) & (counts <= 1)
        many = jnp.where(is_small, 2, counts)
        log_many = jnp.log(many)
        # Where the mean is near the count most of the sum cancels, so that is done before anything is rounded.
        surplus = logs - log_many
        is_near = ~is_small & (jnp.abs(surplus) < 1)
        near = jnp.where(is_near, surplus, 0)
        main = jnp.where(is_near, many * (jnp.expm1(near) - near), loss + (many * log_many - many))
        loss = jnp.where(is_small, loss, main + jnp.log(2 * jnp.pi * many) / 2)
    return loss.astype(targets.dtype)
