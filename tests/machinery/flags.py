"""How XLA compiles the tests, and how it compiles for users.

XLA aborts at a flag that it does not know, so these are only what every release from jaxlib 0.9.0 to 0.12.0.1 knows. A
program of the tests takes 0.10 s to compile without them and 0.02 to 0.04 s with them (jaxlib 0.10.2, 2 cores). Nothing
here imports JAX, since XLA reads the flags once.
"""

import importlib.metadata
from typing import Any

_RELEASE = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))

# For each option, what compiles fast and what is XLA's default.
OPTIONS: dict[str, tuple[int | bool, int | bool]] = {
    "xla_backend_optimization_level": (0, 3),
    "xla_cpu_parallel_codegen_split_count": (1, 32),
}
if _RELEASE < (0, 12):
    # From jaxlib 0.12 on fusions have one kind of emitters, and the flag is gone.
    OPTIONS["xla_cpu_use_fusion_emitters"] = (False, True)

DEFAULTS: dict[str, Any] = {name: default for name, (_, default) in OPTIONS.items()}


def with_test_flags(flags: str) -> str:
    """The flags of a session of tests: those given, fast compiling and 8 simulated devices."""
    fast = [f"--{name}={str(value).lower()}" for name, (value, _) in OPTIONS.items()]
    return " ".join([flags, "--xla_force_host_platform_device_count=8", *fast])
