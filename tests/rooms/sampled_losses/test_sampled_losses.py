"""Sampled losses: shards, hits, labels out of range, and that they approach the full loss."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery import oracle
from machinery.programs import compile_by_default

import jnnops as nn

LOSSES = [nn.nce_loss, nn.sampled_softmax_loss]
both = pytest.mark.parametrize("op", LOSSES, ids=lambda op: op.__name__)
KEY = jax.random.key(1)
NUM_CLASSES, DIM = 23, 4


def arrays(batch=6, num_true=2, num_sampled=7, seed=0):
    """Float64 arguments, and sampled values that hold hits."""
    generator = np.random.default_rng(seed)
    given = dict(
        weights=generator.standard_normal((NUM_CLASSES, DIM)),
        biases=generator.standard_normal(NUM_CLASSES),
        labels=np.stack([generator.permutation(NUM_CLASSES)[:num_true] for _ in range(batch)]),
        inputs=generator.standard_normal((batch, DIM)),
    )
    sampled = (
        generator.permutation(NUM_CLASSES)[:num_sampled],
        generator.uniform(0.1, 0.9, (batch, num_true)),
        generator.uniform(0.1, 0.9, num_sampled),
    )
    return given, sampled


def f32(given):
    return {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in given.items()}


class TestShards:
    @both
    @pytest.mark.parametrize("strategy", ["mod", "div"])
    @pytest.mark.parametrize("number", [2, 5])
    def test_values_and_gradients_are_those_of_tensorflow(self, op, strategy, number):
        given, sampled = arrays()
        labels = given.pop("labels")

        def shards(table):
            return [table[i::number] for i in range(number)] if strategy == "mod" else split(table, number)

        def theirs(tf, weights, biases, inputs):
            values = tuple(tf.constant(value) for value in sampled)
            return getattr(tf.compat.v1.nn, op.__name__)(
                shards(weights), shards(biases), labels, inputs, 7, NUM_CLASSES, 2, values, partition_strategy=strategy
            )

        def ours(weights, biases, inputs):
            return op(
                shards(weights),
                shards(biases),
                labels,
                inputs,
                7,
                NUM_CLASSES,
                2,
                sampled,
                partition_strategy=strategy,
            )

        with jax.enable_x64(True):
            np.testing.assert_allclose(ours(**given), oracle.values(theirs, given)[0], rtol=1e-12)
            weight = oracle.cotangent((6,))
            found = jax.jit(jax.grad(lambda given: jnp.vdot(ours(**given), weight)))(given)
            for name, expected in zip(given, oracle.gradients(theirs, given, list(given)), strict=True):
                np.testing.assert_allclose(found[name], expected, rtol=1e-11, atol=1e-13)


def split(table, number):
    """Consecutive rows, one more in the first shards."""
    rows = int(table.shape[0])
    ends = np.cumsum([(rows + number - 1 - i) // number for i in range(number)])
    return [table[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


class TestHits:
    @both
    def test_every_occurrence_is_removed_and_a_label_given_twice_counts_once(self, op):
        given, (_, true_count, sampled_count) = arrays(num_true=2, num_sampled=4)
        labels = np.array([[5, 5], [5, 8], [8, 1], [1, 2], [0, 5], [8, 5]])
        ids = np.array([5, 8, 5, 3])
        sampled = (ids, true_count, sampled_count)
        given = {**f32(given), "labels": labels}
        actual = op(
            **given,
            num_sampled=4,
            num_classes=NUM_CLASSES,
            num_true=2,
            sampled_values=sampled,
            remove_accidental_hits=True,
        )
        for row, row_labels in enumerate(labels):
            kept = [i for i, candidate in enumerate(ids) if candidate not in row_labels]
            one = {
                name: value if name in ("weights", "biases") else value[row : row + 1] for name, value in given.items()
            }
            expected = op(
                **one,
                num_sampled=len(kept),
                num_classes=NUM_CLASSES,
                num_true=2,
                sampled_values=(ids[kept], true_count[row : row + 1], sampled_count[kept]),
                remove_accidental_hits=False,
            )
            np.testing.assert_allclose(actual[row], expected[0], rtol=1e-5)

    @both
    def test_gradient_where_every_candidate_is_a_hit_is_finite(self, op):
        given, (_, true_count, _) = arrays(num_true=1)
        labels, given = np.full((6, 1), 3), f32(given)
        sampled = (np.array([3, 3]), true_count, np.array([0.5, 0.5]))

        def total(weights, biases, inputs):
            return jnp.sum(op(weights, biases, labels, inputs, 2, NUM_CLASSES, 1, sampled, True))

        floats = given["weights"], given["biases"], given["inputs"]
        for gradient in jax.jit(jax.grad(total, (0, 1, 2)))(*floats):
            assert np.isfinite(gradient).all()
        for leaf in jax.tree.leaves(jax.jit(jax.hessian(total, (0, 1, 2)))(*floats)):
            assert np.isfinite(leaf).all()


class TestLabelsOutOfRange:
    @both
    @pytest.mark.parametrize("wrong", [-1, NUM_CLASSES, np.iinfo(np.int32).max])
    def test_loss_is_nan_and_the_gradient_that_of_the_other_rows(self, op, wrong):
        given, sampled = arrays(num_true=1)
        given = f32(given)
        rest = {name: value if name in ("weights", "biases") else value[1:] for name, value in given.items()}
        given["labels"][0] = wrong
        options = dict(num_sampled=7, num_classes=NUM_CLASSES)

        def total(given, sampled):
            loss = op(**given, **options, sampled_values=sampled)
            return jnp.nansum(loss), loss

        names = ("weights", "biases", "inputs")
        with_it, without = (
            jax.jit(
                jax.grad(lambda floats, given=given, sampled=sampled: total({**given, **floats}, sampled), has_aux=True)
            )({name: given[name] for name in names})
            for given, sampled in ((given, sampled), (rest, (sampled[0], sampled[1][1:], sampled[2])))
        )
        assert np.isnan(with_it[1]).tolist() == [True] + [False] * 5
        np.testing.assert_allclose(with_it[1][1:], without[1], rtol=1e-6)
        for name in ("weights", "biases"):
            np.testing.assert_allclose(with_it[0][name], without[0][name], rtol=1e-5, atol=1e-6)
        assert with_it[0]["inputs"][0].tolist() == [0] * DIM

    @both
    def test_drawn_candidates_do_not_make_it_finite(self, op):
        given = f32(arrays(num_true=1)[0])
        given["labels"][0] = NUM_CLASSES
        loss, gradient = jax.jit(
            jax.value_and_grad(
                lambda weights: jnp.nansum(
                    op(**{**given, "weights": weights}, num_sampled=7, num_classes=NUM_CLASSES, key=KEY)
                )
            )
        )(given["weights"])
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()

    def test_is_reported(self):
        given, sampled = arrays(num_true=1)
        given = f32(given)

        def loss(labels):
            return nn.nce_loss(
                **{**given, "labels": labels}, num_sampled=7, num_classes=NUM_CLASSES, sampled_values=sampled
            )

        check = checkify.checkify(jax.jit(loss), errors=checkify.user_checks)
        assert check(given["labels"])[0].get() is None
        wrong = np.where(np.arange(6)[:, None] == 3, NUM_CLASSES, given["labels"])
        assert (check(wrong)[0].get() or "").startswith("nce_loss: `labels` must be in [0, 23)")

    def test_the_loss_is_named_where_it_draws_and_where_candidates_are_out_of_range(self):
        given, (candidates, *counts) = arrays(num_true=1)
        given = f32(given)
        wrong = np.where(np.arange(6)[:, None] == 3, NUM_CLASSES, given["labels"])

        def loss(labels, candidates=None):
            options: Any = {"key": KEY} if candidates is None else {"sampled_values": (candidates, *counts)}
            return nn.sampled_softmax_loss(
                **{**given, "labels": labels}, num_sampled=7, num_classes=NUM_CLASSES, **options
            )

        check = checkify.checkify(jax.jit(loss), errors=checkify.user_checks)
        name = "sampled_softmax_loss: `"
        assert (check(wrong)[0].get() or "").startswith(f"{name}labels` must be in [0, 23)")
        out_of_range = jnp.asarray(candidates).at[2].set(-1)
        report = check(given["labels"], out_of_range)[0].get() or ""
        assert report.startswith(f"{name}sampled_values[0]` must be in [0, 23)")


class TestFullLoss:
    def test_softmax_over_all_candidates_is_the_full_one(self):
        given, _ = arrays(num_true=1)
        given = f32(given)
        labels = given.pop("labels")
        sampled = nn.all_candidate_sampler(labels, 1, NUM_CLASSES, True)

        def sampled_loss(weights, biases, inputs):
            return nn.sampled_softmax_loss(weights, biases, labels, inputs, NUM_CLASSES, NUM_CLASSES, 1, sampled)

        def full_loss(weights, biases, inputs):
            return nn.sparse_softmax_cross_entropy_with_logits(labels[:, 0], inputs @ weights.T + biases[None, :])

        np.testing.assert_allclose(sampled_loss(**given), full_loss(**given), rtol=1e-5)
        weight = oracle.cotangent((6,)).astype(np.float32)
        actual, expected = (
            jax.jit(jax.grad(lambda given, loss=loss: jnp.vdot(loss(**given), weight)))(given)
            for loss in (sampled_loss, full_loss)
        )
        for name in given:
            np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("sampler", "unique"),
        [(nn.uniform_candidate_sampler, False), (nn.log_uniform_candidate_sampler, True)],
        ids=["uniform", "log_uniform"],
    )
    def test_loss_and_gradient_approach_the_full_ones(self, sampler, unique):
        num_classes, batch = 500, 16
        generator = np.random.default_rng(0)
        floats = [
            jnp.asarray(scale * generator.standard_normal(shape), jnp.float32)
            for scale, shape in ((0.5, (num_classes, DIM)), (0.5, num_classes), (1, (batch, DIM)))
        ]
        labels = generator.integers(0, num_classes, (batch, 1))

        def full(weights, biases, inputs):
            logits = inputs @ weights.T + biases[None, :]
            return jnp.mean(nn.sparse_softmax_cross_entropy_with_logits(labels[:, 0], logits))

        def sampled(weights, biases, inputs, key, num_sampled):
            values = sampler(labels, 1, num_sampled, unique, num_classes, key=key)
            losses = nn.sampled_softmax_loss(weights, biases, labels, inputs, num_sampled, num_classes, 1, values)
            return jnp.mean(losses)

        exact = jax.jit(jax.value_and_grad(full, (0, 1, 2)))(*floats)
        errors = []  # of the loss and of each gradient, relative, in the mean over many keys
        for num_sampled in (10, 60, 360):
            one = functools.partial(jax.value_and_grad(sampled, (0, 1, 2)), *floats, num_sampled=num_sampled)
            found = jax.jit(jax.vmap(lambda key, one=one: one(key=key)))(jax.random.split(KEY, 500))
            pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
            errors.append([np.linalg.norm(f.mean(0) - e) / np.linalg.norm(e) for f, e in pairs])
        errors = np.array(errors)
        # six times the candidates: the gradients' bias falls nearly as much, the loss' own only as the expected count
        # of the true class comes near 1
        assert (errors[1:, 1:] < errors[:-1, 1:] / 2.5).all()
        assert (errors[1:, 0] < errors[:-1, 0] / 1.5).all()
        assert (errors[2] < [0.1, 0.02, 0.02, 0.02]).all()


class TestDtypes:
    @both
    def test_mixed_dtypes_promote(self, op):
        given, sampled = arrays()
        given = f32(given)
        given["weights"] = given["weights"].astype(jnp.bfloat16)
        with jax.numpy_dtype_promotion("standard"):
            loss = op(**given, num_sampled=7, num_classes=NUM_CLASSES, num_true=2, sampled_values=sampled)
        assert loss.dtype == jnp.float32

    @both
    def test_labels_of_any_integer_dtype(self, op):
        given, sampled = arrays()
        given, options = f32(given), dict(num_sampled=7, num_classes=NUM_CLASSES, num_true=2)
        expected = op(**given, **options, sampled_values=sampled, remove_accidental_hits=True)
        for dtype, of_candidates in ((np.uint8, np.int32), (np.int32, np.uint8), (np.int64, np.int8)):
            with jax.enable_x64(dtype == np.int64):
                found = op(
                    **{**given, "labels": given["labels"].astype(dtype)},
                    **options,
                    sampled_values=(sampled[0].astype(of_candidates), *sampled[1:]),
                    remove_accidental_hits=True,
                )
            np.testing.assert_allclose(found, expected, rtol=1e-6)


class TestSampledValues:
    @both
    def test_have_no_gradient(self, op):
        given, (ids, *counts) = arrays()

        def total(counts):
            return jnp.sum(
                op(**f32(given), num_sampled=7, num_classes=NUM_CLASSES, num_true=2, sampled_values=(ids, *counts))
            )

        for gradient in jax.jit(jax.grad(total))([jnp.asarray(count, jnp.float32) for count in counts]):
            assert not gradient.any()

    @both
    def test_are_drawn_by_the_log_uniform_sampler(self, op):
        given = f32(arrays()[0])
        sampled = nn.log_uniform_candidate_sampler(given["labels"], 2, 7, True, NUM_CLASSES, key=KEY)
        options = dict(num_sampled=7, num_classes=NUM_CLASSES, num_true=2)
        np.testing.assert_allclose(
            op(**given, **options, key=KEY), op(**given, **options, sampled_values=sampled), rtol=1e-6
        )

    @both
    def test_may_come_from_the_learned_sampler(self, op):
        given = f32(arrays()[0])
        state = nn.LearnedUnigramState.init(NUM_CLASSES)
        sampled = nn.learned_unigram_candidate_sampler(given["labels"], 2, 7, False, NUM_CLASSES, state=state, key=KEY)
        options = dict(num_sampled=7, num_classes=NUM_CLASSES, num_true=2)
        actual, expected = (op(**given, **options, sampled_values=values) for values in (sampled, sampled[:3]))
        np.testing.assert_array_equal(actual, expected)


class TestCost:
    @both
    def test_forward_takes_no_memory_for_the_classes(self, op):
        def needed(num_classes):
            def loss(weights, biases, key):
                return op(weights, biases, np.zeros((4, 1), int), jnp.ones((4, 8)), 5, num_classes, key=key)

            tables = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((num_classes, 8), (num_classes,)))
            return compile_by_default(loss, *tables, KEY).memory_analysis().temp_size_in_bytes

        assert needed(100_000) < 200_000

    @both
    def test_more_rows_than_classes(self, op):
        given, sampled = arrays()
        given = f32(given)
        options = dict(num_sampled=7, num_classes=NUM_CLASSES, num_true=2, sampled_values=sampled)
        padded = {
            **given,
            "weights": np.pad(given["weights"], ((0, 9), (0, 0))),
            "biases": np.pad(given["biases"], (0, 9)),
        }
        np.testing.assert_array_equal(op(**padded, **options), op(**given, **options))
