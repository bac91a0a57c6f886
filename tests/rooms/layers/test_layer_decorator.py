"""What a class decorated with ``layer`` promises to JAX, and how misuse of it is answered."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnnops import layers
from jnnops.layers import layer, static

KEY = jax.random.key(0)


@layer
class Scale:
    factor: jax.Array
    power: int | tuple[int, ...] = static(default=1)

    def __call__(self, x):
        return self.factor * x


def public_layers():
    for name, value in vars(layers).items():
        if inspect.isclass(value) and dataclasses.is_dataclass(value) and not name.startswith("Summary"):
            yield pytest.param(value, id=name)


class TestStatics:
    def test_equal_statics_do_not_retrace_and_others_do(self):
        traces = []

        @jax.jit
        def run(conv):
            traces.append(None)
            return conv.kernel

        # a list, an array and an int of the same settings, of which `init` makes the same tuples
        for strides, padding in [([2, 2], "SAME"), (np.array([2, 2]), "SAME"), (2, "SAME"), (2, [(1, 1), (0, 0)])]:
            run(layers.Conv.init(1, 1, [3, 3], strides=strides, padding=padding, key=KEY))
        assert len(traces) == 2

    def test_mutating_what_init_was_given_changes_nothing(self):
        strides, padding = [2, 1], [[1, 1], [0, 0]]
        conv = layers.Conv.init(1, 1, [3, 3], strides=strides, padding=padding, key=KEY)
        run = jax.jit(lambda conv, x: conv(x).shape[1:3])
        before = conv(jnp.ones((1, 8, 8, 1)))
        strides[0], padding[0][0] = 1, 3
        np.testing.assert_array_equal(conv(jnp.ones((1, 8, 8, 1))), before)
        assert run(conv, jnp.ones((1, 8, 8, 1))) == before.shape[1:3]

    @pytest.mark.parametrize("power", [[1, 2], np.ones(2), {"a": 1}])
    def test_a_static_that_cannot_be_hashed_is_refused_by_name(self, power):
        with pytest.raises(TypeError, match=r"Scale: `power` must be hashable, since it is static \(a tuple"):
            Scale(factor=jnp.ones(()), power=power)

    def test_a_layer_of_the_library_says_so_too(self):
        with pytest.raises(TypeError, match=r"Conv: `strides` must be hashable.*got \[2, 2\]"):
            layers.Conv(kernel=jnp.ones((3, 3, 1, 1)), strides=[2, 2])  # pyright: ignore[reportArgumentType]


class TestSubclasses:
    def test_one_that_is_not_decorated_is_refused(self):
        class Twice(Scale):
            pass

        with pytest.raises(TypeError, match="Twice: the class must be decorated with @layer, as Scale, which it ext"):
            Twice(factor=jnp.ones(()))

    def test_one_that_is_decorated_is_a_layer_of_its_own(self):
        @layer
        class Shifted(Scale):
            offset: jax.Array

        shifted = Shifted(factor=jnp.ones(()), offset=jnp.ones(2))
        assert [leaf.shape for leaf in jax.tree.leaves(shifted)] == [(), (2,)]
        assert isinstance(jax.jit(lambda module: module)(shifted), Shifted)

    @pytest.mark.parametrize("cls", list(public_layers()))
    def test_every_layer_is_decorated_and_extends_none(self, cls):
        assert cls.__mro__ == (cls, object)
        assert vars(cls)["__layer__"] is cls
        assert "Example:" in cls.__doc__

    def test_what_is_no_class_is_refused(self):
        with pytest.raises(TypeError, match="layer: `cls` must be a class, got 3"):
            layer(3)  # pyright: ignore[reportArgumentType]


class TestUnflattening:
    MODEL = layers.Sequential.init(
        layers.Conv.init(1, 2, (3, 3), key=KEY),
        layers.ConvTranspose.init(2, 2, (3, 3), strides=2, key=KEY),
        layers.SeparableConv.init(2, 2, (3, 3), key=KEY),
        layers.BatchNorm.init(2, axis=-1),
        layers.LayerNorm.init((4, 2), axis=(1, -1)),
        layers.MaxPool.init(2),
        layers.Dense.init(2, 2, key=KEY),
    )

    def test_takes_anything_in_place_of_arrays(self):
        leaves, structure = jax.tree.flatten(self.MODEL)
        for fill in (object(), None, "x", jax.ShapeDtypeStruct((), jnp.float32)):
            again = jax.tree.unflatten(structure, [fill] * len(leaves))
            assert again[0].kernel is fill
        assert jax.tree.structure(jax.tree.map(lambda leaf: leaf.shape, self.MODEL)) is not None

    def test_takes_tracers_of_every_transform(self):
        def shapes(model):
            return [leaf.shape for leaf in jax.tree.leaves(model)]

        seen = []
        jax.jit(lambda model: seen.append(shapes(model)))(self.MODEL)
        jax.eval_shape(lambda model: seen.append(shapes(model)), self.MODEL)
        jax.grad(lambda model: (seen.append(shapes(model)), jnp.float32(0))[1])(self.MODEL)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), self.MODEL)
        jax.vmap(lambda model: (seen.append(shapes(model)), 0)[1], out_axes=None)(stacked)
        assert seen == [shapes(self.MODEL)] * 4
