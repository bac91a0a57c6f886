"""The port of the CIFAR-10 network: before and after train alike."""

from itertools import islice

import given
import jax
import jax.numpy as jnp
import numpy as np
from machinery.oracle import tf

STEPS, BATCH, STEPS_PER_DECAY = 6, 16, 3


def test_losses_and_averages_are_those_of_the_tensorflow_1_program():
    # After the oracle, which settles how TensorFlow is loaded.
    import cifar10_after as after
    import cifar10_before as before

    v1 = tf.compat.v1
    batches = list(islice(given.batches_of_images(BATCH), STEPS))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        program = before.build(STEPS_PER_DECAY)
        session.run(v1.global_variables_initializer())
        initial = session.run({variable.op.name: variable for variable in v1.trainable_variables()})
        expected = [
            session.run([program.loss, program.train], {program.images: images, program.labels: labels})[0]
            for images, labels in batches
        ]
        averages = after.Network.from_variables(session.run(program.averages))
    losses = []
    with jax.numpy_dtype_promotion("standard"):  # as optax needs it
        state = after.TrainState.init(after.Network.from_variables(initial))
        for images, labels in batches:
            state, loss = after.train_step(state, jnp.asarray(images), jnp.asarray(labels), STEPS_PER_DECAY)
            losses.append(loss)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(state.averages), jax.tree.leaves(averages), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
