"""Models go through optimisers by path, files, copies, exports, ensembles and scans, and come out the same."""

import copy
import functools
import operator
import pickle
from collections.abc import Hashable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path
from machinery.case import normal

import jnnops as nn
from jnnops import layers

IDS = jnp.arange(10).reshape(2, 5)


@layers.layer
class Reader:
    """A model as users write them: its layers in fields, tuples and dicts, some arrays of its own, and settings."""

    embedding: layers.Embedding
    recurrent: tuple[layers.RNN, layers.Bidirectional]
    rest: dict[str, Any]
    temperature: jax.Array
    activation: Any = layers.static(default=nn.relu)

    @classmethod
    def init(cls, key):
        keys = jax.random.split(key, 4)
        return cls(
            embedding=layers.Embedding.init(10, 4, key=keys[0]),
            recurrent=(
                layers.RNN.init(layers.LSTMCell, 4, (4, 3), use_peepholes=True, key=keys[1]),
                layers.Bidirectional.init(layers.GRUCell, 3, 2, key=keys[2]),
            ),
            rest={"norm": layers.BatchNorm.init(4), "head": layers.Dense.init(4, 3, key=keys[3])},
            temperature=jnp.asarray(1.5, jnp.bfloat16),
        )

    def init_state(self):
        return self.rest["norm"].init_state()

    def __call__(self, ids, state, *, training=False):
        x = self.embedding(ids)
        for rnn in self.recurrent:
            x = self.activation(rnn(x))
        x, state = self.rest["norm"](x, state, training=training)
        return self.rest["head"](x) / self.temperature.astype(x.dtype), state


@jax.jit
def loss_and_gradient(model, ids, state):
    def loss(model):
        y, new_state = model(ids, state, training=True)
        return jnp.sum(y**2), new_state

    return jax.value_and_grad(loss, has_aux=True)(model)


@pytest.fixture(scope="module")
def model() -> Any:
    return jax.jit(Reader.init)(jax.random.key(0))


def assert_identical(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, leaf), other in zip(tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == other.dtype, keystr(path)
        np.testing.assert_array_equal(leaf, other, keystr(path))


def name_of(path):
    return keystr(path, simple=True, separator=".")


class TestFiles:
    def test_npz(self, model, tmp_path):
        np.savez(tmp_path / "model.npz", **{name_of(path): leaf for path, leaf in tree_leaves_with_path(model)})
        shapes = jax.eval_shape(Reader.init, jax.random.key(0))
        with np.load(tmp_path / "model.npz") as arrays:
            assert {"embedding.table", "recurrent.0.cell.cells.1.w_i_diag", "rest.head.bias"} < set(arrays)
            loaded = tree_map_with_path(lambda path, leaf: jnp.asarray(arrays[name_of(path)].view(leaf.dtype)), shapes)
        assert_identical(loaded, model)

    @pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
    def test_pickle(self, model, protocol):
        loaded, state = pickle.loads(pickle.dumps((model, model.init_state()), protocol))
        assert_identical(loaded, model)
        assert loaded.activation is nn.relu
        assert_identical(loss_and_gradient(loaded, IDS, state), loss_and_gradient(model, IDS, model.init_state()))

    def test_export_with_the_gradient(self, model):
        run = jax.jit(lambda model, ids, state: model(ids, state, training=True))
        exported = jax.export.export(run)(model, IDS, model.init_state())
        loaded = jax.export.deserialize(exported.serialize(vjp_order=1))
        (expected, state), gradient = loss_and_gradient(model, IDS, model.init_state())

        def loss(model):
            y, state = loaded.call(model, IDS, model.init_state())
            return jnp.sum(y**2), state

        (actual, new_state), actual_gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(model)
        assert type(new_state) is layers.BatchNormState
        assert type(actual_gradient) is Reader
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        for leaf, other in zip(
            jax.tree.leaves((new_state, actual_gradient)), jax.tree.leaves((state, gradient)), strict=True
        ):
            np.testing.assert_allclose(leaf.astype(jnp.float32), other.astype(jnp.float32), rtol=1e-5, atol=1e-6)


class TestCopies:
    def test_a_deep_copy_outlives_the_model(self, model):
        first = jax.tree.map(jnp.copy, model)
        second = copy.deepcopy(first)
        assert_identical(second, model)
        jax.jit(lambda model: model, donate_argnums=0)(first)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
        assert_identical(second, model)

    def test_a_shallow_copy_has_the_same_arrays(self, model):
        assert copy.copy(model).embedding is model.embedding


def is_kernel(tree):
    return tree_map_with_path(lambda path, _: keystr(path).endswith("kernel"), tree)


class TestOptax:
    def test_weight_decay_of_kernels_alone(self, model):
        zeros = jax.tree.map(jnp.zeros_like, model)
        optimizer = optax.adamw(0.1, weight_decay=0.5, mask=is_kernel)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            updates, _ = jax.jit(lambda: optimizer.update(zeros, optimizer.init(model), model))()
            updated = jax.tree.map(jnp.add, model, updates)
        decayed = set()
        for path, leaf in tree_leaves_with_path(model):
            actual = dict(tree_leaves_with_path(updated))[path]
            if "kernel" in keystr(path):
                decayed.add(keystr(path))
                np.testing.assert_allclose(actual, 0.95 * leaf, rtol=1e-6)
            else:
                np.testing.assert_array_equal(actual, leaf, keystr(path))
        assert decayed == {
            ".recurrent[0].cell.cells[0].kernel",
            ".recurrent[0].cell.cells[1].kernel",
            *(
                f".recurrent[1].{cell}.{kernel}_kernel"
                for cell in ("forward", "backward")
                for kernel in ("gate", "candidate")
            ),
            ".rest['head'].kernel",
        }

    def test_an_optimiser_for_each_part(self, model):
        def label(path, _):
            text = keystr(path)
            return "frozen" if text.startswith(".embedding") else "fast" if text.startswith(".rest") else "slow"

        label_all = functools.partial(tree_map_with_path, label)
        parts: dict[Hashable, Any] = {"frozen": optax.set_to_zero(), "fast": optax.sgd(1.0), "slow": optax.sgd(0.1)}
        optimizer = optax.multi_transform(parts, label_all)
        gradient = jax.tree.map(jnp.ones_like, model)
        updates, _ = jax.jit(lambda: optimizer.update(gradient, optimizer.init(model), model))()
        assert jax.tree.structure(updates) == jax.tree.structure(model)
        rates = {"frozen": 0.0, "fast": 1.0, "slow": 0.1}
        for name, update in zip(jax.tree.leaves(label_all(model)), jax.tree.leaves(updates), strict=True):
            np.testing.assert_allclose(update.astype(jnp.float32), np.full(update.shape, -rates[name]), rtol=4e-3)


@layers.layer
class Block:
    """One layer of a deep network."""

    norm: layers.LayerNorm
    dense: layers.Dense
    dropout: layers.Dropout

    @classmethod
    def init(cls, key):
        dense = layers.Dense.init(4, 4, key=key)
        return cls(norm=layers.LayerNorm.init(4), dense=dense, dropout=layers.Dropout(rate=0.25))

    def __call__(self, x, key):
        return x + self.dropout(nn.tanh(self.dense(self.norm(x))), training=True, key=key)


class TestManyModels:
    def test_eight_seeds_train_in_one_program(self):
        images, labels = jnp.asarray(normal(8, 6, 6, 1), jnp.float32), jnp.arange(8) % 3
        optimizer = optax.adamw(1e-2, weight_decay=1e-2, mask=is_kernel)

        def train(key):
            init, loop = jax.random.split(key)
            first, second = jax.random.split(init)
            model: Any = layers.Sequential.init(
                layers.Conv.init(1, 4, (3, 3), use_bias=False, key=first),
                layers.BatchNorm.init(4),
                nn.relu,
                layers.Dropout(rate=0.25),
                layers.Dense.init(4, 3, key=second),
            )

            def loss(model, state, key):
                logits, state = model(images, state, training=True, key=key)
                losses = nn.sparse_softmax_cross_entropy_with_logits(labels, logits.mean((1, 2)))
                return losses.mean(), state

            def step(carry, key):
                model, state, moments = carry
                (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(model, state, key)
                updates, moments = optimizer.update(gradient, moments, model)
                return (optax.apply_updates(model, updates), state, moments), value

            carry = model, model.init_state(), optimizer.init(model)
            return lax.scan(step, carry, jax.random.split(loop, 10))

        keys = jax.random.split(jax.random.key(1), 8)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
            ensemble = jax.jit(jax.vmap(train))(keys)
            alone = jax.jit(train)
            singles = [alone(key) for key in keys]
        losses = np.asarray(ensemble[1])
        assert losses.shape == (8, 10)
        assert (losses[:, -1] < losses[:, 0]).all()
        assert len(np.unique(losses)) == 80
        for index, single in enumerate(singles):
            own = jax.tree.map(operator.itemgetter(index), ensemble)
            assert jax.tree.structure(own) == jax.tree.structure(single)
            for (path, leaf), other in zip(tree_leaves_with_path(own), jax.tree.leaves(single), strict=True):
                np.testing.assert_allclose(leaf, other, rtol=1e-4, atol=1e-5, err_msg=keystr(path))

    def test_blocks_scanned_over_depth_equal_a_loop_with_their_gradients(self):
        keys, dropping = jax.random.split(jax.random.key(2), (2, 5))
        blocks = jax.jit(jax.vmap(Block.init))(keys)
        x = jnp.asarray(normal(3, 4), jnp.float32)

        def scanned(blocks, x):
            return lax.scan(lambda x, each: (jax.checkpoint(each[0])(x, each[1]), None), x, (blocks, dropping))[0]

        def looped(blocks, x):
            for index in range(5):
                block, key = jax.tree.map(operator.itemgetter(index), (blocks, dropping))
                x = block(x, key)
            return x

        def with_gradient(run):
            return jax.value_and_grad(lambda blocks, x: jnp.sum(run(blocks, x) ** 2), (0, 1))

        actual, expected = jax.jit(lambda *given: [with_gradient(run)(*given) for run in (scanned, looped)])(blocks, x)
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        for leaf, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert jnp.any(other != 0)
            np.testing.assert_allclose(leaf, other, rtol=1e-4, atol=1e-5)
