"""Runs a convolutional network on integers of 8 bits, with ranges that are calibrated and then learned.

A network learns to tell scikit-learn's 1,797 scans of handwritten digits apart, in float32. Its activations on the
training scans then give each layer a range: up to their maximum, or up to a percentile of them, which a few large ones
do not widen. With a range uint8 stand for the activations and int8 for the weights, and the network runs on integers
from the scan to the scores. At last it is trained some more with its numbers rounded as the integers will round them,
the ranges being learned like weights.

Run ``python examples/quantize_digits.py --help`` for the options.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from shared.experiment import Experiment
from sklearn.datasets import load_digits

import jnnops as nn
from jnnops import layers

DIGIT = 8  # height and width of a scan
CLASSES = 10
BATCH = 64
PERCENTILE = 99.9
FINE_TUNING = 0.5  # as many steps as training takes, times this
ROUNDS = 50  # of the clock


class Scans(NamedTuple):
    """Scans of single digits and what they show."""

    images: jax.Array  # [scans, DIGIT, DIGIT, 1], 0 to 1
    labels: jax.Array  # [scans]


def load_scans(seed: int) -> tuple[Scans, Scans]:
    """Splits the scans into four fifths for training and one fifth held out."""
    digits: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    held_out = len(order) // 5
    images, labels = digits.images[..., None].astype(np.float32) / 16, digits.target.astype(np.int32)

    def scans(chosen: np.ndarray) -> Scans:
        return Scans(jnp.asarray(images[chosen]), jnp.asarray(labels[chosen]))

    return scans(order[held_out:]), scans(order[:held_out])


class Network(NamedTuple):
    """Two convolutions, each rectified and pooled, and one that gives a score for each digit.

    With ``tops`` all numbers are rounded to those that integers stand for.
    """

    first: layers.Conv
    second: layers.Conv
    scores: layers.Conv
    tops: jax.Array | None  # [2], the largest activation that each of the first two tells apart

    @classmethod
    def init(cls, *, key: jax.Array) -> "Network":
        """Draws a new network."""
        keys = jax.random.split(key, 3)
        return cls(
            first=layers.Conv.init(1, 32, (3, 3), key=keys[0]),
            second=layers.Conv.init(32, 64, (3, 3), key=keys[1]),
            scores=layers.Conv.init(64, CLASSES, (2, 2), padding="VALID", key=keys[2]),
            tops=None,
        )

    def __call__(self, images: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Returns the scores ``[batch, CLASSES]``, and the activations of the first two layers."""
        activations = []
        x = images if self.tops is None else nn.fake_quant_with_min_max_args(images, 0, 1)
        for number, conv in enumerate((self.first, self.second)):
            y = nn.relu(self._convolve(conv, x))
            activations.append(y)
            if self.tops is not None:
                y = nn.fake_quant_with_min_max_vars(y, 0.0, self.tops[number])
            x = nn.max_pool2d(y, 2, 2, "VALID") if number == 0 else nn.avg_pool2d(y, 2, 2, "VALID")
        return self._convolve(self.scores, x).reshape(len(images), CLASSES), activations

    def _convolve(self, conv: layers.Conv, x: jax.Array) -> jax.Array:
        if self.tops is None:
            return conv(x)
        kernel = nn.fake_quant_with_min_max_vars(conv.kernel, *kernel_range(conv.kernel))
        return dataclasses.replace(conv, kernel=kernel)(x)


def kernel_range(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The range in which -127 or 127 stands for the weight farthest from 0, and 0 for 0."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(kernel)))
    return largest * (-128 / 127), largest


def calibrated(network: Network, images: jax.Array, percentile: float) -> Network:
    """The network with ranges up to a percentile of its activations; 100 is their maximum."""
    # JAX finds the place of a percentile in float32, which does not tell apart the millions of places there are here
    tops = [np.percentile(np.asarray(activations), percentile) for activations in network(images)[1]]
    return network._replace(tops=jnp.asarray(tops, jnp.float32))


class IntegerLayer(NamedTuple):
    """A convolution whose weights are integers."""

    kernel: jax.Array  # int8
    low: jax.Array  # which weight -128 stands for
    high: jax.Array  # and which 127
    bias: jax.Array  # [features], int32, in steps of the sums of products
    top: jax.Array  # the largest result to be told apart; the scores are no longer rounded


def to_integers(network: Network) -> list[IntegerLayer]:
    """The layers of a network with ranges."""
    assert network.tops is not None
    found, input_top = [], jnp.float32(1)
    tops = (*network.tops, jnp.float32(jnp.inf))
    for conv, top in zip((network.first, network.second, network.scores), tops, strict=True):
        kernel = nn.quantize(conv.kernel, *kernel_range(conv.kernel), jnp.int8, "SCALED", ensure_minimum_range=0.0)
        step = input_top / 255 * (kernel.output_max / 127)
        bias = jnp.round(conv.bias / step).astype(jnp.int32)
        found.append(IntegerLayer(*kernel, bias, top))
        input_top = top
    return found


def integer_scores(network: Sequence[IntegerLayer], images: nn.Quantized) -> jax.Array:
    """The scores ``[batch, CLASSES]`` as int32, of images in uint8."""
    x, low, high = images
    for layer, pool in zip(network[:-1], (nn.quantized_max_pool, nn.quantized_avg_pool), strict=True):
        sums = nn.quantized_conv2d(x, layer.kernel, low, high, layer.low, layer.high, 1, "SAME")
        y = nn.quantized_relu(nn.bias_add(sums.output, layer.bias), sums.min_output, sums.max_output)
        narrow = nn.requantize(*y, 0.0, layer.top, jnp.uint8)
        x, low, high = pool(*narrow, ksize=2, strides=2, padding="VALID")
    scores = network[-1]
    sums = nn.quantized_conv2d(x, scores.kernel, low, high, scores.low, scores.high, 1, "VALID")
    return nn.bias_add(sums.output, scores.bias).reshape(len(x), CLASSES)


@jax.jit
def read(network: Network, images: jax.Array) -> jax.Array:
    """The digits that the network reads, in float32."""
    return jnp.argmax(network(images)[0], -1)


@jax.jit
def read_integers(network: Sequence[IntegerLayer], images: nn.Quantized) -> jax.Array:
    """The digits that the network reads, on integers."""
    return jnp.argmax(integer_scores(network, images), -1)


def quantized_images(images: jax.Array) -> nn.Quantized:
    """Scans as uint8."""
    return nn.quantize(images, 0.0, 1.0, jnp.uint8)


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    network: Network
    optimizer: Any


def make_optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with a cosine decay."""
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


@functools.partial(jax.jit, static_argnames=("rate", "steps"), donate_argnames="state")
def train_step(
    state: TrainState, key: jax.Array, scans: Scans, rate: float, steps: int
) -> tuple[TrainState, jax.Array]:
    """Takes a step of training on a random batch of scans, moved by up to a column."""
    batch_key, shift_key = jax.random.split(key)
    chosen = jax.random.randint(batch_key, (BATCH,), 0, len(scans.images))
    padded = jnp.pad(scans.images[chosen], ((0, 0), (0, 0), (1, 1), (0, 0)))
    shifts = jax.random.randint(shift_key, (BATCH,), 0, 3)
    images = jax.vmap(lambda image, shift: jax.lax.dynamic_slice_in_dim(image, shift, DIGIT, 1))(padded, shifts)

    def loss_of(network: Network) -> jax.Array:
        return jnp.mean(nn.sparse_softmax_cross_entropy_with_logits(scans.labels[chosen], network(images)[0]))

    loss, gradients = jax.value_and_grad(loss_of)(state.network)
    updates, optimizer_state = make_optimizer(rate, steps).update(gradients, state.optimizer)
    network: Any = state.network  # optax's types know arrays, lists and dicts only
    return TrainState(cast(Network, optax.apply_updates(network, updates)), optimizer_state), loss


def train(
    network: Network, key: jax.Array, scans: Scans, experiment: Experiment, *, name: str, rate: float, steps: int
) -> Network:
    """Trains a network; a part of the steps if Ctrl-C is pressed."""
    if experiment.interrupted:
        return network
    copied = jax.tree.map(jnp.copy, network)  # the state is given to the step, and the network kept
    training = experiment.resume(TrainState(copied, make_optimizer(rate, steps).init(cast(Any, copied))), name=name)
    for step in experiment.training(training, steps=steps):
        training.state, loss = train_step(training.state, jax.random.fold_in(key, step), scans, rate, steps)
        experiment.show(loss=f"{float(loss):.3f}")
    return training.state.network


def microseconds(*calls: Callable[[], jax.Array], images: int) -> list[float]:
    """What each call takes for one of so many images: medians of rounds in which all have their turn."""
    taken = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call().block_until_ready()
            times.append(time.perf_counter() - start)
    return [1e6 * statistics.median(times) / images for times in taken]


class Result(NamedTuple):
    """What is measured of one way to run the network."""

    name: str
    accuracy: float
    predicted: jax.Array


def kilobytes(arrays: Any) -> float:
    """The size of all arrays."""
    return sum(array.nbytes for array in jax.tree.leaves(arrays)) / 1000


def draw(network: Network, ranges: dict[str, Network], results: list[Result], scans: Scans, costs: str) -> Figure:
    """Draws the accuracies, the activations with their ranges, and the scans that are misread in the end."""
    figure = Figure(figsize=(11, 8))
    axes = figure.subplots(2, 2)
    bars = axes[0, 0].barh([result.name for result in results], [100 * result.accuracy for result in results])
    lowest = 100 * min(result.accuracy for result in results)
    axes[0, 0].set(xlim=(max(0, lowest - 2), 100), xlabel="held-out accuracy (%)")
    axes[0, 0].bar_label(bars, fmt="%.1f", padding=-28, color="white")
    axes[0, 0].invert_yaxis()
    for number, activations in enumerate(network(scans.images)[1]):
        axis = axes[1, number]
        axis.hist(np.asarray(activations).ravel(), bins=80, color="lightgrey", log=True)
        for colour, (name, calibrated) in enumerate(ranges.items()):
            assert calibrated.tops is not None
            axis.axvline(calibrated.tops[number].item(), color=f"C{colour}", label=name)
        axis.set(xlabel=f"activation of layer {number + 1}, and the end of its range", ylabel="count")
        axis.legend(fontsize=8)
    misread = np.flatnonzero(np.asarray(results[-1].predicted != scans.labels))[:8]
    sheet = np.ones((2 * (DIGIT + 3), 4 * (DIGIT + 2)))
    for place, scan in enumerate(misread):
        row, column = place // 4 * (DIGIT + 3) + 3, place % 4 * (DIGIT + 2)
        sheet[row : row + DIGIT, column : column + DIGIT] = 1 - scans.images[scan, :, :, 0]
        text = f"{results[-1].predicted[scan]} for {scans.labels[scan]}"
        axes[0, 1].text(column, row - 1, text, fontsize=8)
    axes[0, 1].imshow(sheet, cmap="gray", vmin=0, vmax=1)
    axes[0, 1].set_title(f"misread after fine-tuning ({len(misread)} shown)", fontsize=10)
    axes[0, 1].set_axis_off()
    figure.suptitle(costs)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, calibrates, fine-tunes, measures and draws."""
    with Experiment.from_command_line(
        arguments,
        description=__doc__,
        steps=1500,
        seed_of="the split, the network and the batches",
        output="quantize_digits.png",
    ) as experiment:
        scans, held_out = load_scans(experiment.seed)
        keys = jax.random.split(jax.random.key(experiment.seed), 3)
        options: Any = {"experiment": experiment, "steps": experiment.steps, "rate": 5e-3, "name": "training"}
        network = train(Network.init(key=keys[0]), keys[1], scans, **options)

        ranges = {"maximum": 100.0, f"{PERCENTILE}th percentile": PERCENTILE}
        networks = {name: calibrated(network, scans.images, percentile) for name, percentile in ranges.items()}
        options |= {"steps": max(1, round(FINE_TUNING * experiment.steps)), "rate": 1e-3, "name": "fine-tuning"}
        networks["fine-tuned"] = train(networks[f"{PERCENTILE}th percentile"], keys[2], scans, **options)

        images, labels = held_out
        words, integers = quantized_images(images), {name: to_integers(each) for name, each in networks.items()}
        predictions = {"float32": read(network, images)}
        predictions |= {f"integers, {name}": read_integers(each, words) for name, each in integers.items()}
        results = [Result(name, float(jnp.mean(found == labels)), found) for name, found in predictions.items()]
        for result in results:
            print(f"held-out accuracy, {result.name}: {result.accuracy:.2%}")
        last = integers["fine-tuned"]
        times = microseconds(lambda: read(network, images), lambda: read_integers(last, words), images=len(images))
        sizes = kilobytes(network), kilobytes(last)
        costs = (
            f"time per image: {times[0]:.3g} µs in float32, {times[1]:.3g} µs in integers; "
            f"weights: {sizes[0]:.1f} kB in float32, {sizes[1]:.1f} kB in integers"
        )
        print(costs)
        experiment.save(draw(network, networks, results, held_out, costs))


if __name__ == "__main__":
    main()
