"""Ours and the plain form under ``jax.jit``, and ours inside ``lax.scan``."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.benchmark import Benchmark, is_floating
from benchmarks.implementation import Implementation, Pass, cotangents

MICRO_BATCHES = 4


def jax_implementation(name: str, call: Callable[..., Any], benchmark: Benchmark, pass_: Pass) -> Implementation:
    """The pass of ``call``."""
    arguments = jax.device_put(
        (
            list(benchmark.arrays.values()),
            list(benchmark.constants.values()),
            cotangents(benchmark),
        )
    )
    run, seconds = compiled(jax.jit(jax_pass(call, pass_)), *arguments)
    return Implementation(name, lambda: jax.block_until_ready(run(*arguments)), to_numpy, seconds)


def jax_pass(call: Callable[..., Any], pass_: Pass) -> Callable[..., list[jax.Array]]:
    """The pass as a function of arrays, constants and cotangents."""

    def forward(arrays: Any, constants: Any, cotangents: Any) -> list[jax.Array]:
        del cotangents
        return jax.tree.leaves(call(*arrays, *constants))

    def gradient(arrays: Any, constants: Any, cotangents: Any) -> list[jax.Array]:
        def floats(*arrays: Any) -> tuple[list[jax.Array], list[jax.Array]]:
            values = jax.tree.leaves(call(*arrays, *constants))
            return [value for value in values if is_floating(value)], values

        _, pull_back, values = jax.vjp(floats, *arrays, has_aux=True)
        return [*values, *pull_back(cotangents)]

    return forward if pass_ == "forward" else gradient


def compiled(function: Any, *arguments: Any) -> tuple[Callable[..., Any], float]:
    """A jitted function compiled for ``arguments``, and the seconds that took."""
    start = time.perf_counter()
    executable = function.lower(*arguments).compile()
    return executable, time.perf_counter() - start


def to_numpy(results: Any) -> list[np.ndarray]:
    return [np.asarray(result) for result in results]


def micro_batch_implementations(benchmark: Benchmark, pass_: Pass) -> list[Implementation]:
    """Our pass, its results summed over micro-batches of the benchmark's size: in a Python loop and in ``lax.scan``.

    This is gradient accumulation. XLA lowers some operations in a loop's body far worse than outside it; what it
    costs to slice the batch and to add up, both sides pay.
    """
    step = jax_pass(benchmark.ours, pass_)
    arguments = {**benchmark.arrays, **benchmark.constants}
    shared = {name: argument for name, argument in arguments.items() if name in benchmark.shared}
    batch = (
        {name: argument for name, argument in arguments.items() if name not in benchmark.shared},
        cotangents(benchmark),
    )
    given = jax.device_put((shared, jax.tree.map(lambda array: np.stack([array] * MICRO_BATCHES), batch)))

    def one(shared: Any, batches: Any, index: Any) -> list[jax.Array]:
        batch, cotangents = jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, index, 0, False), batches)
        named = shared | batch
        arrays, constants = ([named[name] for name in names] for names in (benchmark.arrays, benchmark.constants))
        return step(arrays, constants, cotangents)

    def start() -> list[jax.Array]:
        return [jnp.zeros(result.shape, result.dtype) for result in jax.eval_shape(one, *given, 0)]

    def add(totals: Any, shared: Any, batches: Any, index: Any) -> list[jax.Array]:
        return [total + result for total, result in zip(totals, one(shared, batches, index), strict=True)]

    def scan(shared: Any, batches: Any) -> list[jax.Array]:
        def body(totals: Any, index: jax.Array) -> tuple[Any, None]:
            return add(totals, shared, batches, index), None

        return jax.lax.scan(body, start(), jnp.arange(MICRO_BATCHES))[0]

    indices = [jnp.int32(index) for index in range(MICRO_BATCHES)]
    start_compiled, start_seconds = compiled(jax.jit(start))
    add_compiled, add_seconds = compiled(jax.jit(add, donate_argnums=0), start_compiled(), *given, indices[0])
    scan_compiled, scan_seconds = compiled(jax.jit(scan), *given)

    def run_loop() -> Any:
        totals = start_compiled()
        for index in indices:
            totals = add_compiled(totals, *given, index)
        return jax.block_until_ready(totals)

    return [
        Implementation("loop", run_loop, to_numpy, start_seconds + add_seconds),
        Implementation("scan", lambda: jax.block_until_ready(scan_compiled(*given)), to_numpy, scan_seconds),
    ]
