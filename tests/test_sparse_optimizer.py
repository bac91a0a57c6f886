"""Optimisers of rows: what they do to the rows of a step, and that they leave all others alone and in place."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnnops._tables.rows import take_rows
from jnnops.sparse import CatchUpState, IndexedSlices, apply_updates, lazy, value_and_grad

ROWS, DIM = 20, 3
# repeated ids, and ids out of range
STEPS = [jnp.array(ids) for ids in ([3, 7, 3, 19], [0, 3, -1, 20], [7, 7, 7, 7], [20, -5, 100, 20], [19, 7, 3, 0])]


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def parameters():
    return {"classes": normal(ROWS, DIM, seed=1), "dense": normal(DIM, DIM, seed=2), "biases": normal(ROWS, seed=3)}


def tables(params):
    return {"b": params["biases"], "c": params["classes"]}


def loss(params, ids):
    rows = jnp.tanh(take_rows(params["classes"], ids) @ params["dense"])
    return jnp.sum(jnp.sin(rows) * take_rows(params["biases"], ids)[:, None]) + jnp.sum(rows**2)


def relaxed(transform):
    """The transformation under JAX's usual promotion: optax multiplies counts of steps with floats."""
    transform = optax.with_extra_args_support(transform)

    def update(*args, **extra):
        with jax.numpy_dtype_promotion("standard"):
            return transform.update(*args, **extra)

    return optax.GradientTransformationExtraArgs(transform.init, update)


def update(optimizer, grads, state, params) -> Any:
    """One update, in a type that is not optax's."""
    return optimizer.update(grads, state, params)


def train(optimizer, params, steps, gradient=None):
    """Parameters and state after each step."""
    gradient = gradient or (lambda params, ids: value_and_grad(loss, tables=tables)(params, ids)[1])

    @jax.jit
    def step(params, state, ids):
        updates, state = optimizer.update(gradient(params, ids), state, params)
        return apply_updates(params, updates), state

    state, history = optimizer.init(params), []
    for ids in steps:
        params, state = step(params, state, ids)
        history.append((params, state))
    return history


def train_densely(transform, params, steps, *, lazily):
    """As ``train`` with dense gradients; ``lazily`` then takes back what became of rows that were not looked up."""

    def seen(ids, old, new):
        rows = jnp.zeros(ROWS, bool).at[ids].set(True, mode="drop", wrap_negative_indices=False)
        return jnp.where(rows.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    def is_table(leaf):
        return leaf.ndim and leaf.shape[0] == ROWS

    @jax.jit
    def step(params, state, ids):
        updates, new_state = transform.update(jax.grad(loss)(params, ids), state, params)
        new = optax.apply_updates(params, updates), new_state
        if not lazily:
            return new

        def keep(old, new):
            return seen(ids, old, new) if is_table(new) else new

        return jax.tree.map(keep, (params, state), new)

    state, history = transform.init(params), []
    for ids in steps:
        params, state = step(params, state, ids)
        history.append((params, state))
    return history


def assert_same(actual, expected, rtol=2e-5):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol, err_msg=jax.tree_util.keystr(path))


LABELS = {"classes": "adam", "dense": "sgd", "biases": "adagrad"}
TRANSFORMS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adagrad": optax.adagrad(0.1),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1, weight_decay=0.1),
    "amsgrad": optax.amsgrad(0.1),
    "rmsprop": optax.rmsprop(0.1, centered=True, momentum=0.9),
    "lion": optax.lion(0.1),
    "adadelta": optax.adadelta(0.1),
    "decay and schedule": optax.chain(
        optax.clip(0.5),
        optax.add_decayed_weights(0.1),
        optax.scale_by_adam(),
        optax.scale_by_schedule(optax.linear_schedule(-0.1, -0.2, 3)),
    ),
    "hyperparameters": optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.1, 0.2, 3), b1=0.8),
    "masked": optax.masked(optax.adam(0.1), lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)),
    "of each kind": optax.multi_transform(
        {"adam": optax.adam(0.1), "sgd": optax.sgd(0.1), "adagrad": optax.adagrad(0.1)}, LABELS
    ),
    "each row centred": optax.chain(optax.centralize(), optax.adam(0.1)),
    "without NaN": optax.chain(optax.zero_nans(), optax.adam(0.1)),
}


class TestLazy:
    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_equals_the_dense_transformation_on_the_rows_of_a_step(self, name):
        transform = relaxed(TRANSFORMS[name])
        actual = train(lazy(transform, tables=tables), parameters(), STEPS)
        expected = train_densely(transform, parameters(), STEPS, lazily=True)
        assert_same(actual[-1], expected[-1])

    @pytest.mark.parametrize("name", ["sgd", "adagrad"])
    def test_without_memory_of_more_than_sums_it_is_the_dense_transformation(self, name):
        actual = train(lazy(TRANSFORMS[name], tables=tables), parameters(), STEPS)
        assert_same(actual[-1], train_densely(TRANSFORMS[name], parameters(), STEPS, lazily=False)[-1])

    def test_eager_update_and_padding(self):
        optimizer = lazy(relaxed(optax.adamw(0.1)), tables=tables)
        params, ids = parameters(), jnp.array([3, 3, 20, -1, 7])
        _, grads = value_and_grad(loss, tables=tables)(params, ids)
        updates, state = update(optimizer, grads, optimizer.init(params), params)
        for name in ("classes", "biases"):
            assert updates[name].unique
            assert updates[name].indices.tolist() == [3, 7, 22, 23, 24]
            assert np.all(updates[name].values[:2])
            assert not np.any(updates[name].values[2:])
        touched = np.any(state[0].mu["classes"], 1)
        assert np.flatnonzero(touched).tolist() == [3, 7]

    def test_table_without_a_lookup(self):
        optimizer = lazy(relaxed(optax.adam(0.1)), tables=tables)
        gradient = value_and_grad(lambda params, ids: jnp.sum(params["dense"]), tables=tables)
        ((params, _),) = train(optimizer, parameters(), STEPS[:1], lambda *args: gradient(*args)[1])
        np.testing.assert_array_equal(params["classes"], parameters()["classes"])
        assert not np.any(params["dense"] == parameters()["dense"])

    def test_without_parameters(self):
        optimizer = lazy(optax.adagrad(0.1), tables=tables)
        _, grads = value_and_grad(loss, tables=tables)(parameters(), STEPS[0])
        state = optimizer.init(parameters())
        assert_same(optimizer.update(grads, state), optimizer.update(grads, state, parameters()))

    def test_state_is_that_of_the_transformation(self):
        assert_same(lazy(optax.adam(0.1), tables=tables).init(parameters()), optax.adam(0.1).init(parameters()))

    def test_tables_of_equal_shape_have_their_own_state(self):
        params = {"a": jnp.zeros((4, 2)), "b": jnp.zeros((4, 2))}

        def both(params):
            return (params["b"], params["a"])

        optimizer = lazy(optax.adagrad(0.1), tables=both)
        grads = {name: IndexedSlices(jnp.array([row]), jnp.ones((1, 2)), 4) for name, row in (("a", 1), ("b", 2))}
        _, state = update(optimizer, grads, optimizer.init(params), params)
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
        _, grads = value_and_grad(loss, tables=tables)(parameters(), STEPS[0])
        updates, _ = jax.jit(lambda factor: optimizer.update(grads, optimizer.init(parameters()), factor=factor))(3.0)
        np.testing.assert_allclose(updates["biases"].to_dense(), 3 * grads["biases"].to_dense(), rtol=1e-6)

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
        actual = jax.jit(jax.vmap(step))(stacked, jax.vmap(optimizer.init)(stacked), jnp.stack(STEPS[:2]))
        for index in range(2):
            expected = step(models[index], optimizer.init(models[index]), STEPS[index])
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
        state = transform.init(parameters())
        for ids in STEPS:
            _, state = transform.update(jax.grad(loss)(parameters(), ids), state, parameters())

        def last_rows(leaf):
            return leaf[STEPS[-1]] if leaf.ndim and leaf.shape[0] == ROWS else leaf

        assert_same(jax.tree.map(last_rows, history[-1][1].inner), jax.tree.map(last_rows, state), rtol=1e-5)
        not_caught_up = train(lazy(transform, tables=tables), parameters(), STEPS)[-1][1]
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


class TestRefusals:
    @pytest.mark.parametrize(
        ("transform", "options", "message"),
        [
            (optax.adam, {}, "`transform` must be an optax.GradientTransformation, got function"),
            (optax.adam(0.1), {"tables": "t"}, r"`tables` must be callable as tables\(params\), got str"),
            (optax.adam(0.1), {"catch_up": "yes"}, "`catch_up` must be True or False, got 'yes'"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, transform, options, message):
        with pytest.raises(TypeError, match=f"sparse.lazy: {message}"):
            lazy(transform, **{"tables": tables} | options)

    @pytest.mark.parametrize(
        "transform",
        [
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
            optax.chain(optax.clip_by_global_norm(1e9), optax.adam(0.1)),
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(optax.linear_schedule(0.0, 1.0, 10))),
            optax.clip_by_block_rms(1.0),
            optax.adaptive_grad_clip(0.1),
            optax.lamb(0.1),
            optax.adafactor(0.1),
            optax.apply_if_finite(optax.sgd(0.1), 3),
        ],
        ids=["clip", "rare clip", "clip in warm-up", "block", "adaptive clip", "lamb", "adafactor", "finite"],
    )
    def test_rows_that_depend_on_each_other(self, transform):
        with pytest.raises(ValueError, match="must treat each row of a table by itself, but .* depends on other rows"):
            train(lazy(relaxed(transform), tables=tables), parameters(), STEPS[:1])

    def test_factored_state(self):
        params = {"t": jnp.zeros((300, 128))}
        transform = optax.scale_by_factored_rms()
        optimizer = lazy(relaxed(transform), tables=lambda params: params["t"])
        grads = {"t": IndexedSlices(jnp.array([1]), jnp.ones((1, 128)), 300)}
        with pytest.raises(ValueError, match="must treat each row"):
            update(optimizer, grads, optimizer.init(params), params)

    def test_state_that_is_not_made_of_rows(self):
        with pytest.raises(
            ValueError, match=r"must keep its state of a table in rows .* got an array of shape \(89,\)"
        ):
            train(lazy(optax.flatten(optax.sgd(0.1, 0.9)), tables=tables), parameters(), STEPS[:1])

    @pytest.mark.parametrize(
        "transform", [optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(), optax.apply_every(2)]
    )
    def test_updates_that_come_later(self, transform):
        with pytest.raises(ValueError, match="sparse.lazy: `transform` must apply each gradient in its own step"):
            train(lazy(relaxed(transform), tables=tables), parameters(), STEPS[:1])

    def test_gradients_that_do_not_fit_tables(self):
        params = parameters()
        _, grads = value_and_grad(loss, tables=tables)(params, STEPS[0])
        optimizer = lazy(optax.sgd(0.1), tables=tables)
        state = optimizer.init(params)
        with pytest.raises(
            ValueError, match=r"gradient of `params\['classes'\]` must be IndexedSlices, .* got an array"
        ):
            optimizer.update({**grads, "classes": grads["classes"].to_dense()}, state, params)
        with pytest.raises(ValueError, match=r"gradient of `params\['dense'\]` must be an array, .* got IndexedSlices"):
            optimizer.update({**grads, "dense": grads["classes"]}, state, params)
        with pytest.raises(ValueError, match=r"must be slices of an array of shape \(5,\), got 20 rows"):
            optimizer.update(grads, state, {**params, "biases": jnp.zeros(5)})
        with pytest.raises(ValueError, match="sparse.lazy: `state` must be what `init` or `update` returned"):
            optimizer.update(grads, optax.adam(0.1).init(params), params)
        with pytest.raises(ValueError, match="sparse.lazy: `tables` must return at least one leaf"):
            lazy(optax.sgd(0.1), tables=lambda params: []).update(grads, state, params)


def linear(params, ids):
    """A loss whose gradient is made of nothing that is looked up."""
    return jnp.sum(take_rows(params["classes"], ids)) + jnp.sum(take_rows(params["biases"], ids))


def pairs(params, ids):
    """A loss in which the gradient of each table is made of rows of the other."""
    return jnp.sum(take_rows(params["classes"], ids) * take_rows(params["biases"], ids)[:, None])


def checkpointed(params, ids):
    return jax.checkpoint(loss)(params, ids)


class TestInPlace:
    @pytest.mark.parametrize("scanned", [False, True], ids=["step", "scan"])
    @pytest.mark.parametrize(
        ("loss", "transform", "catch_up"),
        [
            (linear, optax.sgd(0.1), False),
            (linear, optax.sgd(0.1, 0.9), True),
            (pairs, optax.adagrad(0.1), False),
            (loss, optax.adamw(0.1), False),
            (checkpointed, optax.adam(0.1), True),
        ],
    )
    def test_memory_does_not_grow_with_the_tables(self, loss, transform, catch_up, scanned):
        optimizer = lazy(relaxed(transform), tables=tables, catch_up=catch_up)

        def step(carry, ids):
            params, state = carry
            value, grads = value_and_grad(loss, tables=tables)(params, ids)
            updates, state = optimizer.update(grads, state, params)
            return (apply_updates(params, updates), state), value

        def compiled(num_rows):
            shapes = {"classes": (num_rows, 64), "dense": (64, 64), "biases": (num_rows,)}
            params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
            carry = params, jax.eval_shape(optimizer.init, params)
            run = functools.partial(jax.lax.scan, step) if scanned else step
            ids = jax.ShapeDtypeStruct((4, 8) if scanned else (8,), jnp.int32)
            memory: Any = jax.jit(run, donate_argnums=0).lower(carry, ids).compile().memory_analysis()
            size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))
            return memory, size

        (small, _), (large, size) = compiled(10_000), compiled(100_000)
        assert large.temp_size_in_bytes == small.temp_size_in_bytes < 2**20
        assert large.alias_size_in_bytes >= size

    def test_training_in_a_scan_equals_a_loop(self):
        optimizer = lazy(relaxed(optax.adam(0.1)), tables=tables)

        def step(carry, ids):
            params, state = carry
            _, grads = value_and_grad(loss, tables=tables)(params, ids)
            updates, state = optimizer.update(grads, state, params)
            return (apply_updates(params, updates), state), None

        start = parameters(), optimizer.init(parameters())
        actual, _ = jax.lax.scan(step, start, jnp.stack(STEPS))
        assert_same(actual, train(optimizer, parameters(), STEPS)[-1])
