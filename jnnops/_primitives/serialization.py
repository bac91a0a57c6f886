"""Pytrees of our own as arguments and results of functions that ``jax.export`` serializes."""

import contextlib
import pickle
from typing import TypeVar

from jax import export

T = TypeVar("T")


def serializable(cls: type[T]) -> type[T]:
    """Tells ``jax.export`` how to write a pytree class: a ``NamedTuple``, or a dataclass with settings.

    The settings, functions of modules among them, are pickled, so an exported program is loaded with the same trust as
    a pickle. The name that is written is the class's own: ``jnnops.Moments``.

    Args:
        cls: The class, which is a pytree already.

    Returns:
        The same class.
    """
    package = cls.__module__.split(".", maxsplit=1)[0] if cls.__module__.startswith("jnnops.") else cls.__module__
    name = f"{package}.{cls.__qualname__}"
    # A class that is defined again, as in a notebook, leaves the name to the first one.
    with contextlib.suppress(ValueError):
        if issubclass(cls, tuple):
            export.register_namedtuple_serialization(cls, serialized_name=name)
        else:
            export.register_pytree_node_serialization(
                cls, serialized_name=name, serialize_auxdata=pickle.dumps, deserialize_auxdata=pickle.loads
            )
    return cls
