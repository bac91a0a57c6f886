"""Learns which of Python's tokens are alike, from the company they keep in the standard library.

Skip-gram, as in word2vec: the row of a token learns to tell the tokens that stand near it from others drawn at random,
by noise-contrastive estimation. A step costs what it looks up, not what the vocabulary holds. Tokens that are used
alike get rows that point the same way; the files that measure what the rows know are held out from training.

Takes a minute on two cores. Run ``python examples/word2vec.py --help`` for the options.
"""

import builtins
import functools
import keyword
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from shared.experiment import Experiment
from shared.python_corpus import load_corpus
from sklearn.manifold import TSNE

import jnnops as nn

FEATURES = 64  # of a token
WINDOW = 3  # tokens to either side are near
BATCH = 1024
SAMPLED = 256  # tokens drawn at random, for the whole batch
THINNED_ABOVE = 3e-4  # of all tokens: what is more frequent is read less often, as it says less about its neighbours
HELD_OUT_PAIRS = 50_000
STEPS = 8000
SEARCHED = 3000  # the most frequent tokens, for neighbours: the rows of rare ones have hardly been trained
SHOWN_TOKENS = 250

SHOWN_NEIGHBOURS = ("self", "int", "os", "for", "'name'", "append", "==", "0")
RELATED = (
    ("True", "False"),
    ("int", "float"),
    ("list", "tuple"),
    ("str", "bytes"),
    ("min", "max"),
    ("<", ">"),
    ("+", "-"),
    ("'r'", "'w'"),
    ("x", "y"),
    ("os", "sys"),
    ("width", "height"),
    ("read", "write"),
    ("encode", "decode"),
    ("lower", "upper"),
    ("acquire", "release"),
    ("startswith", "endswith"),
    ("getattr", "setattr"),
    ("AttributeError", "KeyError"),
    ("while", "for"),
    ("year", "month"),
)


class Vectors(NamedTuple):
    """The tables: what a token is like, and near what it stands."""

    tokens: jax.Array  # [vocabulary, FEATURES]
    contexts: jax.Array  # [vocabulary, FEATURES]
    biases: jax.Array  # [vocabulary]

    @classmethod
    def init(cls, text: jax.Array, vocabulary: int, *, key: jax.Array) -> "Vectors":
        """Draws new ones, for a text of which nothing is known yet but how frequent each token is."""
        tokens = jax.random.uniform(key, (vocabulary, FEATURES), minval=-0.1, maxval=0.1)
        # What noise-contrastive estimation learns are logarithms of probabilities, of which these are the best guess.
        biases = jnp.log(jnp.bincount(text, length=vocabulary).clip(1) / len(text))
        return cls(tokens, jnp.zeros((vocabulary, FEATURES)), biases)


class Pairs(NamedTuple):
    """Tokens and others that stand near them."""

    tokens: jax.Array  # [pairs]
    contexts: jax.Array  # [pairs]


def thin_out(tokens: np.ndarray, vocabulary: int, seed: int) -> jax.Array:
    """Leaves out frequent tokens at random, the more the more frequent they are."""
    frequency = np.bincount(tokens, minlength=vocabulary) / len(tokens)
    keep = np.sqrt(THINNED_ABOVE / frequency[tokens].clip(THINNED_ABOVE))
    return jnp.asarray(tokens[np.random.default_rng(seed).random(len(tokens)) < keep])


def draw_pairs(key: jax.Array, text: jax.Array, pairs: int) -> Pairs:
    """Chooses places in a text at random, and for each of them another place near it."""
    keys = jax.random.split(key, 3)
    places = jax.random.randint(keys[0], (pairs,), WINDOW, len(text) - WINDOW)
    distances = jax.random.randint(keys[1], (pairs,), 1, WINDOW + 1)
    return Pairs(text[places], text[places + distances * jax.random.rademacher(keys[2], (pairs,), distances.dtype)])


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    vectors: Vectors
    optimizer: Any


def all_tables(vectors: Vectors) -> list[jax.Array]:
    """All parameters are tables of which a step looks up rows."""
    return list(vectors)


def make_optimizer(steps: int) -> optax.GradientTransformation:
    """Adam with a linear decay, which changes only those rows that were looked up."""
    return nn.sparse.lazy(optax.adam(optax.linear_schedule(3e-3, 0.0, steps)), tables=all_tables)


@functools.partial(jax.jit, static_argnames="steps", donate_argnames="state")
def train_step(state: TrainState, key: jax.Array, text: jax.Array, steps: int) -> tuple[TrainState, jax.Array]:
    """Draws a batch of pairs and takes a step of training on it."""
    pairs_key, sampling_key = jax.random.split(key)
    pairs = draw_pairs(pairs_key, text, BATCH)

    def loss_of(vectors: Vectors) -> jax.Array:
        rows = nn.embedding_lookup(vectors.tokens, pairs.tokens)
        vocabulary = len(vectors.biases)
        losses = nn.nce_loss(
            vectors.contexts,
            vectors.biases,
            pairs.contexts[:, None],
            rows,
            min(SAMPLED, vocabulary),
            vocabulary,
            key=sampling_key,
        )
        return jnp.mean(losses)

    loss, gradients = nn.sparse.value_and_grad(loss_of, tables=all_tables)(state.vectors)
    updates, optimizer = make_optimizer(steps).update(gradients, state.optimizer, state.vectors)
    return TrainState(nn.sparse.apply_updates(state.vectors, updates), optimizer), loss


@jax.jit
def accuracy(vectors: Vectors, pairs: Pairs) -> jax.Array:
    """How often the context of a token fits better than that of another: a half by chance."""
    rows = vectors.tokens[pairs.tokens]

    def fit(contexts: jax.Array) -> jax.Array:
        return jnp.sum(rows * vectors.contexts[contexts], axis=1)

    true, other = fit(pairs.contexts), fit(jnp.roll(pairs.contexts, 1))
    return jnp.mean((true > other) + 0.5 * (true == other))


def nearest(table: jax.Array, ids: Sequence[int], count: int) -> list[list[int]]:
    """The tokens whose rows have the least angles with those of ``ids``, nearest first."""
    directions = nn.l2_normalize(table, axis=1)
    chosen = jnp.array(ids)
    cosines = directions[chosen] @ directions.T
    cosines = cosines.at[jnp.arange(len(ids)), chosen].set(-jnp.inf)  # each is nearest to itself
    return jax.lax.top_k(cosines, count)[1].tolist()


def related_found(table: jax.Array, vocabulary: list[str], count: int = 10) -> tuple[int, int]:
    """How many of the related pairs are among each other's nearest tokens, and how many there are to find."""
    ids = {token: place for place, token in enumerate(vocabulary)}
    pairs = [(ids[a], ids[b]) for a, b in RELATED if a in ids and b in ids]
    found = nearest(table, [a for a, _ in pairs], count)
    return sum(b in near for (_, b), near in zip(pairs, found, strict=True)), len(pairs)


def print_neighbours(table: jax.Array, vocabulary: list[str]) -> None:
    """Tells how many related tokens are near each other, and what is nearest to some."""
    found, related = related_found(table, vocabulary)
    print(f"related tokens among the 10 nearest: {found} of {related}")
    tokens = [token for token in SHOWN_NEIGHBOURS if token in vocabulary]
    for token, near in zip(tokens, nearest(table, [*map(vocabulary.index, tokens)], 8), strict=True):
        print(f"{token:>8}: {'  '.join(vocabulary[place] for place in near)}")


def kind_of(token: str) -> str:
    """What a token is in the picture."""
    if keyword.iskeyword(token):
        return "keyword"
    if not token.isidentifier():
        return "operator, number or string"
    if token in dir(builtins):
        return "builtin"
    return "name"


def draw(table: jax.Array, vocabulary: list[str], title: str, seed: int) -> Figure:
    """Draws the most frequent tokens on a map where near ones have rows of like directions."""
    shown = vocabulary[:SHOWN_TOKENS]
    directions = np.asarray(nn.l2_normalize(table[: len(shown)], axis=1))
    perplexity = min(12.0, (len(shown) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(directions)
    figure = Figure(figsize=(13, 10))
    axis = figure.subplots()
    kinds = np.array([kind_of(token) for token in shown])
    for kind in sorted(set(kinds)):
        axis.scatter(*places[kinds == kind].T, s=12, label=kind)
    for token, place in zip(shown, places, strict=True):
        label = repr(token)[1:-1] if token.isspace() else token
        axis.annotate(label, place, xytext=(3, 2), textcoords="offset points", fontsize=7, parse_math=False)
    axis.legend(loc="upper left", fontsize=8)
    axis.set_axis_off()
    axis.set_title(title)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and draws."""
    with Experiment.from_command_line(
        arguments,
        description=__doc__,
        steps=STEPS,
        seed_of="the files held out, the tables and the pairs",
        output="word2vec.png",
    ) as experiment:
        seed, steps = experiment.seed, experiment.steps
        corpus = load_corpus(seed)
        vocabulary = corpus.vocabulary
        text, held_out_text = (thin_out(part, len(vocabulary), seed) for part in (corpus.train, corpus.held_out))
        init_key, test_key, train_key = jax.random.split(jax.random.key(seed), 3)
        held_out = draw_pairs(test_key, held_out_text, HELD_OUT_PAIRS)
        print(f"{len(vocabulary):,} tokens, in a text of {len(corpus.train):,} thinned out to {len(text):,}")

        vectors = Vectors.init(text, len(vocabulary), key=init_key)
        training = experiment.resume(TrainState(vectors, make_optimizer(steps).init(vectors)))
        for step in experiment.training(training):
            training.state, loss = train_step(training.state, jax.random.fold_in(train_key, step), text, steps)
            if step % 100 == 0:
                experiment.show(loss=f"{float(loss):.3f}")

        vectors = training.state.vectors
        measured = float(accuracy(vectors, held_out))
        print(f"after {training.seconds:.0f} s of training:")
        print(f"held-out contexts told from those of other tokens: {measured:.1%} (by chance 50%)")
        print_neighbours(vectors.tokens[:SEARCHED], vocabulary[:SEARCHED])
        title = f"The {SHOWN_TOKENS} most frequent tokens; held-out contexts told from others: {measured:.1%}"
        experiment.save(draw(vectors.tokens, vocabulary, title, seed))


if __name__ == "__main__":
    main()
