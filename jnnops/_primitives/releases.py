"""All that depends on a release of JAX, from 0.9.0 to 0.12.0.1, and every private name of JAX that the library uses.

| what | where it is used | changed in | the test that tells when it moves |
|---|---|---|---|
| ``jax._src.checkify``: ``error_checks``, ``assert_func``, ``get_traceback``, ``FailedCheckError`` | ``_primitives/checked.py`` | 0.12 hands rules a context first | ``tests/internals/test_releases.py`` |
| ``jax._src.random.prng``: ``prngs``, by whose names checkpoints restore keys | ``sparse/_sealed.py`` | 0.10 moved it from ``jax._src`` | the same |
| parameters ``num_consts`` and ``num_carry`` of ``scan`` | ``sparse/_lookups.py`` | 0.11 has ``ft_in`` | the same |
| other parameters of ``scan``, ``jit``, ``checkpoint`` | ``sparse/_lookups.py`` | | the same |
| ``Primitive.get_bind_params`` | ``sparse/_lookups.py`` | 0.10 returns no functions | the same |
| axes of a ``shard_map`` over which a value varies | ``_primitives/varying.py`` | 0.10 has ``manual_axis_type`` | the same |
| ``JAXLIB``: to which convolutions XLA gives YNNPACK, and how fast that is | ``convolution/_cpu/canonical.py`` | 0.10 and 0.12 | none: the results are the same |

A newer release is supported once the suite passes with it.
"""  # noqa: E501

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
from jax._src import checkify
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Primitive

try:
    from jax._src.random.prng import prngs
except ImportError:  # before jax 0.10
    from jax._src.prng import prngs  # pyright: ignore[reportMissingImports]


# For what is fast under one release of jaxlib and slow under another.
JAXLIB = jaxlib.version.__version_info__


def report_to_checkify(primitive: Primitive, holds_of: Callable[..., jax.Array]) -> None:
    """Makes ``checkify`` turn an effect-free primitive that returns its first argument into a check.

    Args:
        primitive: ``primitive(value, *arguments, message)``, which is ``value``.
        holds_of: What must be true, of the other arguments.
    """

    def rule(*given: Any, message: str) -> Any:
        # a context is the first argument, also of `assert_func`, from jax 0.12
        context = given[:1] if not isinstance(given[0], checkify.Error) else ()
        error, enabled_errors, value, *arguments = given[len(context) :]
        if checkify.FailedCheckError in enabled_errors:
            failure = checkify.FailedCheckError(checkify.get_traceback(), message)
            assert_func: Any = checkify.assert_func
            error = assert_func(*context, error, jnp.logical_not(holds_of(*arguments)), failure)
        return error, value

    checkify.error_checks[primitive] = rule


def register_keys(name: str, keys: Any) -> Any:
    """Makes a kind of keys, from ``jax.extend.random.define_prng_impl``, known by its name, and returns it."""
    prngs.setdefault(name, keys._impl)
    return keys


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many of the arguments of a ``scan`` are constants, and how many its carry."""
    if "num_consts" in params:  # before jax 0.11
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def called_jaxpr(inner: Any) -> Jaxpr:
    """The program that a call runs, without its constants; from jax 0.11 there is one class for both."""
    return inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner


def bind_again(eqn: JaxprEqn, inputs: Sequence[Any]) -> Sequence[Any]:
    """The results of an operation of a program, of other inputs."""
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # a tuple before jax 0.10
    outputs = eqn.primitive.bind(*functions, *inputs, **params)
    return outputs if eqn.primitive.multiple_results else [outputs]


def varying_axes(aval: Any) -> frozenset[Any]:
    """The axes of a ``shard_map`` over which an abstract value varies; ``vma`` before jax 0.10."""
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else aval.vma
