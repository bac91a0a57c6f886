"""Optimisers of rows: what they do to the rows of a step, and that they leave all others alone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rooms.sparse.training_by_rows import (
    DIM,
    ROWS,
    STEPS,
    TRANSFORMS,
    assert_same,
    loss,
    normal,
    parameters,
    relaxed,
    tables,
    train,
    train_densely,
    update,
)

from jnnops.sparse import CatchUpState, IndexedSlices, apply_updates, lazy, value_and_grad


@functools.cache
def trained_by_rows(name):
    """Parameters and state after each step with a transformation that several tests compare."""
    return train(lazy(relaxed(TRANSFORMS[name]), tables=tables), parameters(), STEPS)


class TestLazy:
    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_equals_the_dense_transformation_on_the_rows_of_a_step(self, name):
        expected = train_densely(relaxed(TRANSFORMS[name]), parameters(), STEPS, lazily=True)
        assert_same(trained_by_rows(name)[-1], expected[-1])

    @pytest.mark.parametrize("name", ["sgd", "adagrad"])
    def test_without_memory_of_more_than_sums_it_is_the_dense_transformation(self, name):
        expected = train_densely(TRANSFORMS[name], parameters(), STEPS, lazily=False)
        assert_same(trained_by_rows(name)[-1], expected[-1])

    def test_padding_of_the_slices_has_no_update(self):
        optimizer = lazy(relaxed(optax.adamw(0.1)), tables=tables)

        @jax.jit
        def step(params, ids):
            _, grads = value_and_grad(loss, tables=tables)(params, ids)
            return update(optimizer, grads, optimizer.init(params), params)

        updates, state = step(parameters(), jnp.array([3, 3, 20, -1, 7]))
        for name in ("classes", "biases"):
            assert updates[name].unique
            assert updates[name].indices.tolist() == [3, 7, 22, 23, 24]
            assert np.all(updates[name].values[:2])
            assert not np.any(updates[name].values[2:])
        touched = np.any(state[0].mu["classes"], 1)
        assert np.flatnonzero(touched).tolist() == [3, 7]

    def test_eager_update_equals_the_jitted_one(self):
        optimizer = lazy(optax.sgd(0.1, momentum=0.9), tables=tables)
        grads = {
            "classes": IndexedSlices(jnp.array([3, 3, 20, -1, 7]), normal(5, DIM), ROWS),
            "biases": IndexedSlices(jnp.array([3, 3, 20, -1, 7]), normal(5), ROWS),
            "dense": normal(DIM, DIM),
        }
        params = parameters()
        state = jax.jit(optimizer.init)(params)
        actual = update(optimizer, grads, state, params)
        assert_same(actual, jax.jit(optimizer.update)(grads, state, params))

    def test_table_without_a_lookup(self):
        optimizer = lazy(relaxed(optax.adam(0.1)), tables=tables)
        gradient = value_and_grad(lambda params, ids: jnp.sum(params["dense"]), tables=tables)
        ((params, _),) = train(optimizer, parameters(), STEPS[:1], lambda *args: gradient(*args)[1])
        np.testing.assert_array_equal(params["classes"], parameters()["classes"])
        assert not np.any(params["dense"] == parameters()["dense"])

    def test_without_parameters(self):
        optimizer = lazy(optax.adagrad(0.1), tables=tables)

        @jax.jit
        def both(params):
            _, grads = value_and_grad(loss, tables=tables)(params, STEPS[0])
            state = optimizer.init(params)
            return optimizer.update(grads, state), optimizer.update(grads, state, params)

        assert_same(*both(parameters()))

    def test_state_is_that_of_the_transformation(self):
        assert_same(lazy(optax.adam(0.1), tables=tables).init(parameters()), optax.adam(0.1).init(parameters()))

    def test_tables_of_equal_shape_have_their_own_state(self):
        params = {"a": jnp.zeros((4, 2)), "b": jnp.zeros((4, 2))}

        def both(params):
            return (params["b"], params["a"])

        optimizer = lazy(optax.adagrad(0.1), tables=both)
        grads = {name: IndexedSlices(jnp.array([row]), jnp.ones((1, 2)), 4) for name, row in (("a", 1), ("b", 2))}
        _, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
        changed = {name: np.flatnonzero(leaf[:, 0] > 0.1).tolist() for name, leaf in state[0].sum_of_squares.items()}
        assert changed == {"a": [1], "b": [2]}

    def test_row_sparse_part_of_several_transformations(self):
        only_classes = lazy(optax.adagrad(0.1), tables=lambda params: params["classes"])
        labels = {"classes": "lazy", "dense": "sgd", "biases": "sgd"}
        optimizer = optax.multi_transform({"lazy": only_classes, "sgd": optax.sgd(0.1)}, labels)
        gradient = value_and_grad(loss, tables=lambda params: params["classes"])
        actual = train(optimizer, parameters(), STEPS, lambda *args: gradient(*args)[1])
        dense = optax.multi_transform({"lazy": optax.adagrad(0.1), "sgd": optax.sgd(0.1)}, labels)
        assert_same(actual[-1], train_densely(dense, parameters(), STEPS, lazily=False)[-1])

    def test_extra_arguments_reach_the_transformation(self):
        def scale(updates, state, params=None, **extra_args):
            return jax.tree.map(lambda leaf: extra_args["factor"] * leaf, updates), state

        transform = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), scale)
        optimizer = lazy(optax.chain(transform, optax.identity()), tables=tables)

        @jax.jit
        def both(params, factor):
            _, grads = value_and_grad(loss, tables=tables)(params, STEPS[0])
            updates: Any = optimizer.update(grads, optimizer.init(params), factor=factor)[0]
            return updates["biases"].to_dense(), 3 * grads["biases"].to_dense()

        np.testing.assert_allclose(*both(parameters(), 3.0), rtol=1e-6)

    def test_learning_rates_may_be_traced_and_mapped(self):
        def after_training(rate):
            optimizer = lazy(relaxed(optax.adam(rate)), tables=tables)
            params = parameters()
            state = optimizer.init(params)
            for ids in STEPS[:2]:
                _, grads = value_and_grad(loss, tables=tables)(params, ids)
                updates, state = optimizer.update(grads, state, params)
                params = apply_updates(params, updates)
            return params

        rates = jnp.array([0.1, 0.2])
        actual = jax.jit(jax.vmap(after_training))(rates)
        for index, rate in enumerate((0.1, 0.2)):
            expected = train(lazy(relaxed(optax.adam(rate)), tables=tables), parameters(), STEPS[:2])[-1][0]
            assert_same(jax.tree.map(lambda leaf, index=index: leaf[index], actual), expected, rtol=1e-4)

    def test_ensembles(self):
        optimizer = lazy(relaxed(optax.adam(0.1)), tables=tables)

        def step(params, state, ids):
            _, grads = value_and_grad(loss, tables=tables)(params, ids)
            updates, state = optimizer.update(grads, state, params)
            return apply_updates(params, updates), state

        models = [parameters(), jax.tree.map(lambda leaf: 2 * leaf, parameters())]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
        actual = jax.jit(jax.vmap(step))(stacked, jax.jit(jax.vmap(optimizer.init))(stacked), jnp.stack(STEPS[:2]))
        one = jax.jit(lambda params, ids: step(params, optimizer.init(params), ids))
        for index in range(2):
            expected = one(models[index], STEPS[index])
            assert_same(jax.tree.map(lambda leaf, index=index: leaf[index], actual), expected, rtol=1e-4)

    def test_nan_may_be_forbidden(self):
        with jax.debug_nans(True):
            train(lazy(optax.sgd(0.1, momentum=0.9), tables=tables), parameters(), STEPS[:1])


class TestCatchUp:
    # every row that the last step looks up missed some of the others
    @pytest.mark.parametrize(
        "name", ["momentum", "adam", "adamw", "rmsprop", "lion", "adadelta", "adagrad", "of each kind"]
    )
    def test_moments_are_those_of_the_dense_transformation(self, name):
        transform = relaxed(TRANSFORMS[name])
        frozen = value_and_grad(loss, tables=tables)
        optimizer = lazy(transform, tables=tables, catch_up=True)
        # gradients at fixed parameters, since rows without a gradient do not move
        history = train(optimizer, parameters(), STEPS, lambda _, ids: frozen(parameters(), ids)[1])

        @jax.jit
        def dense_moments(params):
            state = transform.init(params)

            def step(state, ids):
                return transform.update(jax.grad(loss)(params, ids), state, params)[1], None

            return jax.lax.scan(step, state, jnp.stack(STEPS))[0]

        state = dense_moments(parameters())

        def last_rows(leaf):
            return np.asarray(leaf)[np.asarray(STEPS[-1])] if leaf.ndim and leaf.shape[0] == ROWS else leaf

        assert_same(jax.tree.map(last_rows, history[-1][1].inner), jax.tree.map(last_rows, state), rtol=1e-5)
        not_caught_up = trained_by_rows(name)[-1][1]
        differ = [not np.allclose(*pair) for pair in zip(*map(jax.tree.leaves, (not_caught_up, state)), strict=True)]
        assert any(differ) or name == "adagrad"

    def test_counts_the_steps(self):
        history = train(lazy(relaxed(optax.adam(0.1)), tables=tables, catch_up=True), parameters(), STEPS)
        state = history[-1][1]
        assert isinstance(state, CatchUpState)
        assert state.step == len(STEPS)
        for last in state.last_steps:
            assert {row: last[row] for row in range(ROWS) if last[row]} == {0: 5, 3: 5, 7: 5, 19: 5}
        assert history[1][1].last_steps[0][19] == 1

    def test_rows_without_a_gradient_do_not_move(self):
        history = train(lazy(relaxed(optax.adam(0.1)), tables=tables, catch_up=True), parameters(), STEPS)
        np.testing.assert_array_equal(history[2][0]["classes"][3], history[1][0]["classes"][3])

    def test_a_state_that_does_more_than_decay_is_refused(self):
        transform = relaxed(optax.chain(optax.add_decayed_weights(0.1), optax.scale_by_adam()))
        with pytest.raises(ValueError, match="sparse.lazy: `transform` must do no more to the state of a row without"):
            train(lazy(transform, tables=tables, catch_up=True), parameters(), STEPS[:1])
