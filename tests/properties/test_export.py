"""Programs with an op are lowered for every platform, saved and loaded."""

import jax
import jax.export
import jax.numpy as jnp
from machinery.case import Case
from machinery.numbers import assert_same, is_floating
from machinery.registry import every_case

import jnnops as nn

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def saved(case: Case, arrays) -> bytearray:
    """The op and, if it has one, its gradient, lowered for all platforms; this needs no hardware."""
    exported = jax.export.export(jax.jit(lambda arrays: jax.tree.leaves(case(**arrays))), platforms=PLATFORMS)(arrays)
    return exported.serialize(vjp_order=int(case.is_differentiable))


RESULTS = [
    getattr(nn, name)
    for name in nn.__all__
    if hasattr(getattr(nn, name), "_fields") and name not in ("SparseIds", "SparseTensorValue")
]


def test_every_named_tuple_may_be_a_result():
    results = tuple(cls(*map(jnp.float32, range(len(cls._fields)))) for cls in RESULTS)
    loaded = jax.export.deserialize(jax.export.export(jax.jit(lambda: results))().serialize())
    assert jax.tree.structure(loaded.call()) == jax.tree.structure(results)


@every_case
def test_what_is_loaded_gives_the_same_values_and_gradient(case):
    arrays = case.cast(case.first_dtype)
    loaded = jax.export.deserialize(saved(case, arrays))

    def pull(f):
        """The results, and the gradient of all floating ones."""
        chosen, rest = case.split(arrays) if case.is_differentiable else ({}, arrays)
        results, back = jax.vjp(lambda chosen: [y for y in f({**rest, **chosen}) if is_floating(y)], chosen)
        return f(arrays), back(results)

    actual, expected = jax.jit(lambda: (pull(loaded.call), pull(lambda arrays: jax.tree.leaves(case(**arrays)))))()
    assert_same(actual, expected, 1e-4, 1e-5)
