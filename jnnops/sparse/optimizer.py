"""Any element-wise optax transformation, run on the rows that have a gradient."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnnops._check import accumulation_dtype, as_static_bool, check_callable, describe
from jnnops._primitives.order import after, read_once
from jnnops._primitives.serialization import serializable
from jnnops._tables.ids import in_range
from jnnops._tables.rows import take_rows
from jnnops._types import Tree
from jnnops.sparse._tables import DENSE, leaf_names, table_numbers
from jnnops.sparse._transforms import decay_factors, study
from jnnops.sparse.slices import IndexedSlices, check_slices, is_slices
from jnnops.sparse.updates import put_rows

_OP = "sparse.lazy"


@serializable
class CatchUpState(NamedTuple):
    """The state of :func:`lazy` with ``catch_up``.

    Attributes:
        inner: The state of the transformation.
        step: How many steps were made.
        last_steps: For each table the last step in which each row had a gradient: ``[num_rows]``, int32.
    """

    inner: Tree
    step: jax.Array
    last_steps: tuple[jax.Array, ...]


def lazy(
    transform: optax.GradientTransformation, *, tables: Callable[[Tree], Tree], catch_up: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Runs an optax transformation on those rows of tables only that have a gradient.

    ``init`` is that of the transformation, so its state has a row for each row of a table. ``update`` takes the rows
    of the gradients' slices out of the state and the parameters, runs the transformation on them, and puts the new rows
    back into the state, in place where it is donated. Dense parameters, and numbers such as the count of steps, take
    part as always.

    What this means to a row without a gradient:

    * It does not move, and its state stays. For transformations that would do the same to a gradient of zero, such as
      ``optax.sgd`` without momentum and ``optax.adagrad``, the result is that of the dense transformation.
    * For others the result is a lazy variant. Momentum and the moments of Adam and RMSProp neither decay nor move the
      row until its next gradient, and it has no weight decay meanwhile.
    * With ``catch_up`` a row's moments decay by all missed steps before its next gradient comes in, and so are then
      those of the dense transformation for the same gradients. It still does not move without a gradient. This
      takes an int32 for each row. The decay of missed steps is that of the current step, if that changes.

    Args:
        transform: A transformation that treats each element by itself, such as ``optax.adam(1e-3)``, or several
            chained. Whether it does is tried out on small arrays in the first update of its kind.
        tables: Selects the tables from the parameters, as for :func:`value_and_grad`.
        catch_up: Whether rows catch up on the decay that they missed.

    Returns:
        A transformation whose gradients and updates have :class:`IndexedSlices` for each table; the updates are for
        :func:`apply_updates`. Its state is that of ``transform``, or with ``catch_up`` a tuple ``(inner, step,
        last_steps)`` of that, the count of steps, and for each table the last step in which each row had a gradient.

    Raises:
        ValueError: In ``update``, if the gradient of a table is not made of slices or any other one is, if the
            transformation mixes rows (``optax.clip_by_global_norm``; see :func:`clip_by_global_norm`) or postpones
            updates (``optax.MultiSteps``), or if ``catch_up`` is given and a state does more than decay.
        TypeError: If an argument is not what it should be.

    Example:
        >>> optimizer = nn.sparse.lazy(optax.adagrad(0.1), tables=lambda p: p["table"])
        >>> params = {"table": jnp.ones((1000, 2))}
        >>> state = optimizer.init(params)
        >>> grads = {"table": nn.sparse.IndexedSlices(jnp.array([7]), jnp.ones((1, 2)), num_rows=1000)}
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = nn.sparse.apply_updates(params, updates)
        >>> np.round(params["table"][7], 3).tolist()
        [0.905..., 0.905...]

    References:
        ``tf.raw_ops.ResourceSparseApplyAdagradV2`` and its kin; ``LazyAdam`` of TensorFlow Addons.
    """
    if not isinstance(transform, optax.GradientTransformation):
        raise TypeError(f"{_OP}: `transform` must be an optax.GradientTransformation, got {type(transform).__name__}")
    check_callable(_OP, "tables", tables, "tables(params)")
    catch_up = as_static_bool(_OP, "catch_up", catch_up)
    transform = optax.with_extra_args_support(transform)
    # What `study` found, and the shapes of the state, for each structure and shapes of the parameters.
    known: dict[Any, tuple[Tree, Tree]] = {}

    def init(params: Tree) -> Tree:
        state = transform.init(params)
        if not catch_up:
            return state
        of_tables = _of_tables(table_numbers(_OP, tables, params), params)
        last_steps = tuple(jnp.zeros(len(table), jnp.int32) for table in of_tables)
        return CatchUpState(state, jnp.zeros((), jnp.int32), last_steps)

    def update(updates: Tree, state: Tree, params: Tree = None, **extra_args: Any) -> tuple[Tree, Tree]:
        shapes = jax.tree.map(_shape_of, updates, is_leaf=is_slices)
        numbers = table_numbers(_OP, tables, shapes)
        _check_gradients(numbers, updates, params)
        key = (jax.tree.structure(shapes), *jax.tree.leaves(shapes), *jax.tree.leaves(numbers))
        if key not in known:
            of_state = study(transform, shapes, numbers, extra_args, decays=catch_up)
            known[key] = of_state, jax.eval_shape(init, shapes)
        of_state, shapes_of_state = known[key]
        _check_state(state, shapes_of_state)
        return _update_rows(transform, numbers, of_state, updates, state, params, extra_args, catch_up=catch_up)

    return optax.GradientTransformationExtraArgs(init, update)


def _update_rows(
    transform: optax.GradientTransformationExtraArgs,
    numbers: Tree,
    of_state: Tree,
    updates: Tree,
    state: Tree,
    params: Tree,
    extra_args: Mapping[str, Any],
    *,
    catch_up: bool,
) -> tuple[Tree, Tree]:
    """Runs the transformation on the rows that have a gradient, and puts the new rows into the state.

    ``numbers`` and ``of_state`` say which leaves of the parameters and of the inner state belong to which table.
    """
    whole_state = state.inner if catch_up else state
    slices = [each.deduplicate() for each in _of_tables(numbers, updates)]
    ids = [each.indices for each in slices]
    each_table = tuple(range(len(ids)))
    grads = jax.tree.map(lambda number, grad: grad if number == DENSE else slices[number].values, numbers, updates)
    params = None if params is None else _take(numbers, params, ids)
    rows = read = _take(of_state, whole_state, ids)
    last_steps = _take(each_table, state.last_steps, ids) if catch_up else ()
    if catch_up:
        factors = decay_factors(transform, grads, rows, params, numbers, of_state, extra_args)
        rows = jax.tree.map(functools.partial(_decayed, state.step, last_steps), of_state, rows, factors)

    updates, rows = transform.update(grads, rows, params, **extra_args)
    new_state = _put(of_state, whole_state, ids, read, rows)
    if catch_up:
        step = state.step + 1
        steps = tuple(jnp.full(len(each), step) for each in ids)
        new_state = CatchUpState(new_state, step, _put(each_table, state.last_steps, ids, last_steps, steps))
    num_rows = [each.num_rows for each in slices]
    return jax.tree.map(functools.partial(_as_slices, ids, num_rows), numbers, updates), new_state


# In the following a tree comes with a tree of the tables' numbers, or DENSE, for its leaves.


def _of_tables(numbers: Tree, tree: Tree) -> list[Any]:
    """The leaves that belong to tables, in the tables' order."""
    leaves, treedef = jax.tree.flatten(numbers)
    pairs = zip(leaves, treedef.flatten_up_to(tree), strict=True)
    return [leaf for number, leaf in sorted(pairs, key=lambda pair: pair[0]) if number != DENSE]


def _take(numbers: Tree, tree: Tree, ids: Sequence[jax.Array]) -> Tree:
    """The tree with the rows of ids in place of tables."""

    def take(number: int, leaf: Any) -> Any:
        return leaf if number == DENSE else read_once(take_rows(jnp.asarray(leaf), ids[number]))

    return jax.tree.map(take, numbers, tree)


def _put(numbers: Tree, tree: Tree, ids: Sequence[jax.Array], read: Tree, rows: Any) -> Tree:
    """The tree with other rows in its tables, in place of those that were read; other leaves are as in ``rows``."""

    def put(number: int, leaf: Any, old: Any, new: Any) -> Any:
        if number == DENSE:
            return new
        # A table is written as soon as its own rows were read, and does not wait for the other tables: the processor
        # then still knows where the rows are (docs/lowerings.rst, "Tables in place").
        (places,) = after([old], [ids[number]])
        return put_rows(jnp.asarray(leaf), places, new)

    return jax.tree.map(put, numbers, tree, read, rows)


def _decayed(step: jax.Array, last_steps: Sequence[jax.Array], number: int, rows: Any, factor: Any) -> Any:
    """Rows of a state after the steps that they missed."""
    if number == DENSE:
        return rows
    wide = accumulation_dtype(rows.dtype)
    missed = (step - last_steps[number]).astype(wide)
    power = (factor.astype(wide) ** missed).reshape(-1, *(1,) * (rows.ndim - 1))
    return (rows.astype(wide) * power).astype(rows.dtype)


def _as_slices(ids: Sequence[jax.Array], num_rows: Sequence[int], number: int, rows: Any) -> Any:
    """The update of a parameter; padding is zero whatever the transformation made of it."""
    if number == DENSE:
        return rows
    valid = in_range(ids[number], num_rows[number]).reshape(-1, *(1,) * (rows.ndim - 1))
    return IndexedSlices(ids[number], jnp.where(valid, rows, jnp.zeros((), rows.dtype)), num_rows[number], unique=True)


def _shape_of(grad: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the parameter that a gradient is for."""
    if is_slices(grad):
        return jax.ShapeDtypeStruct((grad.num_rows, *grad.values.shape[1:]), grad.values.dtype)
    return jax.ShapeDtypeStruct(jnp.shape(grad), jnp.result_type(grad))


def _check_state(state: Tree, shapes: Tree) -> None:
    """Raises unless the state has the structure and the shapes of that which ``init`` makes."""
    if jax.tree.structure(state) != jax.tree.structure(shapes):
        raise ValueError(f"{_OP}: `state` must be what `init` or `update` returned, got {describe(state)}")
    for (path, leaf), expected in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(shapes), strict=True):
        if jnp.shape(leaf) != expected.shape:
            raise ValueError(
                f"{_OP}: `state{jax.tree_util.keystr(path)}` must have shape {expected.shape}, as `init` makes it for "
                f"parameters of the shapes of `updates`, got {jnp.shape(leaf)}"
            )


def _check_gradients(numbers: Tree, grads: Tree, params: Tree) -> None:
    """Raises unless the tables' gradients are slices that fit the parameters, and no other is."""
    names, tables = leaf_names(numbers), jax.tree.leaves(numbers)
    leaves = jax.tree.leaves(grads, is_leaf=is_slices)
    tables_given = [None] * len(leaves) if params is None else jax.tree.structure(numbers).flatten_up_to(params)
    for name, table, grad, param in zip(names, tables, leaves, tables_given, strict=True):
        if is_slices(grad) != (table != DENSE):
            wanted, got = ("IndexedSlices", "an array") if table != DENSE else ("an array", "IndexedSlices")
            raise ValueError(
                f"{_OP}: the gradient of `{name}` must be {wanted}, as `tables` says, got {got}; give the same "
                "`tables` to nn.sparse.value_and_grad"
            )
        if is_slices(grad):
            check_slices(_OP, f"the gradient of {name}", grad, param)
