"""Tables in models of other libraries are trained by rows: in place, and densely for the rows that are looked up."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ecosystem import by_rows_in_equinox, by_rows_in_nnx
from flax import nnx as flax_nnx
from machinery.case import integers
from machinery.flags import DEFAULTS

import jnnops as nn

WORDS, STEPS = 30, 4
PAIRS = [
    (jnp.asarray(integers(0, WORDS, 6, seed=s)), jnp.asarray(integers(0, WORDS, 6, 1, seed=s + 9)))
    for s in range(STEPS)
]
KEYS = jax.random.split(jax.random.key(0), STEPS)


@pytest.fixture(autouse=True)
def promotion():
    """As users have it: the libraries add biases of lower rank, optax multiplies counts of steps with floats."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Library(NamedTuple):
    """The page's module for a library, a model taken apart, and how to put it together."""

    page: Any
    params: Any
    rest: Any
    model_of: Any


def nnx(num_words: int) -> Library:
    model = flax_nnx.eval_shape(lambda: by_rows_in_nnx.Words(num_words, flax_nnx.Rngs(0)))
    rest, params = flax_nnx.split(model)
    return Library(by_rows_in_nnx, params, rest, lambda params: flax_nnx.merge(rest, params))


def equinox(num_words: int) -> Library:
    model = eqx.filter_eval_shape(by_rows_in_equinox.Words, num_words, jax.random.key(0))
    params, rest = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return Library(by_rows_in_equinox, params, rest, lambda params: eqx.combine(params, rest))


LIBRARIES = pytest.mark.parametrize("make", [nnx, equinox], ids=lambda make: make.__name__)


def drawn(shapes: Any) -> Any:
    """Numbers for parameters."""
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(shapes)))
    keys = jax.tree.unflatten(jax.tree.structure(shapes), list(keys))
    return jax.tree.map(lambda leaf, key: jax.random.normal(key, leaf.shape, leaf.dtype), shapes, keys)


def train_densely(library: Library, params: Any) -> tuple[Any, Any, list[Any]]:
    """The same training with dense gradients, after whose steps the rows that were not looked up are taken back."""
    transform = optax.adam(1e-2)

    @jax.jit
    def step(params, state, words, following, key):
        value, gradient = jax.value_and_grad(lambda params: library.model_of(params)(words, following, key))(params)
        updates, new_state = transform.update(gradient, state, params)
        sampled = nn.log_uniform_candidate_sampler(following, 1, 8, True, WORDS, key=key).sampled_candidates
        classes = jnp.concatenate([following[:, 0], sampled])

        def keep(path, old, new):
            if old.shape[:1] != (WORDS,):
                return new
            ids = words if "embed" in jax.tree_util.keystr(path) else classes
            return old.at[ids].set(new[ids])

        new = optax.apply_updates(params, updates), new_state
        return *jax.tree_util.tree_map_with_path(keep, (params, state), new), value

    state, losses = transform.init(params), []
    for pair, key in zip(PAIRS, KEYS, strict=True):
        params, state, value = step(params, state, *pair, key)
        losses.append(value)
    return params, state, losses


@LIBRARIES
def test_equals_dense_training_of_the_rows_looked_up(make):
    library = make(WORDS)
    params = drawn(library.params)
    expected = train_densely(library, params)
    step, state, losses = library.page.make_step(library.rest), library.page.optimizer.init(params), []
    for pair, key in zip(PAIRS, KEYS, strict=True):
        params, state, value = step(params, state, *pair, key)
        losses.append(value)
    found = params, state, losses
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), e in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))


@LIBRARIES
def test_memory_of_a_step_does_not_grow_with_the_tables(make):
    library = make(2**20)
    carry = library.params, jax.eval_shape(library.page.optimizer.init, library.params)
    ids = jax.ShapeDtypeStruct((6,), jnp.int32), jax.ShapeDtypeStruct((6, 1), jnp.int32)
    step = library.page.make_step(library.rest)
    memory = step.lower(*carry, *ids, KEYS[0]).compile(compiler_options=DEFAULTS).memory_analysis()
    # even one byte for each row would be more
    assert memory.temp_size_in_bytes < 2**20
    assert memory.alias_size_in_bytes >= sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))


def test_lookups_of_the_libraries_themselves_are_named():
    """Their gradient is as large as the table, and so nothing would be gained."""
    embed = flax_nnx.Embed(WORDS, 2, rngs=flax_nnx.Rngs(0))
    graph, params = flax_nnx.split(embed)
    embedding = eqx.nn.Embedding(WORDS, 2, key=KEYS[0])
    words = PAIRS[0][0]
    calls = [
        (lambda params: jnp.sum(flax_nnx.merge(graph, params)(words)), params),
        (lambda embedding: jnp.sum(jax.vmap(embedding)(words)), embedding),
    ]
    for loss, params in calls:
        with pytest.raises(ValueError, match=r"JAX's own indexing .* call\s+nn.embedding_lookup"):
            nn.sparse.value_and_grad(loss, tables=jax.tree.leaves)(params)
