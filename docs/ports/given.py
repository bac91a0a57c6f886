"""What both programs of a port are given: real data, and a loop that trains and keeps the time."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_sample_images

TILE, CROP = 32, 24  # pixels to a side, as of CIFAR-10 and of what its network is trained on
CLASSES = 10


class Images(NamedTuple):
    """A batch: ``[batch, CROP, CROP, 3]``, float32, each with mean 0 and deviation 1, and ``[batch]``, int32."""

    images: np.ndarray
    labels: np.ndarray


def load_tiles() -> tuple[np.ndarray, np.ndarray]:
    """Two colour photographs in tiles, and of which vertical strip each is, five to a photograph.

    These stand in for CIFAR-10: ``[tiles, TILE, TILE, 3]``, uint8, and ``[tiles]``, int32.
    """
    tiles, labels = [], []
    for number, photo in enumerate(load_sample_images().images):
        rows, columns = photo.shape[0] // TILE, photo.shape[1] // TILE
        cut = photo[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
        strips = 5 * number + np.arange(columns) * 5 // columns
        tiles.append(cut.reshape(-1, TILE, TILE, 3))
        labels.append(np.tile(strips, rows))
    return np.concatenate(tiles), np.concatenate(labels).astype(np.int32)


def batches_of_images(batch: int, seed: int = 0) -> Iterator[Images]:
    """Tiles at random, each cropped at random, mirrored or not, and brought to mean 0 and deviation 1."""
    tiles, labels = load_tiles()
    rng = np.random.default_rng(seed)
    while True:
        chosen = rng.integers(len(tiles), size=batch)
        y, x = rng.integers(TILE - CROP + 1, size=(2, batch, 1)) + np.arange(CROP)[:, None, None].T
        x = np.where(rng.random((batch, 1)) < 0.5, x[:, ::-1], x)
        images = tiles[chosen[:, None, None], y[:, :, None], x[:, None, :]].astype(np.float32)
        deviations = images.std((1, 2, 3), keepdims=True).clip(1 / np.sqrt(images[0].size))
        yield Images((images - images.mean((1, 2, 3), keepdims=True)) / deviations, labels[chosen])


def train(step: Callable[[Any], float], batches: Iterable[Any]) -> None:
    """Trains for the ``--steps`` of the command line, and prints losses and how long a step takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    times = []
    for number, batch in enumerate(islice(batches, steps)):
        start = time.perf_counter()
        loss = float(step(batch))
        times.append(time.perf_counter() - start)
        if number % max(1, steps // 10) == 0 or number == steps - 1:
            print(f"step {number}: loss {loss:.4f}")
    print(f"first step {times[0]:.2f} s, then {1000 * statistics.median(times[1:] or times):.2f} ms (median)")
