"""A training step of a sampled softmax: ours by rows, dense in JAX, and sparse in TensorFlow.

A batch is 256 examples of 128 numbers, and 1024 candidates drawn uniformly from all classes, which have weights and
biases. All start from the same parameters and go through the same batches.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf

import jnnops as nn
from benchmarks.implementation import Implementation
from benchmarks.in_jax import compiled
from jnnops.sparse import apply_updates, lazy, value_and_grad

BATCH, DIM, CANDIDATES = 256, 128, 1024
BATCHES = 8
RATE = 0.01
OPTIMIZERS = {"sgd": optax.sgd(RATE), "adagrad": optax.adagrad(RATE), "adam": optax.adam(RATE)}

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs, labels, candidates
Params = dict[str, jax.Array]


def batches(classes: int) -> list[Batch]:
    """What the steps learn from, in turns."""
    generator = np.random.default_rng(0)

    def ids(size: int) -> np.ndarray:
        return generator.integers(0, classes, size).astype(np.int32)

    return [(generator.standard_normal((BATCH, DIM), np.float32), ids(BATCH), ids(CANDIDATES)) for _ in range(BATCHES)]


def tables(params: Params) -> list[jax.Array]:
    return [params["weights"], params["biases"]]


def loss(params: Params, inputs: jax.Array, labels: jax.Array, candidates: jax.Array) -> jax.Array:
    counts = jnp.ones((BATCH, 1)), jnp.ones(CANDIDATES)
    losses = nn.sampled_softmax_loss(
        params["weights"],
        params["biases"],
        labels[:, None],
        inputs,
        CANDIDATES,
        len(params["biases"]),
        sampled_values=(candidates, *counts),
    )
    return jnp.mean(losses)


def in_jax(name: str, optimizer: str, classes: int, *, by_rows: bool = True) -> Implementation:
    """The step by rows, or with a dense gradient and optimiser."""
    transform = OPTIMIZERS[optimizer]
    if by_rows:
        gradient, apply = value_and_grad(loss, tables=tables), apply_updates
        transform = lazy(transform, tables=tables)
    else:
        gradient, apply = jax.value_and_grad(loss), optax.apply_updates

    def step(carry: Any, *batch: jax.Array) -> Any:
        params, state = carry
        value, grads = gradient(params, *batch)
        updates, state = transform.update(grads, state, params)
        return (apply(params, updates), state), value

    def start() -> Any:
        params = {"weights": jnp.full((classes, DIM), RATE), "biases": jnp.zeros(classes)}
        return params, transform.init(params)

    given = jax.device_put(batches(classes))
    carry = jax.block_until_ready(jax.jit(start)())
    executable, seconds = compiled(jax.jit(step, donate_argnums=0), carry, *given[0])
    return Implementation(name, endless(executable, carry, given, jax.block_until_ready), values, seconds)


def in_tensorflow(optimizer: str, classes: int) -> Implementation:
    """``tf.function`` with ``tf.IndexedSlices``, and the sparse kernels of the optimisers; Adam as LazyAdam was."""
    variables = [tf.Variable(tf.fill([classes, DIM], RATE)), tf.Variable(tf.zeros([classes]))]
    fill, count = {"sgd": (0.0, 0), "adagrad": (0.1, 1), "adam": (0.0, 2)}[optimizer]
    slots = [[tf.Variable(tf.fill(each.shape, fill)) for _ in range(count)] for each in variables]
    steps = tf.Variable(tf.constant(0.0))

    def apply(variable: Any, ids: Any, gradient: Any, slots: Any) -> None:
        if optimizer == "sgd":
            variable.scatter_sub(tf.IndexedSlices(RATE * gradient, ids))
            return
        ids, places = tf.unique(ids)
        gradient = tf.math.unsorted_segment_sum(gradient, places, tf.shape(ids)[0])
        if optimizer == "adagrad":
            tf.raw_ops.ResourceSparseApplyAdagradV2(
                var=variable.handle, accum=slots[0].handle, lr=RATE, epsilon=0.0, grad=gradient, indices=ids
            )
            return
        mean = 0.9 * tf.gather(slots[0], ids) + 0.1 * gradient
        square = 0.999 * tf.gather(slots[1], ids) + 0.001 * gradient * gradient
        slots[0].scatter_update(tf.IndexedSlices(mean, ids))
        slots[1].scatter_update(tf.IndexedSlices(square, ids))
        mean /= 1 - tf.pow(0.9, steps)
        square /= 1 - tf.pow(0.999, steps)
        variable.scatter_sub(tf.IndexedSlices(RATE * mean / (tf.sqrt(square) + 1e-8), ids))

    @tf.function
    def step(carry: Any, inputs: Any, labels: Any, candidates: Any) -> Any:
        with tf.GradientTape() as tape:
            ids = tf.concat([labels, candidates], 0)
            weights, biases = (tf.gather(variable, ids) for variable in variables)
            true = tf.reduce_sum(inputs * weights[:BATCH], -1) + biases[:BATCH]
            others = tf.matmul(inputs, weights[BATCH:], transpose_b=True) + biases[BATCH:]
            others = tf.where(labels[:, None] == candidates, -np.inf, others)
            value = tf.reduce_mean(tf.reduce_logsumexp(tf.concat([true[:, None], others], 1), 1) - true)
        steps.assign_add(1.0)
        for variable, gradient, of_variable in zip(variables, tape.gradient(value, variables), slots, strict=True):
            apply(variable, tf.convert_to_tensor(gradient.indices), gradient.values, of_variable)
        return carry, value

    def wait(results: Any) -> Any:
        memoryview(results[1])  # a tf.function returns when all of its effects are done
        return results

    given = [tuple(map(tf.constant, batch)) for batch in batches(classes)]
    return Implementation("tensorflow", endless(step, (), given, wait), values)


def endless(step: Callable[..., Any], carry: Any, given: Any, wait: Callable[[Any], Any]) -> Callable[[], Any]:
    """A function that makes the next step and returns its loss."""
    done = 0

    def run() -> Any:
        nonlocal carry, done
        carry, value = wait(step(carry, *given[done % BATCHES]))
        done += 1
        return value

    return run


def values(value: Any) -> list[np.ndarray]:
    """The loss, which shows all earlier updates."""
    return [np.asarray(value)]
