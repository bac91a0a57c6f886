"""Training that is saved and restored with orbax goes on as if nothing had happened."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from ecosystem import in_equinox, in_linen, in_nnx, saved
from flax import nnx as flax_nnx
from machinery.case import integers, normal

import jnnops as nn

BATCHES = [(jnp.asarray(integers(0, 64, 16, seed=s)), jnp.asarray(integers(0, 4, 16, seed=s + 9))) for s in range(5)]


@pytest.fixture(autouse=True)
def promotion():
    """As users have it: optax multiplies counts of steps with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def readable(tree: Any) -> Any:
    """The tree with the words of keys in their place."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )


def assert_identical(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
    jax.tree.map(np.testing.assert_array_equal, readable(found), readable(expected))


class TestTraining:
    def test_resumed_equals_uninterrupted_to_the_bit(self, tmp_path):
        training = saved.init(jax.random.key(3))
        for batch in BATCHES[:2]:
            training = saved.step(training, *batch)
        saved.save(tmp_path / "training", training)
        resumed = saved.restore(tmp_path / "training")
        assert_identical(resumed, training)
        for batch in BATCHES[2:]:
            training = saved.step(training, *batch)
        for batch in BATCHES[2:]:
            resumed = saved.step(resumed, *batch)
        assert_identical(resumed, training)
        assert np.any(np.asarray(training.optimizer.last_steps[0]) == len(BATCHES))

    def test_is_restored_to_other_shardings_and_back(self, tmp_path):
        training = saved.step(saved.init(jax.random.key(3)), *BATCHES[0])
        saved.save(tmp_path / "one", training)
        mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
        split = saved.restore(tmp_path / "one", saved.on_rows(mesh))
        assert_identical(split, training)
        moments = [leaf for leaf in jax.tree.leaves(split.optimizer) if leaf.shape == (64, 8)]
        for leaf in (split.model[0].table, *moments, *split.optimizer.last_steps):
            assert leaf.sharding.spec == jax.sharding.PartitionSpec("rows")
            assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {8}
        assert split.model[-1].kernel.sharding.is_fully_replicated

        # sums over devices are rounded in another order
        split, training = saved.step(split, *BATCHES[1]), saved.step(training, *BATCHES[1])
        for found, expected in zip(*map(jax.tree.leaves, map(readable, (split, training))), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        saved.save(tmp_path / "split", split)
        assert_identical(saved.restore(tmp_path / "split"), split)


def test_keys_and_slices_of_all_kinds_are_restored(tmp_path):
    """Also the state of a cell that draws, and gradients that are summed over steps."""
    cell = nn.layers.DropoutWrapper.init(nn.layers.GRUCell.init(3, 4, key=jax.random.key(0)), output_rate=0.5)
    tree = {
        "rbg": jax.random.key(7, impl="rbg"),
        "several": jax.random.split(jax.random.key(7), (2, 3)),
        "raw": jax.random.PRNGKey(7),
        "cell": cell.zero_state(2, jnp.float32, key=jax.random.key(8)),
        "slices": nn.sparse.IndexedSlices(jnp.array([3, 1]), jnp.asarray(normal(2, 5), jnp.float32), num_rows=9),
    }
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "tree", tree)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "tree", jax.eval_shape(lambda: tree))
    slices, expected = restored.pop("slices"), tree.pop("slices")
    assert_identical(restored, tree)
    assert_identical((slices.indices, slices.values), (expected.indices, expected.values))
    assert (slices.num_rows, slices.unique) == (9, expected.unique)


def linen() -> tuple[Any, Any]:
    init, images = in_linen.Reader().init, jnp.zeros((2, 8, 12, 1))
    return jax.jit(init)(jax.random.key(0), images), jax.eval_shape(init, jax.random.key(0), images)


def nnx() -> tuple[Any, Any]:
    def make() -> in_nnx.Reader:
        return in_nnx.Reader(flax_nnx.Rngs(0))

    return flax_nnx.state(make()), flax_nnx.state(flax_nnx.eval_shape(make))


def equinox() -> tuple[Any, Any]:
    model, shapes = in_equinox.Reader(jax.random.key(0)), eqx.filter_eval_shape(in_equinox.Reader, jax.random.key(0))
    return tuple(eqx.filter(each, lambda leaf: hasattr(leaf, "shape")) for each in (model, shapes))


@pytest.mark.parametrize("make", [linen, nnx, equinox], ids=lambda make: make.__name__)
def test_models_of_other_libraries_with_layers_inside_are_restored(tmp_path, make):
    model, shapes = make()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", model)
        checkpointer.wait_until_finished()
        assert_identical(checkpointer.restore(tmp_path / "model", shapes), model)


def test_equinox_writes_layers_by_its_own_means(tmp_path):
    model = in_equinox.Reader(jax.random.key(0)).cell
    eqx.tree_serialise_leaves(tmp_path / "cell.eqx", model)
    like = jax.eval_shape(lambda: model)
    assert_identical(eqx.tree_deserialise_leaves(tmp_path / "cell.eqx", like), model)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_go_through_formats_of_numbers(tmp_path, impl):
    key = jax.random.key(7, impl=impl)
    np.savez(tmp_path / "key.npz", data=jax.random.key_data(key))
    with np.load(tmp_path / "key.npz") as arrays:
        assert_identical(jax.random.wrap_key_data(jnp.asarray(arrays["data"]), impl=impl), key)
