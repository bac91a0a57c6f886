"""fused_linear_cross_entropy equals the loss of all logits at once, in memory for a chunk of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.case import integers, normal
from machinery.programs import compile_by_default

import jnnops as nn

ROWS, DIM, CLASSES = (2, 3), 4, 11
INTEGERS = integers(0, CLASSES, *ROWS)
DENSE = np.abs(normal(*ROWS, CLASSES, seed=1))
FEATURES, WEIGHTS, BIASES = normal(*ROWS, DIM, seed=2), normal(DIM, CLASSES, seed=3), normal(CLASSES, seed=4)


def of_all_logits(labels, features, weights, biases):
    logits = features @ weights + jnp.expand_dims(biases, tuple(range(features.ndim - 1)))
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return nn.softmax_cross_entropy_with_logits(labels, logits)


def assert_near(actual, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), actual, expected)


def places(labels):
    """The arguments to differentiate by."""
    return (1, 2, 3) if labels is INTEGERS else (0, 1, 2, 3)


def total(loss, *arrays):
    return jnp.sum(jnp.sin(loss(*arrays)))


@pytest.fixture
def in_float64():
    """What differs by more than rounding shows in float64."""
    with jax.enable_x64(True):
        yield


every_kind = pytest.mark.parametrize("labels", [INTEGERS, DENSE], ids=["integers", "dense"])


@pytest.mark.usefixtures("in_float64")
class TestEqualsTheLossOfAllLogits:
    @every_kind
    def test_values_and_gradients_for_every_size_of_chunks(self, labels):
        biases = jnp.asarray(BIASES).at[3].set(-jnp.inf)  # rules a class out
        labels = jnp.where(labels == 3, 2, labels) if labels is INTEGERS else jnp.asarray(labels).at[..., 3].set(0)
        wrt = (1, 2, 3) if labels.ndim == 2 else (0, 1, 2, 3)

        @jax.jit
        def run(arrays):
            losses = [
                functools.partial(nn.fused_linear_cross_entropy, chunk_size=size) for size in (1, 3, 4, 11, 100, None)
            ]
            return [
                (loss(*arrays), jax.grad(functools.partial(total, loss), wrt)(*arrays))
                for loss in (*losses, of_all_logits)
            ]

        *found, expected = run((labels, FEATURES, WEIGHTS, biases))
        for each in found:
            assert_near(each, expected)

    @every_kind
    def test_second_derivatives_in_every_composition_of_modes(self, labels):
        fused = functools.partial(nn.fused_linear_cross_entropy, chunk_size=4)
        arrays = (labels, FEATURES, WEIGHTS, BIASES)

        def hessians(loss, outer, inner):
            return outer(inner(functools.partial(total, loss), places(labels)), places(labels))(*arrays)

        @jax.jit
        def run():
            modes = [(jax.jacfwd, jax.grad), (jax.jacrev, jax.grad), (jax.jacfwd, jax.jacfwd), (jax.jacrev, jax.jacfwd)]
            return [hessians(fused, *mode) for mode in modes], hessians(of_all_logits, jax.jacfwd, jax.grad)

        found, expected = run()
        for each in found:
            assert_near(each, expected)

    @every_kind
    def test_maps_over_any_arguments(self, labels):
        fused = functools.partial(nn.fused_linear_cross_entropy, chunk_size=4)
        one = (labels, FEATURES, WEIGHTS, BIASES)
        two = tuple(np.stack([array, array[::-1]]) for array in one)

        def mapped(loss, axes):
            arrays = [b if axis == 0 else a for a, b, axis in zip(one, two, axes, strict=True)]
            gradient = jax.grad(functools.partial(total, loss), places(labels))
            of_sum = jax.grad(functools.partial(total, jax.vmap(loss, axes)), places(labels))
            return jax.vmap(loss, axes)(*arrays), jax.vmap(gradient, axes)(*arrays), of_sum(*arrays)

        @jax.jit
        def run():
            every = [(0, 0, None, None), (None, 0, None, None), (None, None, 0, None), (None, None, None, 0), (0,) * 4]
            return [[mapped(loss, axes) for axes in every] for loss in (fused, of_all_logits)]

        found, expected = run()
        assert_near(found, expected)

    def test_smoothing_spreads_labels_and_may_be_traced(self):
        one_hot = np.eye(CLASSES)[INTEGERS]
        smooth = 0.75 * one_hot + 0.25 / CLASSES
        expected = of_all_logits(smooth, FEATURES, WEIGHTS, BIASES)
        for labels in (INTEGERS, one_hot):
            smoothed = functools.partial(nn.fused_linear_cross_entropy, labels, FEATURES, WEIGHTS, BIASES)
            assert_near(smoothed(label_smoothing=0.25), expected)
            assert_near(jax.jit(lambda s, f=smoothed: f(label_smoothing=s))(0.25), expected)
        banned = jnp.asarray(BIASES).at[3].set(-jnp.inf)
        of_traced = jax.jit(
            lambda s: nn.fused_linear_cross_entropy(one_hot, FEATURES, WEIGHTS, banned, label_smoothing=s)
        )
        assert_near(of_traced(0.0), nn.fused_linear_cross_entropy(one_hot, FEATURES, WEIGHTS, banned))
        assert np.isinf(of_traced(0.25)).all()

    def test_an_ignored_label_has_no_loss_and_no_gradient_whatever_its_features(self):
        labels = INTEGERS.copy()
        labels[0, 1] = -100
        features = FEATURES.copy()
        features[0, 1] = np.nan

        def loss(features, weights):
            return nn.fused_linear_cross_entropy(labels, features, weights, BIASES, ignored_label=-100)

        def loss_of_the_others(features, weights):
            kept = labels >= 0
            return of_all_logits(labels[kept], features[kept], weights, BIASES)

        losses = loss(features, WEIGHTS)
        assert losses[0, 1] == 0
        assert_near(losses[labels >= 0], loss_of_the_others(features, WEIGHTS))
        run = jax.jit(
            lambda f, w: [jax.grad(functools.partial(total, g), (0, 1))(f, w) for g in (loss, loss_of_the_others)]
        )
        found, expected = run(features, WEIGHTS)
        assert_near(found, expected)
        for number in (300, -1, 2**40):  # no uint8 is ignored then
            same = nn.fused_linear_cross_entropy(INTEGERS.astype(np.uint8), FEATURES, WEIGHTS, ignored_label=number)
            np.testing.assert_array_equal(same, nn.fused_linear_cross_entropy(INTEGERS, FEATURES, WEIGHTS))

    def test_rows_without_any_possible_class(self):
        ruled_out = jnp.full(CLASSES, -jnp.inf)
        for labels in (INTEGERS, DENSE, np.zeros_like(DENSE)):

            def both(loss, labels=labels):
                gradient = jax.grad(functools.partial(total, loss), (1, 2))
                return loss(labels, FEATURES, WEIGHTS, ruled_out), gradient(labels, FEATURES, WEIGHTS, ruled_out)

            (found, by_both), (expected, _) = both(nn.fused_linear_cross_entropy), both(of_all_logits)
            np.testing.assert_array_equal(found, expected)
            assert labels.any() or not np.any(by_both[0])

    def test_a_label_out_of_range_is_nan_and_reported(self):
        labels = INTEGERS.copy()
        labels[1, 2] = CLASSES
        loss = functools.partial(nn.fused_linear_cross_entropy, labels)
        losses = loss(FEATURES, WEIGHTS)
        assert np.isnan(losses[1, 2])
        assert np.isfinite(losses).sum() == 5
        gradient = jax.grad(lambda features: jnp.sum(loss(features, WEIGHTS)))(FEATURES)
        assert np.isnan(gradient).all(-1).tolist() == [[False] * 3, [False, False, True]]
        error, _ = checkify.checkify(jax.jit(loss), errors=checkify.user_checks)(FEATURES, WEIGHTS)
        assert "fused_linear_cross_entropy: `labels` must be in [0, 11)" in str(error.get())


class TestPrecision:
    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_logits_of_16_bits_are_summed_and_kept_in_float32(self, dtype):
        rng = np.random.default_rng(0)
        features, weights = (rng.standard_normal(shape) for shape in ((8, 300), (300, 50)))
        features, weights = jnp.asarray(features, dtype), jnp.asarray(weights, dtype)
        labels = np.arange(8)

        def loss(features, weights):
            return jnp.sum(nn.fused_linear_cross_entropy(labels, features, weights, chunk_size=20).astype(jnp.float32))

        by_features, by_weights = jax.jit(jax.grad(loss, (0, 1)))(features, weights)
        x, w = np.asarray(features, np.float64), np.asarray(weights, np.float64)
        logits = x @ w
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        exact = -np.log(p[np.arange(8), labels])
        losses = nn.fused_linear_cross_entropy(labels, features, weights, chunk_size=20)
        assert losses.dtype == by_features.dtype == by_weights.dtype == dtype
        ulp = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(losses, np.float64), exact, rtol=ulp)
        by_logits = p - np.eye(50)[labels]
        for found, wanted in ((by_features, by_logits @ w.T), (by_weights, x.T @ by_logits)):
            np.testing.assert_allclose(np.asarray(found, np.float64), wanted, rtol=0, atol=ulp * np.abs(wanted).max())


def test_no_more_than_a_chunk_of_logits_is_in_memory():
    rows, dim, classes, chunk = 512, 8, 20_000, 500
    shapes: Any = (
        jax.ShapeDtypeStruct((rows,), jnp.int32),
        jax.ShapeDtypeStruct((rows, dim), jnp.float32),
        jax.ShapeDtypeStruct((dim, classes), jnp.float32),
    )

    def loss(labels, features, weights):
        return jnp.mean(nn.fused_linear_cross_entropy(labels, features, weights, chunk_size=chunk))

    def second_order(labels, features, weights):
        return jax.jvp(
            jax.grad(loss, 2), (labels, features, weights), (np.zeros(rows, jax.dtypes.float0), features, weights)
        )

    def reverse_over_reverse(labels, features, weights):
        return jax.grad(lambda w: jnp.vdot(jax.grad(loss, 2)(labels, features, w), weights))(weights)

    of_chunk, of_weights = 4 * rows * chunk, 4 * dim * classes
    for f, arrays in (
        (loss, 3),
        (jax.grad(loss, (1, 2)), 3),
        (second_order, 6),
        (reverse_over_reverse, 6),
    ):
        used = compile_by_default(f, *shapes).memory_analysis().temp_size_in_bytes
        assert used < arrays * of_chunk + 4 * of_weights
