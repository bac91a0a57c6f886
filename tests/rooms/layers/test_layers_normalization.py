"""BatchNorm: its state, and the same moments however the batch is split."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from machinery.case import normal

import jnnops as nn
from jnnops.layers import BatchNorm, BatchNormState, LayerNorm

X = jnp.asarray(3 * normal(8, 2, 3) + 5, jnp.float32)
BN = BatchNorm.init(3, momentum=0.75, epsilon=0.1)
SCALE, OFFSET = jnp.array([0.5, 1.0, 2.0]), jnp.array([-1.0, 0.0, 1.0])
LEARNT = BatchNorm(scale=SCALE, offset=OFFSET, features=3, epsilon=0.1)


NOTHING: Any = None


def assert_close(actual, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), actual, expected)


class TestBatchNorm:
    def test_training_equals_fused_batch_norm(self):
        state = BatchNormState(jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0]))
        y, new_state = LEARNT(X, state, training=True)
        image = X[:, :, None]
        expected, mean, variance = nn.fused_batch_norm(
            image, SCALE, OFFSET, *state, epsilon=0.1, exponential_avg_factor=0.01
        )
        assert_close(y, expected[:, :, 0])
        assert_close(new_state, BatchNormState(mean, variance))

    def test_inference_uses_the_running_moments_and_keeps_them(self):
        state = BatchNormState(jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0]))
        y, new_state = LEARNT(X, state)
        mean, variance = map(np.asarray, state)
        assert_close(y, (np.asarray(X) - mean) / np.sqrt(variance + 0.1) * [0.5, 1, 2] + [-1, 0, 1])
        jax.tree.map(np.testing.assert_array_equal, new_state, state)

    def test_running_moments_converge_to_those_of_the_data(self):
        state = BN.init_state()
        for _ in range(60):
            _, state = BN(X, state, training=True)
        rows = X.reshape(16, 3)
        assert_close(state, BatchNormState(rows.mean(0), rows.var(0, ddof=1)))

    @pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3), (2, 2, 2, 2, 2, 3)])
    def test_any_rank(self, shape):
        x = jnp.asarray(normal(*shape), jnp.float32)
        y, _ = BN(x, BN.init_state(), training=True)
        flat, _ = BN(x.reshape(-1, 3), BN.init_state(), training=True)
        assert_close(y, flat.reshape(shape))

    @pytest.mark.parametrize(("axis", "features"), [(1, 2), (-2, 2), ((2, 0), (3, 8)), ((-1, 1), (3, 2))])
    def test_the_features_are_on_any_axes(self, axis, features):
        bn = BatchNorm.init(features, axis=axis, momentum=0.75, epsilon=0.1)
        shape = np.shape(np.zeros(features))
        bn = dataclasses.replace(bn, scale=1 + jnp.asarray(normal(*shape), jnp.float32), offset=jnp.ones(shape))
        axes = [a % 3 for a in np.atleast_1d(axis)]
        order = [a for a in range(3) if a not in axes] + axes  # features last, in the order of `axis`
        flat = X.transpose(order).reshape(-1, int(np.prod(shape)))
        assert bn.scale is not None
        assert bn.offset is not None
        arrays: Any = {"scale": bn.scale.ravel(), "offset": bn.offset.ravel()}
        last = BatchNorm(**arrays, features=flat.shape[1], momentum=0.75, epsilon=0.1)
        state, last_state = bn.init_state(), last.init_state()
        for training in (True, False):
            y, state = bn(X, state, training=training)
            expected, last_state = last(flat, last_state, training=training)
            assert_close(y.transpose(order).reshape(flat.shape), expected)
            assert_close([moment.ravel() for moment in state], list(last_state))
        norm = LayerNorm(scale=bn.scale, offset=bn.offset, features=bn.features, axis=bn.axis)
        plain = LayerNorm(**arrays, features=last.features)
        assert_close(norm(X).transpose(order).reshape(flat.shape), plain(flat))

    @pytest.mark.parametrize("cls", [BatchNorm, LayerNorm])
    def test_sizes_and_axes_must_fit(self, cls):
        name = cls.__name__
        with pytest.raises(ValueError, match=f"{name}.init: `features` must have a size for each of axis"):
            cls.init((2, 3), axis=1)
        with pytest.raises(ValueError, match=f"{name}.init: `axis` must not name an axis twice"):
            cls.init((2, 2), axis=(1, 1))
        layer = cls.init((2, 3), axis=(0, 2))
        with pytest.raises(ValueError, match=rf"{name}: `x` must have 2 x 3 features on axis \(0, 2\)"):
            layer(X) if cls is LayerNorm else layer(X, layer.init_state())

    def test_without_scale_and_offset(self):
        plain = BatchNorm.init(3, epsilon=0.1, use_scale=False, use_offset=False)
        assert jax.tree.leaves(plain) == []
        full = BatchNorm.init(3, epsilon=0.1)
        assert_close(plain(X, plain.init_state(), training=True), full(X, full.init_state(), training=True))

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_16_bits_have_float32_moments(self, dtype):
        bn = BatchNorm.init(3, dtype=dtype, momentum=0.0)
        x = (100 * X).astype(dtype)  # squares overflow float16
        y, state = bn(x, bn.init_state(), training=True)
        assert (y.dtype, state.mean.dtype, state.variance.dtype) == (dtype, jnp.float32, jnp.float32)
        rows = np.asarray(x, np.float64).reshape(16, 3)
        np.testing.assert_allclose(state.mean, rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(state.variance, rows.var(0, ddof=1), rtol=1e-5)

    def test_float64_keeps_its_precision(self):
        with jax.enable_x64(True):
            bn = BatchNorm.init(3, dtype=jnp.float64, momentum=0.0)
            x = normal(5, 3)
            y, state = bn(x, bn.init_state(), training=True)
            assert y.dtype == jnp.float64
            np.testing.assert_allclose(state.mean, x.mean(0), rtol=1e-13)

    def test_goes_through_jit_grad_and_optax_with_its_state_as_aux(self):
        optimizer = optax.sgd(0.1)

        @jax.jit
        def step(bn, state, opt_state):
            def loss(bn):
                y, new_state = bn(X, state, training=True)
                return jnp.mean(jnp.square(y - 1)), new_state

            (value, state), grads = jax.value_and_grad(loss, has_aux=True)(bn)
            updates, opt_state = optimizer.update(grads, opt_state)
            return optax.apply_updates(bn, updates), state, opt_state, value

        bn, state, opt_state = BN, BN.init_state(), optimizer.init(BN)  # pyright: ignore[reportArgumentType]
        values = []
        for _ in range(30):
            bn, state, opt_state, value = step(bn, state, opt_state)
            values.append(float(value))
        assert values[-1] < 0.1 * values[0]
        assert isinstance(state, BatchNormState)

    def test_state_is_a_scan_carry(self):
        final, _ = jax.lax.scan(lambda state, x: (BN(x, state, training=True)[1], None), BN.init_state(), X)
        expected = functools.reduce(lambda state, x: BN(x, state, training=True)[1], X, BN.init_state())
        assert_close(final, expected)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: BatchNorm.init(NOTHING), TypeError, "BatchNorm.init: `features` must be a static integer"),
            (lambda: BatchNorm.init(-1), ValueError, "BatchNorm.init: `features` must be at least 0"),
            (lambda: BatchNorm.init(3, momentum=1.5), ValueError, r"`momentum` must be in \[0, 1\], got 1.5"),
            (lambda: BN(X[0, 0], BN.init_state()), ValueError, "BatchNorm: `x` must be of rank at least 2"),
            (lambda: BN(X[..., :2], BN.init_state()), ValueError, "BatchNorm: `x` must have 3 features"),
            (
                lambda: BN(jnp.ones((2, 3), jnp.int32), BN.init_state()),
                TypeError,
                "BatchNorm: `x` must be floating point",
            ),
            (lambda: BN(X, NOTHING), ValueError, "BatchNorm: `state` must be what `init_state`"),
            (lambda: BN(X, BatchNorm.init(2).init_state()), ValueError, r"`state.mean` must have shape \(3,\)"),
        ],
    )
    def test_bad_arguments_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


def loss_and_state(bn, x, state, axis_name=None):
    y, new_state = bn(x, state, training=True, axis_name=axis_name)
    return jnp.sin(y), new_state


class TestSynchronised:
    def test_shard_map_equals_the_whole_batch(self):
        mesh = jax.make_mesh((4, 2), ("data", "more"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
        split, whole = PartitionSpec(("data", "more")), PartitionSpec()
        state = BN.init_state()
        f = jax.shard_map(
            functools.partial(loss_and_state, axis_name=("data", "more")),
            mesh=mesh,
            in_specs=(whole, split, whole),
            out_specs=(split, whole),
        )
        assert_close(jax.jit(f)(LEARNT, X, state), loss_and_state(LEARNT, X, state))

        def gradients(f):
            return jax.grad(lambda bn, x: jnp.sum(f(bn, x, state)[0]), (0, 1))(LEARNT, X)

        actual, expected = jax.jit(lambda: gradients(f))(), gradients(loss_and_state)
        assert_close(actual, expected)

    @pytest.mark.parametrize("axis_name", ["batch", ["batch"]])
    def test_vmap_equals_the_whole_batch(self, axis_name):
        state = BN.init_state()
        f = functools.partial(loss_and_state, axis_name=axis_name)
        parts = X.reshape(4, 2, 2, 3)
        y, states = jax.jit(jax.vmap(f, in_axes=(None, 0, None), axis_name="batch"))(BN, parts, state)
        expected, expected_state = loss_and_state(BN, X, state)
        assert_close(y.reshape(X.shape), expected)
        assert_close(jax.tree.map(lambda leaf: leaf[3], states), expected_state)

    def test_variance_does_not_cancel_where_the_mean_is_large(self):
        x = X + 1e4
        parts = x.reshape(4, 2, 2, 3)
        _, states = jax.jit(jax.vmap(lambda x: BN(x, BN.init_state(), training=True, axis_name="i"), axis_name="i"))(
            parts
        )
        unbiased = np.asarray(x, np.float64).reshape(16, 3).var(0, ddof=1)
        np.testing.assert_allclose(states.variance[0], 0.75 + 0.25 * unbiased, rtol=2e-3)
