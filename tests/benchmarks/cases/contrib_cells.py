"""``dynamic_rnn`` of the convolutional LSTM, whose convolutions are in a loop, and of the SRU, which needs no loop."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, normal
from jnnops import layers

STEPS, BATCH, SIZE, IN_CHANNELS, CHANNELS = 8, 2, 16, 16, 32
CONV_SCALE = (9 * (IN_CHANNELS + CHANNELS)) ** -0.5


def conv_lstm(x: jax.Array, kernel: jax.Array, biases: jax.Array) -> jax.Array:
    shape = (SIZE, SIZE, IN_CHANNELS)
    cell = layers.ConvLSTMCell(kernel=kernel, biases=biases, input_shape=shape, forget_bias=0.0)
    return nn.dynamic_rnn(cell, x, time_major=True)[0]


def plain_conv_lstm(x: jax.Array, kernel: jax.Array, biases: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        (c, h), numbers = state, ("NHWC", "HWIO", "NHWC")
        operands = jnp.concatenate([x, h], -1)
        gates = jax.lax.conv_general_dilated(operands, kernel, (1, 1), "SAME", dimension_numbers=numbers) + biases
        i, j, f, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zeros = jnp.zeros((BATCH, SIZE, SIZE, CHANNELS))
    return jax.lax.scan(step, (zeros, zeros), x)[1]


def pack_for_keras(x: Any, kernel: Any, biases: Any) -> tuple[jax.Array, ...]:
    """Batch first; the input's kernel, the state's and the bias, their gates in the order i, f, j, o."""
    i, j, f, o = jnp.split(kernel, 4, axis=-1)
    gates = jnp.concatenate([i, f, j, o], axis=-1)
    i, j, f, o = jnp.split(biases, 4)
    inputs = jnp.swapaxes(x, 0, 1)
    return inputs, gates[:, :, :IN_CHANNELS], gates[:, :, IN_CHANNELS:], jnp.concatenate([i, f, j, o])


def keras_conv_lstm() -> Any:
    """The layer of Keras as a function of its inputs and weights, made when first called."""
    made = []

    def call(tf: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        if not made:
            options = {"padding": "same", "return_sequences": True, "recurrent_activation": "sigmoid"}
            made.append(tf.keras.layers.ConvLSTM2D(CHANNELS, 3, **options))
            made[0].build((BATCH, STEPS, SIZE, SIZE, IN_CHANNELS))
        weights, state = [kernel, recurrent_kernel, bias], [v.value for v in made[0].non_trainable_variables]
        return made[0].stateless_call(weights, state, x)[0]

    return call


def pack_for_torch(x: Any, kernel: Any, biases: Any) -> tuple[jax.Array, ...]:
    return jnp.moveaxis(x, -1, 2), jnp.transpose(kernel, (3, 2, 0, 1)), jnp.asarray(biases)


def torch_conv_lstm(torch: Any, x: Any, kernel: Any, bias: Any) -> Any:
    c = h = torch.zeros(BATCH, CHANNELS, SIZE, SIZE)
    outputs = []
    for of_step in x:
        gates = torch.nn.functional.conv2d(torch.cat([of_step, h], 1), kernel, bias, padding=1)
        i, j, f, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(j)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


def sru(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return nn.dynamic_rnn(layers.SRUCell(kernel=kernel, bias=bias), x, time_major=True)[0]


def plain_sru(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """One step after another."""

    def step(c: jax.Array, x: jax.Array) -> Any:
        candidate, f, r, bypass = jnp.split(x @ kernel, 4, -1)
        f, r = jnp.split(jax.nn.sigmoid(jnp.concatenate([f, r], -1) + bias), 2, -1)
        c = f * c + (1 - f) * candidate
        return c, r * jnp.tanh(c) + (1 - r) * bypass

    return jax.lax.scan(step, jnp.zeros((x.shape[1], bias.shape[0] // 2)), x)[1]


def sru_benchmark(batch: int, steps: int, units: int) -> Benchmark:
    return Benchmark(
        "dynamic_rnn",
        f"sru_B{batch}_T{steps}_I{units}_H{units}",
        arrays={
            "inputs": normal(steps, batch, units),
            "kernel": normal(units, 4 * units, seed=1, scale=units**-0.5),
            "bias": normal(2 * units, seed=2, scale=0.1),
        },
        ours=sru,
        plain=plain_sru,
        shared=("kernel", "bias"),
    )


BENCHMARKS = [
    Benchmark(
        "dynamic_rnn",
        f"conv_lstm_B{BATCH}_T{STEPS}_{SIZE}x{SIZE}_I{IN_CHANNELS}_H{CHANNELS}",
        arrays={
            "inputs": normal(STEPS, BATCH, SIZE, SIZE, IN_CHANNELS),
            "kernel": normal(3, 3, IN_CHANNELS + CHANNELS, 4 * CHANNELS, seed=1, scale=CONV_SCALE),
            "biases": normal(4 * CHANNELS, seed=2, scale=0.1),
        },
        ours=conv_lstm,
        plain=plain_conv_lstm,
        tensorflow=Peer(keras_conv_lstm(), pack_for_keras, lambda y: [jnp.swapaxes(y, 0, 1)]),
        torch=Peer(torch_conv_lstm, pack_for_torch, lambda y: [jnp.moveaxis(y, 2, -1)]),
        shared=("kernel", "biases"),
    ),
    sru_benchmark(32, 100, 256),
    sru_benchmark(8, 1000, 128),
    sru_benchmark(1, 1000, 128),
]
