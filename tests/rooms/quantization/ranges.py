"""Ranges of all kinds, numbers in and around them, and comparisons to the bit with TensorFlow's reference kernels."""

import numpy as np
from machinery.oracle import tf

FLOAT_MAX = float(np.finfo(np.float32).max)
QUANTIZED = {
    "uint8": tf.quint8,
    "int8": tf.qint8,
    "uint16": tf.quint16,
    "int16": tf.qint16,
    "int32": tf.qint32,
}
# Symmetrical, degenerate, without 0, beside 0, small and huge ones.
SPECIAL = [
    *((-1, 1), (0, 0), (0, 1), (-1, 0), (1, 2), (-2, -1), (5, 5), (-5, -5), (-0.1, 0.1), (0, 255), (-128, 127)),
    *((1e-8, 2e-8), (-1e-20, 1e-20), (-1, 1e37), (-1e38, 1e38), (1e30, 1e30), (-1e30, 2e38)),
]


def ranges(count: int, seed: int) -> list[tuple[np.float32, np.float32]]:
    """All of the special ones, and random ones."""
    rng = np.random.default_rng(seed)
    found = list(SPECIAL)
    for number in range(count):
        low, high = sorted(rng.standard_normal(2) * 10.0 ** rng.integers(-6, 7))
        if number % 3 == 0:
            low, high = -abs(high), abs(high)
        elif number % 3 == 1:
            low, high = -abs(low), abs(high)
        found.append((low, high))
    return [(np.float32(low), np.float32(high)) for low, high in found]


def ranges_with_0(count: int, seed: int) -> list[tuple[np.float32, np.float32]]:
    """The same, each widened to hold 0."""
    return [(min(low, np.float32(0)), max(high, np.float32(0))) for low, high in ranges(count, seed)]


def reals(low, high, steps: int = 255) -> np.ndarray:
    """Numbers in a range and beyond, the steps of one that is widened to hold 0, and the middles between them."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    width = max(high - low, 1e-3)
    places = np.arange(120) * max(1, steps // 120) % (steps + 1)
    numbers = [
        np.random.default_rng(0).uniform(low - 0.2 * width, high + 0.2 * width, 300),
        places / steps * width + low,
        (places + 0.5) / steps * width + low,
        [0.0, -0.0, low, high, np.inf, -np.inf, 1.0, -1.0],
    ]
    return np.concatenate(numbers).astype(np.float32)


def integers(dtype: str, seed: int = 0) -> np.ndarray:
    """Integers of all sizes, the smallest and the largest among them."""
    limits, rng = np.iinfo(dtype), np.random.default_rng(seed)
    wide = rng.integers(limits.min, limits.max + 1, 300)
    return np.concatenate([wide, wide // 2 ** rng.integers(0, 31, 300), [limits.min, limits.max, 0]]).astype(dtype)


def of_kind(array: np.ndarray):
    """Integers as TensorFlow's kind that stands for real numbers."""
    return tf.bitcast(tf.constant(array), QUANTIZED[array.dtype.name])


def assert_equal_bits(found, expected, about) -> None:
    """Equal results, one or several, NaN included."""
    found, expected = (parts if isinstance(parts, tuple | list) else [parts] for parts in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        other = other.numpy() if hasattr(other, "numpy") else other
        np.testing.assert_array_equal(np.asarray(one), other, str(about))
