"""Layers and trees of arrays in words: shapes and dtypes, and no numbers."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

_WIDTH = 80


def is_array(value: object) -> bool:
    """Whether a value has a shape and a dtype: an array, a tracer, a ``jax.ShapeDtypeStruct``, but no NumPy scalar."""
    return not isinstance(value, type | np.generic) and hasattr(value, "shape") and hasattr(value, "dtype")


def describe_layer(layer: Any) -> str:
    """The ``__repr__`` of layers: on one line if it is short, otherwise a line for each field.

    Arrays stand there as ``float32[4,3]``; settings, and None, only where they are not the default.
    """
    return describe_tree(layer)


def describe_tree(value: Any, *, indent: int = 0, column: int = 0) -> str:
    """Describes a value of which the first line begins at ``column`` and further ones are indented."""
    line, parts = describe_on_one_line(value), parts_of(value)
    margin = " " * indent
    if parts is None:
        return line.replace("\n", "\n" + margin)
    if column + len(line) <= _WIDTH and "\n" not in line:
        return line
    opening, items, closing = parts
    lines = [opening]
    for name, item in items:
        column = indent + 2 + len(name) + len(",")
        lines.append(f"{margin}  {name}{describe_tree(item, indent=indent + 2, column=column)},")
    return "\n".join([*lines, margin + closing.removeprefix(",")])


def describe_on_one_line(value: Any) -> str:
    """Describes a value on one line, however long."""
    parts = parts_of(value)
    if parts is None:
        return _describe_leaf(value)
    opening, items, closing = parts
    return opening + ", ".join(name + describe_on_one_line(item) for name, item in items) + closing


def name_of(value: object) -> str | None:
    """The name of a function or a class, of which the module is left out."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else None


def parts_of(value: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """What a value with parts begins with, its parts with what stands before each, and what it ends with."""
    cls = type(value)
    if cls.__repr__ is describe_layer:
        return f"{cls.__name__}(", list(_fields(value)), ")"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return f"{cls.__name__}(", [(f"{name}=", getattr(value, name)) for name in value._fields], ")"
    if cls is tuple:
        return "(", [("", item) for item in value], ",)" if len(value) == 1 else ")"
    if cls is list:
        return "[", [("", item) for item in value], "]"
    if cls is dict:
        return "{", [(f"{key!r}: ", item) for key, item in value.items()], "}"
    return None


def _fields(layer: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        may_be_left_out = value is None or field.metadata.get("static")
        is_default = may_be_left_out and type(value) is type(field.default) and value == field.default
        if field.repr and not is_default:
            yield f"{field.name}=", value


def _describe_leaf(value: Any) -> str:
    if is_array(value):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return name_of(value) or repr(value)
