"""Learns an unknown opening from photographs before and after it.

Somebody opened scikit-learn's two photographs with a structuring element that is kept from us: a slanted ellipse with
soft edges. The example sees tiles of them before and after, starts with a round element and recovers the other by
gradient descent through erosion and dilation. The tiles that measure the error are held out from training.

Run ``python examples/learn_morphology.py --help`` for the options.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from shared.experiment import Experiment
from sklearn.datasets import load_sample_images

import jnnops as nn

TILE = 64  # height and width
SIZE = 7  # of the structuring element, height and width
BATCH = 8


class Tiles(NamedTuple):
    """Grey tiles before and after the opening."""

    before: jax.Array  # [tiles, TILE, TILE, 1], 0 to 1
    after: jax.Array  # [tiles, TILE, TILE, 1]


def coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the structuring element, 0 in its middle."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    return rows, columns


def unknown_element() -> jax.Array:
    """A slanted ellipse that falls off towards its edge, ``[SIZE, SIZE, 1]``."""
    rows, columns = coordinates()
    along = rows * np.cos(0.6) + columns * np.sin(0.6)
    across = columns * np.cos(0.6) - rows * np.sin(0.6)
    return jnp.asarray(-0.15 * ((along / 3.2) ** 2 + (across / 1.2) ** 2)[..., None], jnp.float32)


def untrained_element() -> jax.Array:
    """A round cone, ``[SIZE, SIZE, 1]``."""
    return jnp.asarray(-0.1 * np.hypot(*coordinates())[..., None], jnp.float32)


def load_tiles(seed: int) -> tuple[Tiles, Tiles]:
    """Cuts the photographs into tiles, four fifths for training and one fifth held out."""
    photographs: Any = load_sample_images()
    grey = [photograph.mean(-1).astype(np.float32) / 255 for photograph in photographs.images]
    tiles = np.concatenate([cut(photograph) for photograph in grey])
    order = np.random.default_rng(seed).permutation(len(tiles))
    held_out = len(order) // 5

    def opened(chosen: np.ndarray) -> Tiles:
        before = jnp.asarray(tiles[chosen])
        return Tiles(before, nn.opening2d(before, unknown_element()))

    return opened(order[held_out:]), opened(order[:held_out])


def cut(photograph: np.ndarray) -> np.ndarray:
    """All whole tiles of a photograph, ``[tiles, TILE, TILE, 1]``."""
    rows, columns = (size // TILE for size in photograph.shape)
    whole = photograph[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    return whole.swapaxes(1, 2).reshape(-1, TILE, TILE, 1)


@jax.jit
def mean_absolute_error(element: jax.Array, tiles: Tiles) -> jax.Array:
    """Between the tiles opened with ``element`` and as they are after the unknown one."""
    return jnp.mean(jnp.abs(nn.opening2d(tiles.before, element) - tiles.after))


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    element: jax.Array
    optimizer: Any


def make_optimizer(steps: int) -> optax.GradientTransformation:
    """Adam with a cosine decay."""
    return optax.adam(optax.cosine_decay_schedule(0.01, steps))


@functools.partial(jax.jit, static_argnames="steps", donate_argnames="state")
def train_step(state: TrainState, key: jax.Array, tiles: Tiles, steps: int) -> tuple[TrainState, jax.Array]:
    """Takes a step of training on a random batch of tiles."""
    chosen = jax.random.randint(key, (BATCH,), 0, len(tiles.before))
    batch = Tiles(tiles.before[chosen], tiles.after[chosen])
    loss, gradient = jax.value_and_grad(mean_absolute_error)(state.element, batch)
    updates, optimizer_state = make_optimizer(steps).update(gradient, state.optimizer)
    return TrainState(jnp.asarray(optax.apply_updates(state.element, updates)), optimizer_state), loss


def draw(element: jax.Array, tiles: Tiles, losses: list[float], title: str) -> Figure:
    """Draws the held-out tile that the opening changes most, the structuring elements, and the loss."""
    most = jnp.argmax(jnp.mean(tiles.before - tiles.after, axis=(1, 2, 3)))
    before, after = tiles.before[most][None], tiles.after[most][None]
    figure = Figure(figsize=(13, 6.5))
    axes = figure.subplots(2, 4)
    shown = {
        "before": before,
        "after the unknown opening": after,
        "after the untrained opening": nn.opening2d(before, untrained_element()),
        "after the learned opening": nn.opening2d(before, element),
    }
    for axis, (name, image) in zip(axes[0], shown.items(), strict=True):
        axis.imshow(image[0, :, :, 0], cmap="gray", vmin=0, vmax=1)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    # an opening does not change when a constant is added to its element, so their middles are set to 0
    elements = {"unknown": unknown_element(), "untrained": untrained_element(), "learned": element}
    for axis, (name, heights) in zip(axes[1], elements.items(), strict=False):
        heat = axis.imshow(heights[..., 0] - heights[SIZE // 2, SIZE // 2, 0], cmap="viridis", vmin=-0.6, vmax=0)
        axis.set_title(f"{name} structuring element", fontsize=10)
        axis.set_axis_off()
        figure.colorbar(heat, ax=axis, shrink=0.8)
    axes[1, 3].plot(losses, linewidth=0.8)
    axes[1, 3].set(xlabel="step", ylabel="mean absolute error", yscale="log")
    figure.suptitle(title)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and draws."""
    with Experiment.from_command_line(
        arguments, description=__doc__, steps=800, seed_of="the split and the batches", output="learn_morphology.png"
    ) as experiment:
        train, held_out = load_tiles(experiment.seed)
        train_key = jax.random.key(experiment.seed)
        element = untrained_element()
        before = float(mean_absolute_error(element, held_out))
        print(f"held-out mean absolute error before training: {before:.2g}")

        training = experiment.resume(TrainState(element, make_optimizer(experiment.steps).init(element)))
        for step in experiment.training(training):
            key = jax.random.fold_in(train_key, step)
            training.state, loss = train_step(training.state, key, train, experiment.steps)
            training.losses.append(float(loss))
            experiment.show(loss=f"{training.losses[-1]:.2g}")

        learned = training.state.element
        after = float(mean_absolute_error(learned, held_out))
        print(
            f"held-out mean absolute error after {training.seconds:.0f} s of training: {after:.2g}, "
            f"{after / before:.2g} times that before"
        )
        title = f"Held-out mean absolute error {before:.2g} before, {after:.2g} after training"
        experiment.save(draw(learned, held_out, training.losses, title))


if __name__ == "__main__":
    main()
