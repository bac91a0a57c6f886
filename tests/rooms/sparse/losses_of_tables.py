"""Parameters with tables, losses that look them up in many ways, and what compares their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jnnops as nn
from jnnops._tables.rows import take_rows
from jnnops.sparse import IndexedSlices

ROWS, DIM = 50, 4
IDS = jnp.array([[3, 7, 3], [49, 0, 7]])
POLICY = jax.checkpoint_policies.dots_saveable
MESH = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("x",))
OUT_OF_RANGE = jnp.array([-1, ROWS, 3, 2**30])


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def parameters(dtype=jnp.float32):
    return {
        "biases": normal(ROWS, seed=1, dtype=dtype),
        "classes": normal(ROWS, DIM, seed=2, dtype=dtype),
        "kernel": normal(DIM, DIM, seed=3, dtype=dtype),
    }


def tables(params):
    return [params["classes"], params["biases"]]


def classes_and_biases(params, ids):
    logits = jnp.tanh(take_rows(params["classes"], ids) @ params["kernel"])
    return jnp.sum(jnp.sin(logits) * take_rows(params["biases"], ids)[..., None])


def several_lookups(params, ids):
    first, second = take_rows(params["classes"], ids), take_rows(params["classes"], ids.ravel()[::-1])
    return jnp.sum(first**2) * jnp.sum(jnp.cos(second)) + classes_and_biases(params, ids)


def one_id(params, ids):
    return jnp.vdot(take_rows(params["classes"], ids[0, 0]), take_rows(params["classes"], ids[1, 1]))


def out_of_range(params, ids):
    return classes_and_biases(params, OUT_OF_RANGE) + classes_and_biases(params, ids)


def no_lookup(params, ids):
    return jnp.sum(params["kernel"] ** 2) * jnp.max(ids).astype(jnp.float32)


def stopped(params, ids):
    mean = jnp.mean(lax.stop_gradient(params["classes"]))
    return classes_and_biases(params, ids) * mean


def jitted(params, ids):
    return jax.jit(jax.jit(classes_and_biases))(params, ids)


def closure_under_jit(params, ids):
    return jax.jit(lambda ids: classes_and_biases(params, ids))(ids)


def checkpointed(params, ids):
    return jax.checkpoint(jax.jit(several_lookups), policy=POLICY, prevent_cse=False)(params, ids) ** 2


def mapped_over_ids(params, ids):
    return jnp.sum(jax.vmap(classes_and_biases, (None, 0))(params, ids) ** 2)


def scanned(params, ids):
    def body(total, row):
        return total * 0.9 + classes_and_biases(params, row), jnp.sum(take_rows(params["biases"], row))

    total, each = lax.scan(jax.checkpoint(body), 0.0, ids, reverse=True)
    return total**2 + jnp.sum(each**3)


def loops_in_loops(params, ids):
    def outer(total, row):
        return total + lax.scan(lambda t, i: (t + one_id(params, row + i), None), 0.0, jnp.arange(3))[0], None

    return lax.scan(outer, 0.0, ids[:, None] * jnp.ones((1, 2, 1), jnp.int32))[0]


def in_another_gradient(params, ids):
    penalty = jax.grad(classes_and_biases)(params, ids)
    return jnp.sum(penalty["kernel"] ** 2) + jnp.sum(penalty["biases"] ** 2)


def with_custom_rules(params, ids):
    rows = jax.nn.relu(take_rows(params["classes"], ids))
    return jnp.sum(jax.nn.logsumexp(nn.softmax(rows), -1) * take_rows(params["biases"], ids))


LOSSES = [
    classes_and_biases,
    several_lookups,
    one_id,
    out_of_range,
    no_lookup,
    stopped,
    jitted,
    closure_under_jit,
    checkpointed,
    mapped_over_ids,
    scanned,
    loops_in_loops,
    in_another_gradient,
    with_custom_rules,
]


def dense(grads):
    return jax.tree.map(
        lambda leaf: leaf.to_dense() if isinstance(leaf, IndexedSlices) else leaf,
        grads,
        is_leaf=lambda leaf: isinstance(leaf, IndexedSlices),
    )


def assert_same(actual, expected, rtol=2e-5):
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol, err_msg=jax.tree_util.keystr(path))
