"""Programs compiled fast, as most tests need them, or as users get them, and results shared between tests."""

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

from machinery.flags import DEFAULTS

P = ParamSpec("P")
T = TypeVar("T")

_shared: list[Any] = []


def compile_by_default(f: Callable[..., Any], *args: Any, **jit_options: Any) -> Any:
    """``f`` compiled for ``args``, arrays or their shapes, with the compiler's own optimisations.

    What reads a compiled program, or measures its memory, reads this one; what then runs it calls the result.
    """
    return jax.jit(f, **jit_options).lower(*args).compile(compiler_options=DEFAULTS)


def compile_rounding(f: Callable[..., Any], *args: Any) -> Any:
    """``f`` compiled for ``args`` such that every 16-bit result is rounded to 16 bits.

    By default XLA leaves out a rounding between two operations, so what is rounded depends on what it fuses.
    """
    return jax.jit(f).lower(*args).compile(compiler_options={"xla_allow_excess_precision": False})


def share(f: Callable[P, T]) -> Callable[P, T]:
    """Makes several tests of a case share the results of one program, until the tests of another op begin."""
    cached = functools.cache(f)
    _shared.append(cached)
    return cached  # pyright: ignore[reportReturnType]


def forget() -> None:
    """Frees all programs and results."""
    for cached in _shared:
        cached.cache_clear()
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        # What the many threads of the compiler have freed glibc keeps for each of them.
        libc.malloc_trim(0)
