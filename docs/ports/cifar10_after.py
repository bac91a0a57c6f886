"""A network for CIFAR-10 with jnnops and optax: a value of layers and a function that trains it."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import given
import jax
import jax.numpy as jnp
import optax

import jnnops as nn
from jnnops import layers

BATCH = 128
EXAMPLES = 50_000  # of an epoch
LEARNING_RATE, DECAY, EPOCHS_PER_DECAY = 0.1, 0.1, 350
AVERAGING = 0.9999
WEIGHT_DECAY = 0.004


def weights(key: jax.Array, shape: tuple[int, ...], stddev: float) -> jax.Array:
    """Normal numbers cut off at two deviations."""
    return stddev * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def pool(x: jax.Array) -> jax.Array:
    """The maximum of 3x3 cells, every second one."""
    return nn.max_pool(x, ksize=3, strides=2, padding="SAME")


def normalize(x: jax.Array) -> jax.Array:
    """Local response normalization over nine channels."""
    return nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)


@layers.layer
class Network:
    """Two convolutions and three fully connected layers."""

    conv1: layers.Conv
    conv2: layers.Conv
    local3: layers.Dense
    local4: layers.Dense
    softmax_linear: layers.Dense

    @classmethod
    def init(cls, *, key: jax.Array) -> "Network":
        """Draws new weights."""
        keys = jax.random.split(key, 5)
        return cls(
            conv1=layers.Conv(kernel=weights(keys[0], (5, 5, 3, 64), 0.05), bias=jnp.zeros(64)),
            conv2=layers.Conv(kernel=weights(keys[1], (5, 5, 64, 64), 0.05), bias=jnp.full(64, 0.1)),
            local3=layers.Dense(kernel=weights(keys[2], (6 * 6 * 64, 384), 0.04), bias=jnp.full(384, 0.1)),
            local4=layers.Dense(kernel=weights(keys[3], (384, 192), 0.04), bias=jnp.full(192, 0.1)),
            softmax_linear=layers.Dense(kernel=weights(keys[4], (192, 10), 1 / 192), bias=jnp.zeros(10)),
        )

    @classmethod
    def from_variables(cls, variables: Mapping[str, Any]) -> "Network":
        """Takes the arrays of a TensorFlow checkpoint by their names."""

        def member(kind: Any, name: str) -> Any:
            arrays = (jnp.asarray(variables[f"{name}/{part}"]) for part in ("weights", "biases"))
            return kind(**dict(zip(("kernel", "bias"), arrays, strict=True)))

        convolutions = {name: member(layers.Conv, name) for name in ("conv1", "conv2")}
        dense = {name: member(layers.Dense, name) for name in ("local3", "local4", "softmax_linear")}
        return cls(**convolutions, **dense)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits of the classes."""
        x = normalize(pool(nn.relu(self.conv1(images))))
        x = pool(normalize(nn.relu(self.conv2(x))))
        x = x.reshape(len(x), -1)
        x = nn.relu(self.local3(x))
        x = nn.relu(self.local4(x))
        return self.softmax_linear(x)


def total_loss(network: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The cross entropy and the decay of the weights."""
    losses = nn.sparse_softmax_cross_entropy_with_logits(labels, network(images))
    decay = nn.l2_loss(network.local3.kernel) + nn.l2_loss(network.local4.kernel)
    return jnp.mean(losses) + WEIGHT_DECAY * decay


class TrainState(NamedTuple):
    """Everything that a step of training changes."""

    network: Any  # a Network, as are the averages
    averages: Any
    optimizer: Any
    step: jax.Array

    @classmethod
    def init(cls, network: Any) -> "TrainState":
        """The state before the first step, whose arrays are its own."""
        copy = jax.tree.map(jnp.copy, network)
        return cls(network, copy, make_optimizer().init(network), jnp.zeros((), jnp.int32))


def make_optimizer(
    steps_per_decay: int = EPOCHS_PER_DECAY * EXAMPLES // BATCH,
) -> optax.GradientTransformation:
    """Gradient descent with a rate that falls in steps."""
    return optax.sgd(optax.exponential_decay(LEARNING_RATE, steps_per_decay, DECAY, staircase=True))


@functools.partial(jax.jit, donate_argnums=0, static_argnames="steps_per_decay")
def train_step(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    steps_per_decay: int = EPOCHS_PER_DECAY * EXAMPLES // BATCH,
) -> tuple[TrainState, jax.Array]:
    """Takes a step of training and returns the loss before it."""
    loss, gradients = jax.value_and_grad(total_loss)(state.network, images, labels)
    updates, optimizer = make_optimizer(steps_per_decay).update(gradients, state.optimizer)
    network = optax.apply_updates(state.network, updates)
    step = state.step + 1
    kept = jnp.minimum(AVERAGING, (1 + step) / (10 + step))
    averages = optax.incremental_update(network, state.averages, 1 - kept)
    return TrainState(network, averages, optimizer, step), loss


def main() -> None:
    """Trains in a loop."""
    state = TrainState.init(Network.init(key=jax.random.key(0)))

    def step(batch: given.Images) -> float:
        nonlocal state
        state, loss = train_step(state, jnp.asarray(batch.images), jnp.asarray(batch.labels))
        return float(loss)

    given.train(step, given.batches_of_images(BATCH))


if __name__ == "__main__":
    main()
