"""Programs compiled as users get them, whatever flags the session compiles its tests with."""

from collections.abc import Callable
from typing import Any

import jax

# The defaults of XLA, from which the fast flags of the test session differ.
DEFAULTS: dict[str, Any] = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def compile_by_default(f: Callable[..., Any], *args: Any, **jit_options: Any) -> Any:
    """``f`` compiled for ``args``, arrays or their shapes, with the compiler's own optimisations.

    What reads a compiled program, or measures its memory, reads this one; what then runs it calls the result.
    """
    return jax.jit(f, **jit_options).lower(*args).compile(compiler_options=DEFAULTS)
