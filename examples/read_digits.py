"""Learns to read strings of handwritten digits with a convolutional recurrent network and CTC.

The digits are scikit-learn's 1,797 scans of 8 by 8 pixels. Lines of three to eight of them are composed at random, with
uneven spacing, shift, brightness and noise; the lines that measure the error are made of digits held out from training.
The network never learns where a digit stands in its line: CTC finds that out.

Three decoders read what the network has seen: the greedy one, a beam search, and a beam search that a grammar of dates
guides, a trigram counted in other dates. They are compared on lines of random digits and on lines that are dates, as
clean as in training and with much more noise. The grammar corrects dates, and misreads what is none.

Run ``python examples/read_digits.py --help`` for the options.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared.alignment import mark_labels
from shared.checkpoint import Progress
from shared.date_grammar import LENGTH, DateGrammar, load_dates
from shared.experiment import Experiment
from sklearn.datasets import load_digits

import jnnops as nn
from jnnops import layers

DIGIT = 8  # height and width of a scan
HEIGHT, WIDTH = 12, 96  # of a line
SHORTEST, LONGEST = 3, 8  # digits in a line
LARGEST_GAP = 4  # columns between digits
BLANK = 10  # CTC's class of no digit; the others are the digits themselves
CLEAN, NOISY = 0.05, 0.15  # standard deviations of the noise
BATCH = 32
HELD_OUT_LINES = 500  # of each kind
BEAMS = 30


class Lines(NamedTuple):
    """A batch of lines of digits."""

    images: jax.Array  # [batch, HEIGHT, WIDTH, 1], about 0 to 1
    labels: jax.Array  # [batch, LONGEST], arbitrary past the length
    lengths: jax.Array  # [batch]


class Scans(NamedTuple):
    """Scans of single digits and what they show."""

    images: jax.Array  # [scans, DIGIT, DIGIT], 0 to 1
    labels: jax.Array  # [scans]


def load_scans(seed: int) -> tuple[Scans, Scans]:
    """Splits the scans into four fifths for training and one fifth held out."""
    digits: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    held_out = len(order) // 5
    images, labels = digits.images.astype(np.float32) / 16, digits.target.astype(np.int32)
    test, train = order[:held_out], order[held_out:]
    return (
        Scans(jnp.asarray(images[train]), jnp.asarray(labels[train])),
        Scans(jnp.asarray(images[test]), jnp.asarray(labels[test])),
    )


def write_line(key: jax.Array, scans: Scans, chosen: jax.Array, length: jax.Array) -> Lines:
    """Writes the first ``length`` of the chosen scans side by side: one line, without noise or batch dimension."""
    keys = jax.random.split(key, 4)
    gaps = jax.random.randint(keys[0], (LONGEST,), 0, LARGEST_GAP + 1)
    ends = jnp.cumsum(gaps + DIGIT)
    left = jax.random.randint(keys[1], (), 0, WIDTH - ends[length - 1] + 1) + ends - DIGIT  # [LONGEST]
    top = jax.random.randint(keys[2], (LONGEST,), 0, HEIGHT - DIGIT + 1)
    brightness = jax.random.uniform(keys[3], (LONGEST,), minval=0.6, maxval=1.0)
    brightness = jnp.where(jnp.arange(LONGEST) < length, brightness, 0)

    def place(scan: jax.Array, top: jax.Array, left: jax.Array, brightness: jax.Array) -> jax.Array:
        # Digits past the length may stand beyond the edge; their brightness is 0.
        line = jnp.zeros((HEIGHT, WIDTH + LONGEST * (DIGIT + LARGEST_GAP)))
        return jax.lax.dynamic_update_slice(line, brightness * scan, (top, left))[:, :WIDTH]

    image = jax.vmap(place)(scans.images[chosen], top, left, brightness).sum(0)
    return Lines(image[..., None], scans.labels[chosen], length)


@functools.partial(jax.jit, static_argnames="batch")
def compose_lines(key: jax.Array, scans: Scans, batch: int) -> Lines:
    """Composes a batch of lines of random digits, without noise."""

    def compose_line(key: jax.Array) -> Lines:
        length_key, choice_key, write_key = jax.random.split(key, 3)
        length = jax.random.randint(length_key, (), SHORTEST, LONGEST + 1)
        chosen = jax.random.randint(choice_key, (LONGEST,), 0, len(scans.labels))
        return write_line(write_key, scans, chosen, length)

    return jax.vmap(compose_line)(jax.random.split(key, batch))


@jax.jit
def compose_dates(key: jax.Array, scans: Scans, dates: jax.Array) -> Lines:
    """Composes a line of each date ``[batch, LENGTH]``, with a random scan of each digit and without noise."""

    def compose_date(key: jax.Array, date: jax.Array) -> Lines:
        choice_key, write_key = jax.random.split(key)
        shows = scans.labels[None] == date[:, None]  # [LENGTH, scans]
        chosen = jax.random.categorical(choice_key, jnp.where(shows, 0.0, -jnp.inf))
        return write_line(write_key, scans, chosen, jnp.int32(LENGTH))

    return jax.vmap(compose_date)(jax.random.split(key, len(dates)), dates)


def add_noise(key: jax.Array, lines: Lines, deviation: float) -> Lines:
    """Adds normal noise to all pixels."""
    return lines._replace(images=lines.images + deviation * jax.random.normal(key, lines.images.shape))


@layers.layer
class Reader:
    """Columns of features by convolution, a bidirectional LSTM over them, and a score for each digit and blank."""

    features: layers.Sequential
    sequence: layers.Bidirectional
    dropout: layers.Dropout
    scores: layers.Dense

    @classmethod
    def init(cls, *, key: jax.Array) -> "Reader":
        """Draws a new network."""
        keys = jax.random.split(key, 6)
        features = layers.Sequential.init(
            layers.Conv.init(1, 8, (3, 3), use_bias=False, key=keys[0]),
            layers.BatchNorm.init(8, momentum=0.9),
            nn.relu,
            layers.Conv.init(8, 24, (3, 3), use_bias=False, key=keys[1]),
            layers.BatchNorm.init(24, momentum=0.9),
            nn.relu,
            layers.MaxPool(kernel_size=2),
            layers.Conv.init(24, 24, (3, 3), use_bias=False, key=keys[2]),
            layers.BatchNorm.init(24, momentum=0.9),
            nn.relu,
            layers.MaxPool(kernel_size=2),
        )
        column, units = HEIGHT // 4 * 24, 48
        sequence = layers.Bidirectional(
            forward=layers.LSTMCell.init(column, units, key=keys[3]),
            backward=layers.LSTMCell.init(column, units, key=keys[4]),
            time_major=True,
        )
        return cls(
            features=features,
            sequence=sequence,
            dropout=layers.Dropout(rate=0.2),
            scores=layers.Dense.init(2 * units, BLANK + 1, key=keys[5]),
        )

    def __call__(
        self, images: jax.Array, state: Any, *, training: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Returns the logits ``[time, batch, classes]``, one step of time for four columns, and the new state."""
        columns, state = self.features(images, state, training=training)  # [B, H, T, C]
        columns = columns.transpose(2, 0, 1, 3).reshape(columns.shape[2], columns.shape[0], -1)  # [T, B, H * C]
        hidden = self.dropout(self.sequence(columns), training=training, key=key)
        return self.scores(hidden), state


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    model: Reader
    statistics: Any
    optimizer: Any


def make_optimizer(steps: int) -> optax.GradientTransformation:
    """Adam with a warm-up, a cosine decay and clipped gradients."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 5e-3, min(50, steps // 2), max(steps, 2))
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))


def frames(logits: jax.Array) -> jax.Array:
    """All steps of time, for each line."""
    return jnp.full(logits.shape[1], logits.shape[0])


@functools.partial(jax.jit, static_argnames="steps", donate_argnames="state")
def train_step(state: TrainState, key: jax.Array, scans: Scans, steps: int) -> tuple[TrainState, jax.Array]:
    """Composes a batch and takes a step of training on it."""
    compose_key, noise_key, dropout_key = jax.random.split(key, 3)
    lines = add_noise(noise_key, compose_lines(compose_key, scans, BATCH), CLEAN)

    def loss_of(model: Reader) -> tuple[jax.Array, Any]:
        logits, statistics = model(lines.images, state.statistics, training=True, key=dropout_key)
        losses = nn.ctc_loss(lines.labels, logits, lines.lengths, frames(logits), blank_index=BLANK)
        return jnp.mean(losses / lines.lengths), statistics

    (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.model)
    model: Any = state.model  # optax's types know arrays, lists and dicts only
    updates, optimizer_state = make_optimizer(steps).update(gradients, state.optimizer, model)
    return TrainState(cast(Reader, optax.apply_updates(model, updates)), statistics, optimizer_state), loss


class Readings(NamedTuple):
    """What each decoder reads in a batch of lines, and the log-posteriors ``[time, batch, classes]`` it reads."""

    greedy: nn.CTCDecoded
    beam: nn.CTCDecoded
    grammar: nn.CTCDecoded
    scores: jax.Array


@jax.jit
def read(model: Reader, statistics: Any, grammar: DateGrammar, images: jax.Array) -> Readings:
    """Reads lines with each decoder."""
    logits, _ = model(images, statistics)
    start = grammar.init_state(len(images))
    return Readings(
        nn.ctc_greedy_decoder(logits, frames(logits)),
        nn.ctc_beam_search_decoder(logits, frames(logits), BEAMS),
        nn.ctc_beam_search_decoder(logits, frames(logits), BEAMS, scorer=grammar, initial_state=start),
        nn.log_softmax(logits),
    )


def edits(decoded: nn.CTCDecoded, lines: Lines) -> jax.Array:
    """The edits that each line's reading needs, ``[batch]``."""
    return nn.edit_distance(decoded.decoded[0], lines.labels, decoded.lengths[0], lines.lengths, normalize=False)


def error_rates(readings: Readings, lines: Lines) -> list[float]:
    """The character error rate of each decoder: the edits as a fraction of the digits there are."""
    digits = lines.lengths.sum()
    return [float(edits(decoded, lines).sum() / digits) for decoded in readings[:3]]


def text(labels: jax.Array, length: jax.Array) -> str:
    """The digits of a line."""
    return "".join(map(str, labels[:length].tolist()))


class Sample(NamedTuple):
    """A line of a batch, to be drawn."""

    lines: Lines
    readings: Readings
    row: int


def choose_samples(tests: dict[str, Lines], readings: dict[str, Readings]) -> list[Sample]:
    """Two clean lines of random digits, and the two noisy dates that the grammar corrects most."""
    name = "noisy dates"
    gain = edits(readings[name].beam, tests[name]) - edits(readings[name].grammar, tests[name])
    rows = [("digits", 0), ("digits", 1), *((name, int(row)) for row in jnp.argsort(-gain)[:2])]
    return [Sample(tests[name], readings[name], row) for name, row in rows]


def draw_sample(sample: Sample, image: Axes, heat: Axes) -> None:
    """Draws a line, what was read, where the digits stand, and the posteriors over time."""
    lines, readings, row = sample
    written = text(lines.labels[row], lines.lengths[row])
    found = [text(decoded.decoded[0, row], decoded.lengths[0, row]) for decoded in readings[:3]]
    this, scores = slice(row, row + 1), readings.scores[:, row : row + 1]
    alignment = nn.ctc_forced_alignment(
        lines.labels[this], scores, lines.lengths[this], frames(scores), blank_index=BLANK
    )
    image.imshow(lines.images[row, :, :, 0], cmap="gray_r", aspect="auto")
    image.set(xticks=[], yticks=[])
    mark_labels(image, alignment, 0, written, WIDTH / len(scores))
    title = f"written {written}, read {found[0]} greedily, {found[1]} by beams, {found[2]} as a date"
    image.set_title(title, fontsize=10, loc="left")
    heat.imshow(jnp.exp(scores[:, 0]).T, cmap="viridis", aspect="auto", vmin=0, vmax=1)
    heat.set(xticks=[], yticks=range(BLANK + 1), yticklabels=[*map(str, range(BLANK)), "blank"])
    heat.tick_params(labelsize=5)


def draw(samples: Sequence[Sample], losses: list[float]) -> Figure:
    """Draws sample lines and the loss."""
    figure = Figure(figsize=(9, 13))
    axes = figure.subplots(2 * len(samples) + 1, 1, height_ratios=[1, 1.6] * len(samples) + [3])
    for i, sample in enumerate(samples):
        draw_sample(sample, axes[2 * i], axes[2 * i + 1])
    axes[-1].plot(losses, linewidth=0.8)
    axes[-1].set(xlabel="step", ylabel="CTC loss per digit (nats)", yscale="log")
    return figure


def compose_tests(key: jax.Array, scans: Scans, dates: np.ndarray) -> dict[str, Lines]:
    """Composes the lines that measure the error."""
    line_key, date_key, noise_key = jax.random.split(key, 3)
    digits = compose_lines(line_key, scans, HELD_OUT_LINES)
    in_dates = compose_dates(date_key, scans, jnp.asarray(dates[:HELD_OUT_LINES]))
    return {
        "digits": add_noise(noise_key, digits, CLEAN),
        "noisy digits": add_noise(noise_key, digits, NOISY),
        "dates": add_noise(noise_key, in_dates, CLEAN),
        "noisy dates": add_noise(noise_key, in_dates, NOISY),
    }


def train_reader(experiment: Experiment, key: jax.Array, scans: Scans) -> Progress:
    """Trains a network, whose ``TrainState`` it returns with the loss of each step."""
    model_key, train_key = jax.random.split(key)
    model = Reader.init(key=model_key)
    optimizer = make_optimizer(experiment.steps)
    state = TrainState(model, model.features.init_state(), optimizer.init(cast(Any, model)))
    training = experiment.resume(state)
    for step in experiment.training(training):
        key = jax.random.fold_in(train_key, step)
        training.state, loss = train_step(training.state, key, scans, experiment.steps)
        training.losses.append(float(loss))
        experiment.show(loss=f"{training.losses[-1]:.3f}")
    return training


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and draws."""
    with Experiment.from_command_line(
        arguments,
        description=__doc__,
        steps=1600,
        seed_of="the split, the lines and the network",
        output="read_digits.png",
    ) as experiment:
        train, held_out = load_scans(experiment.seed)
        known_dates, other_dates = load_dates(experiment.seed)
        grammar = DateGrammar.init(known_dates)
        test_key, train_key = jax.random.split(jax.random.key(experiment.seed))
        tests = compose_tests(test_key, held_out, other_dates)
        training = train_reader(experiment, train_key, train)
        state: TrainState = training.state

        print(f"character error rates of held-out lines after {training.seconds:.0f} s of training:")
        print(f"{'':12}{'greedy':>8}{'beams':>8}{'beams and grammar of dates':>28}")
        readings = {}
        for name, lines in tests.items():
            readings[name] = read(state.model, state.statistics, grammar, lines.images)
            greedy, beam, guided = error_rates(readings[name], lines)
            print(f"{name:12}{greedy:>8.1%}{beam:>8.1%}{guided:>28.1%}")
        experiment.save(draw(choose_samples(tests, readings), training.losses))


if __name__ == "__main__":
    main()
