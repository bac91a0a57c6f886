"""Convolution as a closed family of primitives, so that each direction of it has its own lowering.

The plain ``lax.conv_general_dilated`` leaves its gradients to JAX, whose transposes XLA lowers badly on CPU: inside a
loop (``scan``, ``map``, gradient accumulation) a convolution in any layout other than channels last becomes a scalar
loop, 30 times slower than outside. A ``custom_vjp`` would mend that and lose forward mode. Instead, with

    T(x, w, y) = sum(conv(x, w) * y),

the derivatives of ``T`` by ``y``, ``x`` and ``w`` are three bilinear primitives, the convolution, its input gradient
and its filter gradient, and the transpose of each is another of them. Forward mode, reverse mode and all mixtures of
any order follow from that. On CPU each lowers as ``_linear_cpu`` says, elsewhere to ``lax.conv_general_dilated`` and
its own transposes, which accelerators have kernels for.

Arrays are ``x: [batch, *spatial, in_channels]``, ``w: [*window, in_channels // groups, out_channels]`` and
``y: [batch, *out_spatial, out_channels]``.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jnnops import _linear_cpu
from jnnops._check import accumulation_dtype
from jnnops._primitives.varying import vary_alike, zeros_varying_like
from jnnops._window import Window

# T's arguments that each primitive takes, and the one that its result stands for
ROLES = {"convolution": "xwy", "convolution_input_gradient": "ywx", "convolution_filter_gradient": "xyw"}

forward_p, input_gradient_p, filter_gradient_p = (Primitive(name) for name in ROLES)


def convolution(x: jax.Array, w: jax.Array, window: Window, *, groups: int = 1, precision: Any = None) -> jax.Array:
    """Convolution of ``x`` with ``w``, of one floating point dtype."""
    return _bind(forward_p, x, w, window=window, groups=groups, precision=precision)


def input_gradient(y: jax.Array, w: jax.Array, window: Window, *, groups: int = 1, precision: Any = None) -> jax.Array:
    """The transpose of ``convolution`` in ``x``, of a cotangent ``y``."""
    return _bind(input_gradient_p, y, w, window=window, groups=groups, precision=precision)


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, *, groups: int = 1, precision: Any = None) -> jax.Array:
    """The transpose of ``convolution`` in ``w``, of a cotangent ``y``."""
    return _bind(filter_gradient_p, x, y, window=window, groups=groups, precision=precision)


def _bind(primitive: Primitive, a: jax.Array, b: jax.Array, **params: Any) -> jax.Array:
    """Binds after making both vary over the same axes of a ``shard_map``, as every bilinear primitive must."""
    a, b = vary_alike(a, b)
    return primitive.bind(a, b, **params)  # pyright: ignore[reportReturnType]


def _plain_forward(x: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    spatial = "DHW"[-len(window.size) :]
    return lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        rhs_dilation=window.dilations,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
        precision=precision,
    )


def _plain_input_gradient(y: jax.Array, w: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    forward = functools.partial(_plain_forward, window=window, groups=groups, precision=precision)
    x = zeros_varying_like(y, (y.shape[0], *window.input_shape, groups * w.shape[-2]))
    return jax.linear_transpose(lambda x: forward(x, w), x)(y)[0]


def _plain_filter_gradient(x: jax.Array, y: jax.Array, *, window: Window, groups: int, precision: Any) -> jax.Array:
    forward = functools.partial(_plain_forward, window=window, groups=groups, precision=precision)
    w = zeros_varying_like(y, (*window.size, x.shape[-1] // groups, y.shape[-1]))
    return jax.linear_transpose(lambda w: forward(x, w), w)(y)[0]


# How an axis mapped by `vmap` merges into the arrays, for each set of arguments of T that have it: the axis of the
# array into which it goes and whether that is split into groups, between which and the rest it stands.
_MERGES = {
    "xy": {"x": (0, False), "y": (0, False)},  # a larger batch
    "wy": {"w": (-1, True), "y": (-1, True)},  # more out_channels
    "wx": {"w": (-2, False), "x": (-1, True)},  # more in_channels
    "wxy": {"w": (-1, False), "x": (-1, False), "y": (-1, False)},  # more groups
}


def _batch(primitive: Primitive, arguments: Any, axes: Any, *, groups: int, **params: Any) -> Any:
    *roles, result = ROLES[primitive.name]
    mapped = {role: axis for role, axis in zip(roles, axes, strict=True) if axis is not None}
    merges = _MERGES["".join(sorted([*mapped, result]))]
    size = next(array.shape[axis] for array, axis in zip(arguments, axes, strict=True) if axis is not None)

    def parts(role: str) -> tuple[int, int]:
        axis, grouped = merges[role]
        return axis, groups if grouped else 1

    merged = [
        _merge(jnp.moveaxis(array, mapped[role], 0), *parts(role)) if role in mapped else array
        for role, array in zip(roles, arguments, strict=True)
    ]
    out = _bind(primitive, *merged, groups=groups * size if len(merges) == 3 else groups, **params)
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


def _register(
    primitive: Primitive, plain: Callable[..., jax.Array], cpu: Callable[..., jax.Array], a_rule: Any, b_rule: Any
) -> None:
    @functools.partial(jax.jit, static_argnames=("window", "groups", "precision"))
    def run(a: jax.Array, b: jax.Array, **params: Any) -> Any:
        return primitive.bind(a, b, **params)

    def abstract(a: Any, b: Any, **params: Any) -> Any:
        return jax.make_jaxpr(functools.partial(plain, **params))(a, b).out_avals[0]

    def on_cpu(a: jax.Array, b: jax.Array, *, window: Window, **params: Any) -> jax.Array:
        if 0 in (a.size, b.size, *window.output_shape):  # nothing to be fast about
            return plain(a, b, window=window, **params)
        wide = accumulation_dtype(a.dtype)
        return cpu(a.astype(wide), b.astype(wide), window=window, **params).astype(a.dtype)

    primitive.def_impl(run)
    primitive.def_abstract_eval(abstract)
    ad.defbilinear(primitive, a_rule, b_rule)
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")


# A transpose gets the cotangent, the place of the unknown argument and the other argument.
_register(
    forward_p,
    _plain_forward,
    _linear_cpu.forward,
    lambda y, _, w, **params: _bind(input_gradient_p, y, w, **params),
    lambda y, x, _, **params: _bind(filter_gradient_p, x, y, **params),
)
_register(
    input_gradient_p,
    _plain_input_gradient,
    _linear_cpu.input_gradient,
    lambda x, _, w, **params: _bind(forward_p, x, w, **params),
    lambda x, y, _, **params: _bind(filter_gradient_p, x, y, **params),
)
_register(
    filter_gradient_p,
    _plain_filter_gradient,
    _linear_cpu.filter_gradient,
    lambda w, _, y, **params: _bind(input_gradient_p, y, w, **params),
    lambda w, x, _, **params: _bind(forward_p, x, w, **params),
)
