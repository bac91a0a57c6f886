"""The convolution and its two gradients for any dtype: integers, which have no derivatives, go round the primitives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jnnops import _linear, _linear_cpu
from jnnops._window import Window


def convolution(x: jax.Array, w: jax.Array, window: Window, groups: int, precision: Any) -> jax.Array:
    """``[batch, *out_spatial, out_channels]`` of the input and the filters."""
    return _call(_linear.convolution, _linear_cpu.forward, x, w, window, groups, precision)


def input_gradient(y: jax.Array, w: jax.Array, window: Window, groups: int, precision: Any) -> jax.Array:
    """``[batch, *spatial, in_channels]`` of a cotangent and the filters."""
    return _call(_linear.input_gradient, _linear_cpu.input_gradient, y, w, window, groups, precision)


def filter_gradient(x: jax.Array, y: jax.Array, window: Window, groups: int, precision: Any) -> jax.Array:
    """``[*window, in_channels // groups, out_channels]`` of the input and a cotangent."""
    return _call(_linear.filter_gradient, _linear_cpu.filter_gradient, x, y, window, groups, precision)


def _call(
    primitive: Callable[..., jax.Array],
    direct: Callable[..., jax.Array],
    a: jax.Array,
    b: jax.Array,
    window: Window,
    groups: int,
    precision: Any,
) -> jax.Array:
    function = primitive if jnp.issubdtype(a.dtype, jnp.floating) else direct
    return function(a, b, window=window, groups=groups, precision=precision)
