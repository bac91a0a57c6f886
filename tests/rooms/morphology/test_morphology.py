"""Morphology: ties, infinities, padding, laws of the algebra, and scipy as a second judge."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import jnnops as nn

INF, NAN = np.inf, np.nan


def row(*values, dtype=jnp.float32):
    return jax.device_put(np.array(values, dtype).reshape(1, 1, -1, 1))


def flat(*values, dtype=jnp.float32):
    return jax.device_put(np.array(values, dtype).reshape(1, -1, 1))


def image(shape=(9, 10), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def on_image(op, x, f, *args, **options):
    """One image of one channel."""
    return np.asarray(op(x[None, :, :, None], f[:, :, None], *args, **options))[0, :, :, 0]


def value_and_ones_pulled_back(f, *arguments):
    """The value, and the gradients of its sum by all arguments, from one program."""

    @jax.jit
    def both(*arguments):
        y, pull = jax.vjp(f, *arguments)
        return y, pull(jnp.ones_like(y))

    return both(*arguments)


def loop(x, f, strides, pads, dilations, *, erode):
    """Dilation or erosion of one ``[height, width]`` image, window by window."""
    outputs = [
        (size + sum(pad) - (k - 1) * d - 1) // s + 1
        for size, pad, k, d, s in zip(x.shape, pads, f.shape, dilations, strides, strict=True)
    ]
    f = f[::-1, ::-1] if erode else f
    y = np.full(outputs, np.finfo(np.float32).max if erode else np.finfo(np.float32).min)
    for i, j, u, v in itertools.product(*map(range, (*outputs, *f.shape))):
        a = i * strides[0] + u * dilations[0] - pads[0][0]
        b = j * strides[1] + v * dilations[1] - pads[1][0]
        if 0 <= a < x.shape[0] and 0 <= b < x.shape[1]:
            y[i, j] = min(y[i, j], x[a, b] - f[u, v]) if erode else max(y[i, j], x[a, b] + f[u, v])
    return y


class TestWindows:
    @pytest.mark.parametrize("op", [nn.dilation2d, nn.erosion2d])
    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 8), (1, 70)])
    @pytest.mark.parametrize(("strides", "dilations"), [((1, 1), (1, 1)), ((2, 3), (2, 1))])
    def test_equal_a_loop(self, op, size, strides, dilations):
        # 9 x 8 and 1 x 70 have more taps than are unrolled
        x, f = image((20, 75)), image(size, seed=1)
        pads = ((3, 2), (0, 4))
        expected = loop(x, f, strides, pads, dilations, erode=op is nn.erosion2d)
        np.testing.assert_allclose(on_image(op, x, f, strides, pads, dilations=dilations), expected, rtol=1e-6)

    @settings(max_examples=12, deadline=None)
    @given(
        size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        dilations=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        padding=st.sampled_from(["SAME", "VALID"]),
        erode=st.booleans(),
    )
    def test_values_and_tied_gradients_are_those_of_tensorflow(self, size, strides, dilations, padding, erode):
        from machinery import oracle

        rng = np.random.default_rng(0)
        arrays = {"x": rng.integers(0, 3, (2, 11, 10, 2)), "f": rng.integers(0, 2, (*size, 2))}
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}

        def theirs(tf, x, f):
            op = tf.nn.erosion2d if erode else tf.nn.dilation2d
            return op(x, f, [1, *strides, 1], padding, "NHWC", [1, *dilations, 1])

        def ours(x, f):
            return (nn.erosion2d if erode else nn.dilation2d)(x, f, strides, padding, dilations=dilations)

        @jax.jit
        def value_and_gradients(x, f):
            y, pull = jax.vjp(ours, x, f)
            return y, pull(oracle.cotangent(y.shape).astype(y.dtype))

        y, gradients = value_and_gradients(**arrays)
        np.testing.assert_array_equal(y, oracle.values(theirs, arrays)[0])
        for actual, wanted in zip(gradients, oracle.gradients(theirs, arrays, ["x", "f"]), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("op", [nn.dilation2d, nn.erosion2d])
    def test_large_windows_have_the_gradients_of_small_ones(self, op):
        # the same element with cells around it that do not belong to it is unrolled, looped by rows and by taps
        x, f = image((12, 80))[None, :, :, None], image((3, 2))
        weights = image((12, 80), seed=2)[None, :, :, None]

        def gradients(rows, columns):
            padded = np.pad(f, ((rows, rows), (columns, columns)), constant_values=-INF)[:, :, None]
            pads = [(rows + 1, rows + 1), (columns, columns + 1)]
            gx, gf = jax.grad(lambda x, f: jnp.sum(op(x, f, 1, pads) * weights), (0, 1))(x, padded)
            return gx, gf[rows : rows + 3, columns : columns + 2]

        for actual in (gradients(4, 4), gradients(0, 40)):
            for a, e in zip(actual, gradients(0, 0), strict=True):
                np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)

    def test_a_window_of_padding_only_gives_the_lowest_number(self):
        # the two taps of the first window lie on either side of the only cell
        for dtype in (jnp.float32, jnp.bfloat16, jnp.int8, jnp.uint8):
            info = jnp.finfo(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype)
            x, f = row(3, dtype=dtype), flat(1, 1, dtype=dtype)
            assert np.ravel(nn.dilation2d(x, f, 1, "SAME", dilations=2))[0] == info.min
            assert np.ravel(nn.erosion2d(x, f, 1, "SAME", dilations=2))[0] == info.max

    def test_a_window_of_padding_only_has_no_gradient(self):
        x, f = row(3.0), flat(1.0, 1.0)
        for g in jax.jit(jax.grad(lambda x, f: nn.dilation2d(x, f, 1, "SAME", dilations=2).sum(), (0, 1)))(x, f):
            assert not np.any(g)


class TestExtremum:
    def test_nan_is_the_extremum(self):
        x = row(1.0, NAN, 2.0, 3.0)
        for op in (nn.dilation2d, nn.erosion2d):
            y, gradient = value_and_ones_pulled_back(lambda x, op=op: op(x, flat(0.0, 0.0), 1, "VALID"), x)
            assert np.isnan(y).ravel().tolist() == [True, True, False]
            assert np.ravel(gradient[0])[1] == 2

    def test_infinities_stay(self):
        assert nn.dilation2d(row(-INF, -INF), flat(0.0, 0.0, 0.0), 1, "SAME").ravel().tolist() == [-INF, -INF]
        assert nn.erosion2d(row(INF, INF), flat(0.0, 0.0, 0.0), 1, "SAME").ravel().tolist() == [INF, INF]

    def test_gradient_of_minus_infinity_goes_to_a_cell_of_the_image(self):
        g = jax.jit(jax.grad(lambda x: nn.dilation2d(x, flat(0.0, 0.0, 0.0), 1, "SAME").sum()))(row(-INF, -INF))
        assert g.ravel().tolist() == [2, 0]

    def test_cells_of_minus_infinity_do_not_belong_to_the_element(self):
        x = row(INF, 1.0, NAN, 2.0)
        hole = flat(0.0, -INF, -INF)
        assert nn.dilation2d(x, hole, 1, "VALID").ravel().tolist() == [INF, 1]
        assert nn.erosion2d(x, flat(-INF, -INF, 0.0), 1, "VALID").ravel().tolist() == [INF, 1]

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32])
    def test_lowest_and_highest_integers_beat_padding(self, dtype):
        info = jnp.iinfo(dtype)
        x, f = row(info.min, info.min, info.max, dtype=dtype), flat(0, 0, 0, dtype=dtype)
        assert nn.dilation2d(x, f, 1, "SAME").ravel().tolist() == [info.min, info.max, info.max]
        assert nn.erosion2d(x, f, 1, "SAME").ravel().tolist() == [info.min, info.min, info.min]
        one = flat(1, 1, 1, dtype=dtype)
        assert nn.dilation2d(x[:, :, :2], one, 1, "SAME").ravel().tolist() == [info.min + 1] * 2

    def test_integers_are_those_of_tensorflow(self):
        from machinery import oracle

        rng = np.random.default_rng(0)
        arrays = {"x": rng.integers(0, 99, (1, 8, 9, 2), np.uint8), "f": rng.integers(0, 9, (3, 3, 2), np.uint8)}
        y = nn.dilation2d(arrays["x"], arrays["f"], 1, "SAME")
        assert y.dtype == jnp.uint8
        [expected] = oracle.values(lambda tf, x, f: tf.nn.dilation2d(x, f, [1] * 4, "SAME", "NHWC", [1] * 4), arrays)
        np.testing.assert_array_equal(y, expected)

    def test_second_derivative_is_that_of_what_comes_after(self):
        x, f = row(1.0, 5.0, 2.0), flat(0.5, 0.0)
        hessian = jax.jit(jax.hessian(lambda f: jnp.sum(nn.dilation2d(x, f, 1, "VALID") ** 2)))(f)
        np.testing.assert_allclose(hessian.reshape(2, 2), [[2, 0], [0, 2]])


class TestScipy:
    """``scipy.ndimage`` reverses the element of a dilation instead of an erosion's, and keeps the size."""

    @pytest.mark.parametrize("size", [(3, 3), (1, 5), (5, 3)])
    def test_grey_dilation_and_erosion(self, size):
        x, f = image(), image(size, seed=1)
        ours = on_image(nn.dilation2d, x, f, 1, "SAME")
        theirs = ndimage.grey_dilation(x, structure=f[::-1, ::-1], mode="constant", cval=-INF)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        ours = on_image(nn.erosion2d, x, f, 1, "SAME")
        theirs = ndimage.grey_erosion(x, structure=f[::-1, ::-1], mode="constant", cval=INF)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    @pytest.mark.parametrize("size", [(3, 3), (2, 2), (4, 3)])
    def test_compositions(self, size):
        # with a border that no window reaches across, so that how the image goes on beyond it does not matter
        x, f = image((24, 24)), image(size, seed=1)
        inner = (slice(8, -8),) * 2
        structure = f[::-1, ::-1]
        pairs = [(nn.opening2d, ndimage.grey_opening), (nn.closing2d, ndimage.grey_closing)]
        pairs += [(nn.white_tophat2d, ndimage.white_tophat), (nn.black_tophat2d, ndimage.black_tophat)]
        if size == (3, 3):
            pairs.append((nn.morphological_gradient2d, ndimage.morphological_gradient))
        for ours, theirs in pairs:
            expected = theirs(x, structure=structure)
            np.testing.assert_allclose(on_image(ours, x, f)[inner], expected[inner], atol=1e-5, err_msg=ours.__name__)

    def test_reconstruction_fills_holes_as_binary_propagation(self):
        rng = np.random.default_rng(0)
        mask, marker = rng.random((30, 30)) < 0.6, rng.random((30, 30)) < 0.02
        expected = ndimage.binary_propagation(marker & mask, structure=np.ones((3, 3)), mask=mask)
        seeds, space = (a[None, :, :, None].astype(np.int8) for a in (marker, mask))
        ours = nn.reconstruct2d(seeds, space)
        np.testing.assert_array_equal(ours[0, :, :, 0], expected)


class TestLaws:
    @pytest.mark.parametrize("size", [(3, 3), (2, 2), (4, 1), (2, 5)])
    @pytest.mark.parametrize("dilations", [1, 2])
    def test_opening_and_closing(self, size, dilations):
        x, f = image((12, 13)), image(size, seed=1)
        for op, sign in ((nn.opening2d, 1), (nn.closing2d, -1)):
            y = on_image(op, x, f, dilations=dilations)
            assert (sign * (x - y) >= -1e-5).all()
            np.testing.assert_allclose(on_image(op, y, f, dilations=dilations), y, atol=1e-5)

    def test_erosion_is_the_dual_of_dilation(self):
        x, f = image()[None, :, :, None], image((3, 2), seed=1)[:, :, None]
        dual = -nn.dilation2d(-x, f[::-1, ::-1], 2, "SAME")
        np.testing.assert_allclose(nn.erosion2d(x, f, 2, "SAME"), dual, rtol=1e-6)

    def test_tophats_of_unsigned_integers_do_not_wrap(self):
        x = np.random.default_rng(0).integers(0, 255, (1, 9, 9, 1), np.uint8)
        element = np.zeros((3, 3, 1), np.uint8)
        for op in (nn.white_tophat2d, nn.black_tophat2d, nn.morphological_gradient2d):
            wide = op(x.astype(np.int32), element.astype(np.int32))
            np.testing.assert_array_equal(op(x, element), wide)


class TestReconstruction:
    def test_runs_until_nothing_changes(self):
        # a corridor of 40 cells that winds once
        mask = np.zeros((1, 5, 20, 1), np.float32)
        mask[0, 0], mask[0, 4], mask[0, :, 19] = 1, 1, 1
        marker = np.zeros_like(mask)
        marker[0, 0, 0] = 1
        np.testing.assert_array_equal(nn.reconstruct2d(marker, mask), mask)
        cut = nn.reconstruct2d(marker, mask, steps=5)
        assert cut.sum() == 6

    def test_a_marker_above_the_mask_is_cut_off(self):
        assert nn.reconstruct2d(row(9.0, 0.0), row(3.0, 1.0)).ravel().tolist() == [3, 1]

    def test_nan_propagates_and_ends(self):
        y = nn.reconstruct2d(row(NAN, 0.0, 0.0), row(3.0, 3.0, 3.0))
        assert np.isnan(y).all()

    def test_gradient_goes_to_the_marker_that_floods_and_the_mask_that_cuts(self):
        marker, mask = row(2.0, 0.0, 0.0, 0.0), row(9.0, 9.0, 1.0, 9.0)
        y, gradients = value_and_ones_pulled_back(lambda a, b: nn.reconstruct2d(a, b, steps=5), marker, mask)
        assert np.ravel(y).tolist() == [2, 2, 1, 1]
        found = [np.ravel(g).tolist() for g in gradients]
        assert found == [[2, 0, 0, 0], [0, 0, 2, 0]]

    def test_forward_mode_runs_until_nothing_changes(self):
        marker, mask = row(2.0, 0.0, 0.0, 0.0), row(9.0, 9.0, 1.0, 9.0)
        derivative = jax.jit(lambda a, tangent: jax.jvp(lambda a: nn.reconstruct2d(a, mask), (a,), (tangent,))[1])
        assert np.ravel(derivative(marker, np.ones_like(marker))).tolist() == [1, 1, 0, 0]

    def test_a_structuring_element_slopes(self):
        slope = flat(-1.0, 0.0, -1.0)
        y = nn.reconstruct2d(row(5.0, 0, 0, 0), row(9.0, 9, 9, 9), slope)
        assert y.ravel().tolist() == [5, 4, 3, 2]
