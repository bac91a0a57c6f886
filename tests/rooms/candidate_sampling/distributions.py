"""Probabilities that the samplers must follow, and the test that they do."""

import jax
import jax.extend
import numpy as np
from scipy import stats

KEY = jax.random.key(11)
TRUE = np.array([[0, 3], [5, 1]])
COUNTS = np.random.default_rng(0).integers(1, 40, 1000)


def log_uniform_probabilities(range_max):
    return np.log1p(1 / np.arange(1.0, range_max + 1)) / np.log1p(range_max)


def assert_follows(observed, probabilities):
    """Chi-square test, at a level that a right distribution fails once in ten thousand keys; the keys are fixed."""
    observed, expected = np.asarray(observed), np.sum(observed) * np.asarray(probabilities)
    assert not observed[expected == 0].any()
    common = expected > 5
    rare = [observed[~common].sum()], [expected[~common].sum()]
    observed, expected = (
        np.concatenate([values[common], rest]) if rare[1][0] > 5 else values[common]
        for values, rest in zip((observed, expected), rare, strict=True)
    )
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, observed.size - 1) > 1e-4
