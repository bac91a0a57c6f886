"""The list of all elementwise ops and reductions: their inputs, exact results and peers (``numerics.py``)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxlib import version as jaxlib_version
from scipy import special

import jnnops as nn
from machinery.numerics import Numeric

INF = np.inf
GELU_TANH = 2 * (2 / np.pi) ** 0.5
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


# Inputs


def points() -> np.ndarray:
    """Both tails up to 1e4, bends and kinks, all orders of magnitude, zeros, infinities and NaN."""
    magnitudes = [
        np.linspace(0, 7, 3001),
        np.linspace(7, 110, 3001),
        np.geomspace(1e-36, 1e4, 1501),
        [0, 6, 88.7216, 1e4],
    ]
    positive = np.concatenate(magnitudes)
    return np.concatenate([positive, -positive, [INF, -INF, np.nan]])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def probabilities(size: int) -> np.ndarray:
    """0, 1 and numbers between them, also close to either."""
    some = np.array([0, 1, 0.5, 0.25, 1e-3, 1 - 2.0**-7, 1 / 3])
    return np.resize(some, size)


def logits(rows: int = 200, classes: int = 50) -> np.ndarray:
    """Rows from 0.01 to 1e4 wide, with ties, with classes that are ruled out, with one or none that is left."""
    x = np.clip(normal(rows, classes) * np.geomspace(0.01, 4e3, rows)[:, None], -1e4, 1e4)
    x[1] = 3
    x[2, :-1] = -INF
    x[3, ::2] = -INF
    x[4] = np.resize([1e4, -1e4], classes)
    x[5] = -INF
    return x


def distributions(of: np.ndarray) -> np.ndarray:
    """Labels for logits: some classes have all of the probability, and those that are ruled out none."""
    weights = np.where(np.isfinite(of), np.random.default_rng(1).uniform(0, 1, of.shape) ** 8, 0)
    weights[6::3] = np.eye(of.shape[1])[np.arange(len(weights[6::3])) % of.shape[1]]
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


def lengths(rows: int = 12, size: int = 300) -> np.ndarray:
    """Vectors from 1e-44 to 1e37 long, one of zeros, and one with a component that outweighs the others."""
    x = normal(rows, size) * np.array([1e-44, 1e-40, 1e-25, 1e-12, 1e-6, 1e-3, 1, 1e3, 1e10, 1e20, 1e30, 1e36])[:, None]
    return np.concatenate([x, np.zeros((1, size)), np.concatenate([[1e30], normal(size - 1)])[None]])


# Exact results


def times(a: Any, b: Any) -> Any:
    """The product, but 0 where ``a`` is 0."""
    return np.where(a == 0, 0, a * b)


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def gated(x: Any, argument: Any) -> Any:
    """``x * sigmoid(argument)``."""
    return times(special.expit(argument), x)


def gated_slopes(x: Any, v: Any, dv: Any, ddv: Any) -> tuple[Any, Any]:
    """The first and the second derivative of ``x * sigmoid(v)``, for ``v`` and its derivatives."""
    s = special.expit(v)
    ds = s * (1 - s)
    return s + x * ds * dv, 2 * ds * dv + x * (ds * (1 - 2 * s) * dv**2 + ds * ddv)


def gelu_tanh_argument(x: Any) -> Any:
    return GELU_TANH * (x + 0.044715 * x**3)


def gelu_tanh_slope(order: int) -> Any:
    def slope(features: Any) -> Any:
        x = np.clip(features, -100, 100)
        dv, ddv = GELU_TANH * (1 + 3 * 0.044715 * x**2), GELU_TANH * 6 * 0.044715 * x
        return gated_slopes(x, gelu_tanh_argument(x), dv, ddv)[order - 1]

    return slope


def normal_density(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def gelu_slope(features: Any) -> Any:
    x = np.clip(features, -100, 100)
    return special.ndtr(x) + x * normal_density(x)


def gelu_curvature(features: Any) -> Any:
    x = np.clip(features, -100, 100)
    return normal_density(x) * (2 - x**2)


def silu_slope(order: int) -> Any:
    def slope(features: Any, beta: Any) -> Any:
        x = np.clip(features, -400, 400)
        return gated_slopes(x, beta * x, beta, 0)[order - 1]

    return slope


def silu_slope_by_beta(order: int) -> Any:
    def slope(features: Any, beta: Any) -> Any:
        x = np.clip(features, -400, 400)
        s = special.expit(beta * x)
        return x**2 * s * (1 - s) * (x * (1 - 2 * s) if order == 2 else 1)

    return slope


def logistic_loss(labels: Any, logits: Any, pos_weight: Any = 1.0) -> Any:
    return times(pos_weight * labels, softplus(-logits)) + times(1 - labels, softplus(logits))


def logistic_slope(labels: Any, logits: Any, pos_weight: Any = 1.0) -> Any:
    return (1 - labels) * special.expit(logits) - pos_weight * labels * special.expit(-logits)


def logistic_curvature(labels: Any, logits: Any, pos_weight: Any = 1.0) -> Any:
    return (1 - labels + pos_weight * labels) * special.expit(logits) * special.expit(-logits)


def poisson_terms(targets: Any, log_input: Any) -> list[Any]:
    return [np.exp(log_input), np.where(log_input == INF, 0, -times(targets, log_input))]


def stirling_terms(targets: Any) -> list[Any]:
    many = np.where((targets >= 0) & (targets <= 1), 1, targets)
    terms = [many * np.log(many), -many, np.log(2 * np.pi * many) / 2]
    return [np.where(many == 1, 0, term) for term in terms]


def poisson_loss(full: bool) -> Any:
    return lambda targets, log_input: sum(poisson_terms(targets, log_input) + stirling_terms(targets) * full)


def largest_poisson_term(targets: Any, log_input: Any) -> Any:
    return np.max(np.abs(poisson_terms(targets, log_input)), axis=0)


def largest_full_poisson_term(targets: Any, log_input: Any) -> Any:
    """Near a count the terms cancel before they are rounded, and what is left is as wrong as their distance from it."""
    distance = np.abs(log_input - np.log(targets))
    terms = np.max(np.abs(poisson_terms(targets, log_input) + stirling_terms(targets)), axis=0)
    return np.where((targets > 1) & (distance < 1), targets * distance * (1 + np.abs(log_input)), terms)


def poisson_slope(targets: Any, log_input: Any) -> Any:
    return np.exp(log_input) - targets


def poisson_slope_terms(targets: Any, log_input: Any) -> Any:
    return np.maximum(np.exp(log_input), targets)


def log_softmax(logits: Any) -> Any:
    return logits - special.logsumexp(logits, axis=-1, keepdims=True)


def cross_entropy(labels: Any, logits: Any) -> Any:
    loss = times(labels, -log_softmax(logits)).sum(-1)
    return np.where(labels.any(-1), loss, 0)


def at_labels(labels: Any, logits: Any) -> Any:
    return -np.take_along_axis(log_softmax(logits), labels[:, None], -1)[:, 0]


def at_least_1(exact: Any) -> Any:
    """The scale of what comes from the logarithm of a sum of exponentials whose largest is 1."""
    return lambda **arrays: np.maximum(1, np.abs(exact(**arrays)))


def l2_normalize(x: Any) -> Any:
    return x / np.sqrt(np.maximum(np.sum(x**2, -1, keepdims=True), 1e-12))


def normalized(x: Any, mean: Any, variance: Any, offset: Any, scale: Any) -> Any:
    return scale * (x - mean) / np.sqrt(variance + 1e-3) + offset


def batch_normalized(x: Any, scale: Any, offset: Any) -> Any:
    axes = (0, 1, 2)
    mean, variance = x.mean(axes), x.var(axes)
    count = x[..., 0].size
    return normalized(x, mean, variance, offset, scale), mean, variance * count / (count - 1)


def weighted_moments(x: Any, frequency_weights: Any) -> Any:
    total = np.sum(frequency_weights + 0 * x, 0)
    mean = (frequency_weights * x).sum(0) / total
    return mean, (frequency_weights * (x - mean) ** 2).sum(0) / total


def window_sums(squares: Any, radius: int) -> Any:
    """Sums over the neighbours on the last axis."""
    size = squares.shape[-1]
    near = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= radius
    return squares @ near.astype(np.float64)


def fits(x: Any) -> Any:
    """Decreasing ones of rows, and their segments, by pooling neighbours that violate the order."""
    fits, segments = np.zeros(x.shape), np.zeros(x.shape)
    for row, numbers in enumerate(x):
        pools: list[tuple[float, int]] = []  # the sum and the size of each
        for number in numbers:
            pools.append((number, 1))
            while len(pools) > 1 and pools[-2][0] / pools[-2][1] < pools[-1][0] / pools[-1][1]:
                (sum1, size1), (sum2, size2) = pools.pop(), pools.pop()
                pools.append((sum1 + sum2, size1 + size2))
        sizes = [size for _, size in pools]
        fits[row] = np.repeat([total / size for total, size in pools], sizes)
        segments[row] = np.repeat(np.arange(len(pools)), sizes)
    return fits, segments


def uniform_noise(shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(jax.random.key(0), shape)


def dropped(x: Any) -> Any:
    return np.where(np.asarray(uniform_noise(x.shape)) < 0.25, 0, x / 0.75)


# The list

# On CPU before jaxlib 0.12, XLA's exponential is off by up to 4.9 units for arguments from 88.72 to 88.7228, where it
# overflows, and by 2.7 below (measured with jaxlib 0.9.0 and 0.10.2). With jaxlib 0.12.0.1 it is within 1 unit.
EXP_ULPS = 4.0 if jaxlib_version.__version_info__ >= (0, 12) else 5.0

X = points()
N = X.size
LOGITS = logits()
SHORT = {"features": X}
AFFINE = {"x": normal(40, 300), "weights": normal(300, 20, seed=1), "biases": normal(20, seed=2)}
IMAGES = {"x": 3 * normal(4, 8, 8, 5) + 7, "scale": normal(5, seed=1), "offset": normal(5, seed=2)}
GIVEN_MOMENTS = {"mean": normal(50), "variance": np.square(normal(50, seed=1))}
LABELLED = {"labels": distributions(LOGITS), "logits": LOGITS}
NUMBERED = {"labels": np.where(np.isfinite(LOGITS[:, -1]), 49, 1).astype(np.int32), "logits": LOGITS}
YES_OR_NO = {"labels": probabilities(N), "logits": X}
# Above 1 only where the exponential that they multiply is a normal number.
POS_WEIGHTS = np.where(np.abs(X) < 87, np.resize([3, 1e-10, 0.5, 1, 0], N), 0.5)
# Of some counts the mean is near, so that the loss is a small difference.
COUNTS = np.resize([0, 0.5, 1, 1.5, 2, 7, 100, 1e4, 6e4], N)
LOG_MEANS = np.where(np.arange(N) % 5 == 0, np.log(np.maximum(COUNTS, 0.1)) + np.resize([0, 1e-3, -0.1, 0.5], N), X)
LOG_MEANS = np.where(np.abs(LOG_MEANS) < 1e-30, 0, LOG_MEANS)  # whose product with a count is subnormal


def straight(slope: Any) -> Any:
    """The slope of a function that does not bend, and its derivative."""
    return slope, lambda **arrays: np.zeros_like(next(iter(arrays.values())))


def affine_terms(x: Any, weights: Any, biases: Any) -> Any:
    return np.abs(x) @ np.abs(weights) + np.abs(biases)


def normalized_terms(x: Any, mean: Any, variance: Any, offset: Any, scale: Any) -> Any:
    return np.maximum(np.abs(normalized(x, mean, variance, 0, scale)), np.abs(offset))


def batch_terms(x: Any, scale: Any, offset: Any) -> Any:
    y, mean, variance = batch_normalized(x, scale, np.zeros_like(offset))
    return np.maximum(np.abs(y), np.abs(offset)), np.abs(mean), variance


ACTIVATION = [
    Numeric(
        nn.relu,
        SHORT,
        lambda features: np.where(features <= 0, 0, features),
        slopes={"features": straight(lambda features: features > 0)},
        jax=lambda features: jax.nn.relu(features),
        tf=lambda tf, features: tf.nn.relu(features),
    ),
    Numeric(
        nn.relu6,
        SHORT,
        lambda features: np.clip(features, 0, 6),
        slopes={"features": straight(lambda features: (features > 0) & (features < 6))},
        jax=lambda features: jax.nn.relu6(features),
        tf=lambda tf, features: tf.nn.relu6(features),
    ),
    Numeric(
        nn.relu_x,
        {"features": X, "max_value": np.resize([0.1, 1, 6, 30], N)},
        lambda features, max_value: np.clip(features, 0, max_value),
        slopes={"features": straight(lambda features, max_value: (features > 0) & (features < max_value))},
    ),
    Numeric(
        nn.crelu,
        SHORT,
        lambda features: np.concatenate(
            [np.where(features <= 0, 0, features), np.where(features >= 0, 0, -features)], -1
        ),
        slopes={"features": straight(lambda features: np.sign(features))},
        tf=lambda tf, features: tf.nn.crelu(features),
    ),
    Numeric(
        nn.leaky_relu,
        {"features": X, "alpha": np.resize([0.2, 0.01, 1.5], N)},
        lambda features, alpha: np.where(features > 0, features, alpha * features),
        slopes={"features": straight(lambda features, alpha: np.where(features > 0, 1, alpha))},
        jax=lambda features, alpha: jax.nn.leaky_relu(features, alpha),
    ),
    Numeric(
        nn.zero_fraction,
        {"value": np.resize([0.0, 1, 0], 1001)},
        lambda value: np.mean(value == 0),
        is_reduction=True,
        tf=lambda tf, value: tf.nn.zero_fraction(value),
    ),
    Numeric(
        nn.elu,
        SHORT,
        lambda features: np.where(features < 0, np.expm1(np.minimum(features, 0)), features),
        slopes={
            "features": (
                lambda features: np.exp(np.minimum(features, 0)),
                lambda features: np.where(features < 0, np.exp(np.minimum(features, 0)), 0),
            )
        },
        jax=lambda features: jax.nn.elu(features),
        tf=lambda tf, features: tf.nn.elu(features),
    ),
    Numeric(
        nn.selu,
        SHORT,
        lambda features: SELU_SCALE * np.where(features < 0, SELU_ALPHA * np.expm1(np.minimum(features, 0)), features),
        slopes={
            "features": (
                lambda features: SELU_SCALE * np.where(features < 0, SELU_ALPHA * np.exp(np.minimum(features, 0)), 1),
                lambda features: SELU_SCALE * SELU_ALPHA * np.where(features < 0, np.exp(np.minimum(features, 0)), 0),
            )
        },
        jax=lambda features: jax.nn.selu(features),
        tf=lambda tf, features: tf.nn.selu(features),
    ),
    Numeric(
        nn.gelu,
        SHORT,
        lambda features: times(special.ndtr(features), features),
        slopes={"features": (gelu_slope, gelu_curvature)},
        jax=lambda features: jax.nn.gelu(features, approximate=False),
        tf=lambda tf, features: tf.nn.gelu(features),
    ),
    Numeric(
        nn.gelu,
        SHORT,
        lambda features: gated(features, gelu_tanh_argument(features)),
        {"approximate": True},
        label="approximate",
        slopes={"features": (gelu_tanh_slope(1), gelu_tanh_slope(2))},
        jax=lambda features: jax.nn.gelu(features, approximate=True),
        tf=lambda tf, features: tf.nn.gelu(features, approximate=True),
    ),
    Numeric(
        nn.silu,
        SHORT,
        lambda features: gated(features, features),
        slopes={
            "features": (lambda features: silu_slope(1)(features, 1.0), lambda features: silu_slope(2)(features, 1.0))
        },
        jax=lambda features: jax.nn.silu(features),
        tf=lambda tf, features: tf.nn.silu(features),
    ),
    Numeric(
        nn.silu,
        {"features": X, "beta": np.resize([1.7, 0.3, 1], N)},
        lambda features, beta: gated(features, beta * features),
        label="beta",
        slopes={"features": (silu_slope(1), silu_slope(2)), "beta": (silu_slope_by_beta(1), silu_slope_by_beta(2))},
        tf=lambda tf, features, beta: tf.nn.silu(features, beta),
    ),
    Numeric(
        nn.softplus,
        SHORT,
        lambda features: softplus(features),
        slopes={
            "features": (
                lambda features: special.expit(features),
                lambda features: special.expit(features) * special.expit(-features),
            )
        },
        jax=lambda features: jax.nn.softplus(features),
        tf=lambda tf, features: tf.nn.softplus(features),
    ),
    Numeric(
        nn.softsign,
        SHORT,
        lambda features: np.where(np.isinf(features), np.sign(features), features / (1 + np.abs(features))),
        slopes={
            "features": (
                lambda features: (1 + np.abs(features)) ** -2.0,
                lambda features: np.where(features < 0, 2, -2) * (1 + np.abs(features)) ** -3.0,
            )
        },
        jax=lambda features: jax.nn.soft_sign(features),
        tf=lambda tf, features: tf.nn.softsign(features),
    ),
    Numeric(
        nn.sigmoid,
        {"x": X},
        lambda x: special.expit(x),
        slopes={
            "x": (
                lambda x: special.expit(x) * special.expit(-x),
                lambda x: special.expit(x) * special.expit(-x) * (special.expit(-x) - special.expit(x)),
            )
        },
        jax=lambda x: jax.nn.sigmoid(x),
        tf=lambda tf, x: tf.nn.sigmoid(x),
    ),
    Numeric(
        nn.tanh,
        {"x": X},
        lambda x: np.tanh(x),
        slopes={"x": (lambda x: 1 - np.tanh(x) ** 2, lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2))},
        jax=lambda x: jax.nn.tanh(x),
        tf=lambda tf, x: tf.nn.tanh(x),
        # XLA's is off by up to 4.9, for one number in ten thousand between 3 and 8. A form by exponentials was within
        # 1.4 and took 1.4 times as long for a million numbers, 3 times for 65,536 (jaxlib 0.10.2, AMD EPYC with AVX2).
        ulps=5,
    ),
    Numeric(
        nn.bias_add,
        {"value": normal(200, 50) * 100, "bias": normal(50)},
        lambda value, bias: value + bias,
        terms=lambda value, bias: np.maximum(np.abs(value), np.abs(bias)),
        slopes={"value": straight(lambda value, bias: np.ones_like(value))},
        tf=lambda tf, value, bias: tf.nn.bias_add(value, bias),
    ),
    Numeric(
        nn.dropout,
        {"x": X},
        dropped,
        {"rate": 0.25, "key": jax.random.key(0)},
        slopes={"x": straight(lambda x: dropped(np.ones_like(x)))},
    ),
    Numeric(nn.stateless_dropout, {"x": X}, dropped, {"rate": 0.25, "key": jax.random.key(0)}),
    Numeric(
        nn.general_dropout,
        {"x": X},
        dropped,
        {"rate": 0.25, "uniform_sampler": lambda shape, dtype: uniform_noise(shape)},
    ),
    Numeric(
        nn.xw_plus_b,
        AFFINE,
        lambda x, weights, biases: x @ weights + biases,
        terms=affine_terms,
        is_reduction=True,
        tf=lambda tf, x, weights, biases: tf.compat.v1.nn.xw_plus_b(x, weights, biases),
    ),
    Numeric(
        nn.relu_layer,
        AFFINE,
        lambda x, weights, biases: np.maximum(x @ weights + biases, 0),
        terms=affine_terms,
        is_reduction=True,
        tf=lambda tf, x, weights, biases: tf.compat.v1.nn.relu_layer(x, weights, biases),
    ),
]

NORMALIZATION = [
    Numeric(
        nn.l2_normalize,
        {"x": lengths()},
        l2_normalize,
        {"axis": -1},
        is_reduction=True,
        dtypes=("float32", "bfloat16"),
        jax=lambda x: x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), jnp.asarray(1e-12, x.dtype))),
        tf=lambda tf, x: tf.nn.l2_normalize(x, -1),
    ),
    Numeric(
        nn.moments,
        {"x": normal(500, 20) * 3 + 5},
        lambda x: (x.mean(0), x.var(0)),
        {"axes": 0},
        is_reduction=True,
        jax=lambda x: (jnp.mean(x, 0), jnp.var(x, 0)),
        tf=lambda tf, x: tf.nn.moments(x, 0),
    ),
    Numeric(
        nn.fused_batch_norm,
        IMAGES,
        batch_normalized,
        terms=batch_terms,
        is_reduction=True,
        tf=lambda tf, x, scale, offset: tf.compat.v1.nn.fused_batch_norm(
            x, tf.cast(scale, tf.float32), tf.cast(offset, tf.float32)
        ),
    ),
    Numeric(
        nn.batch_normalization,
        {"x": normal(200, 50) + 7, **GIVEN_MOMENTS, "offset": normal(50, seed=2), "scale": normal(50, seed=3)},
        normalized,
        {"variance_epsilon": 1e-3},
        terms=normalized_terms,
        tf=lambda tf, **arrays: tf.nn.batch_normalization(**arrays, variance_epsilon=1e-3),
    ),
    Numeric(
        nn.batch_norm_with_global_normalization,
        {"input": normal(2, 5, 4, 50) + 7, **GIVEN_MOMENTS, "beta": normal(50, seed=2), "gamma": normal(50, seed=3)},
        lambda input, mean, variance, beta, gamma: normalized(input, mean, variance, beta, gamma),
        {"variance_epsilon": 1e-3, "scale_after_normalization": True},
        terms=lambda input, mean, variance, beta, gamma: normalized_terms(input, mean, variance, beta, gamma),
        tf=lambda tf, **arrays: tf.nn.batch_norm_with_global_normalization(
            **arrays, variance_epsilon=1e-3, scale_after_normalization=True
        ),
    ),
    Numeric(
        nn.weighted_moments,
        {"x": normal(500, 20) * 3 + 5, "frequency_weights": np.square(normal(500, 1, seed=1))},
        weighted_moments,
        {"axes": 0},
        is_reduction=True,
        tf=lambda tf, x, frequency_weights: tf.nn.weighted_moments(x, 0, frequency_weights),
    ),
    Numeric(
        nn.sufficient_statistics,
        {"x": normal(500, 20) * 3 + 5, "shift": np.array(5.0)},
        lambda x, shift: (len(x), (x - shift).sum(0), ((x - shift) ** 2).sum(0), shift),
        {"axes": 0},
        terms=lambda x, shift: (len(x), np.abs(x - shift).sum(0), ((x - shift) ** 2).sum(0), shift),
        is_reduction=True,
        tf=lambda tf, x, shift: tf.nn.sufficient_statistics(x, [0], shift),
        dtypes=("float32", "bfloat16"),
    ),
    Numeric(
        nn.normalize_moments,
        {"counts": np.array(500.0), "mean_ss": normal(20) * 9, "variance_ss": np.square(normal(20)) + 500},
        lambda counts, mean_ss, variance_ss: (mean_ss / counts, variance_ss / counts - (mean_ss / counts) ** 2),
        {"shift": None},
        is_reduction=True,
        tf=lambda tf, **arrays: tf.nn.normalize_moments(**arrays, shift=None),
    ),
    Numeric(
        nn.local_response_normalization,
        {"input": normal(2, 5, 4, 50) * 3},
        lambda input: input / np.sqrt(1 + window_sums(input**2, 5)),
        tf=lambda tf, input: tf.nn.local_response_normalization(input),
    ),
]

LOSSES = [
    Numeric(
        nn.l2_loss,
        {"t": normal(100_000)},
        lambda t: np.sum(t**2) / 2,
        is_reduction=True,
        jax=lambda t: jnp.sum(t * t) / 2,
        tf=lambda tf, t: tf.nn.l2_loss(t),
    ),
    Numeric(
        nn.log_poisson_loss,
        {"targets": COUNTS, "log_input": LOG_MEANS},
        poisson_loss(False),
        terms=largest_poisson_term,
        ulps=EXP_ULPS,
        slope_terms=poisson_slope_terms,
        slopes={"log_input": (poisson_slope, lambda targets, log_input: np.exp(log_input))},
        tf=lambda tf, targets, log_input: tf.nn.log_poisson_loss(targets, log_input),
    ),
    Numeric(
        nn.log_poisson_loss,
        {"targets": COUNTS, "log_input": LOG_MEANS},
        poisson_loss(True),
        {"compute_full_loss": True},
        label="full",
        terms=largest_full_poisson_term,
        ulps=EXP_ULPS,
        slope_terms=poisson_slope_terms,
        slopes={"log_input": (poisson_slope, lambda targets, log_input: np.exp(log_input))},
        tf=lambda tf, targets, log_input: tf.nn.log_poisson_loss(targets, log_input, compute_full_loss=True),
    ),
    Numeric(
        nn.compute_average_loss,
        {"per_example_loss": np.abs(normal(30_000)), "sample_weight": np.abs(normal(30_000, seed=1))},
        lambda per_example_loss, sample_weight: np.mean(per_example_loss * sample_weight),
        is_reduction=True,
        jax=lambda per_example_loss, sample_weight: jnp.mean(per_example_loss * sample_weight),
        tf=lambda tf, per_example_loss, sample_weight: tf.nn.compute_average_loss(per_example_loss, sample_weight),
    ),
    Numeric(
        nn.scale_regularization_loss,
        {"regularization_loss": np.abs(normal(30_000)) / 100},
        lambda regularization_loss: np.sum(regularization_loss),
        is_reduction=True,
        jax=lambda regularization_loss: jnp.sum(regularization_loss),
        tf=lambda tf, regularization_loss: tf.nn.scale_regularization_loss(regularization_loss),
    ),
    Numeric(
        nn.isotonic_regression,
        {"inputs": normal(20, 300)},
        lambda inputs: fits(inputs),
        terms=lambda inputs: (np.max(np.abs(inputs), 1, keepdims=True), fits(inputs)[1]),
        is_reduction=True,
        tf=lambda tf, inputs: tf.nn.isotonic_regression(inputs),
        dtypes=("float32",),
    ),
]

CLASSIFICATION = [
    Numeric(
        nn.softmax,
        {"logits": LOGITS},
        lambda logits: special.softmax(logits, -1),
        terms=lambda logits: np.ones_like(logits),
        is_reduction=True,
        jax=lambda logits: jax.nn.softmax(logits),
        tf=lambda tf, logits: tf.nn.softmax(logits),
    ),
    Numeric(
        nn.log_softmax,
        {"logits": LOGITS},
        log_softmax,
        terms=at_least_1(log_softmax),
        is_reduction=True,
        jax=lambda logits: jax.nn.log_softmax(logits),
        tf=lambda tf, logits: tf.nn.log_softmax(logits),
    ),
    Numeric(
        nn.softmax_cross_entropy_with_logits,
        LABELLED,
        cross_entropy,
        terms=at_least_1(cross_entropy),
        is_reduction=True,
        jax=lambda labels, logits: optax.softmax_cross_entropy(logits, labels),
        tf=lambda tf, labels, logits: tf.nn.softmax_cross_entropy_with_logits(labels, logits),
    ),
    Numeric(
        nn.sparse_softmax_cross_entropy_with_logits,
        NUMBERED,
        at_labels,
        terms=at_least_1(at_labels),
        is_reduction=True,
        jax=lambda labels, logits: optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        tf=lambda tf, labels, logits: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
    ),
    Numeric(
        nn.sigmoid_cross_entropy_with_logits,
        YES_OR_NO,
        logistic_loss,
        slopes={"logits": (logistic_slope, logistic_curvature)},
        jax=lambda labels, logits: optax.sigmoid_binary_cross_entropy(logits, labels),
        tf=lambda tf, labels, logits: tf.nn.sigmoid_cross_entropy_with_logits(labels, logits),
    ),
    Numeric(
        nn.weighted_cross_entropy_with_logits,
        {**YES_OR_NO, "pos_weight": POS_WEIGHTS},
        logistic_loss,
        slopes={"logits": (logistic_slope, logistic_curvature)},
        tf=lambda tf, labels, logits, pos_weight: tf.nn.weighted_cross_entropy_with_logits(labels, logits, pos_weight),
    ),
    Numeric(
        nn.fused_linear_cross_entropy,
        {"labels": np.arange(40, dtype=np.int32), "features": normal(40, 60), "weights": normal(60, 300, seed=1)},
        lambda labels, features, weights: at_labels(labels, features @ weights),
        {"chunk_size": 70},
        terms=lambda labels, features, weights: np.max(np.abs(features) @ np.abs(weights), -1),
        is_reduction=True,
        jax=lambda labels, features, weights: optax.softmax_cross_entropy_with_integer_labels(
            features @ weights, labels
        ),
        tf=lambda tf, labels, features, weights: tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels, features @ weights
        ),
    ),
]

NUMERICS = [*ACTIVATION, *NORMALIZATION, *LOSSES, *CLASSIFICATION]
