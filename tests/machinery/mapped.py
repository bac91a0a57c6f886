"""A case in jit, mapped and in loops, in two programs whose results several properties share."""

import jax
import jax.numpy as jnp

from machinery.case import Case
from machinery.numbers import stack
from machinery.programs import share


def other(arrays):
    """Other arguments of the same shapes."""
    return {
        name: jnp.roll(array, 1, 0) if array.ndim else (array * 0.75).astype(array.dtype)
        for name, array in arrays.items()
    }


def mapped_names(arrays) -> list[tuple[str, ...]]:
    """Each argument alone and all together."""
    return [(name,) for name in arrays] + ([tuple(arrays)] if len(arrays) > 1 else [])


def map_by(case: Case, arrays, names: tuple[str, ...]):
    """The op mapped over the first of ``names`` along its last axis and over the others along their first."""
    axes = {name: -1 if name == names[0] else 0 for name in names}
    pairs = {name: jnp.stack([arrays[name], other(arrays)[name]], axes[name]) for name in names}
    rest = {name: array for name, array in arrays.items() if name not in names}
    return jax.vmap(lambda chosen: case(**chosen, **rest), in_axes=(axes,))(pairs)


@share
def values(case: Case):
    """The op by itself, mapped by each choice of arguments, and in a loop over all arguments that these maps see."""

    def program(arrays):
        points = [arrays]
        points += [{**arrays, **{name: other(arrays)[name] for name in names}} for names in mapped_names(arrays)]
        looped = jax.lax.map(lambda point: case(**point), stack(points))
        return case(**arrays), [map_by(case, arrays, names) for names in mapped_names(arrays)], looped

    return jax.jit(program)(case.cast(case.first_dtype))


@share
def gradients(case: Case):
    """The gradient in a loop over two points, mapped over both, and through a rematerialised loop at the first."""

    def program(arrays):
        points = stack([arrays, other(arrays)])
        chosen, rest = case.split(arrays)

        def total(chosen):
            body = jax.checkpoint(lambda carry, _: (carry + case.weighted_sum(**rest, **chosen), None))
            start = jnp.zeros((), jax.eval_shape(case.weighted_sum, **arrays).dtype)
            return jax.lax.scan(body, start, None, length=2)[0]

        return jax.lax.map(case.gradient, points), jax.vmap(case.gradient)(points), jax.grad(total)(chosen)

    return jax.jit(program)(case.cast(case.first_dtype))
