"""Prefix beam search in plain Python, one row at a time, as it should be and as TensorFlow does it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Prefix = tuple[int, ...]
NOTHING = -np.inf


class Mass(NamedTuple):
    """The log-probabilities of the paths that spell a prefix, by what they end in."""

    blank: float
    label: float

    @property
    def total(self) -> float:
        return log_add(self.blank, self.label)


def log_add(a: float, b: float) -> float:
    """The logarithm of the sum of two exponentials."""
    larger = max(a, b)
    return larger if larger == NOTHING else larger + math.log1p(math.exp(min(a, b) - larger))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of each row, in float64."""
    logits = logits.astype(np.float64)
    largest = logits.max(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return logits - largest - np.log(np.exp(logits - largest).sum(-1, keepdims=True))


def prefix_search(
    logits: np.ndarray,
    beam_width: int,
    *,
    blank_index: int = -1,
    as_tensorflow: bool = False,
    score: Callable[[Prefix, int], float] = lambda prefix, label: 0.0,
) -> list[tuple[Prefix, float]]:
    """The prefixes of the last frame with their log-probabilities, the likeliest first.

    Args:
        logits: ``[time, classes]``.
        beam_width: How many prefixes are kept.
        blank_index: The class of the blank.
        as_tensorflow: Whether a prefix that falls out of the beam while prefixes are extended is itself not extended
            if its parent comes after that and before it: TensorFlow then clears what the prefix was in the last frame.
        score: What a language model adds where a prefix is extended by a label.
    """
    beams: dict[Prefix, Mass] = {(): Mass(0.0, NOTHING)}
    for frame in log_softmax(logits).tolist():
        order = sorted(beams, key=lambda prefix: -beams[prefix].total)
        beams = _advance(beams, order, frame, beam_width, blank_index % len(frame), as_tensorflow, score)
    return sorted(((prefix, mass.total) for prefix, mass in beams.items()), key=lambda item: -item[1])


def _advance(
    old: dict[Prefix, Mass],
    order: Sequence[Prefix],
    frame: Sequence[float],
    beam_width: int,
    blank: int,
    as_tensorflow: bool,
    score: Callable[[Prefix, int], float],
) -> dict[Prefix, Mass]:
    def before(prefix: Prefix, label: int) -> float:
        mass = old[prefix].blank if prefix[-1:] == (label,) else old[prefix].total
        return mass + score(prefix, label)

    new = {}
    for prefix in order:
        label = NOTHING
        if prefix:
            label = old[prefix].label
            if prefix[:-1] in old:
                label = log_add(label, before(prefix[:-1], prefix[-1]))
            label += frame[prefix[-1]]
        new[prefix] = Mass(old[prefix].total + frame[blank], label)

    totals = {prefix: mass.total for prefix, mass in new.items()}
    least = min(totals, key=totals.__getitem__)
    cleared = set()
    for prefix in order:
        if prefix in cleared:
            continue
        for label in range(len(frame)):
            child = (*prefix, label)
            if label == blank or child in new:
                continue
            if child in old:  # it fell out of the beam
                if as_tensorflow:
                    cleared.add(child)
                continue
            total = before(prefix, label) + frame[label]
            if total == NOTHING or (len(new) == beam_width and total <= totals[least]):
                continue
            if len(new) == beam_width:
                del new[least], totals[least]
            new[child], totals[child] = Mass(NOTHING, total), total
            least = min(totals, key=totals.__getitem__)
    return new
