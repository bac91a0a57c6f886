"""Programs with an op are lowered for every platform, saved and loaded."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
from machinery.case import Case
from machinery.mapped import gradients, values
from machinery.numbers import assert_same
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
    again = dataclasses.replace(case, op=lambda **arrays: loaded.call(arrays), static={})
    gradient = jax.tree.map(lambda leaf: leaf[0], gradients(case)[0]) if case.is_differentiable else {}
    assert_same(jax.jit(again.values_and_gradient)(arrays), (jax.tree.leaves(values(case)[0]), gradient), 1e-4, 1e-5)
