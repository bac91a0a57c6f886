"""What makes a class a layer: a frozen dataclass that is a pytree."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

from jnnops._keywords import answers_tensorflow_names
from jnnops._primitives.serialization import serializable
from jnnops.layers._text import describe_layer

T = TypeVar("T")

# How kernels are drawn unless the caller says otherwise, as TensorFlow does: Glorot and Bengio, 2010.
GLOROT_UNIFORM = jax.nn.initializers.glorot_uniform()


def static(**options: Any) -> Any:
    """Declares a setting of a layer: part of the tree's structure, not a leaf, so it must be hashable.

    Args:
        **options: As :func:`dataclasses.field` takes them, such as ``default``.

    Returns:
        The field, for the right-hand side of an annotated class attribute.

    Example:
        >>> from jnnops.layers import layer, static
        >>> @layer
        ... class Scale:
        ...     factor: float = static(default=2.0)
        ...     def __call__(self, x):
        ...         return self.factor * x
        >>> jax.tree.leaves(Scale())
        []
    """
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(eq_default=False, frozen_default=True, kw_only_default=True, field_specifiers=(static,))
def layer(cls: type[T]) -> type[T]:
    """Makes a class of annotated fields a layer: a frozen dataclass registered as a pytree.

    Array fields are leaves; fields declared with :func:`static` are settings. A model made of layers is then a
    pytree itself, and goes through ``jit``, ``grad``, ``vmap``, optax, checkpointing and ``jax.export`` as it is. Its
    ``repr`` gives shapes and dtypes, and the settings that are not at their defaults, unless the class has its own.

    Args:
        cls: The class. Its constructor takes the fields by keyword.

    Returns:
        The same class, as a dataclass.

    Example:
        >>> from jnnops.layers import layer
        >>> @layer
        ... class Shift:
        ...     offset: jax.Array
        ...     def __call__(self, x):
        ...         return x + self.offset
        >>> jax.grad(lambda shift: shift(jnp.float32(1.0)))(Shift(offset=jnp.float32(2.0))).offset.item()
        1.0
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)(cls)
    if made.__repr__ is object.__repr__:
        made.__repr__ = describe_layer
    made.__layer__ = made  # which a subclass that is not decorated is not
    made.__init__ = answers_tensorflow_names(made.__init__)
    if isinstance(init := vars(made).get("init"), classmethod):
        made.init = classmethod(answers_tensorflow_names(init.__func__))
    return serializable(jax.tree_util.register_dataclass(made))


def is_layer(value: object) -> bool:
    """Whether the class of a value is made by :func:`layer`."""
    return getattr(type(value), "__layer__", None) is type(value)
