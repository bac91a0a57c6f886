"""``dynamic_rnn`` over 100 steps of 32 rows: 256 inputs, 256 units, time first."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from jnnops import layers

STEPS, BATCH, INPUTS, UNITS = 100, 32, 256, 256
LABEL = f"B{BATCH}_T{STEPS}_I{INPUTS}_H{UNITS}"
SEQUENCE = normal(STEPS, BATCH, INPUTS)
SCALE = (INPUTS + UNITS) ** -0.5


def lstm(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    # PyTorch and Keras have no forget_bias
    cell = layers.LSTMCell(kernel=kernel, bias=bias, forget_bias=0.0)
    return nn.dynamic_rnn(cell, x, time_major=True)[0]


def plain_lstm(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        c, h = state
        i, j, f, o = jnp.split(jnp.concatenate([x, h], -1) @ kernel + bias, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zeros = jnp.zeros((BATCH, UNITS))
    return jax.lax.scan(step, (zeros, zeros), x)[1]


def pack_lstm(x: Any, kernel: Any, bias: Any) -> tuple[jax.Array, ...]:
    """The input's kernel, the state's and the bias, their gates in the order i, f, j, o of Keras and PyTorch."""
    i, j, f, o = jnp.split(jnp.concatenate([kernel, bias[None]]), 4, axis=1)
    gates = jnp.concatenate([i, f, j, o], axis=1)
    return jnp.asarray(x), gates[:INPUTS], gates[INPUTS:-1], gates[-1]


def gru(
    x: jax.Array, gate_kernel: jax.Array, gate_bias: jax.Array, candidate_kernel: jax.Array, candidate_bias: jax.Array
) -> jax.Array:
    cell = layers.GRUCell(
        gate_kernel=gate_kernel,
        gate_bias=gate_bias,
        candidate_kernel=candidate_kernel,
        candidate_bias=candidate_bias,
    )
    return nn.dynamic_rnn(cell, x, time_major=True)[0]


def plain_gru(
    x: jax.Array, gate_kernel: jax.Array, gate_bias: jax.Array, candidate_kernel: jax.Array, candidate_bias: jax.Array
) -> jax.Array:
    def step(h: jax.Array, x: jax.Array) -> Any:
        r, u = jnp.split(jax.nn.sigmoid(jnp.concatenate([x, h], -1) @ gate_kernel + gate_bias), 2, -1)
        candidate = jnp.tanh(jnp.concatenate([x, r * h], -1) @ candidate_kernel + candidate_bias)
        h = u * h + (1 - u) * candidate
        return h, h

    return jax.lax.scan(step, jnp.zeros((BATCH, UNITS)), x)[1]


def pack_gru(order: str) -> Any:
    """As ``pack_lstm``, the gates r, u and the candidate c in the given order."""

    def pack(x: Any, gate_kernel: Any, gate_bias: Any, candidate_kernel: Any, candidate_bias: Any) -> Any:
        r, u = jnp.split(jnp.concatenate([gate_kernel, gate_bias[None]]), 2, axis=1)
        blocks = {"r": r, "u": u, "c": jnp.concatenate([candidate_kernel, candidate_bias[None]])}
        gates = jnp.concatenate([blocks[name] for name in order], axis=1)
        return jnp.asarray(x), gates[:INPUTS], gates[INPUTS:-1], gates[-1]

    return pack


def pack_for_torch(pack: Any) -> Any:
    """The same with the kernels transposed."""

    def pack_transposed(*arrays: Any) -> Any:
        x, kernel, recurrent_kernel, bias = pack(*arrays)
        return x, kernel.T, recurrent_kernel.T, bias

    return pack_transposed


def keras_layer(layer: str, **options: Any) -> Any:
    """A layer of Keras as a function of its inputs and weights, made when first called."""
    made = []

    def call(tf: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        if not made:
            made.append(getattr(tf.keras.layers, layer)(UNITS, return_sequences=True, **options))
            made[0].build((BATCH, STEPS, INPUTS))
        weights, state = [kernel, recurrent_kernel, bias], [v.value for v in made[0].non_trainable_variables]
        y, _ = made[0].stateless_call(weights, state, tf.transpose(x, (1, 0, 2)))
        return tf.transpose(y, (1, 0, 2))

    return call


def torch_lstm(torch: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    zeros = torch.zeros(1, BATCH, UNITS)
    weights = [kernel, recurrent_kernel, bias, torch.zeros_like(bias)]
    return torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, True, False, False)[0]


def torch_gru(torch: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    weights = [kernel, recurrent_kernel, bias, torch.zeros_like(bias)]
    return torch.gru(x, torch.zeros(1, BATCH, UNITS), weights, True, 1, 0.0, True, False, False)[0]


BENCHMARKS = [
    Benchmark(
        "dynamic_rnn",
        f"lstm_{LABEL}",
        arrays={
            "inputs": SEQUENCE,
            "kernel": normal(INPUTS + UNITS, 4 * UNITS, seed=1, scale=SCALE),
            "bias": normal(4 * UNITS, seed=2, scale=0.1),
        },
        ours=lstm,
        plain=plain_lstm,
        tensorflow=Peer(keras_layer("LSTM"), pack_lstm),
        torch=Peer(torch_lstm, pack_for_torch(pack_lstm)),
        shared=("kernel", "bias"),
    ),
    Benchmark(
        "dynamic_rnn",
        f"gru_{LABEL}",
        arrays={
            "inputs": SEQUENCE,
            "gate_kernel": normal(INPUTS + UNITS, 2 * UNITS, seed=1, scale=SCALE),
            "gate_bias": normal(2 * UNITS, seed=2, scale=0.1),
            "candidate_kernel": normal(INPUTS + UNITS, UNITS, seed=3, scale=SCALE),
            "candidate_bias": normal(UNITS, seed=4, scale=0.1),
        },
        ours=gru,
        plain=plain_gru,
        tensorflow=Peer(keras_layer("GRU", reset_after=False), pack_gru("urc")),
        # PyTorch applies the reset gate after the matrix product: other numbers for the same work
        torch=Peer(torch_gru, pack_for_torch(pack_gru("ruc"))),
        differs=("torch",),
        shared=("gate_kernel", "gate_bias", "candidate_kernel", "candidate_bias"),
    ),
]
