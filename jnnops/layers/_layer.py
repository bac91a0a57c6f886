"""What makes a class a layer: a frozen dataclass that is a pytree."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax

from jnnops._check import describe
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

    Raises:
        TypeError: If ``cls`` is no class; and when an instance is made, if a setting cannot be hashed, or if its class
            is a subclass of a layer that is not decorated itself, and so no pytree.

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
    if not isinstance(cls, type):
        raise TypeError(f"layer: `cls` must be a class, got {describe(cls)}")
    made: Any = dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)(cls)
    if made.__repr__ is object.__repr__:
        made.__repr__ = describe_layer
    made.__layer__ = made  # A subclass that is not decorated inherits this mark, and so can be told by it.
    made.__init__ = _checking(made)
    if isinstance(init := vars(made).get("init"), classmethod):
        made.init = classmethod(answers_tensorflow_names(init.__func__))
    return serializable(jax.tree_util.register_dataclass(made))


def is_layer(value: object) -> bool:
    """Whether the class of a value is made by :func:`layer`."""
    return getattr(type(value), "__layer__", None) is type(value)


def _checking(cls: type) -> Callable[..., None]:
    """The constructor, which checks for what JAX would report later and without a name.

    Of the fields only the settings are looked at, since unflattening makes layers of anything in place of arrays.
    """
    settings = [field.name for field in dataclasses.fields(cls) if field.metadata.get("static")]
    original: Any = answers_tensorflow_names(cls.__init__)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **fields: Any) -> None:
        if "__layer__" not in vars(type(self)):
            name = type(self).__name__
            raise TypeError(f"{name}: the class must be decorated with @layer, as {cls.__name__}, which it extends, is")
        original(self, *args, **fields)
        for setting in settings:
            _check_hashable(self, setting)

    return init


def _check_hashable(layer: object, setting: str) -> None:
    value = getattr(layer, setting)
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{type(layer).__name__}: `{setting}` must be hashable, since it is static (a tuple, not a list or an "
            f"array), got {describe(value)}"
        ) from error
