"""Layers as pytrees, what they compute, and what they refuse."""

import functools
import pickle
from typing import Any, cast

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from machinery.case import normal

import jnnops as nn
from jnnops import layers

KEYS = jax.random.split(jax.random.key(0), 4)
NOTHING: Any = None


def scale(x):
    return 2 * x


def network(key):
    first, second = jax.random.split(key)
    return layers.Sequential.init(
        layers.Conv.init(2, 4, (3, 3), strides=[2, 1], key=first),
        nn.relu,
        layers.MaxPool(kernel_size=2),
        layers.Dropout(rate=0.25),
        layers.Dense.init(4, 3, key=second),
    )


IMAGES = jnp.asarray(normal(2, 8, 6, 2), jnp.float32)


class TestPytree:
    def test_a_model_goes_through_jit_grad_and_optax(self):
        model: Any = network(KEYS[0])
        optimizer, traces = optax.adam(1e-2), []

        @jax.jit
        def step(model, state, key):
            traces.append(None)
            loss, grads = jax.value_and_grad(lambda m: jnp.mean(m(IMAGES, training=True, key=key) ** 2))(model)
            updates, state = optimizer.update(grads, state, model)
            return optax.apply_updates(model, updates), state, loss

        losses = []
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            state = optimizer.init(model)
            for key in jax.random.split(KEYS[1], 20):
                model, state, loss = step(model, state, key)
                losses.append(float(loss))
        assert losses[-1] < 0.5 * losses[0]
        assert len(traces) == 1

    def test_leaves_are_the_arrays_alone(self):
        assert [leaf.shape for leaf in jax.tree.leaves(network(KEYS[0]))] == [(3, 3, 2, 4), (4,), (4, 3), (3,)]

    def test_an_ensemble_by_vmap_equals_a_loop(self):
        ensemble = jax.jit(jax.vmap(network))(KEYS)
        actual = jax.jit(jax.vmap(lambda model: model(IMAGES)))(ensemble)
        np.testing.assert_allclose(actual, jnp.stack([network(key)(IMAGES) for key in KEYS]), rtol=1e-5, atol=1e-6)

    def test_layers_scanned_over_depth_equal_a_loop(self):
        stack = jax.jit(jax.vmap(lambda key: layers.Dense.init(3, 3, key=key)))(KEYS)
        x = jnp.asarray(normal(2, 3), jnp.float32)
        actual, _ = jax.lax.scan(lambda x, dense: (nn.tanh(dense(x)), None), x, stack)
        expected = functools.reduce(lambda x, key: nn.tanh(layers.Dense.init(3, 3, key=key)(x)), KEYS, x)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_init_under_eval_shape_gives_the_structure(self):
        shapes = jax.eval_shape(network, KEYS[0])
        assert jax.tree.structure(shapes) == jax.tree.structure(network(KEYS[0]))

    def test_a_model_is_pickled_and_exported_with_its_state(self):
        cells = [
            layers.BasicRNNCell.init(3, 3, key=KEYS[0]),
            layers.GRUCell.init(3, 3, key=KEYS[1]),
            layers.BasicLSTMCell.init(3, 3, key=KEYS[2]),
            layers.LSTMCell.init(3, 3, key=KEYS[3]),
        ]
        model = layers.Sequential.init(
            layers.Embedding.init(5, 3, key=KEYS[0]),
            layers.BatchNorm.init(3),
            *(layers.RNN(cell=cell) for cell in cells),
            layers.Bidirectional(forward=cells[0], backward=cells[0]),
            nn.relu,
        )
        arguments = model, jnp.arange(10).reshape(2, 5) % 5, model.init_state()
        again = pickle.loads(pickle.dumps(model))
        assert jax.tree.structure(again) == jax.tree.structure(model)
        run = jax.jit(lambda model, ids, state: model(ids, state))
        loaded = jax.export.deserialize(jax.export.export(run)(*arguments).serialize())
        jax.tree.map(np.testing.assert_array_equal, loaded.call(again, *arguments[1:]), run(*arguments))

    def test_a_layer_is_immutable(self):
        with pytest.raises(AttributeError):
            layers.Dense.init(2, 2, key=KEYS[0]).kernel = jnp.zeros((2, 2))  # pyright: ignore


class TestDense:
    def test_equals_a_matrix_product(self):
        dense = layers.Dense.init(4, 3, key=KEYS[0])
        x = normal(2, 5, 4).astype(np.float32)
        np.testing.assert_allclose(dense(x), x @ np.asarray(dense.kernel), rtol=1e-5, atol=1e-6)
        shifted = layers.Dense(kernel=dense.kernel, bias=jnp.arange(3.0))
        np.testing.assert_allclose(shifted(x) - dense(x), np.broadcast_to(np.arange(3.0), (2, 5, 3)), atol=1e-5)

    def test_without_bias(self):
        dense = layers.Dense.init(4, 3, use_bias=False, dtype=jnp.bfloat16, key=KEYS[0])
        assert dense.bias is None
        assert dense(jnp.ones((2, 4), jnp.bfloat16)).dtype == jnp.bfloat16

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: layers.Dense.init(0, 3, key=KEYS[0]), ValueError, "Dense.init: `in_features` must be at least 1"),
            (
                lambda: layers.Dense.init(3, cast(int, 2.5), key=KEYS[0]),
                TypeError,
                "Dense.init: `features` must be a static int",
            ),
            (
                lambda: layers.Dense.init(3, 2, key=cast(jax.Array, None)),
                ValueError,
                "Dense.init: `key` must be a jax.random key",
            ),
            (lambda: layers.Dense.init(4, 3, key=KEYS[0])(jnp.ones((2, 5))), ValueError, "Dense: `x` must have 4 feat"),
            (lambda: layers.Dense.init(4, 3, key=KEYS[0])(jnp.float32(1)), ValueError, "Dense: `x` must be of rank at"),
        ],
    )
    def test_bad_arguments_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class TestEmbedding:
    def test_equals_the_op(self):
        embedding = layers.Embedding.init(300, 3, key=KEYS[0])
        ids = np.array([[0, 127], [5, -1]], np.int8)
        np.testing.assert_array_equal(embedding(ids), nn.embedding_lookup(embedding.table, ids))

    def test_is_drawn_as_asked(self):
        table = layers.Embedding.init(1000, 4, dtype=jnp.bfloat16, key=KEYS[0]).table
        assert table.dtype == jnp.bfloat16
        assert 0.045 < float(jnp.max(jnp.abs(table))) <= 0.0501  # rounded
        assert abs(float(jnp.mean(table.astype(jnp.float32)))) < 0.005
        ones = layers.Embedding.init(5, 2, table_init=jax.nn.initializers.ones, key=KEYS[0]).table
        np.testing.assert_array_equal(ones, np.ones((5, 2)))

    def test_is_learnt_in_a_model(self):
        model: Any = layers.Sequential.init(
            layers.Embedding.init(7, 4, key=KEYS[0]), layers.Dense.init(4, 3, key=KEYS[1])
        )
        gradient = jax.jit(jax.grad(lambda m: jnp.sum(m([[1, 2], [2, 2]]) ** 2)))(model)
        rows = jnp.any(jax.tree.leaves(gradient)[0] != 0, axis=1)
        assert rows.tolist() == [False, True, True, False, False, False, False]

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (
                lambda: layers.Embedding.init(0, 3, key=KEYS[0]),
                ValueError,
                "Embedding.init: `num_embeddings` must",
            ),
            (
                lambda: layers.Embedding.init(3, 0, key=KEYS[0]),
                ValueError,
                "Embedding.init: `features` must be",
            ),
            (
                lambda: layers.Embedding.init(3, 2, key=NOTHING),
                ValueError,
                "Embedding.init: `key` must be a jax",
            ),
            (lambda: layers.Embedding.init(3, 2, key=KEYS[0])(0.5), TypeError, "Embedding: `ids` must be an integer"),
        ],
    )
    def test_bad_arguments_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class TestConv:
    @pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
    def test_equals_the_op(self, data_format):
        conv = layers.Conv.init(
            2, 4, (3, 2), strides=(1, 2), padding=((1, 0), (0, 1)), groups=2, data_format=data_format, key=KEYS[0]
        )
        conv = layers.Conv(**{**vars(conv), "bias": jnp.arange(4.0)})
        x = IMAGES if data_format == "NHWC" else jnp.moveaxis(IMAGES, -1, 1)
        y = conv(x) if data_format == "NHWC" else jnp.moveaxis(conv(x), 1, -1)
        expected = nn.conv2d(IMAGES, conv.kernel, (1, 2), ((1, 0), (0, 1))) + jnp.arange(4.0).reshape(1, 1, 1, 4)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(("size", "shape"), [((3,), (2, 9, 5)), ((3, 3, 3), (2, 4, 4, 4, 5))])
    def test_one_and_three_dimensions(self, size, shape):
        assert layers.Conv.init(5, 6, size, use_bias=False, key=KEYS[0])(jnp.ones(shape)).shape == (*shape[:-1], 6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"kernel_size": 3},
                r"Conv.init: `kernel_size` must be a sequence of 1, 2 or 3 ints, one for each spatial dimension, got 3",
            ),
            ({"kernel_size": (3, 3, 3, 3)}, r"Conv.init: `kernel_size` must be a sequence of 1, 2 or 3 ints"),
            ({"groups": 3}, "Conv.init: `groups` must divide in_channels = 2 and features = 4, got 3"),
            ({"padding": "FULL"}, "Conv.init: `padding` must be 'SAME', 'VALID' or"),
            ({"strides": (1, 2, 3)}, "Conv.init: `strides` must be an int or have length"),
            ({"data_format": "NWC"}, "Conv.init: `data_format` must be 'NHWC' or 'NCHW', got 'NWC'"),
        ],
    )
    def test_bad_arguments_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            layers.Conv.init(**{"in_channels": 2, "features": 4, "kernel_size": (3, 3), **options}, key=KEYS[0])


class TestPools:
    @pytest.mark.parametrize(("layer", "op"), [(layers.MaxPool, nn.max_pool), (layers.AvgPool, nn.avg_pool)])
    def test_equal_the_ops(self, layer, op):
        np.testing.assert_array_equal(layer(kernel_size=2)(IMAGES), op(IMAGES, 2, 2, "SAME"))
        listed = layer.init([3, 2], strides=[1, 2], padding=[[1, 1], [0, 0]])
        hash(jax.tree.structure(listed))
        np.testing.assert_array_equal(listed(IMAGES), op(IMAGES, (3, 2), (1, 2), ((1, 1), (0, 0))))
        dilated = layer.init([2, 3], strides=1, padding="VALID", dilations=[3, 2])
        kind = "MAX" if op is nn.max_pool else "AVG"
        np.testing.assert_array_equal(dilated(IMAGES), nn.pool(IMAGES, (2, 3), kind, dilations=(3, 2)))

    def test_a_bad_size_is_refused(self):
        with pytest.raises(ValueError, match="MaxPool.init: `kernel_size` must be at least 1, got 0"):
            layers.MaxPool.init(0)
        with pytest.raises(ValueError, match=r"AvgPool: `kernel_size` must be an int or have length 1, 2 or 4"):
            layers.AvgPool.init((2, 2, 2))(IMAGES)
        with pytest.raises(ValueError, match="MaxPool: `kernel_size` must be 1 for the batch and channel"):
            layers.MaxPool.init((1, 2, 2, 2), padding="VALID")(IMAGES[..., :1])


class TestLocalResponseNorm:
    def test_equals_the_op(self):
        settings = {"depth_radius": 1, "bias": 0.5, "alpha": 0.3, "beta": 0.75}
        norm = layers.LocalResponseNorm.init(*settings.values())
        np.testing.assert_array_equal(norm(IMAGES), nn.local_response_normalization(IMAGES, **settings))
        np.testing.assert_array_equal(layers.LocalResponseNorm()(IMAGES), nn.local_response_normalization(IMAGES))
        assert jax.tree.leaves(norm) == []
        # integers are taken as the exponents they are, with the result of the op to the bit
        np.testing.assert_array_equal(layers.LocalResponseNorm(beta=1)(IMAGES), nn.lrn(IMAGES, beta=1))

    def test_bad_arguments_are_refused(self):
        with pytest.raises(ValueError, match="LocalResponseNorm.init: `depth_radius` must be at least 0, got -1"):
            layers.LocalResponseNorm.init(-1)
        with pytest.raises(ValueError, match="LocalResponseNorm: `x` must be of rank 4"):
            layers.LocalResponseNorm()(IMAGES[0])


class TestDropout:
    def test_needs_a_key_to_train(self):
        with pytest.raises(ValueError, match="Dropout: `key` must be a jax.random key when training, got None"):
            layers.Dropout(rate=0.5)(IMAGES, training=True)

    def test_equals_the_op_when_training_only(self):
        drop = layers.Dropout.init(0.5, [None, 1, 1, None])
        np.testing.assert_array_equal(drop(IMAGES), IMAGES)
        actual = drop(IMAGES, training=True, key=KEYS[0])
        np.testing.assert_array_equal(actual, nn.dropout(IMAGES, 0.5, (None, 1, 1, None), key=KEYS[0]))

    @pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
    def test_a_bad_rate_is_refused(self, rate):
        with pytest.raises(ValueError, match=r"Dropout.init: `rate` must be in \[0, 1\)"):
            layers.Dropout.init(rate)


class TestSequential:
    x = jnp.asarray(normal(16, 4), jnp.float32)

    def model(self):
        inner = layers.Sequential.init(layers.BatchNorm.init(3), scale)
        return layers.Sequential.init(layers.Dense.init(4, 3, key=KEYS[0]), inner, nn.relu, layers.Dropout(rate=0.5))

    def test_state_is_threaded_through_nested_members(self):
        model = self.model()
        state: Any = model.init_state()
        y, new_state = model(self.x, state, training=True, key=KEYS[1])
        assert jax.tree.structure(new_state) == jax.tree.structure(state)
        hidden, bn_state = model.members[1].members[0](model.members[0](self.x), state[1][0], training=True)
        jax.tree.map(np.testing.assert_array_equal, new_state[1][0], bn_state)
        kept = y != 0
        np.testing.assert_allclose(y[kept], 2 * nn.relu(2 * hidden)[kept], rtol=1e-5)
        again, same_state = model(self.x, new_state)
        assert again.shape == y.shape
        jax.tree.map(np.testing.assert_array_equal, same_state, new_state)

    def test_members_that_draw_get_different_keys(self):
        model = layers.Sequential.init(layers.Dropout(rate=0.5), layers.Dropout(rate=0.5))
        kept = model(jnp.ones(2000), training=True, key=KEYS[0]) != 0
        # a quarter, if independent; a half, if the same
        assert 0.2 < kept.mean() < 0.3

    def test_is_a_sequence_of_its_members(self):
        model = network(KEYS[0])
        assert len(model) == 5
        assert list(model) == list(model.members)
        assert model[-1] is model.members[-1]
        head = model[:2]
        assert isinstance(head, layers.Sequential)
        np.testing.assert_array_equal(head(IMAGES), nn.relu(model[0](IMAGES)))

    def test_without_state_the_output_comes_alone(self):
        assert network(KEYS[0]).init_state() is None
        assert network(KEYS[0])(IMAGES).shape == (2, 2, 3, 3)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: layers.Sequential.init(3), TypeError, "Sequential.init: `members` must be layers or functions"),
            (
                lambda: layers.Sequential.init(lambda x: x),
                ValueError,
                r"layers or functions of a module, got .*<lambda>",
            ),
            (lambda: network(KEYS[0])(IMAGES, ()), ValueError, r"Sequential: `state` must be None, got \(\)"),
            (
                lambda: TestSequential().model()(TestSequential.x),
                ValueError,
                "Sequential: `state` must be what `init_st",
            ),
            (lambda: TestSequential().model()(TestSequential.x, (None,)), ValueError, "an entry for each of 4 members"),
        ],
    )
    def test_bad_arguments_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()
