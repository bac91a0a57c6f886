"""A network for CIFAR-10 as a TensorFlow 1 program: a graph, collections and a session."""

from typing import Any, NamedTuple

import given
import tensorflow.compat.v1 as tf  # pyright: ignore[reportMissingImports]

BATCH = 128
EXAMPLES = 50_000  # of an epoch
LEARNING_RATE, DECAY, EPOCHS_PER_DECAY = 0.1, 0.1, 350
AVERAGING = 0.9999


class Program(NamedTuple):
    """The nodes of the graph that a session is asked for."""

    images: Any
    labels: Any
    loss: Any
    train: Any
    averages: dict[str, Any]


def weights(name: str, shape: list[int], stddev: float, decay: float = 0.0) -> Any:
    """A variable whose decay is among the losses."""
    variable = tf.get_variable(name, shape, initializer=tf.truncated_normal_initializer(stddev=stddev))
    if decay:
        tf.add_to_collection("losses", decay * tf.nn.l2_loss(variable))
    return variable


def biases(size: int, value: float) -> Any:
    """A variable that starts at ``value``."""
    return tf.get_variable("biases", [size], initializer=tf.constant_initializer(value))


def convolution(name: str, x: Any, features: int, bias: float) -> Any:
    """A convolution of 5x5 and its activation."""
    with tf.variable_scope(name):
        kernel = weights("weights", [5, 5, x.shape[-1], features], stddev=0.05)
        y = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], padding="SAME")
        return tf.nn.relu(tf.nn.bias_add(y, biases(features, bias)))


def pool(x: Any) -> Any:
    """The maximum of 3x3 cells, every second one."""
    return tf.nn.max_pool(x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME")


def normalize(x: Any) -> Any:
    """Local response normalization over nine channels."""
    return tf.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)


def dense(name: str, x: Any, features: int, stddev: float, bias: float, decay: float = 0.0) -> Any:
    """A fully connected layer."""
    with tf.variable_scope(name):
        kernel = weights("weights", [x.shape[-1], features], stddev, decay)
        return tf.matmul(x, kernel) + biases(features, bias)


def inference(images: Any) -> Any:
    """The logits of the classes."""
    x = normalize(pool(convolution("conv1", images, 64, bias=0.0)))
    x = pool(normalize(convolution("conv2", x, 64, bias=0.1)))
    x = tf.reshape(x, [-1, 6 * 6 * 64])
    x = tf.nn.relu(dense("local3", x, 384, stddev=0.04, bias=0.1, decay=0.004))
    x = tf.nn.relu(dense("local4", x, 192, stddev=0.04, bias=0.1, decay=0.004))
    return dense("softmax_linear", x, given.CLASSES, stddev=1 / 192, bias=0.0)


def total_loss(logits: Any, labels: Any) -> Any:
    """The cross entropy and the decay of the weights."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    tf.add_to_collection("losses", tf.reduce_mean(losses))
    return tf.add_n(tf.get_collection("losses"))


def build(steps_per_decay: int = EPOCHS_PER_DECAY * EXAMPLES // BATCH) -> Program:
    """Adds the program to the default graph."""
    images = tf.placeholder(tf.float32, [None, given.CROP, given.CROP, 3])
    labels = tf.placeholder(tf.int32, [None])
    loss = total_loss(inference(images), labels)

    global_step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(LEARNING_RATE, global_step, steps_per_decay, DECAY, staircase=True)
    descend = tf.train.GradientDescentOptimizer(rate).minimize(loss, global_step)
    average = tf.train.ExponentialMovingAverage(AVERAGING, num_updates=global_step)
    with tf.control_dependencies([descend]):
        train = average.apply(tf.trainable_variables())
    averages = {variable.op.name: average.average(variable) for variable in tf.trainable_variables()}
    return Program(images, labels, loss, train, averages)


def main() -> None:
    """Trains in a session."""
    with tf.Graph().as_default(), tf.Session() as session:
        program = build()
        session.run(tf.global_variables_initializer())

        def step(batch: given.Images) -> float:
            feed = {program.images: batch.images, program.labels: batch.labels}
            return session.run([program.loss, program.train], feed)[0]

        given.train(step, given.batches_of_images(BATCH))


if __name__ == "__main__":
    main()
