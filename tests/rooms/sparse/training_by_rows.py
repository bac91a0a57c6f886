"""A small model with two tables, and its training by rows and densely."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnnops._tables.rows import take_rows
from jnnops.sparse import IndexedSlices, apply_updates, value_and_grad

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

    state, history = jax.jit(optimizer.init)(params), []
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

    state, history = jax.jit(transform.init)(params), []
    for ids in steps:
        params, state = step(params, state, ids)
        history.append((params, state))
    return history


def opened(tree):
    """The tree with indices and values that NumPy can read in place of slices."""
    return jax.tree.map(
        lambda leaf: (leaf.indices, leaf.values) if isinstance(leaf, IndexedSlices) else leaf,
        tree,
        is_leaf=lambda leaf: isinstance(leaf, IndexedSlices),
    )


def assert_same(actual, expected, rtol=2e-5):
    actual, expected = opened(actual), opened(expected)
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
