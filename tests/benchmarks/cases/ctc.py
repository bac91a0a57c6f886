"""CTC: the loss and the alignment at three sizes, and decoding of 8 utterances of 100 frames."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal

# Rows, frames, classes and labels: characters, characters of long recordings, and pieces of words.
SIZES = (32, 200, 100, 40), (8, 1000, 32, 120), (64, 50, 5000, 10)
BATCH, TIME, CLASSES = 8, 100, 50


def plain_ctc_loss(logits: jax.Array, labels: jax.Array, label_length: jax.Array, logit_length: jax.Array) -> jax.Array:
    logit_paddings = jnp.arange(logits.shape[0]) >= logit_length[:, None]
    label_paddings = jnp.arange(labels.shape[1]) >= label_length[:, None]
    return optax.ctc_loss(jnp.swapaxes(logits, 0, 1), logit_paddings * 1.0, labels, label_paddings * 1.0)


def tensorflow_ctc_loss(tf: Any, logits: Any, labels: Any, label_length: Any, logit_length: Any) -> Any:
    # sparse labels take TensorFlow to its C++ kernel, ten times faster than what it does with dense ones
    places = tf.where(tf.sequence_mask(label_length, labels.shape[1]))
    sparse = tf.SparseTensor(places, tf.gather_nd(labels, places), labels.shape)
    return tf.nn.ctc_loss(sparse, logits, None, logit_length, blank_index=0)


def torch_ctc_loss(torch: Any, logits: Any, labels: Any, label_length: Any, logit_length: Any) -> Any:
    log_probabilities = torch.log_softmax(logits, -1)
    return torch.nn.functional.ctc_loss(log_probabilities, labels, logit_length, label_length, reduction="none")


def transcripts(batch: int, frames: int, classes: int, labels: int) -> dict[str, np.ndarray]:
    """Rows between half as long as they may be and as long."""
    return {
        "labels": integers(1, classes, batch, labels),
        "label_length": integers(labels // 2, labels + 1, batch, seed=1),
        "logit_length": integers(frames // 2, frames + 1, batch, seed=2),
    }


def loss_at(batch: int, frames: int, classes: int, labels: int) -> Benchmark:
    return Benchmark(
        "ctc_loss",
        f"B{batch}_T{frames}_V{classes}_L{labels}",
        arrays={"logits": normal(frames, batch, classes)},
        constants=transcripts(batch, frames, classes, labels),
        ours=lambda logits, labels, label_length, logit_length: nn.ctc_loss(labels, logits, label_length, logit_length),
        plain=plain_ctc_loss,
        tensorflow=Peer(tensorflow_ctc_loss),
        torch=Peer(torch_ctc_loss),
        # The gradient of the peers is the exponential of sums that grow with the frames, to 3,000 in 1,000 of them.
        tolerance=5e-6 * frames,
    )


def alignment_at(batch: int, frames: int, classes: int, labels: int) -> Benchmark:
    """Beside the loss, which sums over the paths of which the alignment is the best."""

    def loss(logits: jax.Array, labels: jax.Array, label_length: jax.Array, logit_length: jax.Array) -> jax.Array:
        return nn.ctc_loss(labels, logits, label_length, logit_length)

    def alignment(logits: jax.Array, labels: jax.Array, label_length: jax.Array, logit_length: jax.Array) -> Any:
        return nn.ctc_forced_alignment(labels, logits, label_length, logit_length).scores

    return Benchmark(
        "ctc_forced_alignment",
        f"B{batch}_T{frames}_V{classes}_L{labels}",
        constants={"logits": normal(frames, batch, classes), **transcripts(batch, frames, classes, labels)},
        ours=alignment,
        plain=loss,
        differs=("plain",),
    )


def plain_greedy_decoder(inputs: jax.Array, sequence_length: jax.Array) -> tuple[jax.Array, ...]:
    best = jnp.argmax(inputs, -1).T  # [batch, time]
    inside = jnp.arange(TIME) < sequence_length[:, None]
    repeated = jnp.pad(best[:, :-1] == best[:, 1:], ((0, 0), (1, 0)))
    kept = inside & ~repeated & (best != CLASSES - 1)
    place = jnp.where(kept, jnp.cumsum(kept, -1) - 1, TIME)
    rows = jnp.arange(BATCH)[:, None]
    decoded = jnp.full((BATCH, TIME), -1).at[rows, place].set(best, mode="drop")
    score = -jnp.sum(jnp.where(inside, jnp.max(inputs, -1).T, 0), -1, keepdims=True)
    return decoded[None], jnp.sum(kept, -1)[None], score


def tensorflow_greedy_decoder(tf: Any, inputs: Any, sequence_length: Any) -> Any:
    (decoded,), score = tf.nn.ctc_greedy_decoder(inputs, sequence_length)
    return decoded.indices, decoded.values, score


def plain_edit_distance(
    hypothesis: jax.Array, truth: jax.Array, hypothesis_length: jax.Array, truth_length: jax.Array
) -> jax.Array:
    """A row of the table of distances in each step, by a cumulative minimum."""

    def one(hypothesis: jax.Array, truth: jax.Array, lengths: tuple[jax.Array, jax.Array]) -> jax.Array:
        places = jnp.arange(len(truth) + 1)

        def step(row: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
            best = jnp.minimum(row[1:] + 1, row[:-1] + (truth != label))
            row = jax.lax.cummin(jnp.concatenate([row[:1] + 1, best]) - places) + places
            return row, row

        rows = jnp.concatenate([places[None], jax.lax.scan(step, places, hypothesis)[1]])
        return rows[lengths] / lengths[1]

    return jax.vmap(one)(hypothesis, truth, (hypothesis_length, truth_length))


def tensorflow_edit_distance(tf: Any, hypothesis: Any, truth: Any, hypothesis_length: Any, truth_length: Any) -> Any:
    def sparse(labels: Any, length: Any) -> Any:
        places = tf.where(tf.sequence_mask(length, labels.shape[1]))
        return tf.SparseTensor(places, tf.gather_nd(labels, places), labels.shape)

    return tf.edit_distance(sparse(hypothesis, hypothesis_length), sparse(truth, truth_length))


def unpack_greedy_decoder(indices: Any, values: Any, score: Any) -> tuple[np.ndarray, ...]:
    decoded = np.full((BATCH, TIME), -1)
    decoded[tuple(indices.T)] = values
    return decoded[None], np.sum(decoded >= 0, -1)[None], score


def tensorflow_beam_search(beam_width: int) -> Peer:
    def decode(tf: Any, inputs: Any, sequence_length: Any) -> Any:
        (decoded,), score = tf.nn.ctc_beam_search_decoder(inputs, sequence_length, beam_width)
        return decoded.indices, decoded.values, score

    return Peer(decode, unpack=unpack_greedy_decoder)


def keras_beam_search(beam_width: int) -> Callable[..., Any]:
    """What ``keras.ops.ctc_decode`` calls with JAX below it."""

    def decode(inputs: jax.Array, sequence_length: jax.Array) -> tuple[jax.Array, ...]:
        from keras.src.backend.jax.nn import ctc_decode

        batch_major = jnp.swapaxes(inputs, 0, 1)
        blank = inputs.shape[2] - 1
        decoded, scores = ctc_decode(batch_major, sequence_length, "beam_search", beam_width, 1, False, blank)
        return decoded, jnp.sum(decoded >= 0, -1), scores

    return decode


def in_chunks(init: Callable[..., Any], step: Callable[..., Any], finish: Callable[..., Any]) -> Callable[..., Any]:
    """Decodes chunk by chunk, a fifth of the frames in each."""

    def decode(inputs: jax.Array, sequence_length: jax.Array) -> Any:
        chunks = inputs.reshape(5, TIME // 5, BATCH, CLASSES)
        lengths = jnp.clip(sequence_length - jnp.arange(5)[:, None] * (TIME // 5), 0, TIME // 5)
        state = init(BATCH, CLASSES, TIME)
        return finish(jax.lax.scan(lambda state, chunk: (step(state, *chunk), None), state, (chunks, lengths))[0])

    return decode


def beam_search_init(*sizes: int) -> nn.CTCBeamSearchState:
    return nn.ctc_beam_search_init(*sizes, beam_width=10)


BENCHMARKS = [
    *(loss_at(*size) for size in SIZES),
    *(alignment_at(*size) for size in SIZES),
    Benchmark(
        "edit_distance",
        "B32_L120",
        constants={
            "hypothesis": integers(0, 50, 32, 120),
            "truth": integers(0, 50, 32, 120, seed=1),
            "hypothesis_length": integers(60, 121, 32, seed=2),
            "truth_length": integers(60, 121, 32, seed=3),
        },
        ours=lambda *arrays: nn.edit_distance(*arrays),
        plain=plain_edit_distance,
        tensorflow=Peer(tensorflow_edit_distance),
    ),
    Benchmark(
        "ctc_greedy_decoder",
        "B8_T100_V50",
        constants={
            "inputs": normal(TIME, BATCH, CLASSES),
            "sequence_length": integers(TIME // 2, TIME + 1, BATCH, seed=1),
        },
        ours=lambda inputs, sequence_length: nn.ctc_greedy_decoder(inputs, sequence_length),
        plain=plain_greedy_decoder,
        tensorflow=Peer(tensorflow_greedy_decoder, unpack=unpack_greedy_decoder),
    ),
    *(
        Benchmark(
            "ctc_beam_search_decoder",
            f"B8_T100_V{classes}_beam{beam_width}",
            constants={
                "inputs": normal(TIME, BATCH, classes, scale=5.0),
                "sequence_length": integers(TIME // 2, TIME + 1, BATCH, seed=1),
            },
            ours=lambda inputs, sequence_length, beam_width=beam_width: nn.ctc_beam_search_decoder(
                inputs, sequence_length, beam_width
            ),
            # Keras takes seconds for what TensorFlow does in one.
            plain=keras_beam_search(beam_width) if (classes, beam_width) == (CLASSES, 10) else None,
            # Of 5000 symbols TensorFlow searches a single time in more than a minute.
            tensorflow=tensorflow_beam_search(beam_width) if classes == CLASSES else None,
            differs=("tensorflow", "plain"),  # they do not always keep the likeliest prefixes
        )
        for classes, beam_width in ((CLASSES, 10), (CLASSES, 100), (5000, 10))
    ),
    *(
        Benchmark(
            op,
            f"B8_T{TIME}_V{CLASSES}",
            constants={
                "inputs": normal(TIME, BATCH, CLASSES, scale=5.0),
                "sequence_length": integers(TIME // 2, TIME + 1, BATCH, seed=1),
            },
            ours=in_chunks(*streaming),
            plain=lambda inputs, sequence_length, whole=whole: whole(inputs, sequence_length),
        )
        for op, streaming, whole in (
            (
                "ctc_beam_search_step",
                (beam_search_init, nn.ctc_beam_search_step, nn.ctc_beam_search_finish),
                lambda inputs, sequence_length: nn.ctc_beam_search_decoder(inputs, sequence_length, 10),
            ),
            (
                "ctc_greedy_step",
                (nn.ctc_greedy_init, nn.ctc_greedy_step, nn.ctc_greedy_finish),
                nn.ctc_greedy_decoder,
            ),
        )
    ),
]
