"""Layers whose arrays have 32 bits and which compute in 16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import normal

from jnnops import layers

KEY = jax.random.key(0)
MIXED = {"compute_dtype": jnp.bfloat16, "key": KEY}
ROWS = jnp.asarray(normal(2, 6, 4), jnp.float32)
LAYERS = {
    "Dense": (layers.Dense.init(4, 3, **MIXED), ROWS),
    "Conv": (layers.Conv.init(4, 3, (3,), **MIXED), ROWS),
    "ConvTranspose": (layers.ConvTranspose.init(4, 3, (3,), strides=2, **MIXED), ROWS),
    "DepthwiseConv": (layers.DepthwiseConv.init(4, (3,), **MIXED), ROWS),
    "SeparableConv": (layers.SeparableConv.init(4, 3, (3,), **MIXED), ROWS),
    "Embedding": (layers.Embedding.init(5, 4, **MIXED), jnp.array([[0, 4, 4]])),
    "LayerNorm": (layers.LayerNorm.init(4, compute_dtype=jnp.bfloat16), ROWS),
    "RNN": (layers.RNN.init(layers.LSTMCell, 4, 3, **MIXED), ROWS),
    "Bidirectional": (layers.Bidirectional.init(layers.GRUCell, 4, 3, **MIXED), ROWS),
}


@pytest.mark.parametrize("name", LAYERS)
def test_output_is_narrow_and_arrays_and_their_gradients_are_wide(name):
    layer, x = LAYERS[name]

    def loss(layer):
        y = layer(x)
        return jnp.sum(jnp.square(y.astype(jnp.float32))), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(layer)
    assert y.dtype == jnp.bfloat16
    wide = type(layer)(**{**vars(layer), "compute_dtype": None})
    expected = wide(x)
    assert expected.dtype == jnp.float32
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=0.05, atol=0.02)
    for array, change in zip(jax.tree.leaves(layer), jax.tree.leaves(gradient), strict=True):
        assert array.dtype == change.dtype == jnp.float32
        assert bool(jnp.any(change != 0))


def test_batch_norm_keeps_its_moments_wide():
    bn = layers.BatchNorm.init(4, compute_dtype=jnp.bfloat16, momentum=0.0)
    y, state = bn(ROWS, bn.init_state(), training=True)
    assert (y.dtype, state.mean.dtype, state.variance.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(state.mean, np.asarray(ROWS).reshape(-1, 4).mean(0), rtol=1e-5, atol=1e-6)
    again, _ = bn(ROWS, state)
    assert again.dtype == jnp.bfloat16
    gradient = jax.grad(lambda bn: jnp.sum(jnp.sin(bn(ROWS, state, training=True)[0]).astype(jnp.float32)))(bn)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}


def test_states_of_a_recurrent_layer_are_narrow_and_its_weights_cast_before_the_loop():
    rnn, x = LAYERS["RNN"]
    outputs, state = rnn.scan(x, initial_state=layers.LSTMStateTuple(jnp.ones((2, 3)), jnp.ones((2, 3))))
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(jnp.bfloat16)}


def test_a_mixed_model_is_one_program_for_equal_dtypes():
    traces = []

    @jax.jit
    def run(dense):
        traces.append(None)
        return dense(ROWS)

    for dtype in (jnp.bfloat16, "bfloat16", jnp.dtype(jnp.bfloat16)):
        run(layers.Dense.init(4, 3, compute_dtype=dtype, key=KEY))
    assert len(traces) == 1
