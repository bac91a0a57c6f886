"""Ways to run a cell: over lists, by a loop function, in layers, and of a linear cell over all steps at once."""

from typing import Any

import jax
import jax.numpy as jnp

import jnnops as nn
from benchmarks.benchmark import Benchmark, normal
from jnnops import layers

STEPS, BATCH, UNITS = 100, 32, 128
LABEL = f"gru_B{BATCH}_T{STEPS}_H{UNITS}"
SEQUENCE = normal(STEPS, BATCH, UNITS)
SCALE = (2 * UNITS) ** -0.5
KERNELS = {
    "gate_kernel": normal(2 * UNITS, 2 * UNITS, seed=1, scale=SCALE),
    "candidate_kernel": normal(2 * UNITS, UNITS, seed=2, scale=SCALE),
}


def gru(gate_kernel: jax.Array, candidate_kernel: jax.Array) -> layers.GRUCell:
    units = candidate_kernel.shape[1]
    return layers.GRUCell(
        gate_kernel=gate_kernel,
        gate_bias=jnp.zeros(2 * units),
        candidate_kernel=candidate_kernel,
        candidate_bias=jnp.zeros(units),
    )


def scan(cell: Any, x: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        output, state = cell(x, state)
        return state, output

    return jax.lax.scan(step, cell.zero_state(x.shape[1], x.dtype), x)[1]


def plain_gru(x: jax.Array, *kernels: jax.Array) -> jax.Array:
    return scan(gru(*kernels), x)


def list_of_steps(x: jax.Array, *kernels: jax.Array) -> jax.Array:
    return jnp.stack(nn.static_rnn(gru(*kernels), list(x)).outputs)


def with_remat(x: jax.Array, *kernels: jax.Array) -> jax.Array:
    return nn.dynamic_rnn(gru(*kernels), x, time_major=True, remat=True).outputs


def fed_back(x: jax.Array, *kernels: jax.Array) -> jax.Array:
    cell = gru(*kernels)

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        if output is None:
            return jnp.zeros(BATCH, bool), x[0], cell.zero_state(BATCH), None, None
        return jnp.broadcast_to(time >= STEPS, BATCH), output, state, output, None

    return nn.raw_rnn(cell, loop_fn, max_steps=STEPS).outputs


def plain_fed_back(x: jax.Array, *kernels: jax.Array) -> jax.Array:
    cell = gru(*kernels)

    def step(carry: Any, _: Any) -> Any:
        output, state = cell(*carry)
        return (output, state), output

    return jax.lax.scan(step, (x[0], cell.zero_state(BATCH)), None, length=STEPS)[1]


@layers.layer
class Gated:
    """A linear cell: ``h' = f h + (1 - f) W x`` with ``f = sigmoid(V x)``, of which the output is ``tanh(h')``."""

    kernel: jax.Array

    def zero_state(self, batch_size: int, dtype: Any) -> jax.Array:
        return jnp.zeros((batch_size, self.kernel.shape[1] // 2), dtype)

    def linear_step(self, inputs: jax.Array) -> Any:
        forget, candidate = jnp.split(inputs @ self.kernel, 2, axis=-1)
        forget = jax.nn.sigmoid(forget)
        return forget, (1 - forget) * candidate, jax.tree_util.Partial(jnp.tanh)

    def __call__(self, inputs: jax.Array, state: jax.Array) -> Any:
        decay, addend, read = self.linear_step(inputs)
        state = decay * state + addend
        return read(state), state


def linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return nn.dynamic_rnn(Gated(kernel=kernel), x, time_major=True).outputs


def plain_linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return scan(Gated(kernel=kernel), x)


BENCHMARKS = [
    *(
        Benchmark(op, label, ours, {"inputs": SEQUENCE, **KERNELS}, plain=plain, shared=tuple(KERNELS))
        for op, label, ours, plain in (
            ("static_rnn", LABEL, list_of_steps, plain_gru),
            ("raw_rnn", LABEL, fed_back, plain_fed_back),
            ("dynamic_rnn", f"remat_{LABEL}", with_remat, plain_gru),
        )
    ),
    *(
        Benchmark(
            "dynamic_rnn",
            f"linear_B{batch}_T{steps}_H{UNITS}",
            linear,
            {
                "inputs": normal(steps, batch, UNITS),
                "kernel": normal(UNITS, 2 * UNITS, seed=1, scale=SCALE),
            },
            plain=plain_linear,
            shared=("kernel",),
        )
        for steps, batch in ((STEPS, BATCH), (1000, 1))
    ),
]
