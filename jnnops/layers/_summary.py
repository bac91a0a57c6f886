"""A table of the layers of a model."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.tree_util import KeyPath, keystr, tree_flatten_with_path

from jnnops._check import check_callable
from jnnops._types import Tree
from jnnops.layers._layer import is_layer
from jnnops.layers._recording import Place, shapes_of, with_recorded_layers
from jnnops.layers._text import describe_on_one_line, is_array, name_of, parts_of
from jnnops.layers.sequential import Function


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """A layer of a model.

    Attributes:
        path: Where it stands in the model, as ``jax.tree_util.keystr`` writes it; "" for the model itself.
        layer: The name of its class, or of the function that is a member of ``Sequential``.
        arrays: The shape and dtype of each of its own arrays, those of the layers inside it left out.
        outputs: What its calls returned, with shapes and dtypes for arrays: one entry for all calls that returned the
            same, none for a layer that was not called, such as a :class:`LinearCell` that ran over all steps at once.
            Those of a model that was not called itself are what ``call`` returned.
    """

    path: str
    layer: str
    arrays: dict[str, jax.ShapeDtypeStruct]
    outputs: tuple[Tree, ...] = ()

    @property
    def parameters(self) -> int:
        """The number of elements of its own arrays."""
        return sum(math.prod(array.shape) for array in self.arrays.values())

    @property
    def nbytes(self) -> int:
        """The size of its own arrays."""
        return sum(math.prod(array.shape) * array.dtype.itemsize for array in self.arrays.values())


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a model; as a string, a table.

    Attributes:
        rows: Of the model and each layer inside it, in the order of the pytree.
        repeated: How many of the parameters belong to an array that has been counted before.
    """

    rows: tuple[SummaryRow, ...]
    repeated: int = 0

    @property
    def parameters(self) -> int:
        """The number of elements of all arrays."""
        return sum(row.parameters for row in self.rows)

    @property
    def nbytes(self) -> int:
        """The size of all arrays."""
        return sum(row.nbytes for row in self.rows)

    def __repr__(self) -> str:
        """The table."""
        table = [["path", "layer", "arrays", "parameters", "output"]]
        for row in self.rows:
            table += _lines(row)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            line[:3], line[3] = map(str.ljust, line[:3], widths), line[3].rjust(widths[3])
        header, *body = ("  ".join(line).rstrip() for line in table)
        rule = "-" * max(map(len, (header, *body)))
        total = f"{self.parameters:,} parameters, {_describe_size(self.nbytes)}"
        if self.repeated:
            total += f"\n{self.repeated:,} of them counted again: their arrays stand at several paths"
        return "\n".join([header, rule, *body, rule, total])


def summary(model: Tree, /, *inputs: Any, call: Callable[..., Any] | None = None, **options: Any) -> Summary:
    """Lists the layers of a model with their arrays and, if it is given inputs, what the layers return for them.

    Nothing is computed: the model is called by ``jax.eval_shape``. So it and its inputs may be
    ``jax.ShapeDtypeStruct``, such as the model that ``jax.eval_shape`` makes of a function that draws it.

    Args:
        model: A layer, or any pytree with layers inside.
        *inputs: What the model is called with. Arrays count by their shapes and dtypes; anything else is passed on as
            it is. The model is not called if there are no inputs and no options.
        call: ``call(model, *inputs, **options)`` calls the model: a method such as ``RNN.scan``, a loss, or what runs a
            model that is a tuple of layers; ``model(*inputs, **options)`` unless given.
        **options: What the model is called with by keyword, such as ``training``, ``key`` or ``state``.

    Returns:
        The table. An output has the shape that its layer sees: a cell in a loop that of one step, a layer in
        ``jax.vmap`` that without the mapped axis. A layer at two places in the tree is two layers, as it is for
        ``jax.grad`` and for optimisers.

    Raises:
        TypeError: If the model cannot be called, or ``call`` is no function. What the call itself raises is passed on.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> model = nn.layers.Sequential.init(
        ...     nn.layers.Dense.init(4, 8, key=keys[0]), nn.relu, nn.layers.Dense.init(8, 2, key=keys[1])
        ... )
        >>> nn.layers.summary(model, jnp.ones((16, 4)))
        path         layer       arrays                parameters  output
        ------------------------------------------------------------------------
        .            Sequential                                 0  float32[16,2]
        .members[0]  Dense       kernel: float32[4,8]          40  float32[16,8]
                                 bias: float32[8]
        .members[1]  relu                                       0  float32[16,8]
        .members[2]  Dense       kernel: float32[8,2]          18  float32[16,2]
                                 bias: float32[2]
        ------------------------------------------------------------------------
        58 parameters, 232 bytes

    References:
        ``tf.keras.Model.summary``.
    """
    if call is not None:
        check_callable("summary", "call", call, "call(model, *inputs, **options)")
    places: dict[KeyPath, Place] = {}
    if inputs or options or call is not None:
        if call is None and not callable(model):
            raise TypeError(
                "summary: `model` must be callable if there are inputs and no `call` is given, got "
                f"{type(model).__name__}"
            )
        places = _places_after(_call if call is None else call, model, inputs, options)
    rows = tuple(_row(path, node, places.get(path)) for path, node in _walk((), model))
    return Summary(rows, _count_repeated(model))


def _call(model: Any, *inputs: Any, **options: Any) -> Any:
    return model(*inputs, **options)


def _places_after(
    call: Callable[..., Any], model: Tree, inputs: tuple[Any, ...], options: dict[str, Any]
) -> dict[KeyPath, Place]:
    """The places of all layers of a model that has been called.

    If it does not run with places that differ, as when it stacks its layers, they are equal. If it does not run with
    them at all, it is called as it is: the error, if that is one, is then its own.
    """
    for group in (None, object()):
        places: dict[KeyPath, Place] = {}
        try:
            recorded = with_recorded_layers(model, places, group=group)
            output = _eval_shape(call, recorded, inputs, options)
        except Exception:
            continue
        break
    else:
        places, output = {}, _eval_shape(call, model, inputs, options)
    root = places.setdefault((), Place(None))
    root.outputs = root.outputs or [output]
    return places


def _eval_shape(call: Callable[..., Any], model: Tree, inputs: tuple[Any, ...], options: dict[str, Any]) -> Tree:
    """What a call returns, with shapes and dtypes for arrays."""
    leaves, structure = jax.tree.flatten((model, inputs, options))
    outputs: list[Tree] = []

    def run(arrays: list[jax.Array]) -> None:
        rest = iter(arrays)
        model, inputs, options = structure.unflatten([next(rest) if is_array(leaf) else leaf for leaf in leaves])
        outputs.append(shapes_of(call(model, *inputs, **options)))

    jax.eval_shape(run, [leaf for leaf in leaves if is_array(leaf)])
    return outputs[0]


def _walk(path: KeyPath, node: Tree) -> Iterator[tuple[KeyPath, Tree]]:
    """A model and the layers inside it, with their paths."""
    yield path, node
    for inner, child in _children(node):
        if is_layer(child):
            yield from _walk(path + inner, child)


def _children(node: Tree) -> list[tuple[KeyPath, Any]]:
    """The layers right inside a node and the leaves that are in none of them, with their paths."""
    return tree_flatten_with_path(node, is_leaf=lambda inner: is_layer(inner) and inner is not node)[0]


def _row(path: KeyPath, node: Tree, place: Place | None) -> SummaryRow:
    arrays = {}
    for inner, child in _children(node):
        if isinstance(child, bool | int | float | complex | np.generic):
            child = jax.typeof(child)
        if is_array(child) and not is_layer(child):
            arrays[keystr(inner).removeprefix(".")] = jax.ShapeDtypeStruct(child.shape, child.dtype)
    outputs = {} if place is None else {describe_on_one_line(output): output for output in place.outputs}
    name = name_of(node.function) if isinstance(node, Function) else None
    return SummaryRow(keystr(path), name or type(node).__name__, arrays, tuple(outputs.values()))


def _count_repeated(model: Tree) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(model) if is_array(leaf)]
    distinct = {id(leaf): leaf for leaf in leaves}
    return sum(math.prod(leaf.shape) for leaf in leaves) - sum(math.prod(leaf.shape) for leaf in distinct.values())


def _lines(row: SummaryRow) -> list[list[str]]:
    """The lines of a table that describe a row: one for each array, and for each part of an output."""
    arrays = [f"{name}: {describe_on_one_line(array)}" for name, array in row.arrays.items()]
    outputs = [line for output in row.outputs for line in _describe_output(output)]
    pairs = list(itertools.zip_longest(arrays, outputs, fillvalue="")) or [("", "")]
    lines = [["", "", array, "", output] for array, output in pairs]
    lines[0][:2], lines[0][3] = [row.path or ".", row.layer], f"{row.parameters:,}"
    return lines


def _describe_output(output: Tree) -> list[str]:
    """One line if that is short, otherwise a line for each part."""
    line, parts = describe_on_one_line(output), parts_of(output)
    if parts is None or len(line) <= 40:
        return [line]
    opening, items, closing = parts
    lines = [f"{' ' * len(opening)}{name}{_describe_briefly(item)}," for name, item in items]
    lines[0] = opening + lines[0][len(opening) :]
    return [*lines[:-1], lines[-1].removesuffix(",") + closing]


def _describe_briefly(tree: Tree) -> str:
    line = describe_on_one_line(tree)
    return line if len(line) <= 56 else f"{type(tree).__name__} of {len(jax.tree.leaves(tree))} arrays"


def _describe_size(nbytes: int) -> str:
    power = min(max(nbytes.bit_length() - 1, 0) // 10, 4)
    return f"{nbytes} bytes" if power == 0 else f"{nbytes / 2 ** (10 * power):.1f} {'KMGT'[power - 1]}iB"
