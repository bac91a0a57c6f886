"""Learns to read strings of handwritten digits with a convolutional recurrent network and CTC.

The digits are scikit-learn's 1,797 scans of 8 by 8 pixels. Lines of three to eight of them are composed at random, with
uneven spacing, shift, brightness and noise; the lines that measure the error are made of digits held out from training.
The network never learns where a digit stands in its line: CTC finds that out.

Run ``python examples/read_digits.py --help`` for the options.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from shared.alignment import mark_labels
from shared.experiment import Experiment
from sklearn.datasets import load_digits

import jnnops as nn
from jnnops import layers

DIGIT = 8  # height and width of a scan
HEIGHT, WIDTH = 12, 96  # of a line
SHORTEST, LONGEST = 3, 8  # digits in a line
LARGEST_GAP = 4  # columns between digits
BLANK = 10  # CTC's class of no digit; the others are the digits themselves
BATCH = 32
HELD_OUT_LINES = 500


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


def compose_line(key: jax.Array, scans: Scans) -> Lines:
    """Writes random scans side by side: one line, without batch dimension."""
    keys = jax.random.split(key, 7)
    length = jax.random.randint(keys[0], (), SHORTEST, LONGEST + 1)
    chosen = jax.random.randint(keys[1], (LONGEST,), 0, len(scans.labels))
    gaps = jax.random.randint(keys[2], (LONGEST,), 0, LARGEST_GAP + 1)
    ends = jnp.cumsum(gaps + DIGIT)
    left = jax.random.randint(keys[3], (), 0, WIDTH - ends[length - 1] + 1) + ends - DIGIT  # [LONGEST]
    top = jax.random.randint(keys[4], (LONGEST,), 0, HEIGHT - DIGIT + 1)
    brightness = jax.random.uniform(keys[5], (LONGEST,), minval=0.6, maxval=1.0)
    brightness = jnp.where(jnp.arange(LONGEST) < length, brightness, 0)

    def place(scan: jax.Array, top: jax.Array, left: jax.Array, brightness: jax.Array) -> jax.Array:
        # Digits past the length may stand beyond the edge; their brightness is 0.
        line = jnp.zeros((HEIGHT, WIDTH + LONGEST * (DIGIT + LARGEST_GAP)))
        return jax.lax.dynamic_update_slice(line, brightness * scan, (top, left))[:, :WIDTH]

    image = jax.vmap(place)(scans.images[chosen], top, left, brightness).sum(0)
    image += 0.05 * jax.random.normal(keys[6], image.shape)
    return Lines(image[..., None], scans.labels[chosen], length)


@functools.partial(jax.jit, static_argnames="batch")
def compose_lines(key: jax.Array, scans: Scans, batch: int) -> Lines:
    """Composes a batch of lines."""
    return jax.vmap(compose_line, in_axes=(0, None))(jax.random.split(key, batch), scans)


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
            layers.MaxPool(ksize=2),
            layers.Conv.init(24, 24, (3, 3), use_bias=False, key=keys[2]),
            layers.BatchNorm.init(24, momentum=0.9),
            nn.relu,
            layers.MaxPool(ksize=2),
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
    compose_key, dropout_key = jax.random.split(key)
    lines = compose_lines(compose_key, scans, BATCH)

    def loss_of(model: Reader) -> tuple[jax.Array, Any]:
        logits, statistics = model(lines.images, state.statistics, training=True, key=dropout_key)
        losses = nn.ctc_loss(lines.labels, logits, lines.lengths, frames(logits), blank_index=BLANK)
        return jnp.mean(losses / lines.lengths), statistics

    (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.model)
    model: Any = state.model  # optax's types know arrays, lists and dicts only
    updates, optimizer_state = make_optimizer(steps).update(gradients, state.optimizer, model)
    return TrainState(cast(Reader, optax.apply_updates(model, updates)), statistics, optimizer_state), loss


@jax.jit
def read(model: Reader, statistics: Any, images: jax.Array) -> tuple[nn.CTCDecoded, jax.Array]:
    """Reads lines: the decoded digits, and the posteriors ``[time, batch, classes]``."""
    logits, _ = model(images, statistics)
    return nn.ctc_greedy_decoder(logits, frames(logits)), nn.softmax(logits)


def texts(decoded: nn.CTCDecoded) -> list[list[int]]:
    """The digits read in each line."""
    return [
        path[:length].tolist()
        for path, length in zip(np.asarray(decoded.decoded[0]), np.asarray(decoded.lengths[0]), strict=True)
    ]


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """The fewest insertions, deletions and substitutions that make ``b`` of ``a`` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def character_error_rate(state: TrainState, lines: Lines) -> float:
    """Edits that the reading needs, as a fraction of the digits there are."""
    decoded, _ = read(state.model, state.statistics, lines.images)
    labels, lengths = np.asarray(lines.labels), np.asarray(lines.lengths)
    truth = [label[:length].tolist() for label, length in zip(labels, lengths, strict=True)]
    edits = sum(edit_distance(found, wanted) for found, wanted in zip(texts(decoded), truth, strict=True))
    return edits / sum(map(len, truth))


def draw(state: TrainState, lines: Lines, losses: list[float], title: str) -> Figure:
    """Draws sample lines, what was read, where the digits stand, the posteriors over time, and the loss."""
    samples = 4
    decoded, posteriors = read(state.model, state.statistics, lines.images[:samples])
    alignment = nn.ctc_forced_alignment(
        lines.labels[:samples], jnp.log(posteriors), lines.lengths[:samples], frames(posteriors), blank_index=BLANK
    )
    figure = Figure(figsize=(9, 13))
    axes = figure.subplots(2 * samples + 1, 1, height_ratios=[1, 1.6] * samples + [3])
    for i, found in enumerate(texts(decoded)):
        wanted = "".join(map(str, lines.labels[i, : lines.lengths[i]].tolist()))
        image, heat = axes[2 * i], axes[2 * i + 1]
        image.imshow(lines.images[i, :, :, 0], cmap="gray_r", aspect="auto")
        image.set(xticks=[], yticks=[])
        mark_labels(image, alignment, i, wanted, WIDTH / len(posteriors))
        image.set_title(f"read {''.join(map(str, found))}, written {wanted}", fontsize=10, loc="left")
        heat.imshow(posteriors[:, i].T, cmap="viridis", aspect="auto", vmin=0, vmax=1)
        heat.set(xticks=[], yticks=range(BLANK + 1), yticklabels=[*map(str, range(BLANK)), "blank"])
        heat.tick_params(labelsize=5)
    axes[-1].plot(losses, linewidth=0.8)
    axes[-1].set(xlabel="step", ylabel="CTC loss per digit (nats)", yscale="log")
    figure.suptitle(title)
    return figure


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
        model_key, test_key, train_key = jax.random.split(jax.random.key(experiment.seed), 3)
        test_lines = compose_lines(test_key, held_out, HELD_OUT_LINES)

        model = Reader.init(key=model_key)
        optimizer = make_optimizer(experiment.steps)
        state = TrainState(model, model.features.init_state(), optimizer.init(cast(Any, model)))
        before = character_error_rate(state, test_lines)
        print(f"held-out character error rate before training: {before:.1%}")

        losses: list[float] = []
        for step in experiment.training():
            state, loss = train_step(state, jax.random.fold_in(train_key, step), train, experiment.steps)
            losses.append(float(loss))
            experiment.show(loss=f"{losses[-1]:.3f}")

        after = character_error_rate(state, test_lines)
        print(f"held-out character error rate after {experiment.seconds:.0f} s of training: {after:.1%}")
        title = f"Held-out character error rate {before:.1%} before, {after:.1%} after training"
        experiment.save(draw(state, test_lines, losses, title))


if __name__ == "__main__":
    main()
