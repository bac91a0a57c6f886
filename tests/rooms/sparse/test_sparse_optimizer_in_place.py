"""Optimisers of rows update tables and state in place, in a step and in a scan."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from machinery.programs import compile_by_default
from rooms.sparse.training_by_rows import STEPS, assert_same, loss, parameters, relaxed, tables, train

from jnnops._tables.rows import take_rows
from jnnops.sparse import apply_updates, lazy, value_and_grad


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
            memory = compile_by_default(run, carry, ids, donate_argnums=0).memory_analysis()
            size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))
            return memory, size

        # even one byte for each row would be more
        memory, size = compiled(2**20)
        assert memory.temp_size_in_bytes < 2**20
        assert memory.alias_size_in_bytes >= size

    def test_training_in_a_scan_equals_a_loop(self):
        optimizer = lazy(relaxed(optax.adam(0.1)), tables=tables)

        def step(carry, ids):
            params, state = carry
            _, grads = value_and_grad(loss, tables=tables)(params, ids)
            updates, state = optimizer.update(grads, state, params)
            return (apply_updates(params, updates), state), None

        @jax.jit
        def scanned(params):
            return jax.lax.scan(step, (params, optimizer.init(params)), jnp.stack(STEPS))[0]

        actual = scanned(parameters())
        assert_same(actual, train(optimizer, parameters(), STEPS)[-1])
