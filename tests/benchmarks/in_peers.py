"""The same pass in TensorFlow and PyTorch, each in the fastest of its usual ways to run."""

import contextlib
import importlib
import importlib.util
import os
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

from benchmarks.benchmark import Benchmark, Peer, is_floating
from benchmarks.implementation import Implementation, Pass, cotangents

torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None


# A variant that takes as long for its first run is left out: XLA's gradient of a depthwise convolution with several
# outputs for each channel takes minutes.
HOPELESS_SECONDS = 10


def use_all_cores() -> None:
    """Gives both as many threads as XLA takes."""
    cores = os.cpu_count() or 1
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.set_visible_devices([], "GPU")
    if torch:
        torch.set_num_threads(cores)


def peer_implementations(benchmark: Benchmark, pass_: Pass) -> list[Implementation]:
    """The peers that have the op and are installed."""
    found = []
    # both are set up for the CPU; where JAX has an accelerator they are no peers
    if jax.default_backend() == "cpu":
        if benchmark.tensorflow is not None:
            found.append(tensorflow_implementation(benchmark.tensorflow, benchmark, pass_))
        if benchmark.torch is not None and torch:
            found.append(torch_implementation(benchmark.torch, benchmark, pass_))
    return found


def tensorflow_implementation(peer: Peer, benchmark: Benchmark, pass_: Pass) -> Implementation:
    """``tf.function``, compiled by XLA or not."""
    arrays = [tf.constant(array) for array in packed(peer, benchmark)]
    constants = [tf.constant(array) for array in benchmark.constants.values()]

    def forward(arrays: Any, constants: Any, cotangents: Any) -> Any:
        del cotangents
        return tf.nest.flatten(peer.call(tf, *arrays, *constants)), []

    def gradient(arrays: Any, constants: Any, cotangents: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            values = tf.nest.flatten(peer.call(tf, *arrays, *constants))
        floats = [value for value in values if value.dtype.is_floating]
        gradients = tape.gradient(floats, arrays, output_gradients=cotangents)
        return values, [tf.convert_to_tensor(gradient) for gradient in gradients]  # dense where they are sparse

    def to_numpy(found: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    function, cotangent_tensors = forward, []
    if pass_ == "gradient":
        values, _ = to_numpy(tf.function(forward)(arrays, constants, []))
        function, cotangent_tensors = gradient, [tf.constant(c) for c in packed_cotangents(values, peer, benchmark)]

    def variant(jit_compile: bool | None) -> Callable[[], Any]:
        compiled = tf.function(function, jit_compile=jit_compile)

        def run() -> Any:
            results = compiled(arrays, constants, cotangent_tensors)
            for tensor in tf.nest.flatten(results):
                memoryview(tensor)  # waits as .numpy() does, but copies nothing
            return results

        return run

    variants = [variant(jit_compile=None)]
    with contextlib.suppress(tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):  # an op that XLA lacks
        by_xla = variant(jit_compile=True)
        if timeit.timeit(by_xla, number=1) < HOPELESS_SECONDS:
            variants.append(by_xla)
    return Implementation("tensorflow", fastest(variants), unpacked(to_numpy, peer, benchmark))


def torch_implementation(peer: Peer, benchmark: Benchmark, pass_: Pass) -> Implementation:
    """Eager PyTorch, in its own memory layout or with channels last in memory."""
    arrays = packed(peer, benchmark)
    constants = [torch.from_numpy(np.array(array)) for array in benchmark.constants.values()]

    def forward(tensors: Any) -> list[Any]:
        values = peer.call(torch, *tensors, *constants)
        return list(values) if isinstance(values, list | tuple) else [values]

    def to_numpy(found: Any) -> Any:
        values, gradients = found
        return [value.detach().numpy() for value in values], [gradient.numpy() for gradient in gradients]

    cotangent_arrays: list[np.ndarray] = []
    if pass_ == "gradient":
        with torch.no_grad():
            values = [value.numpy() for value in forward([torch.from_numpy(array) for array in arrays])]
        cotangent_arrays = packed_cotangents(values, peer, benchmark)

    def variant(formats: dict[int, Any]) -> Callable[[], Any]:
        def place(array: np.ndarray) -> Any:
            tensor = torch.from_numpy(np.array(array))
            return tensor.contiguous(memory_format=formats.get(tensor.ndim, torch.contiguous_format))

        tensors = [place(array).requires_grad_(pass_ == "gradient") for array in arrays]
        cotangent_tensors = [place(array) for array in cotangent_arrays]

        def run() -> Any:
            if pass_ == "forward":
                with torch.no_grad():
                    return forward(tensors), ()
            values = forward(tensors)
            floats = [value for value in values if value.is_floating_point()]
            return values, torch.autograd.grad(floats, tensors, cotangent_tensors)

        return run

    variants = [variant({})]
    if any(array.ndim in (4, 5) for array in arrays):
        variants.append(variant({4: torch.channels_last, 5: torch.channels_last_3d}))
    return Implementation("torch", fastest(variants), unpacked(to_numpy, peer, benchmark))


def fastest(variants: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """The one that takes the least time, once warm."""
    if len(variants) == 1:
        return variants[0]
    return min(variants, key=lambda run: min(timeit.repeat(run, setup=run, number=1, repeat=3)))


def packed(peer: Peer, benchmark: Benchmark) -> list[np.ndarray]:
    """The arrays in the peer's layout."""
    return [np.array(array) for array in peer.pack(*benchmark.arrays.values())]


def packed_cotangents(values: Sequence[np.ndarray], peer: Peer, benchmark: Benchmark) -> list[np.ndarray]:
    """The cotangents of the peer's ``values``."""
    return transpose(peer.unpack, values, cotangents(benchmark))


def unpacked(to_numpy: Callable[[Any], Any], peer: Peer, benchmark: Benchmark) -> Callable[[Any], list[np.ndarray]]:
    """Brings a peer's values and gradients into this library's layout."""

    def results(found: Any) -> list[np.ndarray]:
        values, gradients = to_numpy(found)
        if gradients:
            gradients = transpose(peer.pack, list(benchmark.arrays.values()), gradients)
        return [*map(np.asarray, peer.unpack(*values)), *gradients]

    return results


def transpose(
    function: Callable[..., Sequence[Any]], arguments: Sequence[np.ndarray], cotangents: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Pulls cotangents of the floating results of a linear ``function`` back to its floating ``arguments``."""

    def floats(*given: Any) -> list[Any]:
        remaining = iter(given)
        results = function(*(next(remaining) if is_floating(argument) else argument for argument in arguments))
        return [result for result in results if is_floating(result)]

    _, pull_back = jax.vjp(floats, *(jnp.asarray(argument) for argument in arguments if is_floating(argument)))
    return [np.asarray(gradient) for gradient in pull_back([jnp.asarray(cotangent) for cotangent in cotangents])]
