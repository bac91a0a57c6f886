"""Programs compiled as users get them, whatever flags the session compiles its tests with."""

from collections.abc import Callable
from typing import Any

import jax

from machinery.flags import DEFAULTS


def compile_by_default(f: Callable[..., Any], *args: Any, **jit_options: Any) -> Any:
    """``f`` compiled for ``args``, arrays or their shapes, with the compiler's own optimisations.

    What reads a compiled program, or measures its memory, reads this one; what then runs it calls the result.
    """
    return jax.jit(f, **jit_options).lower(*args).compile(compiler_options=DEFAULTS)
