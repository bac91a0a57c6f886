"""Elements set to 0 at random."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jnnops._check import (
    PROBABILITY_BELOW_1,
    accumulation_dtype,
    as_float_array,
    as_integer_array,
    as_key,
    as_scalar,
    as_static_int,
    check_callable,
    check_choice,
    check_shape,
    default_implementation,
    describe,
    is_sequence,
    is_traced,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._types import Key, NoiseShape


@answers_tensorflow_names
def dropout(x: ArrayLike, rate: ArrayLike, noise_shape: NoiseShape = None, *, key: Key) -> jax.Array:
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
    return drop("dropout", x, rate, functools.partial(jax.random.uniform, as_key("dropout", key)), noise_shape)


@answers_tensorflow_names
def general_dropout(
    x: ArrayLike,
    rate: ArrayLike,
    uniform_sampler: Callable[..., ArrayLike],
    noise_shape: NoiseShape = None,
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
    check_callable("general_dropout", "uniform_sampler", uniform_sampler, "uniform_sampler(shape=..., dtype=...)")
    return drop("general_dropout", x, rate, uniform_sampler, noise_shape)


@answers_tensorflow_names
def stateless_dropout(
    x: ArrayLike,
    rate: ArrayLike,
    seed: ArrayLike | None = None,
    rng_alg: str | int | None = None,
    noise_shape: NoiseShape = None,
    *,
    key: Key | None = None,
) -> jax.Array:
    """:func:`dropout` with TensorFlow's stateless signature: the randomness is a seed of two integers.

    Args:
        x: Any shape, floating point.
        rate: Scalar, the probability of dropping an element, in [0, 1). It may be traced.
        seed: ``[2]`` integers. The same seed gives the same result, another one than TensorFlow's generators give.
        rng_alg: What generates the noise from ``seed``: None or ``"auto_select"``, JAX's default generator, or
            ``"threefry"``, in any case, or TensorFlow's numbers of these, 3 and 2. Its ``"philox"`` (1) JAX has not. A
            ``key`` brings its generator with it: with one, ``rng_alg`` must be None or ``"auto_select"``.
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
    generator = _generator(op, rng_alg)
    if (seed is None) == (key is None):
        given = "neither" if seed is None else "both"
        raise ValueError(f"{op}: `seed` must be given, or else `key`, got {given}")
    if seed is not None:
        words = as_integer_array(op, "seed", seed, rank=1)
        check_shape(op, "seed", words, (2,), "two integers")
        key = _key_of(words, generator or default_implementation())
    elif generator is not None:
        raise ValueError(f"{op}: `rng_alg` must be None or 'auto_select' with a `key`, got {rng_alg!r}")
    return drop(op, x, rate, functools.partial(jax.random.uniform, as_key(op, key)), noise_shape)


@functools.partial(jax.jit, static_argnames="generator")
def _key_of(words: jax.Array, generator: str) -> jax.Array:
    high, low = words.astype(jnp.uint32)
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(0, impl=generator), high), low)


def _generator(op: str, rng_alg: str | int | None) -> str | None:
    """JAX's name of a generator of TensorFlow's; None for the default one."""
    algorithm = rng_alg.lower() if isinstance(rng_alg, str) else rng_alg
    if isinstance(algorithm, str | int) and algorithm in ("philox", 1):
        raise ValueError(
            f"{op}: `rng_alg` must be None, 'auto_select' or 'threefry', got {rng_alg!r}, a generator that JAX has not"
        )
    check_choice(op, "rng_alg", algorithm, (None, "auto_select", "threefry", 3, 2))
    return "threefry2x32" if algorithm in ("threefry", 2) else None


def drop(
    op: str,
    x: ArrayLike,
    rate: ArrayLike,
    uniform_sampler: Callable[..., ArrayLike],
    noise_shape: NoiseShape,
) -> jax.Array:
    """What all these ops do, under the name of one."""
    x = as_float_array(op, "x", x)
    probability = as_scalar(op, "rate", rate, PROBABILITY_BELOW_1)
    if not is_traced(probability) and probability == 0:
        return x
    shape = as_noise_shape(op, noise_shape, x.shape)
    # The noise is float32 for every `x`, so that a key drops the same elements whatever the dtype.
    noise = as_float_array(op, "uniform_sampler", uniform_sampler(shape=shape, dtype=jnp.dtype(jnp.float32)))
    check_shape(op, "uniform_sampler", noise, shape, "as it was asked for")
    return _apply_noise(x, probability, noise)


def as_noise_shape(op: str, noise_shape: NoiseShape, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the random decisions about an array of ``shape``."""
    if noise_shape is None:
        return shape
    if is_sequence(noise_shape) and len(noise_shape) <= len(shape):
        given = tuple(noise_shape)
        resolved = tuple(
            size if entry is None else as_static_int(op, "noise_shape", entry, minimum=0)
            for entry, size in zip((1,) * (len(shape) - len(given)) + given, shape, strict=True)
        )
        if all(entry in (1, size) for entry, size in zip(resolved, shape, strict=True)):
            return resolved
    raise ValueError(f"{op}: `noise_shape` must broadcast to x.shape = {shape}, got {describe(noise_shape)}")


@jax.jit
def _apply_noise(x: jax.Array, rate: ArrayLike, noise: jax.Array) -> jax.Array:
    wide, rate = accumulation_dtype(x.dtype), jnp.asarray(rate)
    valid = (rate >= 0) & (rate < 1)
    scale = jnp.where(valid, 1 / (1 - jnp.where(valid, rate, 0).astype(wide)), jnp.nan)
    dropped = valid & (noise < rate.astype(noise.dtype))
    return jnp.where(dropped, 0, x.astype(wide) * scale).astype(x.dtype)
