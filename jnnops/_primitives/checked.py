"""The identity that ``checkify`` can see through: reports a bad run-time value and costs nothing otherwise.

``jax.experimental.checkify.debug_check`` would do, but it leaves an effect in the program that ``jax.export`` cannot
serialise, so that no model with an embedding or a sequence length could be saved. This primitive has no effect:
compiled it is nothing at all, and its rule in checkify's table turns it into a check.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jnnops._primitives.releases import report_to_checkify

# checked(value, holds, *, message) -> value
checked_p = Primitive("checked")


@checked_p.def_impl
def _impl(value: jax.Array, holds: jax.Array, *, message: str) -> jax.Array:
    del holds, message
    return value


@checked_p.def_abstract_eval
def _abstract_eval(value: Any, holds: Any, *, message: str) -> Any:
    del holds, message
    return value


def _jvp(primals: Any, tangents: Any, *, message: str) -> Any:
    return checked_p.bind(*primals, message=message), tangents[0]


def _batch(arguments: Any, axes: Any, *, message: str) -> Any:
    (value, holds), (axis, holds_axis) = arguments, axes
    if holds_axis is not None:
        holds = jnp.all(holds, axis=holds_axis)
    return checked_p.bind(value, holds, message=message), axis


ad.primitive_jvps[checked_p] = _jvp
batching.primitive_batchers[checked_p] = _batch
mlir.register_lowering(checked_p, lambda context, value, holds, *, message: [value])
report_to_checkify(checked_p, lambda holds: holds)
