"""The primitives of convolution: each lowering against ``lax``, their transposes, batching and code inside loops."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jnnops._windows.geometry import resolve_window
from jnnops.convolution import _bilinear as _linear
from jnnops.convolution._cpu import filters as _linear_cpu

# (spatial shape, window, strides, padding, dilations, in and out channels of a group, groups)
GEOMETRIES = {
    "1d-strided-by-phases": ((9,), (4,), 2, [(1, 2)], 1, (2, 2), 1),
    "1d-groups": ((9,), (3,), 2, "SAME", 1, (2, 3), 2),
    "2d-dilated": ((7, 6), (3, 2), 1, "SAME", 2, (2, 3), 1),
    "2d-strided-by-phases": ((9, 8), (4, 5), (2, 3), [(3, 1), (0, 2)], 1, (2, 2), 1),
    "2d-strided-small-window": ((8, 8), (2, 2), 3, "VALID", 1, (2, 2), 1),
    "2d-strided-groups": ((8, 7), (3, 3), (2, 3), "SAME", 1, (2, 1), 3),
    "2d-strided-dilated": ((9, 8), (2, 3), 2, "SAME", 2, (2, 2), 1),
    "2d-padded-beyond-window": ((5, 5), (1, 1), 1, [(3, 2), (2, 1)], 1, (2, 2), 1),
    "2d-strided-even": ((9, 12), (3, 4), (1, 2), "SAME", 1, (16, 3), 1),
    "2d-strided-by-row-phases": ((25, 24), (3, 3), 2, "SAME", 1, (9, 2), 1),
    "2d-small-window-by-row-phases": ((49, 48), (2, 3), (4, 3), [(1, 0), (0, 2)], 1, (6, 2), 1),
    "2d-groups-of-five": ((5, 4), (2, 3), 1, "SAME", 1, (5, 2), 2),
    "2d-groups-in-parts": ((4, 4), (3, 3), 1, "SAME", 1, (32, 33), 2),
    "2d-pointwise": ((5, 6), (1, 1), 1, "VALID", 1, (2, 3), 1),
    "2d-pointwise-strided": ((5, 6), (1, 1), (1, 2), "VALID", 1, (2, 3), 1),
    "3d": ((5, 4, 5), (3, 2, 3), 1, "SAME", (2, 1, 1), (2, 2), 1),
    "3d-strided": ((7, 5, 6), (3, 3, 3), 2, "SAME", 1, (2, 2), 1),
    "3d-strided-channels": ((7, 5, 6), (2, 3, 3), (2, 1, 2), [(1, 0), (2, 1), (0, 1)], (3, 2, 1), (16, 2), 1),
    "3d-fewer-outputs": ((5, 4, 5), (3, 1, 2), 1, [(1, 2), (0, 0), (1, 0)], (2, 1, 1), (4, 2), 1),
    "3d-strided-width": ((4, 5, 3), (2, 3, 2), (1, 2, 1), "VALID", 1, (2, 2), 1),
}
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Images this small make several steps of the filter gradient too."""
    monkeypatch.setattr(_linear_cpu, "CHUNK_BYTES", 256)


def call(geometry):
    """``x``, ``w``, ``y`` and the static arguments."""
    spatial, size, strides, padding, dilations, (in_channels, out_channels), groups = geometry
    rng = np.random.default_rng(0)
    window = resolve_window("", input_shape=spatial, size=size, strides=strides, padding=padding, dilations=dilations)
    shapes = (
        (2, *spatial, in_channels * groups),
        (*size, in_channels, out_channels * groups),
        (2, *window.output_shape, out_channels * groups),
    )
    return *(rng.standard_normal(shape) for shape in shapes), {"window": window, "groups": groups}


def plain(x, w, window, groups):
    spatial = "DHW"[-len(window.size) :]
    return lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        rhs_dilation=window.dilations,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def every_primitive(x, w, y, **static):
    """The convolution and both of its gradients."""
    return (
        _linear.convolution(x, w, **static),
        _linear.input_gradient(y, w, **static),
        _linear.filter_gradient(x, y, **static),
    )


class TestAgainstLax:
    @every_geometry
    def test_values_and_gradients(self, geometry):
        x, w, y, static = call(geometry)

        @jax.jit
        def both(x, w, y):
            expected, pull_back = jax.vjp(lambda x, w: plain(x, w, **static), x, w)
            return every_primitive(x, w, y, **static), (expected, *pull_back(y))

        with jax.enable_x64(True):
            for actual, expected in zip(*both(x, w, y), strict=True):
                np.testing.assert_allclose(actual, expected, atol=1e-12)

    @pytest.mark.parametrize("name", ["1d-groups"])
    def test_derivatives_of_each_primitive_to_second_order(self, name):
        with jax.enable_x64(True):
            x, w, y, static = call(GEOMETRIES[name])
            f = jax.jit(functools.partial(every_primitive, **static))
            check_grads(f, tuple(map(jnp.asarray, (x, w, y))), order=2, atol=1e-5, rtol=1e-5)

    def test_nothing_to_compute(self):
        for batch, cells in ((0, 4), (2, 0)):
            window = resolve_window("", input_shape=(cells, 4), size=(2, 2), strides=1, padding="VALID")
            x, w = np.ones((batch, cells, 4, 3), np.float32), np.ones((2, 2, 3, 5), np.float32)

            @jax.jit
            def both(x, w, window=window):
                y, pull_back = jax.vjp(lambda x, w: _linear.convolution(x, w, window), x, w)
                return y, pull_back(y)

            y, gradients = both(x, w)
            assert y.shape == (batch, max(cells - 1, 0), 3, 5)
            for gradient, like in zip(gradients, (x, w), strict=True):
                np.testing.assert_array_equal(gradient, np.zeros_like(like))

    def test_16_bits_are_summed_in_float32(self):
        window = resolve_window("", input_shape=(64, 64), size=(1, 1), strides=1, padding="VALID")
        x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
        assert _linear.filter_gradient(x, x, window).item() == 64 * 64


class TestBatching:
    @pytest.mark.parametrize("name", ["1d-groups"])
    def test_each_primitive_mapped_over_either_or_both(self, name):
        x, w, y, static = call(GEOMETRIES[name])

        def mapped_and_loop(f, arguments, mapped):
            f = functools.partial(f, **static)
            stacks = [jnp.stack([a, jnp.flip(a), a + 1]) if m else a for a, m in zip(arguments, mapped, strict=True)]
            parts = [[stack[i] if m else stack for stack, m in zip(stacks, mapped, strict=True)] for i in range(3)]
            axes = [0 if m else None for m in mapped]
            return jax.vmap(f, in_axes=axes)(*stacks), jnp.stack([f(*part) for part in parts])

        @jax.jit
        def pairs(x, w, y):
            calls = (
                (_linear.convolution, (x, w)),
                (_linear.input_gradient, (y, w)),
                (_linear.filter_gradient, (x, y)),
            )
            which = ((True, False), (False, True), (True, True))
            return [mapped_and_loop(*call, mapped) for call in calls for mapped in which]

        with jax.enable_x64(True):
            for actual, expected in pairs(x, w, y):
                np.testing.assert_allclose(actual, expected, atol=1e-12)


class TestLowering:
    @every_geometry
    def test_all_convolutions_are_canonical(self, geometry):
        x, w, y, static = call(geometry)

        def gradients(x, w, y):
            return _linear.input_gradient(y, w, **static), _linear.filter_gradient(x, y, **static)

        text = jax.jit(gradients).lower(x, w, y).as_text()
        found = re.findall(r"dim_numbers = (\[.*?\])x(\[.*?\])->(\[.*?\])", text)
        assert found or static["groups"] > 1 or set(static["window"].size) == {1}
        for images, filters, outputs in found:
            cells = ", ".join(str(i) for i in range(images.count(",") - 1))
            assert (images, filters, outputs) == (f"[b, {cells}, f]", f"[{cells}, i, o]", f"[b, {cells}, f]")

    def test_code_does_not_grow_with_the_images(self):
        lines = []
        for cells in (32, 256):
            x, _, y, static = call(((cells, cells), (3, 3), 1, "SAME", 1, (2, 2), 1))
            f = jax.jit(lambda x, y, static=static: _linear.filter_gradient(x, y, **static))
            lines.append(f.lower(x, y).as_text().count("\n"))
        assert lines[0] == lines[1]

    def test_other_platforms_keep_the_convolutions_of_lax(self):
        x, w, y, static = call(GEOMETRIES["3d-strided"])

        def ours(x, w, y):
            return jax.vjp(lambda x, w: _linear.convolution(x, w, **static), x, w)[1](y)

        def laxs(x, w, y):
            return jax.vjp(lambda x, w: plain(x, w, **static), x, w)[1](y)

        def convolutions(f):
            text = jax.jit(f).trace(x, w, y).lower(lowering_platforms=("cuda",)).as_text()
            return sorted(re.findall(r"stablehlo.convolution\(.*?dim_numbers(.*)", text))

        assert convolutions(ours) == convolutions(laxs)
        assert len(convolutions(ours)) == 2
