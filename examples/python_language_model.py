"""Learns to write Python from the text of Python's own standard library.

An LSTM predicts each token from those before it, out of a vocabulary of some 25,000. To score all of them in each step
would take most of the time, so the loss of training is a sampled softmax, and the tables of the vocabulary are
trained by the rows that a step looks up. What counts is the full softmax on files held out from training. For
comparison the same network is then trained with the full softmax, for the same time.

Takes a minute and a half on two cores. Run ``python examples/python_language_model.py --help`` for the options.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from shared.experiment import Experiment
from shared.python_corpus import INDENT, NEWLINE, UNKNOWN, Corpus, ids_of, load_corpus, text_of

import jnnops as nn
from jnnops import layers

UNITS = 192  # of the LSTM, and columns of the tables
BATCH, TIME = 32, 32  # streams of text side by side, and tokens of each in a step of training
SAMPLED = 512  # classes that the sampled softmax scores besides the true ones
MEASURED = 256  # tokens of each of as many streams held out
MEASUREMENTS = 8  # in the course of training
TEMPERATURE = 0.7  # below 1 likely tokens are written even more often
STEPS = 2500
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"  # of tqdm; its numbers would be fractions


@layers.layer
class LanguageModel:
    """A row for each token, an LSTM over them, and a score for each token that may come next."""

    embedding: layers.Embedding
    recurrent: layers.RNN
    dropout: layers.Dropout
    classes: jax.Array  # [vocabulary, UNITS]
    biases: jax.Array  # [vocabulary]

    @classmethod
    def init(cls, counts: jax.Array, *, key: jax.Array) -> "LanguageModel":
        """Draws a new network for a text in which each token occurs so many times."""
        keys, vocabulary = jax.random.split(key, 3), len(counts)
        return cls(
            embedding=layers.Embedding.init(vocabulary, UNITS, key=keys[0]),
            recurrent=layers.RNN(cell=layers.LSTMCell.init(UNITS, UNITS, key=keys[1])),
            dropout=layers.Dropout(rate=0.1),
            classes=layers.Embedding.init(vocabulary, UNITS, key=keys[2]).table,
            biases=jnp.log(counts / jnp.sum(counts)),  # which makes it a unigram model at first
        )

    def __call__(
        self, tokens: jax.Array, memory: Any, *, training: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Returns what the LSTM makes of tokens ``[batch, time]``, ``[batch, time, UNITS]``, and its memory after."""
        keys = (None, None) if key is None else jax.random.split(key)
        rows = self.dropout(self.embedding(tokens), training=training, key=keys[0])
        hidden, memory = self.recurrent.scan(rows, initial_state=memory)
        return self.dropout(hidden, training=training, key=keys[1]), memory

    def no_memory(self, batch: int) -> Any:
        """The memory before the first token."""
        return self.recurrent.cell.zero_state(batch, self.classes.dtype)


class Method(NamedTuple):
    """A way to train."""

    name: str
    loss: Callable[[LanguageModel, jax.Array, jax.Array, jax.Array], jax.Array]
    tables: Callable[[LanguageModel], list[jax.Array]]  # the parameters of which a step looks up rows only


def sampled_loss(model: LanguageModel, hidden: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
    """The cross entropy among the labels and some sampled classes."""
    classes = len(model.biases)
    return nn.sampled_softmax_loss(
        model.classes, model.biases, labels[:, None], hidden, min(SAMPLED, classes), classes, key=key
    )


def full_loss(model: LanguageModel, hidden: jax.Array, labels: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The cross entropy among all classes: hidden ``[n, UNITS]`` and labels ``[n]`` give losses ``[n]``."""
    return nn.sparse_softmax_cross_entropy_with_logits(labels, nn.xw_plus_b(hidden, model.classes.T, model.biases))


SAMPLED_SOFTMAX = Method(
    "sampled softmax", sampled_loss, lambda model: [model.embedding.table, model.classes, model.biases]
)
FULL_SOFTMAX = Method("full softmax", full_loss, lambda model: [model.embedding.table])


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    model: Any  # a LanguageModel: optax's types know arrays, lists and dicts only
    optimizer: Any
    memory: Any  # of the LSTM, at the end of the last step's tokens
    step: jax.Array


def make_optimizer(method: Method) -> optax.GradientTransformation:
    """Adam, which changes only those rows of the tables that were looked up."""
    return nn.sparse.lazy(optax.adam(3e-3), tables=method.tables)


def new_state(method: Method, model: Any) -> TrainState:
    """The state before the first step."""
    return TrainState(model, make_optimizer(method).init(model), model.no_memory(BATCH), jnp.zeros((), jnp.int32))


def streams_of(tokens: np.ndarray, streams: int) -> jax.Array:
    """Cuts a text into equally long parts, ``[streams, time]``."""
    return jnp.asarray(tokens[: len(tokens) // streams * streams].reshape(streams, -1))


@functools.partial(jax.jit, static_argnames="method", donate_argnames="state")
def train_step(state: TrainState, key: jax.Array, streams: jax.Array, method: Method) -> tuple[TrainState, jax.Array]:
    """Reads on in all streams and takes a step of training."""
    start = state.step * TIME % (streams.shape[1] - TIME)
    tokens = jax.lax.dynamic_slice_in_dim(streams, start, TIME + 1, axis=1)
    dropout_key, sampling_key = jax.random.split(jax.random.fold_in(key, state.step))

    def loss_of(model: LanguageModel) -> tuple[jax.Array, Any]:
        hidden, memory = model(tokens[:, :-1], state.memory, training=True, key=dropout_key)
        losses = method.loss(model, hidden.reshape(-1, UNITS), tokens[:, 1:].reshape(-1), sampling_key)
        return jnp.mean(losses), memory

    value_and_grad = nn.sparse.value_and_grad(loss_of, has_aux=True, tables=method.tables)
    (loss, memory), gradients = value_and_grad(state.model)
    gradients = nn.sparse.clip_by_global_norm(gradients, 1.0)
    updates, optimizer = make_optimizer(method).update(gradients, state.optimizer, state.model)
    return TrainState(nn.sparse.apply_updates(state.model, updates), optimizer, memory, state.step + 1), loss


@jax.jit
def measure(model: LanguageModel, streams: jax.Array) -> jax.Array:
    """The mean cross entropy of the full softmax, in nats for each token of ``[streams, time]`` after the first."""
    hidden, _ = model(streams[:, :-1], model.no_memory(len(streams)))
    # one step of time after another: all logits at once would be gigabytes
    losses = jax.lax.map(lambda step: full_loss(model, *step), (hidden.swapaxes(0, 1), streams[:, 1:].T))
    return jnp.mean(losses)


class Run(NamedTuple):
    """What came of a training."""

    name: str  # of the method
    model: LanguageModel
    steps: int
    seconds: list[float]  # spent on steps before each measurement
    losses: list[float]  # of the full softmax, on the text to watch the training by
    perplexity: float  # of the trained model, on the text of the test

    def __str__(self) -> str:
        seconds = f"{self.seconds[-1]:.0f} s of training"
        return f"test perplexity with {self.name}: {self.perplexity:.1f} after {self.steps} steps in {seconds}"


def held_out_streams(corpus: Corpus) -> tuple[jax.Array, jax.Array]:
    """The text to watch the training by and that of the test at its end, ``[BATCH, MEASURED + 1]`` or less each."""
    streams = streams_of(corpus.held_out, BATCH)
    size = min(MEASURED + 1, streams.shape[1] // 2)
    return streams[:, :size], streams[:, size : 2 * size]


def counts_of(corpus: Corpus) -> jax.Array:
    """How often each token occurs in the training part; at least once."""
    return jnp.bincount(jnp.asarray(corpus.train), length=len(corpus.vocabulary)).clip(1).astype(float)


def train(
    method: Method,
    corpus: Corpus,
    key: jax.Array,
    experiment: Experiment,
    *,
    steps: float = math.inf,
    seconds: float = math.inf,
) -> Run:
    """Trains a network for so many steps or seconds, not counting compilation and measurements."""
    model_key, train_key = jax.random.split(key)
    state = new_state(method, LanguageModel.init(counts_of(corpus), key=model_key))
    training = experiment.resume(state, name=method.name)
    streams, (watched, test) = streams_of(corpus.train, BATCH), held_out_streams(corpus)
    compiled_step = train_step.lower(training.state, train_key, streams, method).compile()

    def done() -> float:
        return min(max(training.steps / steps, training.seconds / seconds), 1.0)

    def measure_now() -> None:
        training.times.append(training.seconds)
        training.losses.append(float(measure(training.state.model, watched)))

    with experiment.bar(1.0, name=method.name, form=BAR, done=done()):
        while done() < 1 and not experiment.interrupted:
            before, start = done(), time.perf_counter()
            training.state, loss = compiled_step(training.state, train_key, streams)
            loss = float(loss)  # waits for it
            training.seconds += time.perf_counter() - start
            training.steps += 1
            experiment.show(step=training.steps, loss=f"{loss:.2f}")
            experiment.step_made(done() - before)
            if int(MEASUREMENTS * done()) > int(MEASUREMENTS * before):
                measure_now()
            experiment.keep(training)
        experiment.keep(training, now=True)
    if training.times[-1:] != [
        training.seconds
    ]:  # It was interrupted since, and an uninterrupted one has no such point.
        measure_now()
    model = training.state.model
    perplexity = math.exp(measure(model, test))
    return Run(method.name, model, training.steps, training.times, training.losses, perplexity)


def unigram_perplexity(corpus: Corpus) -> float:
    """Of the test text, by the model that knows how often each token occurs in the training part, and nothing else."""
    counts, (_, test) = counts_of(corpus), held_out_streams(corpus)
    return math.exp(-jnp.mean(jnp.log(counts / jnp.sum(counts))[test[:, 1:]]))


@functools.partial(jax.jit, static_argnames="length")
def generate(model: LanguageModel, tokens: jax.Array, never: jax.Array, key: jax.Array, length: int) -> jax.Array:
    """Continues texts ``[batch, time]`` by ``length`` tokens, none of them ``never``: ``[batch, length]``."""
    hidden, memory = model(tokens, model.no_memory(len(tokens)))

    def write(time: jax.Array, output: Any, state: Any, last: Any) -> tuple[Any, ...]:
        output, state = (hidden[:, -1], memory) if output is None else (output, state)
        logits = nn.xw_plus_b(output, model.classes.T, model.biases).at[:, never].set(-jnp.inf)
        written = jax.random.categorical(jax.random.fold_in(key, time), logits / TEMPERATURE)
        emitted = jnp.zeros((), written.dtype) if last is None else last  # at first: what each step will emit
        return jnp.zeros(len(written), bool), model.embedding(written), state, emitted, written

    generated = nn.raw_rnn(model.recurrent.cell, write, max_steps=length).outputs
    return generated.T


def samples_of(model: LanguageModel, vocabulary: list[str], key: jax.Array, samples: int = 3) -> list[str]:
    """Methods that the model makes up."""
    prompt = [NEWLINE, "class", "Parser", ":", NEWLINE, INDENT, "def"]
    tokens = jnp.tile(jnp.asarray(ids_of(prompt, vocabulary)), (samples, 1))
    generated = generate(model, tokens, jnp.array(vocabulary.index(UNKNOWN)), key, length=100)
    texts = (text_of([*prompt, *(vocabulary[token] for token in row)]).strip() for row in generated.tolist())
    return ["\n".join(text.splitlines()[:11]) for text in texts]


def draw(runs: list[Run], unigram: float, sample: str) -> Figure:
    """Draws the perplexity against time, and a sample of text."""
    figure = Figure(figsize=(13, 5.5))
    curves, text = figure.subplots(1, 2, width_ratios=[1.1, 1])
    for run in runs:
        label = f"{run.name}: {run.perplexity:.1f} in the test after {run.steps:,} steps"
        curves.plot(run.seconds, np.exp(run.losses), marker="o", label=label)
    curves.axhline(unigram, color="grey", linestyle=":", label=f"unigram model: {unigram:.0f} in the test")
    curves.set(xlabel="seconds of training", ylabel="held-out perplexity (full softmax)", yscale="log", xlim=(0, None))
    curves.yaxis.set_major_formatter("{x:.0f}")
    curves.yaxis.set_minor_formatter("{x:.0f}")
    curves.tick_params(which="minor", labelsize=8)
    curves.legend()
    curves.grid(alpha=0.3, which="both")
    cut = "\n".join(line[:75] for line in sample.splitlines())
    text.text(0, 1, cut, family="monospace", fontsize=8, va="top", parse_math=False, in_layout=False)
    text.set_title("Written after training with sampled softmax", fontsize=10, loc="left")
    text.set_axis_off()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures, writes and draws."""
    with Experiment.from_command_line(
        arguments,
        description=__doc__,
        steps=STEPS,
        seed_of="the files held out, the network and the samples",
        output="python_language_model.png",
    ) as experiment:
        corpus = load_corpus(experiment.seed)
        unigram = unigram_perplexity(corpus)
        unknown = np.mean(corpus.held_out == corpus.vocabulary.index(UNKNOWN))
        print(f"{len(corpus.train):,} tokens to train on, {len(corpus.vocabulary):,} of them different")
        print(f"{len(corpus.held_out):,} tokens held out, {unknown:.1%} of them unknown")
        print(f"test perplexity of the unigram model: {unigram:.1f}")

        train_key, sample_key = jax.random.split(jax.random.key(experiment.seed))
        runs = [train(SAMPLED_SOFTMAX, corpus, train_key, experiment, steps=experiment.steps)]
        print(runs[0])
        if not experiment.interrupted:
            runs.append(train(FULL_SOFTMAX, corpus, train_key, experiment, seconds=runs[0].seconds[-1]))
            print(runs[1])

        samples = samples_of(runs[0].model, corpus.vocabulary, sample_key)
        print("", *samples, "", sep="\n\n")
        experiment.save(draw(runs, unigram, "\n\n".join(samples)))


if __name__ == "__main__":
    main()
