"""Layers one after the other."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jnnops._check import as_key, as_static_bool, describe, is_sequence
from jnnops._types import AxisNames, Key, Tree
from jnnops.layers._layer import layer, static


@layer
class Function:
    """A plain function as a layer; :class:`Sequential` makes one of each function it is given.

    Attributes:
        function: A function of a module: one made on the spot would compile anew each time.

    Example:
        >>> nn.layers.Function(function=nn.relu)(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    function: Callable[[Tree], Tree] = static()

    def __call__(self, x: Tree) -> Tree:
        """Calls the function."""
        return self.function(x)


@layer
class Sequential:
    """Calls its members one after the other.

    A member is called with the last one's output, and by keyword with ``training``, ``axis_name`` and a key of its own
    if its ``__call__`` has such parameters. A member with an ``init_state`` method, such as ``BatchNorm``, is also
    given its state, and returns its output and the new state.

    Attributes:
        members: The layers.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> model = nn.layers.Sequential.init(
        ...     nn.layers.Dense.init(4, 8, key=keys[0]),
        ...     nn.layers.BatchNorm.init(8),
        ...     nn.relu,
        ...     nn.layers.Dropout(rate=0.1),
        ...     nn.layers.Dense.init(8, 2, key=keys[1]),
        ... )
        >>> y, state = model(jnp.ones((16, 4)), model.init_state(), training=True, key=jax.random.key(1))
        >>> y.shape
        (16, 2)

    References:
        ``tf.keras.Sequential``.
    """

    members: tuple[Any, ...]

    @classmethod
    def init(cls, *members: Any) -> "Sequential":
        """Makes a sequence of layers and of functions of one argument.

        Args:
            *members: Layers, and functions that a module defines (``nn.relu``, ``jnp.tanh``).

        Returns:
            The sequence, with each function as a :class:`Function`.

        Raises:
            TypeError: If a member cannot be called.
            ValueError: If a member is a lambda or a function defined inside another, which would be a new one, and
                compile anew, each time.
        """
        return cls(members=tuple(_as_layer(member) for member in members))

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.members)

    def __iter__(self) -> Iterator[Any]:
        """Goes through the members."""
        return iter(self.members)

    def __getitem__(self, index: int | slice) -> Any:
        """The member at an index, or for a slice the sequence of those members."""
        if isinstance(index, slice):
            return Sequential(members=self.members[index])
        return self.members[index]

    def init_state(self) -> tuple[Tree, ...] | None:
        """The members' states, None for one that has none; None if no member has any."""
        if not _has_state(self):
            return None
        return tuple(member.init_state() if _has_state(member) else None for member in self.members)

    def __call__(
        self,
        x: Tree,
        state: tuple[Tree, ...] | None = None,
        *,
        training: bool = False,
        axis_name: AxisNames = None,
        key: Key | None = None,
    ) -> Tree:
        """Calls the members.

        Args:
            x: The first member's input.
            state: From ``init_state`` or the last call, if any member has a state.
            training: Whether to normalise by the batch, to drop, and so on.
            axis_name: The mapped axis over which the members are to synchronise.
            key: A ``jax.random`` key, if a member draws random numbers.

        Returns:
            The last member's output alone if no member has a state, otherwise ``(output, new_state)``.

        Raises:
            ValueError: If a state is given and there is none, or the other way round.
        """
        if key is not None:
            key = as_key("Sequential", key)
        states = self._states(state)
        training = as_static_bool("Sequential", "training", training)
        given = {"training": training, "axis_name": axis_name}
        new_states = []
        for index, (member, member_state) in enumerate(zip(self.members, states, strict=True)):
            taken = inspect.signature(type(member).__call__).parameters
            options = {name: value for name, value in given.items() if name in taken}
            if "key" in taken and key is not None:
                options["key"] = jax.random.fold_in(key, index)
            if member_state is None:
                x = member(x, **options)
            else:
                x, member_state = member(x, member_state, **options)
            new_states.append(member_state)
        return x if state is None else (x, tuple(new_states))

    def _states(self, state: tuple[Tree, ...] | None) -> tuple[Tree, ...]:
        if _has_state(self) and state is None:
            raise ValueError("Sequential: `state` must be what `init_state` or the last call returned, got None")
        if state is None:
            return (None,) * len(self.members)
        if not _has_state(self) or not is_sequence(state) or len(state) != len(self.members):
            wanted = f"have an entry for each of {len(self.members)} members" if _has_state(self) else "be None"
            raise ValueError(f"Sequential: `state` must {wanted}, got {describe(state)}")
        return tuple(state)


def _has_state(member: object) -> bool:
    if isinstance(member, Sequential):
        return any(map(_has_state, member.members))
    return hasattr(member, "init_state")


def _as_layer(member: Any) -> Any:
    if not callable(member):
        raise TypeError(f"Sequential.init: `members` must be layers or functions, got {describe(member)}")
    if jax.tree.structure(member) != jax.tree.structure(0):  # A layer is a pytree and no leaf of one.
        return member
    name = getattr(member, "__qualname__", "")
    if "<" in name:
        raise ValueError(f"Sequential.init: `members` must be layers or functions of a module, got {name}")
    return Function(function=member)
