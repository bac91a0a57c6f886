"""Convolution as a closed family of operations, so that each direction of it has its own lowering.

The plain ``lax.conv_general_dilated`` leaves its gradients to JAX, whose transposes XLA lowers badly on CPU: inside a
loop (``scan``, ``map``, gradient accumulation) a convolution in any layout other than channels last becomes a scalar
loop, 30 times slower than outside. With

    T(x, w, y) = sum(conv(x, w) * y),

the derivatives of ``T`` by ``y``, ``x`` and ``w`` are three bilinear operations, the convolution, its input gradient
and its filter gradient, and the transpose of each is another of them. On CPU each lowers as ``_cpu`` says, elsewhere to
``lax.conv_general_dilated`` and its own transposes, which accelerators have kernels for.

Arrays are ``x: [batch, *spatial, in_channels]``, ``w: [*window, in_channels // groups, out_channels]`` and
``y: [batch, *out_spatial, out_channels]``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jnnops._check import accumulation_dtype, as_dtype, check_precision
from jnnops._primitives.operation import Operation, bilinear, transpose_bilinear
from jnnops._primitives.varying import zeros_varying_like
from jnnops._windows.geometry import Window
from jnnops._windows.layout import batch_shape, merge_batch, split_batch
from jnnops.convolution import _cpu


class Sums(NamedTuple):
    """How products are summed, as the user of an op said it.

    Attributes:
        precision: As in ``lax.conv_general_dilated``.
        preferred_element_type: The dtype to sum in and to return.
    """

    precision: lax.PrecisionLike = None
    preferred_element_type: DTypeLike | None = None

    def checked(self, op: str, dtype: np.dtype) -> "Sums":
        """The same in hashable form, checked to be fit for sums of products of ``dtype``."""
        check_precision(op, self.precision)
        precision: Any = tuple(self.precision) if isinstance(self.precision, list) else self.precision
        if self.preferred_element_type is None:
            return Sums(precision)
        preferred = as_dtype(op, "preferred_element_type", self.preferred_element_type)
        floats, preferred_floats = (jnp.issubdtype(each, jnp.floating) for each in (dtype, preferred))
        loses_a_sign = jnp.issubdtype(preferred, jnp.unsignedinteger) and jnp.issubdtype(dtype, jnp.signedinteger)
        if preferred.itemsize < dtype.itemsize or floats > preferred_floats or loses_a_sign:
            raise TypeError(
                f"{op}: `preferred_element_type` must hold all that {dtype} does (as wide at least, with fractions and "
                f"signs if it has them), got {preferred}"
            )
        return Sums(precision, preferred)

    def dtype(self, dtype: Any) -> Any:
        """The dtype of the result: the preferred one, at least int32 for integers, otherwise the arguments' own."""
        if self.preferred_element_type is not None:
            return jnp.dtype(self.preferred_element_type)
        if jnp.issubdtype(dtype, jnp.integer):
            return jnp.promote_types(jnp.int32, dtype) if dtype.itemsize > 4 else jnp.dtype(jnp.int32)
        return dtype


DEFAULT_SUMS = Sums()


@functools.partial(jax.jit, static_argnames=("operation", "window", "groups", "sums", "channels_last"))
def of_images(
    operation: Callable[..., jax.Array],
    images: jax.Array,
    filters: jax.Array,
    *,
    window: Window,
    groups: int = 1,
    sums: Sums = DEFAULT_SUMS,
    channels_last: bool,
) -> jax.Array:
    """:func:`convolution` or :func:`input_gradient` of images in either layout, with any batch dimensions."""
    rank = window.rank
    result = operation(merge_batch(images, rank, channels_last), filters, window, groups, sums)
    return split_batch(result, batch_shape(images, rank), rank, channels_last)


def convolution(x: jax.Array, w: jax.Array, window: Window, groups: int = 1, sums: Sums = DEFAULT_SUMS) -> jax.Array:
    """``[batch, *out_spatial, out_channels]`` of the input and the filters, of one dtype."""
    dtype = sums.dtype(x.dtype)
    other = None if dtype == x.dtype else dtype
    return _forward(x, w, window=window, groups=groups, precision=sums.precision, dtype=other)


def input_gradient(y: jax.Array, w: jax.Array, window: Window, groups: int = 1, sums: Sums = DEFAULT_SUMS) -> jax.Array:
    """``[batch, *spatial, in_channels]`` of a cotangent and the filters: the transpose of ``convolution`` in ``x``."""
    dtype = sums.dtype(y.dtype)
    return _input_gradient(y.astype(dtype), w.astype(dtype), window=window, groups=groups, precision=sums.precision)


def filter_gradient(
    x: jax.Array, y: jax.Array, window: Window, groups: int = 1, sums: Sums = DEFAULT_SUMS
) -> jax.Array:
    """``[*window, in_channels // groups, out_channels]`` of the input and a cotangent: the transpose in ``w``."""
    dtype = sums.dtype(x.dtype)
    return _filter_gradient(x.astype(dtype), y.astype(dtype), window=window, groups=groups, precision=sums.precision)


def _plain_forward(
    x: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike, dtype: Any = None
) -> jax.Array:
    return _convolve(
        x,
        w,
        window.strides,
        window.padding,
        rhs_dilation=window.dilations,
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=dtype,
    )


def _plain_input_gradient(
    y: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike
) -> jax.Array:
    x_like = zeros_varying_like(y, (y.shape[0], *window.input_shape, groups * w.shape[-2]))
    if jnp.issubdtype(y.dtype, jnp.integer):  # of which JAX has no transposes
        if 0 in (y.size, w.size):
            return x_like
        in_channels, out_channels = w.shape[-2], w.shape[-1] // groups
        turned = jnp.flip(w, range(window.rank)).reshape(*window.size, in_channels, groups, out_channels)
        turned = jnp.moveaxis(turned, -1, -3).swapaxes(-1, -2)  # [*window, out_channels, groups, in_channels]
        turned = turned.reshape(*window.size, out_channels, groups * in_channels)
        return _convolve(
            y,
            turned,
            (1,) * window.rank,
            [dim.transposed_padding for dim in window.dimensions],
            lhs_dilation=window.strides,
            rhs_dilation=window.dilations,
            feature_group_count=groups,
        )
    forward = functools.partial(_plain_forward, window=window, groups=groups, precision=precision)
    return jax.linear_transpose(lambda x: forward(x, w), x_like)(y)[0]


def _plain_filter_gradient(
    x: jax.Array, y: jax.Array, *, window: Window, groups: int, precision: lax.PrecisionLike
) -> jax.Array:
    w_like = zeros_varying_like(y, (*window.size, x.shape[-1] // groups, y.shape[-1]))
    if jnp.issubdtype(y.dtype, jnp.integer):
        if 0 in (x.size, y.size):
            return w_like
        # Batch and channels change places: [in_channels // groups, *spatial, groups * batch].
        split = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups), (-1, 0), (0, -1))
        w = _convolve(
            split.reshape(*split.shape[:-2], groups * x.shape[0]),
            jnp.moveaxis(y, 0, -2),
            window.dilations,
            [(dim.before, dim.cells_of(dim.outputs) - dim.cells - dim.before) for dim in window.dimensions],
            rhs_dilation=window.strides,
            feature_group_count=groups,
        )
        return jnp.moveaxis(w, 0, -2)
    forward = functools.partial(_plain_forward, window=window, groups=groups, precision=precision)
    return jax.linear_transpose(lambda w: forward(x, w), w_like)(y)[0]


def _convolve(x: jax.Array, w: jax.Array, *arguments: Any, **options: Any) -> jax.Array:
    """The convolution of ``lax`` with channels last."""
    spatial = "DHW"[5 - x.ndim :]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return lax.conv_general_dilated(x, w, *arguments, dimension_numbers=numbers, **options)


def _on_cpu(plain: Callable[..., jax.Array], lowering: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """What computes an operation on CPU, in the dtype of its sums."""

    def compute(a: jax.Array, b: jax.Array, *, dtype: Any = None, window: Window, **params: Any) -> jax.Array:
        result = jnp.dtype(dtype or a.dtype)
        is_dense = params["groups"] == 1 and result != a.dtype and jnp.issubdtype(a.dtype, jnp.integer)
        if is_dense or 0 in (a.size, b.size, *window.output_shape):
            # XLA has kernels for narrow integers; and of nothing there is nothing to be fast about
            preferred = {} if dtype is None else {"dtype": dtype}
            return plain(a, b, window=window, **preferred, **params)
        wide = accumulation_dtype(result)
        return lowering(a.astype(wide), b.astype(wide), window=window, **params).astype(result)

    return compute


class _Merge(NamedTuple):
    """Where an axis mapped by ``vmap`` goes in an array: into ``axis``, between its ``groups`` if it has any."""

    axis: int
    in_groups: bool = False


# For each set of arguments of T that the mapped axis is in. What is not mapped stays as it is.
_MERGES = {
    "xy": {"x": _Merge(0), "y": _Merge(0)},  # a larger batch
    "wy": {"w": _Merge(-1, True), "y": _Merge(-1, True)},  # more out_channels
    "wx": {"w": _Merge(-2), "x": _Merge(-1, True)},  # more in_channels
    "wxy": {"w": _Merge(-1), "x": _Merge(-1), "y": _Merge(-1)},  # more groups
}


def _batch(
    roles: str,
    operation: Operation,
    arrays: Sequence[jax.Array],
    axes: Sequence[int | None],
    *,
    groups: int,
    **params: Any,
) -> tuple[jax.Array, int]:
    """The batching rule of an operation of two arguments of T, of which the third role is its result."""
    *given, result = roles
    mapped = {role: axis for role, axis in zip(given, axes, strict=True) if axis is not None}
    merges = _MERGES["".join(sorted([*mapped, result]))]
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)

    def parts(role: str) -> tuple[int, int]:
        return merges[role].axis, groups if merges[role].in_groups else 1

    merged = [
        _merge(jnp.moveaxis(array, mapped[role], 0), *parts(role)) if role in mapped else array
        for role, array in zip(given, arrays, strict=True)
    ]
    out = operation(*merged, groups=groups * size if len(merges) == 3 else groups, **params)
    return _unmerge(out, *parts(result), size), 0


def _merge(array: jax.Array, axis: int, groups: int) -> jax.Array:
    """``[size, ..., groups * rest, ...]`` to ``[..., groups * size * rest, ...]``."""
    size, *shape = array.shape
    axis %= len(shape)
    split = array.reshape(size, *shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    return jnp.moveaxis(split, 0, axis + 1).reshape(*shape[:axis], size * shape[axis], *shape[axis + 1 :])


def _unmerge(array: jax.Array, axis: int, groups: int, size: int) -> jax.Array:
    """The inverse of ``_merge``."""
    shape = array.shape
    axis %= len(shape)
    rest = shape[axis] // (groups * size)
    split = array.reshape(*shape[:axis], groups, size, rest, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis + 1, 0).reshape(size, *shape[:axis], groups * rest, *shape[axis + 1 :])


def _family() -> tuple[Operation, Operation, Operation]:
    plain = {
        "convolution": ("xwy", _plain_forward, _cpu.forward),
        "convolution_input_gradient": ("ywx", _plain_input_gradient, _cpu.input_gradient),
        "convolution_filter_gradient": ("xyw", _plain_filter_gradient, _cpu.filter_gradient),
    }
    forward, by_input, by_filters = (
        bilinear(name, compute, functools.partial(_batch, roles), on_cpu=_on_cpu(compute, lowering))
        for name, (roles, compute, lowering) in plain.items()
    )

    # The forward operation alone may sum in another dtype than its arguments have.
    def input_of_y(y: jax.Array, x: Any, w: jax.Array, *, dtype: Any, **params: Any) -> jax.Array:
        del dtype
        return by_input(y, w.astype(y.dtype), **params).astype(x.aval.dtype)

    def filters_of_y(y: jax.Array, x: jax.Array, w: Any, *, dtype: Any, **params: Any) -> jax.Array:
        del dtype
        return by_filters(x.astype(y.dtype), y, **params).astype(w.aval.dtype)

    def y_of(x: jax.Array, w: jax.Array, **params: Any) -> jax.Array:
        return forward(x, w, dtype=None, **params)

    transpose_bilinear(forward, input_of_y, filters_of_y)
    transpose_bilinear(
        by_input,
        lambda x, y, w, **params: y_of(x, w, **params),
        lambda x, y, w, **params: by_filters(x, y, **params),
    )
    transpose_bilinear(
        by_filters,
        lambda w, x, y, **params: by_input(y, w, **params),
        lambda w, x, y, **params: y_of(x, w, **params),
    )
    return forward, by_input, by_filters


_forward, _input_gradient, _filter_gradient = _family()
