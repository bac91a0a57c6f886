"""TensorFlow on CPU, the judge of semantics."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from machinery.case import Arrays, cotangent

# What oneDNN computes of quantized numbers rounds otherwise than the kernels that define the ops.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow as tf

tf.config.set_visible_devices([], "GPU")


def values(oracle: Callable[..., Any], arrays: Arrays) -> list[np.ndarray]:
    """The results of ``oracle(tf, **arrays)``."""
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    return [result.numpy() for result in tf.nest.flatten(oracle(tf, **tensors))]


def gradients(oracle: Callable[..., Any], arrays: Arrays, names: Sequence[str]) -> list[np.ndarray]:
    """The gradients by ``names`` of the floating results' weighted sum."""
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    with tf.GradientTape() as tape:
        tape.watch([tensors[name] for name in names])
        total = tf.add_n(
            [
                tf.reduce_sum(result * tf.constant(cotangent(tuple(result.shape)), result.dtype))
                for result in tf.nest.flatten(oracle(tf, **tensors))
                if result.dtype.is_floating
            ]
        )
    found = tape.gradient(total, [tensors[name] for name in names], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in found]
