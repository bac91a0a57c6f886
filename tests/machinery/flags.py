"""How XLA compiles the tests, and how it compiles for users.

Nearly all of the suite's time goes into compiling, and these flags make that four times faster. Programs that are read
or measured, and each op once, are compiled with XLA's own defaults instead (``programs.py``).

Nothing here imports JAX, which reads the flags when it is imported. XLA refuses to start with a flag that it does not
know, so a release without one of them shows at once.
"""

import importlib.metadata
from typing import Any

_RELEASE = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2])

# For each option, what compiles fast and what is XLA's default.
OPTIONS: dict[str, tuple[int | bool, int | bool]] = {
    "xla_backend_optimization_level": (0, 3),
    "xla_cpu_parallel_codegen_split_count": (1, 32),
}
if _RELEASE < (0, 11):
    OPTIONS["xla_cpu_use_fusion_emitters"] = (False, True)

FAST_FLAGS = [f"--{name}={str(fast).lower()}" for name, (fast, _) in OPTIONS.items()]
DEFAULTS: dict[str, Any] = {name: default for name, (_, default) in OPTIONS.items()}
