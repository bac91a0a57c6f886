"""Writes the table of the page "Numerics": ``python docs/numerics.py`` in an environment with the test dependencies.

For every elementwise op and every reduction it has the largest error, in units of the last place, of this library, of
``jax.nn`` or optax, and of TensorFlow, all on the same inputs and compiled as users have it. The list of the ops, their
inputs and their exact results are those of the tests (``tests/machinery/numerics_of_ops.py``).
"""

import csv
import datetime
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "tests"))

from machinery.numerics import Numeric
from machinery.numerics_of_ops import NUMERICS
from machinery.oracle import tf

COLUMNS = ("jnnops", "JAX, optax", "TensorFlow")
DTYPES = ("float32", "bfloat16")


def main() -> None:
    """Measures everything and writes the table and where it is from."""
    with (FOLDER / "numerics_table.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["op", *(f"{dtype}: {column}" for dtype in DTYPES for column in COLUMNS)])
        for numeric in NUMERICS:
            cells = [cell for dtype in DTYPES for cell in row(numeric, dtype)]
            writer.writerow([f"``{numeric.id}``", *cells])
            print(numeric.id, *cells)
    (FOLDER / "numerics_origin.rst").write_text(origin())


def row(numeric: Numeric, dtype: str) -> list[str]:
    """The cells of an op in a dtype."""
    given = numeric.given(dtype)
    ours = largest_error(numeric, jax.jit(numeric.__call__), to_jax(given), given)
    peer = "" if numeric.jax is None else largest_error(numeric, jax.jit(numeric.jax), to_jax(given), given)
    return [ours, peer, of_tensorflow(numeric, given)]


def to_jax(given: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The arguments as arrays of JAX."""
    return {name: jnp.asarray(array) for name, array in given.items()}


def of_tensorflow(numeric: Numeric, given: dict[str, np.ndarray]) -> str:
    """The cell of TensorFlow, which lacks some ops, and some ops in some dtypes."""
    if numeric.tf is None:
        return ""

    def call(**tensors: Any) -> list[Any]:
        found = numeric.tf(tf, **tensors)
        if numeric.op.__name__ == "fused_batch_norm":
            found = found[:3]
        return [jnp.asarray(result.numpy()) for result in tf.nest.flatten(found)]

    tensors = {name: tf.constant(array) for name, array in given.items()}
    try:
        return largest_error(numeric, call, tensors, given)
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.UnimplementedError, TypeError):
        return "not taken"


def largest_error(numeric: Numeric, f: Callable[..., Any], arguments: dict[str, Any], given: Any) -> str:
    """The largest error over all results and inputs, to two digits, marked if some have none."""
    errors = np.concatenate([each.ravel() for each in numeric.errors(f(**arguments), given)])
    error = np.max(errors[np.isfinite(errors)])
    digits = "0" if error == 0 else f"{error:.2g}" if error < 1e5 else f"{error:.0e}"
    return digits if np.isfinite(errors).all() else f"{digits} †"


def origin() -> str:
    """With what, where and when the table was made."""
    versions = (
        f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, optax {optax.__version__}, TensorFlow {tf.__version__}"
    )
    return f"{versions}; {processor()}, on CPU; {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.\n"


def processor() -> str:
    """The name of the processor and its vector instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    vectors = "AVX-512" if "avx512f" in fields.get("flags", "") else "AVX2" if "avx2" in fields.get("flags", "") else ""
    return " with ".join(filter(None, [fields.get("model name", platform.processor()), vectors]))


if __name__ == "__main__":
    main()
