"""The convolutional layers against Keras's, which the arrays of a checkpoint drop into."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery import oracle
from machinery.case import normal

import jnnops as nn
from jnnops import layers

KEY = jax.random.key(0)


def assert_equals_keras(layer, keras_layer, x):
    """The same arrays in both give the same output; the shapes of ours are those of Keras."""
    keras_layer.build(x.shape)
    arrays = [leaf + 0.1 * jnp.asarray(normal(*leaf.shape), leaf.dtype) for leaf in jax.tree.leaves(layer)]
    keras_layer.set_weights([np.asarray(array) for array in arrays])
    layer = jax.tree.unflatten(jax.tree.structure(layer), arrays)
    np.testing.assert_allclose(layer(x), np.asarray(keras_layer(x)), rtol=2e-5, atol=2e-5)


@pytest.fixture(scope="module")
def keras():
    return oracle.tf.keras.layers


class TestConvTranspose:
    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize(
        ("size", "strides", "output_padding", "use_bias"),
        [
            ((3, 2), (2, 3), None, True),
            ((3, 5), (3, 2), (1, 0), False),
            ((2, 4), (3, 2), 1, True),
            ((2,), (3,), None, True),
            ((3,), (2,), 1, True),
            ((2, 3, 1), (1, 2, 2), None, True),
        ],
    )
    def test_equals_keras(self, keras, size, strides, output_padding, use_bias, padding):
        n, options = len(size), {"strides": strides, "padding": padding, "use_bias": use_bias}
        layer = layers.ConvTranspose.init(3, 4, size, output_padding=output_padding, **options, key=KEY)
        theirs = getattr(keras, f"Conv{n}DTranspose")(4, size, output_padding=output_padding, **options)
        assert_equals_keras(layer, theirs, jnp.asarray(normal(2, *(5, 4, 3)[:n], 3), jnp.float32))

    def test_the_call_says_which_size(self):
        layer = layers.ConvTranspose.init(2, 4, (3, 2), strides=2, groups=2, data_format="NCHW", key=KEY)
        x = jnp.asarray(normal(2, 2, 4, 3), jnp.float32)
        assert layer(x).shape == (2, 4, 8, 6)
        smaller = layer(x, output_shape=(7, 6))
        flat = jnp.moveaxis(x, 1, -1)
        expected = nn.conv2d_transpose(flat, layer.kernel, (2, 7, 6, 4), 2)
        np.testing.assert_allclose(jnp.moveaxis(smaller, 1, -1), expected, rtol=1e-6)
        with pytest.raises(ValueError, match="ConvTranspose: `output_shape` must have spatial sizes 7 to 8 x 5 to 6"):
            layer(x, output_shape=9)

    def test_explicit_padding_reduces_the_output(self):
        layer = layers.ConvTranspose.init(3, 4, (3,), strides=2, padding=[(1, 1)], output_padding=1, key=KEY)
        x = jnp.asarray(normal(2, 5, 3), jnp.float32)
        valid = nn.conv1d_transpose(x, layer.kernel, 12, 2, "VALID")
        np.testing.assert_allclose(layer(x), valid[:, 1:11], rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match="ConvTranspose: `output_padding` must have spatial sizes 9 to 10"):
            layers.ConvTranspose(kernel=layer.kernel, strides=2, padding=((1, 1),), output_padding=2)(x)


class TestDepthwiseConv:
    @pytest.mark.parametrize(("size", "strides", "padding"), [((3, 2), 2, "same"), ((3,), 2, "valid")])
    def test_equals_keras(self, keras, size, strides, padding):
        options = {"strides": strides, "padding": padding}
        layer = layers.DepthwiseConv.init(3, size, multiplier=2, **options, key=KEY)
        theirs = getattr(keras, f"DepthwiseConv{len(size)}D")(size, depth_multiplier=2, **options)
        assert_equals_keras(layer, theirs, jnp.asarray(normal(2, *(7, 6)[: len(size)], 3), jnp.float32))

    def test_three_dimensions_with_channels_second_are_each_channel_by_itself(self):
        layer = layers.DepthwiseConv.init(2, (2, 3, 2), dilations=2, strides=2, data_format="NCDHW", key=KEY)
        x = jnp.asarray(normal(1, 2, 4, 7, 5), jnp.float32)
        for channel in range(2):
            own = x[:, channel, ..., None], layer.kernel[..., channel, :][..., None, :]
            expected = nn.conv3d(*own, strides=2, padding="SAME", dilations=2)[..., 0]
            np.testing.assert_allclose(layer(x)[:, channel], expected, rtol=1e-5, atol=1e-6)


class TestSeparableConv:
    @pytest.mark.parametrize(("size", "strides", "padding"), [((3, 2), 2, "same"), ((3,), 1, "valid")])
    def test_equals_keras(self, keras, size, strides, padding):
        options = {"strides": strides, "padding": padding}
        layer = layers.SeparableConv.init(3, 4, size, multiplier=2, **options, key=KEY)
        theirs = getattr(keras, f"SeparableConv{len(size)}D")(4, size, depth_multiplier=2, **options)
        assert_equals_keras(layer, theirs, jnp.asarray(normal(2, *(7, 6)[: len(size)], 3), jnp.float32))

    def test_a_kernel_that_does_not_fit_is_refused(self):
        layer = layers.SeparableConv(depthwise_kernel=jnp.ones((3, 2, 2)), pointwise_kernel=jnp.ones((1, 3, 5)))
        with pytest.raises(ValueError, match=r"SeparableConv: `pointwise_kernel` must have shape \(1, 4, 5\)"):
            layer(jnp.ones((1, 5, 2)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv.init(4, 4, (3,), groups=2, key=KEY),
        layers.ConvTranspose.init(4, 2, (3,), key=KEY),
        layers.DepthwiseConv.init(4, (3,), key=KEY),
        layers.SeparableConv.init(4, 2, (3,), key=KEY),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_channels_are_refused(layer):
    with pytest.raises(ValueError, match=f"{type(layer).__name__}: `x` must have 4 channels on its last axis"):
        layer(jnp.ones((2, 5, 8)))
