"""Sorts rows in descending order such that XLA on CPU only selects what is used of them.

There ``lax.top_k`` is a call that keeps the largest numbers of a row in a heap, a hundred times faster than to sort it,
but XLA gathers a sharded batch on every device to make that call. A sort it splits; and what is then left of it on each
device it turns into the call, if numbers are compared by nothing but their total order and take their places along.
``lax.sort`` compares otherwise, and ``lax.approx_max_k`` gives a NaN any place (jaxlib 0.9.0 to 0.12.0).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import mlir

# sort_descending(values, places) -> values, places; both [rows, size], and the places int32
sort_descending_p = Primitive("sort_descending")
sort_descending_p.multiple_results = True


def first_descending(values: jax.Array, k: int) -> jax.Array:
    """The places of the ``k`` largest numbers of each row, the first one of equals first.

    This is what lowers an operation, and has neither a derivative nor a batching rule.

    Args:
        values: ``[rows, size]``: float32, by the total order of their bits, or signed integers. Integers are sorted.
        k: How many.
    """
    places = lax.broadcasted_iota(jnp.int32, values.shape, 1)
    return sort_descending_p.bind(values, places)[1][:, :k]


@sort_descending_p.def_abstract_eval
def _abstract_eval(values: Any, places: Any) -> Any:
    return values, places


def _lower(context: Any, values: Any, places: Any) -> Any:
    by = "TOTALORDER" if jnp.issubdtype(context.avals_in[0].dtype, jnp.floating) else "SIGNED"
    along = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 1)
    arrays = [values, places]
    sort = stablehlo.SortOp([array.type for array in arrays], arrays, dimension=along, is_stable=ir.BoolAttr.get(True))
    scalars = [ir.RankedTensorType.get([], array.type.element_type) for array in (values, values, places, places)]
    compare = sort.regions[0].blocks.append(*scalars)
    with ir.InsertionPoint(compare):
        first, second, *_ = compare.arguments
        direction = stablehlo.ComparisonDirectionAttr.get("GT")
        kind = stablehlo.ComparisonTypeAttr.get(by)
        stablehlo.ReturnOp([stablehlo.CompareOp(first, second, direction, compare_type=kind).result])
    return sort.results


mlir.register_lowering(sort_descending_p, _lower)
