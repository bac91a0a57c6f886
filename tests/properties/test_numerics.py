"""The contract of numerics (``docs/numerics.rst``), of every elementwise op and every reduction."""

import csv
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.numerics import distance
from machinery.numerics_of_ops import NUMERICS
from scipy import special

import jnnops as nn

INF = np.inf
SLOPE = 4e-6  # of a derivative, or of 1 where that is larger
ROOMS = ("activation", "normalization", "losses", "classification")

every_numeric = pytest.mark.parametrize("numeric", NUMERICS, ids=lambda numeric: numeric.id)
elementwise = pytest.mark.parametrize(
    "numeric", [each for each in NUMERICS if each.slopes], ids=lambda numeric: numeric.id
)


def f32(values):
    return jnp.asarray(values, jnp.float32)


def i32(values):
    return jnp.asarray(values, jnp.int32)


@every_numeric
def test_results_are_within_the_contract(numeric):
    for dtype in numeric.dtypes:
        given = numeric.given(dtype)
        results = jax.jit(numeric.__call__)(**{name: jnp.asarray(array) for name, array in given.items()})
        bars = numeric.bars(results, given)
        for leaf, exact, bar in zip(jax.tree.leaves(results), numeric.exact_of(given), bars, strict=True):
            apart = distance(leaf, exact)
            assert leaf.shape == exact.shape
            worst = np.unravel_index(np.argmax(apart - bar), apart.shape)
            at = {name: array[worst] for name, array in given.items() if array.shape == apart.shape}
            assert (apart <= bar).all(), f"{dtype}: {np.asarray(leaf)[worst]} instead of {exact[worst]} at {at}"


@elementwise
def test_derivatives_of_elementwise_ops(numeric):
    given = numeric.given("float32")
    is_number = ~np.any(np.broadcast_arrays(*(np.isnan(array) for array in given.values())), axis=0)
    wide = {name: array.astype(np.float64) for name, array in given.items()}
    arrays = {name: jnp.asarray(array) for name, array in given.items()}

    @jax.jit
    def derivatives(arrays):
        found = {}
        for name in numeric.slopes:
            ones = jnp.ones_like(arrays[name])

            def gradient(x, name=name):
                return jax.grad(lambda x: jnp.sum(numeric(**{**arrays, name: x})))(x)

            def push(x, name=name, ones=ones):
                # crelu has two results for an element
                tangent = jax.jvp(lambda x: numeric(**{**arrays, name: x}), (x,), (ones,))[1]
                return tangent.reshape(-1, *x.shape).sum(0)

            x = arrays[name]
            first = gradient(x), push(x)
            second = jax.grad(lambda x, f=gradient: jnp.sum(f(x)))(x), jax.jvp(gradient, (x,), (ones,))[1]
            found[name] = first, second
        return found

    found = derivatives(arrays)
    for name, slopes in numeric.slopes.items():
        for order, (slope, in_modes) in enumerate(zip(slopes, found[name], strict=True), 1):
            with np.errstate(all="ignore"):
                exact = np.broadcast_to(np.asarray(slope(**wide), np.float64), is_number.shape)
                terms = numeric.slope_terms(**wide) if numeric.slope_terms else 1
            finite = is_number & (np.abs(exact) <= np.finfo(np.float32).max)
            assert finite.mean() > 0.9
            bar = SLOPE * np.maximum(1, np.maximum(terms, np.abs(exact)))[finite]
            for mode, derivative in zip(("reverse", "forward"), in_modes, strict=True):
                apart = np.abs(np.asarray(derivative, np.float64)[finite] - exact[finite])
                worst = np.argmax(np.where(np.isnan(apart), np.inf, apart - bar))
                at = {name: array[finite][worst] for name, array in wide.items() if array.shape == finite.shape}
                message = f"derivative {order} by {name}, {mode}: off by {apart[worst]} at {at}"
                assert (apart <= bar).all(), message


# The gradients of reductions, times weights: of logits, vectors and samples along the last axis, also complex ones, so
# that the derivative of each along a direction is its imaginary part a small imaginary step further.


def softmax(x):
    e = np.exp(x - x.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gradient_of_softmax(x, w):
    p = softmax(x)
    return p * (w - (w * p).sum(-1, keepdims=True))


def gradient_of_log_softmax(x, w):
    return w - w.sum(-1, keepdims=True) * softmax(x)


def gradient_of_l2_normalize(x, w):
    norm = np.sqrt((x**2).sum(-1, keepdims=True))
    return (w - (w * x).sum(-1, keepdims=True) * x / norm**2) / norm


def gradient_of_variance(x, w):
    return 2 * w.mean(-1, keepdims=True) * (x - x.mean(-1, keepdims=True)) / x.shape[-1]


def gradient_of_batch_norm(x, w):
    centred = x - x.mean(-1, keepdims=True)
    factor = ((centred**2).mean(-1, keepdims=True) + 1e-3) ** -0.5
    y = centred * factor
    return factor * (w - w.mean(-1, keepdims=True) - y * (w * y).mean(-1, keepdims=True))


LABELS = np.random.default_rng(5).dirichlet(np.ones(7), 5).astype(np.float32)
LABELS[1] = np.eye(7)[2]
LABELS[2] *= 2  # the gradient for logits counts the sum of the labels
CLASSES = np.array([0, 6, 3, 3, 1], np.int32)


def batch_norm(x):
    return nn.fused_batch_norm(x.T[None, None], jnp.ones(5), jnp.zeros(5)).y[0, 0].T


REDUCTIONS = {
    "softmax": (nn.softmax, gradient_of_softmax),
    "log_softmax": (nn.log_softmax, gradient_of_log_softmax),
    "softmax_cross_entropy_with_logits": (
        lambda x: nn.softmax_cross_entropy_with_logits(LABELS, x),
        lambda x, w: w.mean(-1, keepdims=True) * (LABELS.sum(-1, keepdims=True) * softmax(x) - LABELS),
    ),
    "sparse_softmax_cross_entropy_with_logits": (
        lambda x: nn.sparse_softmax_cross_entropy_with_logits(CLASSES, x),
        lambda x, w: w.mean(-1, keepdims=True) * (softmax(x) - np.eye(7)[CLASSES]),
    ),
    "l2_normalize": (lambda x: nn.l2_normalize(x, -1), gradient_of_l2_normalize),
    "moments": (lambda x: nn.moments(x, -1).variance, gradient_of_variance),
    "fused_batch_norm": (batch_norm, gradient_of_batch_norm),
    "l2_loss": (jax.vmap(nn.l2_loss), lambda x, w: w.mean(-1, keepdims=True) * x),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_derivatives_of_reductions(name):
    f, gradient = REDUCTIONS[name]
    rng = np.random.default_rng(3)
    x, direction, weights = (rng.standard_normal((5, 7)).astype(np.float32) for _ in range(3))
    x[3] *= 20

    def total(x):
        y = f(x)
        return jnp.sum(y * (weights if y.ndim == 2 else weights.mean(-1)))

    @jax.jit
    def derivatives(x):
        reverse = jax.grad(total)
        return (
            reverse(x),
            jax.jvp(total, (x,), (direction,))[1],
            jax.jvp(reverse, (x,), (direction,))[1],
            jax.grad(lambda x: jnp.vdot(reverse(x), direction))(x),
        )

    first, slope, over_reverse, twice_reverse = derivatives(x)
    wide = x.astype(np.float64)
    exact = gradient(wide.astype(np.complex128), weights).real
    second = gradient(wide + 1e-30j * direction, weights).imag / 1e-30
    scale = np.abs(second).max()
    np.testing.assert_allclose(first, exact, rtol=0, atol=SLOPE * np.abs(exact).max())
    np.testing.assert_allclose(slope, np.vdot(exact, direction), rtol=0, atol=SLOPE * np.abs(exact * direction).sum())
    np.testing.assert_allclose(over_reverse, second, rtol=0, atol=SLOPE * scale)
    np.testing.assert_allclose(twice_reverse, second, rtol=0, atol=SLOPE * scale)


LOG2 = np.log(2)
# Of a function of one array, at a point: the gradient of the sum of the results that are finite.
EDGES = {
    "softmax-one left": (nn.softmax, [[0, -INF, -INF]], [[0, 0, 0]]),
    "softmax-none left": (nn.softmax, [[-INF, -INF]], [[0, 0]]),
    "softmax-all equal": (nn.softmax, [[1e4] * 4], [[0] * 4]),
    "softmax-none": (nn.softmax, np.zeros((2, 0)), np.zeros((2, 0))),
    "log_softmax-one left": (nn.log_softmax, [[0, -INF]], [[0, 0]]),
    "log_softmax-none left": (nn.log_softmax, [[-INF, -INF]], [[0, 0]]),
    "log_softmax-all equal": (nn.log_softmax, [[-1e4] * 4], [[0] * 4]),
    "softmax_cross_entropy_with_logits-probability 0": (
        lambda x: nn.softmax_cross_entropy_with_logits(f32([[0.25, 0.75, 0]]), x),
        [[2, 2, -INF]],
        [[0.25, -0.25, 0]],
    ),
    "softmax_cross_entropy_with_logits-probability 0 by labels": (
        lambda labels: nn.softmax_cross_entropy_with_logits(labels, f32([[2, 2, -INF]])),
        [[0.25, 0.75, 0]],
        [[LOG2, LOG2, 0]],
    ),
    "softmax_cross_entropy_with_logits-no labels": (
        lambda x: nn.softmax_cross_entropy_with_logits(f32([[0, 0]]), x),
        [[-INF, -INF]],
        [[0, 0]],
    ),
    "sparse_softmax_cross_entropy_with_logits-one left": (
        lambda x: nn.sparse_softmax_cross_entropy_with_logits(i32([1]), x),
        [[-INF, 3, -INF]],
        [[0, 0, 0]],
    ),
    "sparse_softmax_cross_entropy_with_logits-far": (
        lambda x: nn.sparse_softmax_cross_entropy_with_logits(i32([1]), x),
        [[1e4, -1e4]],
        [[1, -1]],
    ),
    "sigmoid_cross_entropy_with_logits-infinite": (
        lambda x: nn.sigmoid_cross_entropy_with_logits(f32([0, 1]), x),
        [-INF, INF],
        [0, 0],
    ),
    "sigmoid_cross_entropy_with_logits-infinite by labels": (
        lambda labels: nn.sigmoid_cross_entropy_with_logits(labels, f32([-INF, INF])),
        [0, 1],
        [0, 0],
    ),
    "l2_normalize-zero": (lambda x: nn.l2_normalize(x, -1), [[0, 0], [3, 4]], [[1e6, 1e6], [0.032, -0.024]]),
    "l2_normalize-huge": (lambda x: nn.l2_normalize(x, -1), [[3e20, 4e20]], [[3.2e-22, -2.4e-22]]),
    "l2_normalize-all equal": (lambda x: nn.l2_normalize(x, -1), [[2, 2]], [[0, 0]]),
    "l2_normalize-nothing": (lambda x: nn.l2_normalize(x, -1), np.zeros((2, 0)), np.zeros((2, 0))),
    "moments-variance 0": (lambda x: nn.moments(x, 0).variance, [1e4, 1e4, 1e4], [0, 0, 0]),
    "moments-mean of equals": (lambda x: nn.moments(x, 0).mean, [7, 7], [0.5, 0.5]),
    "moments-nothing": (lambda x: nn.moments(x, 0).variance, np.zeros((0, 2)), np.zeros((0, 2))),
    "fused_batch_norm-variance 0": (batch_norm, np.full((5, 3), 7.0), np.zeros((5, 3))),
    "batch_normalization-variance 0": (
        lambda x: nn.batch_normalization(x, f32(5), f32(0), None, None, 1e-4),
        [5, 6],
        [100, 100],
    ),
    "batch_normalization-variance 0 by variance": (
        lambda variance: nn.batch_normalization(f32([5, 6]), f32(5), variance, None, None, 0.25),
        [0, 0],
        [0, -4],
    ),
    "l2_loss-zero": (nn.l2_loss, [0, 1e-25], [0, 1e-25]),
    "l2_loss-nothing": (nn.l2_loss, [], []),
    "compute_average_loss-nothing": (nn.compute_average_loss, [], []),
    "scale_regularization_loss-nothing": (nn.scale_regularization_loss, [], []),
    "log_poisson_loss-certain": (lambda x: nn.log_poisson_loss(f32([0, 0]), x), [-INF, 0], [0, 1]),
    "log_poisson_loss-by targets": (
        lambda targets: nn.log_poisson_loss(targets, f32([-INF, 2.0, 2.0]), compute_full_loss=True),
        [0, 0, 1],
        [0, -2, -2],
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_derivatives_at_edges_are_finite_and_right(name):
    f, x, expected = EDGES[name]
    x, expected = f32(x), np.asarray(expected)

    def total(x):
        y = f(x)
        return jnp.sum(jnp.where(jnp.isfinite(y), y, 0))

    @jax.jit
    def derivatives(x):
        ones = jnp.ones_like(x)
        reverse = jax.grad(total)
        forward = jax.jvp(total, (x,), (ones,))[1]
        return reverse(x), forward, jax.jvp(reverse, (x,), (ones,))[1], jax.grad(lambda x: jnp.sum(reverse(x)))(x)

    reverse, forward, *second = derivatives(x)
    np.testing.assert_allclose(reverse, expected, rtol=SLOPE, atol=SLOPE * (np.abs(expected).max(initial=0) or 1))
    np.testing.assert_allclose(forward, expected.sum(), rtol=SLOPE, atol=SLOPE * (np.abs(expected).sum() or 1))
    for derivative in second:
        assert np.isfinite(derivative).all()
    np.testing.assert_allclose(*second, rtol=1e-5, atol=1e-6)


class TestLabelsOutOfRange:
    """Of every op that takes class numbers: NaN and reported, as TensorFlow has it on accelerators."""

    OPS: ClassVar = {"sparse_softmax_cross_entropy_with_logits": nn.sparse_softmax_cross_entropy_with_logits}

    @pytest.mark.parametrize("name", OPS)
    @pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
    def test_loss_and_gradient_are_nan(self, name, label):
        logits = f32([[1, 2, 3], [1, 2, 3]])
        value, gradient = jax.jit(
            lambda labels, logits: (
                self.OPS[name](labels, logits),
                jax.grad(lambda logits: jnp.sum(self.OPS[name](labels, logits)))(logits),
            )
        )(i32([label, 2]), logits)
        assert np.isnan(value).tolist() == [True, False]
        assert np.isnan(gradient).all(-1).tolist() == [True, False]
        assert np.isfinite(gradient[1]).all()

    @pytest.mark.parametrize("name", OPS)
    def test_checkify_reports_them(self, name):
        check = checkify.checkify(jax.jit(self.OPS[name]), errors=checkify.user_checks)
        logits = f32([[1, 2, 3]])
        for label in (-1, 3):
            assert f"{name}: `labels` must be in [0, 3)" in str(check(i32([label]), logits)[0].get())
        assert check(i32([2]), logits)[0].get() is None


class TestList:
    def test_has_every_op_of_its_rooms(self):
        rooms = [__import__(f"jnnops.{room}", fromlist=["*"]) for room in ROOMS]
        ops = {
            value
            for room in rooms
            for name, value in vars(room).items()
            if callable(value) and not isinstance(value, type) and getattr(nn, name, None) is value
        }
        assert ops == {numeric.op for numeric in NUMERICS}

    def test_is_that_of_the_table_in_the_documentation(self):
        with (Path(__file__).parents[2] / "docs" / "numerics_table.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert [row[0] for row in rows[1:]] == [f"``{numeric.id}``" for numeric in NUMERICS]

    def test_has_exact_results_that_agree_with_each_other(self):
        x = np.array([-30.0, -1, 0, 2])
        by_id = {numeric.id: numeric for numeric in NUMERICS}
        np.testing.assert_allclose(by_id["softplus"].exact(x), -special.log_expit(-x), rtol=1e-14)
        np.testing.assert_allclose(by_id["gelu"].exact(x), x * np.exp(special.log_ndtr(x)), rtol=1e-12)
        np.testing.assert_allclose(by_id["log_softmax"].exact(x[None]), special.log_softmax(x[None], -1), rtol=1e-14)
