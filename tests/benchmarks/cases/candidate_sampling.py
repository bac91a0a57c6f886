"""Candidate sampling: 8192 of a million classes by formula, 1024 of 100 thousand by counts, all distinct."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers

KEY = np.array([0, 7], np.uint32)
# by Zipf's law
COUNTS = 1 / np.arange(1, 100_001)


def formula(name: str, num_sampled: int, range_max: int, unique: bool) -> Benchmark:
    """The uniform or the log-uniform sampler."""
    op = f"{name}_candidate_sampler"

    def plain(true_classes: jax.Array, key: jax.Array) -> Any:
        p = jnp.diff(jnp.log(jnp.arange(1.0, range_max + 2))) if name == "log_uniform" else None
        ids = jax.random.choice(key, range_max, (num_sampled,), replace=not unique, p=p)
        return ids, jnp.ones(true_classes.shape), jnp.ones(num_sampled)

    return Benchmark(
        op,
        f"{num_sampled}_of_{range_max}" + ("" if unique else "_repeated"),
        constants={"true_classes": integers(0, range_max, 256, 1), "key": KEY},
        ours=lambda true_classes, key: getattr(nn, op)(true_classes, 1, num_sampled, unique, range_max, key=key),
        plain=plain if range_max <= 1_000_000 else None,  # its time is that of the range
        tensorflow=Peer(
            lambda tf, true_classes, key: getattr(tf.random, op)(
                tf.cast(true_classes, tf.int64), 1, num_sampled, unique, range_max
            )
        ),
        differs=("plain", "tensorflow"),
    )


def fixed_unigram(num_sampled: int, unique: bool) -> Benchmark:
    """The sampler of given counts, prepared beforehand."""
    range_max = COUNTS.size
    table = nn.UnigramTable.from_unigrams(COUNTS)

    def ours(true_classes: jax.Array, key: jax.Array) -> Any:
        return nn.fixed_unigram_candidate_sampler(
            true_classes, 1, num_sampled, unique, range_max, unigrams=table, key=key
        )

    def plain(true_classes: jax.Array, key: jax.Array) -> Any:
        p = jnp.asarray(COUNTS, jnp.float32)
        ids = jax.random.choice(key, range_max, (num_sampled,), replace=not unique, p=p / jnp.sum(p))
        return ids, jnp.ones(true_classes.shape), jnp.ones(num_sampled)

    def tensorflow(tf: Any, true_classes: Any, key: Any) -> Any:
        del key
        return tf.random.fixed_unigram_candidate_sampler(
            tf.cast(true_classes, tf.int64), 1, num_sampled, unique, range_max, unigrams=COUNTS.tolist()
        )

    return Benchmark(
        "fixed_unigram_candidate_sampler",
        f"{num_sampled}_of_{range_max}" + ("" if unique else "_repeated"),
        constants={"true_classes": integers(0, range_max, 256, 1), "key": KEY},
        ours=ours,
        plain=plain,
        tensorflow=Peer(tensorflow),
        differs=("plain", "tensorflow"),
    )


def learned_unigram(num_sampled: int, range_max: int) -> Benchmark:
    """The sampler that learns, with an update of its counts."""

    def ours(true_classes: jax.Array, tree: jax.Array, key: jax.Array) -> Any:
        state = nn.LearnedUnigramState(tree, range_max)
        return nn.learned_unigram_candidate_sampler(true_classes, 1, num_sampled, True, range_max, state=state, key=key)

    def tensorflow(tf: Any, true_classes: Any, tree: Any, key: Any) -> Any:
        del key
        ids = tf.cast(true_classes, tf.int64)
        return *tf.random.learned_unigram_candidate_sampler(ids, 1, num_sampled, True, range_max), tree

    return Benchmark(
        "learned_unigram_candidate_sampler",
        f"{num_sampled}_of_{range_max}",
        constants={
            "true_classes": integers(0, range_max, 256, 1),
            "tree": np.asarray(nn.LearnedUnigramState.init(range_max).tree),
            "key": KEY,
        },
        ours=ours,
        tensorflow=Peer(tensorflow),
        differs=("tensorflow",),
    )


BENCHMARKS = [
    formula("uniform", 8192, 1_000_000, unique=True),
    formula("uniform", 8192, 100_000_000, unique=True),
    formula("log_uniform", 8192, 1_000_000, unique=True),
    formula("log_uniform", 8192, 100_000_000, unique=True),
    formula("log_uniform", 8192, 1_000_000, unique=False),
    formula("log_uniform", 8192, 8192, unique=True),
    fixed_unigram(1024, unique=True),
    fixed_unigram(1024, unique=False),
    learned_unigram(1024, 100_000),
]
