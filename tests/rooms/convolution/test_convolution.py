"""Convolutions against loops in NumPy on drawn arguments, integers and 16-bit sums."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jnnops as nn


def loop(x, w, strides, pads, dilations):
    """Convolution of ``[batch, *spatial, channels]`` tap by tap in float64, in groups."""
    n, groups = w.ndim - 2, x.shape[-1] // w.shape[-2]
    x = np.pad(x.astype(np.float64), [(0, 0), *pads, (0, 0)])
    outputs = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(x.shape[1:-1], w.shape, strides, dilations, strict=False)
    ]
    y = np.zeros((x.shape[0], *outputs, w.shape[-1]))
    for tap in itertools.product(*map(range, w.shape[:n])):
        cells = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, dilations, outputs, strides, strict=True)
        )
        for group, (part, kernel) in enumerate(
            zip(np.split(x[(slice(None), *cells)], groups, -1), np.split(w[tap], groups, -1), strict=True)
        ):
            width = w.shape[-1] // groups
            y[..., group * width : (group + 1) * width] += part @ kernel
    return y


@st.composite
def calls(draw):
    n = draw(st.integers(1, 3))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * n))

    window, strides, dilations, groups = each(1, 3), each(1, 3), each(1, 2), draw(st.integers(1, 2))
    pads = tuple(zip(each(0, 3), each(0, 3), strict=True))
    reach = tuple((k - 1) * d + 1 for k, d in zip(window, dilations, strict=True))
    spatial = tuple(r + extra for r, extra in zip(reach, each(0, 3), strict=True))
    return n, window, strides, dilations, groups, pads, spatial, draw(st.booleans())


class TestAgainstALoop:
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(calls())
    def test_any_geometry(self, call):
        n, window, strides, dilations, groups, pads, spatial, channels_last = call
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, *spatial, 4)).astype(np.float32)
        w = rng.standard_normal((*window, 4 // groups, 2)).astype(np.float32)
        expected = loop(x, w, strides, pads, dilations)
        if not channels_last:
            x, expected = np.moveaxis(x, -1, 1), np.moveaxis(expected, -1, 1)
        data_format = {1: "NCW", 2: "NCHW", 3: "NCDHW"}[n] if not channels_last else None
        actual = jax.jit(lambda x, w: nn.convolution(x, w, strides, pads, data_format, dilations))(x, w)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)

    def test_same_in_three_dimensions_follows_the_formula_where_windows_end_early(self):
        # (2 - 1) * 3 + 1 < 6: TensorFlow's kernels start at cell 1 here
        x = np.arange(6.0, dtype=np.float32).reshape(1, 6, 1, 1, 1)
        y = nn.conv3d(x, np.ones((1, 1, 1, 1, 1), np.float32), (3, 1, 1), "SAME")
        assert y.ravel().tolist() == [0, 3]


class TestDtypes:
    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32])
    def test_integers_are_summed_in_int32(self, dtype):
        y = nn.conv2d(np.full((1, 5, 5, 64), 100, dtype), np.full((3, 3, 64, 2), 100, dtype), 1, "VALID")
        assert y.dtype == jnp.int32
        assert set(y.ravel().tolist()) == {9 * 64 * 100 * 100}

    @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
    def test_16_bits_are_summed_in_float32(self, dtype):
        x, w = jnp.ones((1, 3, 3, 5000), dtype), jnp.ones((3, 3, 5000, 1), dtype)
        assert nn.conv2d(x, w, 1, "VALID").item() == jnp.asarray(45_000, dtype)

    def test_preferred_element_type_is_that_of_the_result(self):
        x, w = jnp.ones((1, 3, 3, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16)
        assert nn.conv2d(x, w, 1, "VALID", preferred_element_type=jnp.float32).dtype == jnp.float32

    def test_precision_reaches_lax(self):
        f = jax.jit(lambda x, w: nn.conv2d(x, w, 1, "VALID", precision="highest"))
        assert "HIGHEST" in f.lower(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1))).as_text()
