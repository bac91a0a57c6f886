"""Copies of models whose layers note what their calls return.

A layer of the copy is of a subclass of its class, whose calls are noted in the place of the layer in the model. The
place is part of the structure of the pytree, so it goes through ``jit``, ``scan`` and ``vmap`` with the layer, and a
function that was compiled for another layer of the same shapes is traced anew. The user's classes and layers are left
as they are.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.tree_util import GetAttrKey, KeyPath, register_pytree_with_keys, tree_map_with_path

from jnnops._types import Tree
from jnnops.layers._layer import is_layer
from jnnops.layers._text import is_array

_PLACE = "_jnnops_place"


class Place:
    """Where a layer stands in a model, and what its calls returned.

    Attributes:
        outputs: What each call returned, with ``jax.ShapeDtypeStruct`` for arrays.
        is_running: Whether a call has begun that has not returned.
    """

    def __init__(self, group: object) -> None:
        """Places of one group are equal, so that their layers can be stacked and mapped over together."""
        self.outputs: list[Tree] = []
        self.is_running = False
        self._group = group

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other._group is self._group

    def __hash__(self) -> int:
        return hash(self._group)


def with_recorded_layers(model: Tree, places: dict[KeyPath, Place], path: KeyPath = (), group: Any = None) -> Tree:
    """Copies a model, and adds the place of each of its layers to ``places``.

    Args:
        model: The model.
        places: Is filled with the places, by path.
        path: Where the model stands in a larger one.
        group: The group of all places; each is of a group of its own unless given.

    Returns:
        The copy.
    """

    def copy(inner: KeyPath, node: Any) -> Any:
        return with_recorded_layers(node, places, path + inner, group) if is_layer(node) else node

    if is_layer(model):
        places[path] = Place(object() if group is None else group)
    inside = tree_map_with_path(copy, model, is_leaf=lambda node: is_layer(node) and node is not model)
    if not is_layer(model):
        return inside
    fields = {field.name: getattr(inside, field.name) for field in dataclasses.fields(inside) if field.init}
    return _make(_recorded(type(model)), fields, places[path])


def shapes_of(tree: Tree) -> Tree:
    """A tree with ``jax.ShapeDtypeStruct`` for arrays."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_array(leaf) else leaf, tree)


def _make(cls: Any, fields: dict[str, Any], place: Place) -> Any:
    layer = cls(**fields)
    object.__setattr__(layer, _PLACE, place)
    return layer


@functools.cache
def _recorded(cls: type) -> type:
    """The subclass of a class of layers that notes calls; its dataclass fields and attributes are those of ``cls``."""
    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    called = {name: getattr(cls, name, None) for name in ("__call__", "scan")}
    methods = {name: _noting(method) for name, method in called.items() if callable(method)}
    # The constructor of `cls` wants the mark of a decorated class. It is not the own one, so `is_layer` is false here.
    marks = {"__slots__": _PLACE, "__layer__": cls}
    made: Any = type(cls.__name__, (cls,), {**marks, **names, **methods})
    fields = [field for field in dataclasses.fields(cls) if field.init]  # pyright: ignore[reportArgumentType]
    settings = [field.name for field in fields if field.metadata.get("static")]
    children = [field.name for field in fields if not field.metadata.get("static")]

    def setting(layer: Any) -> tuple[Any, ...]:
        return getattr(layer, _PLACE, None), *(getattr(layer, name) for name in settings)

    def flatten(layer: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(layer, name) for name in children], setting(layer)

    def flatten_with_keys(layer: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        return [(GetAttrKey(name), getattr(layer, name)) for name in children], setting(layer)

    def unflatten(structure: tuple[Any, ...], leaves: Iterable[Any]) -> Any:
        place, *values = structure
        return _make(made, dict(zip(settings, values, strict=True)) | dict(zip(children, leaves, strict=True)), place)

    register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made


def _noting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a layer, noting what it returns unless another one of the same layer calls it."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = getattr(self, _PLACE, None)
        if place is None or place.is_running:
            return method(self, *args, **kwargs)
        place.is_running = True
        try:
            output = method(self, *args, **kwargs)
        finally:
            place.is_running = False
        place.outputs.append(shapes_of(output))
        return output

    return call
