"""Fractional pooling: TensorFlow's sequences and its values with them, ties, bad sequences, derivatives."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from machinery.programs import compile_by_default

import jnnops as nn

INF, NAN = np.inf, np.nan
OPS = {"avg": nn.fractional_avg_pool, "max": nn.fractional_max_pool}
every_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)
# of three regions of 5 cells
BAD_SEQUENCES = {
    "falls": [0, 2, 1, 5],
    "stays": [0, 2, 2, 5],
    "leaps": [0, 1, 4, 5],
    "begins_late": [1, 2, 3, 5],
    "begins_early": [-1, 1, 3, 5],
    "ends_early": [0, 1, 2, 4],
    "ends_late": [0, 2, 4, 6],
}
every_bad_sequence = pytest.mark.parametrize("sequence", BAD_SEQUENCES.values(), ids=BAD_SEQUENCES)


def image(*rows, dtype=jnp.float32):
    return jax.device_put(np.array(rows, dtype)[None, :, :, None])


def pool_whole(op, x):
    """One region."""
    height, width = x.shape[1:3]
    return op(x, 1, row_pooling_sequence=[0, height], col_pooling_sequence=[0, width]).output


def with_sequences(op, overlapping=False):
    def pool(x, rows, columns):
        return op(x, 1, overlapping=overlapping, row_pooling_sequence=rows, col_pooling_sequence=columns).output

    return pool


class TestTensorFlow:
    @pytest.mark.parametrize("kind", OPS)
    @pytest.mark.parametrize("overlapping", [False, True])
    @pytest.mark.parametrize(("size", "ratios"), [((7, 9), (1.44, 1.9)), ((24, 11), (6.1, 4)), ((5, 4), (5, 1))])
    def test_values_and_gradients_are_equal_even_of_ties(self, kind, overlapping, size, ratios):
        from machinery import oracle

        x = np.random.default_rng(0).integers(0, 3, (2, *size, 3)).astype(np.float32)
        tf_op = getattr(oracle.tf.nn, f"fractional_{kind}_pool")
        with oracle.tf.GradientTape() as tape:
            value = oracle.tf.constant(x)
            tape.watch(value)
            output, rows, columns = tf_op(value, [1.0, *ratios, 1.0], overlapping=overlapping, seed=1)
        cotangent = oracle.cotangent(tuple(output.shape)).astype(np.float32)
        gradient = tape.gradient(output, value, [oracle.tf.constant(cotangent)])
        pool = with_sequences(OPS[kind], overlapping)

        @jax.jit
        def both(x, cotangent):
            actual, pull_back = jax.vjp(lambda x: pool(x, rows.numpy(), columns.numpy()), x)
            return actual, pull_back(cotangent)[0]

        for actual, expected in zip(both(x, cotangent), (output, gradient), strict=True):
            np.testing.assert_allclose(actual, oracle.tf.convert_to_tensor(expected), rtol=1e-5, atol=1e-6)

    def test_averages_of_integers_are_rounded_toward_zero(self):
        from machinery import oracle

        x = np.random.default_rng(0).integers(-9, 9, (2, 7, 6, 3)).astype(np.int32)
        output, rows, columns = oracle.tf.nn.fractional_avg_pool(x, [1.0, 1.5, 1.4, 1.0], seed=1)
        actual = with_sequences(nn.fractional_avg_pool)(x, rows.numpy(), columns.numpy())
        assert actual.dtype == jnp.int32
        np.testing.assert_array_equal(actual, output)

    def test_the_output_has_the_same_size(self):
        from machinery import oracle

        for size in (8, 9, 10, 24, 56):
            for ratio in (*(size / outputs for outputs in range(1, size + 1)), 1.1, 1.44, 2**0.5):
                expected = oracle.tf.nn.fractional_max_pool(np.zeros((1, size, 1, 1)), [1, ratio, 1, 1], seed=1)[0]
                found = jax.eval_shape(
                    lambda x, ratio=ratio: nn.fractional_max_pool(x, (ratio, 1), key=jax.random.key(0)).output,
                    jax.ShapeDtypeStruct((1, size, 1, 1), jnp.float32),
                )
                assert found.shape == expected.shape, (size, ratio)


class TestSequences:
    @pytest.mark.parametrize(
        ("size", "ratio", "pseudo_random"),
        [(7, 1.44, False), (10, 3, False), (7, 1.44, True), (11, 2.2, True), (13, 5.5, True)],
    )
    def test_are_distributed_as_those_of_tensorflow(self, size, ratio, pseudo_random):
        from machinery import oracle

        number, tf_number = 4000, 400
        keys = jax.random.split(jax.random.key(0), number)
        x = jnp.zeros((1, size, 1, 1))
        draw = jax.jit(jax.vmap(lambda key: nn.fractional_max_pool(x, (ratio, 1), pseudo_random, key=key)[1]))
        ours = collections.Counter(map(tuple, np.asarray(draw(keys)).tolist()))
        theirs = collections.Counter(
            tuple(
                oracle.tf.raw_ops.FractionalMaxPool(
                    value=np.zeros((1, size, 1, 1), np.float32),
                    pooling_ratio=[1.0, ratio, 1.0, 1.0],
                    pseudo_random=pseudo_random,
                    deterministic=True,
                    seed=seed,
                )[1]
                .numpy()
                .tolist()
            )
            for seed in range(1, tf_number + 1)
        )
        assert set(ours) == set(theirs)
        for sequence, count in theirs.items():
            share = ours[sequence] / number
            deviation = np.sqrt(share * (1 - share) * (1 / number + 1 / tf_number))
            assert abs(count / tf_number - share) <= 4 * deviation

    @pytest.mark.parametrize("pseudo_random", [False, True])
    @pytest.mark.parametrize("size", [7, 100, 65537])
    def test_rise_to_the_size_by_two_lengths(self, size, pseudo_random):
        x = jnp.zeros((1, size, 1, 1))
        outputs = int(size / 1.7)
        for seed in range(3):
            rows = nn.fractional_max_pool(x, (1.7, 1), pseudo_random, key=jax.random.key(seed)).row_pooling_sequence
            assert rows.dtype == jnp.int32
            assert (rows[0], rows[-1], len(rows)) == (0, size, outputs + 1)
            assert np.bincount(np.diff(rows)).tolist() == [0, 2 * outputs - size, size - outputs]

    def test_pseudo_random_regions_alternate_evenly(self):
        # of 30 cells in 20 regions every two neighbours have 3, but for the first and the last
        x = jnp.zeros((1, 30, 1, 1))
        for seed in range(5):
            rows = nn.fractional_max_pool(x, (1.5, 1), True, key=jax.random.key(seed)).row_pooling_sequence
            assert set((rows[3:-1] - rows[1:-3]).tolist()) == {3}

    def test_that_divide_the_size_are_even(self):
        _, rows, columns = nn.fractional_avg_pool(jnp.zeros((1, 6, 4, 1)), (2, 1), key=jax.random.key(0))
        assert rows.tolist() == [0, 2, 4, 6]
        assert columns.tolist() == [0, 1, 2, 3, 4]

    @every_op
    def test_of_one_axis_may_be_given(self, op):
        x, key = jax.random.normal(jax.random.key(1), (1, 7, 9, 1)), jax.random.key(0)
        drawn = op(x, 1.5, key=key)
        rows = [0, 1, 3, 5, 7]
        some = op(x, 1.5, key=key, row_pooling_sequence=rows)
        assert some.row_pooling_sequence.tolist() == rows
        np.testing.assert_array_equal(some.col_pooling_sequence, drawn.col_pooling_sequence)
        both = with_sequences(op)(x, rows, drawn.col_pooling_sequence)
        np.testing.assert_array_equal(some.output, both)

    def test_differ_between_the_axes(self):
        _, rows, columns = nn.fractional_max_pool(jnp.zeros((1, 30, 30, 1)), 1.44, key=jax.random.key(0))
        assert rows.tolist() != columns.tolist()

    def test_keys_may_be_raw(self):
        x = jnp.zeros((1, 30, 30, 1))
        for typed, raw in zip(
            nn.fractional_max_pool(x, 1.44, key=jax.random.key(3)),
            nn.fractional_max_pool(x, 1.44, key=jax.random.PRNGKey(3)),
            strict=True,
        ):
            np.testing.assert_array_equal(typed, raw)


checked_pool = jax.jit(checkify.checkify(with_sequences(nn.fractional_max_pool), errors=checkify.user_checks))


@functools.cache
def result_and_gradient(op):
    """What pools with given sequences, and the gradient of the output's sum: one program for all sequences."""

    def total(x, **sequences):
        result = op(x, 1, **sequences)
        return result.output.sum(), result

    @jax.jit
    def both(x, **sequences):
        gradient, result = jax.grad(total, has_aux=True)(x, **sequences)
        return result, gradient

    return both


class TestBadSequences:
    @every_bad_sequence
    @every_op
    @pytest.mark.parametrize("axis", ["row", "col"])
    def test_give_nan_without_gradient(self, op, sequence, axis):
        given = {"row_pooling_sequence": np.array([0, 2, 4, 5]), "col_pooling_sequence": np.array([0, 2, 4, 5])}
        given[f"{axis}_pooling_sequence"] = np.array(sequence)
        result, gradient = result_and_gradient(op)(np.ones((2, 5, 5, 1), np.float32), **given)
        assert np.isnan(result.output).all()
        assert getattr(result, f"{axis}_pooling_sequence").tolist() == sequence
        np.testing.assert_array_equal(gradient, np.zeros((2, 5, 5, 1)))

    @every_op
    def test_that_are_static_give_nan_too(self, op):
        assert np.isnan(with_sequences(op)(np.ones((2, 5, 5, 1), np.float32), [0, 2, 1, 5], [0, 2, 4, 5])).all()

    @every_op
    def test_give_the_lowest_integer(self, op):
        y = with_sequences(op)(jnp.ones((1, 4, 4, 1), jnp.int16), [0, 4, 4], [0, 2, 4])
        assert y.dtype == jnp.int16
        assert set(y.ravel().tolist()) == {-(2**15)}

    def test_beyond_32_bits_do_not_wrap_around(self):
        with jax.enable_x64(True):
            y = with_sequences(nn.fractional_max_pool)(jnp.ones((1, 2, 1, 1)), np.array([0, 2**32 + 1, 2]), [0, 1])
        assert jnp.isnan(y).all()

    @every_bad_sequence
    def test_are_reported_by_checkify(self, sequence):
        good = np.array([0, 2, 4, 5])
        x = np.ones((1, 5, 5, 1), np.float32)
        assert checked_pool(x, good, good)[0].get() is None
        message = checked_pool(x, good, np.array(sequence))[0].get()
        assert message is not None
        assert "fractional_max_pool: `col_pooling_sequence` must rise from 0 to 5 by 1 to 2 each" in message


class TestMaximum:
    def test_nan_propagates_and_takes_the_gradient(self):
        x = image([1.0, NAN, 2.0], [INF, NAN, 4.0])

        @jax.jit
        def value_and_gradient(x):
            y, pull_back = jax.vjp(lambda x: pool_whole(nn.fractional_max_pool, x), x)
            return y, pull_back(jnp.ones_like(y))[0]

        y, gradient = value_and_gradient(x)
        assert np.isnan(y).all()
        assert gradient.ravel().tolist() == [0, 1, 0, 0, 0, 0]

    def test_minus_infinity_stays(self):
        assert pool_whole(nn.fractional_max_pool, image([-INF, -INF])).item() == -INF

    @pytest.mark.parametrize("size", [(2, 2), (4, 13)])
    def test_gradient_goes_to_the_first_maximum(self, size):
        x = jnp.zeros((1, *size, 1)).at[0, 0, 0, 0].set(-1.0)
        found = jax.jit(jax.grad(lambda x: pool_whole(nn.fractional_max_pool, x).sum()))(x)
        np.testing.assert_array_equal(found, jnp.zeros_like(x).at[0, 0, 1, 0].set(1.0))

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32])
    def test_integers(self, dtype):
        y = pool_whole(nn.fractional_max_pool, image([3, 100], [7, 0], dtype=dtype))
        assert (y.dtype, y.item()) == (dtype, 100)


class TestAverage:
    def test_bfloat16_is_summed_in_float32(self):
        x = jnp.ones((1, 28, 28, 1), jnp.bfloat16).at[0, 0, 0, 0].set(784.0)
        assert pool_whole(nn.fractional_avg_pool, x).item() == jnp.bfloat16((783 + 784) / 784)

    def test_gradients_of_overlapping_regions_are_summed_in_float32(self):
        def total(x):
            y = with_sequences(nn.fractional_max_pool, True)(x, [0, 1, 2], [0, 1, 2])
            return (y * weights.astype(y.dtype)).astype(jnp.float32).sum()

        # all four regions have their maximum in the last cell
        x, weights = image([0.0, 0.0], [0.0, 1.0]), image([256.0, 1.0], [1.0, 1.0])
        assert jax.jit(jax.grad(total))(x.astype(jnp.bfloat16))[0, 1, 1, 0] == jnp.bfloat16(259)

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16])
    def test_sums_of_small_integers_do_not_overflow(self, dtype):
        top = jnp.iinfo(dtype).max
        y = pool_whole(nn.fractional_avg_pool, jnp.full((1, 5, 5, 1), top, dtype))
        assert (y.dtype, y.item()) == (dtype, top)

    def test_infinity_and_nan_stay_in_their_regions(self):
        x = image([1.0, INF, 2.0, 4.0], [1.0, 1.0, NAN, 1.0])
        y = with_sequences(nn.fractional_avg_pool)(x, [0, 1, 2], [0, 2, 4])
        np.testing.assert_array_equal(y[0, :, :, 0], [[INF, 3.0], [1.0, NAN]])


class TestDerivatives:
    SEQUENCES = (np.array([[0, 2, 3, 5], [0, 1, 3, 5]]), np.array([[0, 2, 4], [0, 2, 4]]))

    @every_op
    def test_hessian_of_a_square_is_that_of_the_jacobian(self, op):
        def pool(x):
            return with_sequences(op, overlapping=True)(x.reshape(1, 5, 4, 1), *(s[0] for s in self.SEQUENCES)).ravel()

        def square(x):
            return (pool(x) ** 2).sum()

        def reverse_over_reverse(x):
            return jax.vmap(lambda row: jax.grad(lambda x: jax.grad(square)(x) @ row)(x))(jnp.eye(20))

        x = np.random.default_rng(0).standard_normal(20).astype(np.float32)

        @jax.jit
        def derivatives(x):
            orders = (jax.jacfwd(jax.jacrev(square)), jax.jacrev(jax.jacfwd(square)), reverse_over_reverse)
            return jax.jacrev(pool)(x), jax.jacfwd(pool)(x), [hessian(x) for hessian in orders]

        jacobian, forward, hessians = jax.tree.map(np.asarray, derivatives(x))
        np.testing.assert_allclose(forward, jacobian, atol=1e-6)
        for hessian in hessians:
            np.testing.assert_allclose(hessian, 2 * jacobian.T @ jacobian, atol=1e-5)

    @every_op
    def test_mapped_sequences_equal_a_loop(self, op):
        def gradient(x, rows, columns):
            return jax.grad(lambda x: (with_sequences(op, overlapping=True)(x, rows, columns) ** 3).sum())(x)

        x = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 2)).astype(np.float32)
        one = jax.jit(gradient)
        every = (x, *self.SEQUENCES)
        for axes in ((0, 0, None), (None, 0, 0), (0, None, None)):
            chosen = [array if axis == 0 else array[0] for array, axis in zip(every, axes, strict=True)]
            mapped = np.asarray(jax.jit(jax.vmap(gradient, axes))(*chosen))
            for i in range(2):
                expected = one(*(array if axis is None else array[i] for array, axis in zip(chosen, axes, strict=True)))
                np.testing.assert_allclose(mapped[i], expected, rtol=1e-5, atol=1e-6)

    @every_op
    def test_gradient_scatters_nothing(self, op):
        gradient = jax.grad(lambda x: op(x, 1.44, overlapping=True, key=jax.random.key(0)).output.sum())
        compiled = compile_by_default(gradient, np.ones((1, 7, 7, 1), np.float32)).as_text()
        assert " gather(" in compiled
        assert " scatter(" not in compiled

    @every_op
    def test_program_does_not_grow_with_the_regions(self, op):
        def size(ratio):
            f = jax.jit(jax.grad(lambda x: op(x, ratio, key=jax.random.key(0)).output.sum()))
            return len(f.lower(jax.ShapeDtypeStruct((1, 90, 90, 1), jnp.float32)).as_text())

        assert size(40) < 2 * size(4)
