"""CTC: the loss of 32 utterances of 200 frames, and decoding of 8 of 100 frames."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jnnops as nn
from benchmarks.benchmark import Benchmark, Peer, integers, normal

LABELS = 40
FRAMES = 200
BATCH, TIME, CLASSES = 8, 100, 50


def plain_ctc_loss(logits: jax.Array, labels: jax.Array, label_length: jax.Array, logit_length: jax.Array) -> jax.Array:
    logit_paddings = jnp.arange(FRAMES) >= logit_length[:, None]
    label_paddings = jnp.arange(LABELS) >= label_length[:, None]
    return optax.ctc_loss(jnp.swapaxes(logits, 0, 1), logit_paddings * 1.0, labels, label_paddings * 1.0)


def tensorflow_ctc_loss(tf: Any, logits: Any, labels: Any, label_length: Any, logit_length: Any) -> Any:
    # sparse labels take TensorFlow to its C++ kernel, ten times faster than what it does with dense ones
    places = tf.where(tf.sequence_mask(label_length, LABELS))
    sparse = tf.SparseTensor(places, tf.gather_nd(labels, places), labels.shape)
    return tf.nn.ctc_loss(sparse, logits, None, logit_length, blank_index=0)


def torch_ctc_loss(torch: Any, logits: Any, labels: Any, label_length: Any, logit_length: Any) -> Any:
    log_probabilities = torch.log_softmax(logits, -1)
    return torch.nn.functional.ctc_loss(log_probabilities, labels, logit_length, label_length, reduction="none")


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


BENCHMARKS = [
    Benchmark(
        "ctc_loss",
        "B32_T200_V100_L40",
        arrays={"logits": normal(FRAMES, 32, 100)},
        constants={
            "labels": integers(1, 100, 32, LABELS),
            "label_length": integers(LABELS // 2, LABELS + 1, 32, seed=1),
            "logit_length": integers(FRAMES // 2, FRAMES + 1, 32, seed=2),
        },
        ours=lambda logits, labels, label_length, logit_length: nn.ctc_loss(labels, logits, label_length, logit_length),
        plain=plain_ctc_loss,
        tensorflow=Peer(tensorflow_ctc_loss),
        torch=Peer(torch_ctc_loss),
        tolerance=1e-3,  # the gradient is the exponential of sums near 1000
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
]
