"""The sum over all paths that spell the labels, forward and backward in time, and its derivatives of every order."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._primitives.varying import vary_with


class _Log(NamedTuple):
    """The logarithm of a probability as ``whole + rest``, with an integral ``whole`` that is -inf for 0.

    As one float32 it would lose digits as the loss grows, and the gradient with it (docs/lowerings.rst, "CTC").
    ``whole`` is piecewise constant, so ``rest`` has the derivative.
    """

    whole: jax.Array
    rest: jax.Array


def _normalize(x: _Log) -> _Log:
    """The same number with its ``rest`` in ``[0, 1)``."""
    whole = jnp.floor(x.rest)
    return _Log(x.whole + whole, jnp.where(jnp.isneginf(whole), 0, x.rest - whole))


def _log_sum(*terms: _Log) -> _Log:
    """The logarithm of the sum of the probabilities."""
    terms = tuple(map(_normalize, terms))
    top = functools.reduce(jnp.maximum, (term.whole for term in terms))
    zero = jnp.isneginf(top)
    pivot = jnp.where(zero, 0, top)
    total = functools.reduce(jnp.add, (jnp.exp((term.whole - pivot) + term.rest) for term in terms))
    return _Log(top, jnp.log(jnp.where(zero, 1, total)))


# The probabilities of the lattice's states: of the blank before each label and after the last one,
# [max_labels + 1, batch], and of each label, [max_labels, batch].
_States = tuple[_Log, _Log]


def _lanes(x: _Log, start: int | None, stop: int | None) -> _Log:
    """The lanes from ``start`` to before ``stop``."""
    return _Log(x.whole[start:stop], x.rest[start:stop])


def _pad_lanes(x: _Log, before: int, after: int) -> _Log:
    """Adds lanes of probability 0."""
    padding = ((before, after), (0, 0))
    return _Log(jnp.pad(x.whole, padding, constant_values=-jnp.inf), jnp.pad(x.rest, padding))


def _step_forward(states: _States, can_skip: jax.Array) -> _States:
    """Sums over the states that may precede each one: for a label itself, the blank or the label before it."""
    blank, label = states
    before = _pad_lanes(label, 1, 0)
    skipping = _lanes(before, None, -1)
    skipping = skipping._replace(whole=jnp.where(can_skip, skipping.whole, -jnp.inf))
    return _log_sum(blank, before), _log_sum(label, _lanes(blank, None, -1), skipping)


def _step_backward(states: _States, can_skip_next: jax.Array) -> _States:
    """Sums over the states that may follow each one: for a label itself, the blank or the label after it."""
    blank, label = states
    after = _pad_lanes(label, 0, 1)
    skipping = _lanes(after, 1, None)
    skipping = skipping._replace(whole=jnp.where(can_skip_next, skipping.whole, -jnp.inf))
    return _log_sum(blank, after), _log_sum(label, _lanes(blank, 1, None), skipping)


def _emit(states: _States, emission: tuple[jax.Array, jax.Array]) -> _States:
    """Multiplies by the probabilities of one frame."""
    blank, label = states
    return blank._replace(rest=blank.rest + emission[0][None]), label._replace(rest=label.rest + emission[1])


def _certain(blank_lane: jax.Array, emissions: tuple[jax.Array, jax.Array]) -> _States:
    """The states where each row is certain to be at one blank."""
    _, label = emissions
    lanes = jnp.arange(label.shape[1] + 1, dtype=jnp.int32)[:, None]
    whole = jnp.where(lanes == blank_lane[None], jnp.zeros((), label.dtype), -jnp.inf)
    never = jnp.full_like(whole[1:], -jnp.inf)
    return vary_with((_Log(whole, jnp.zeros_like(whole)), _Log(never, jnp.zeros_like(never))), emissions)


@jax.custom_jvp
def negative_log_likelihood(
    blank: jax.Array, label: jax.Array, can_skip: jax.Array, label_length: jax.Array
) -> jax.Array:
    """Sums the paths by Graves' forward recursion, equations 6 to 8; ``[batch]``."""
    emissions = blank, label

    def step(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, None]:
        return _emit(_step_forward(states, can_skip), emission), None

    states, _ = lax.scan(step, _certain(jnp.zeros_like(label_length), emissions), emissions)
    return _loss_at_end(states, can_skip, label_length)


@negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # The derivative by an emission is the probability of its state given the labels. That is one recursion each way,
    # where JAX's own derivative of the scan would save what each logarithm needs; and being differentiable code
    # itself, it gives the higher orders.
    loss, blank, label = _occupancies(*primals)
    return loss, -jnp.sum(blank * tangents[0], axis=0) - jnp.sum(label * tangents[1], axis=(0, 1))


def _loss_at_end(states: _States, can_skip: jax.Array, label_length: jax.Array) -> jax.Array:
    """The loss from the states at the last frame: paths end at the last label or at the blank after it."""
    last_blank, _ = _step_forward(states, can_skip)
    likelihood = jnp.take_along_axis(last_blank.whole + last_blank.rest, label_length[None], axis=0)[0]
    return jnp.maximum(-likelihood, 0)  # rounding can put the sum of probabilities above 1


def _occupancies(
    blank: jax.Array, label: jax.Array, can_skip: jax.Array, label_length: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The loss, and the probabilities, given the labels, to be at any blank and at each label in each frame.

    They have the shapes of ``blank`` and ``label``, and are 0 where no path spells the labels.
    """
    emissions = blank, label
    can_skip_next = jnp.pad(can_skip, ((0, 1), (0, 0)))[1:]

    def forward(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, _States]:
        states = _emit(_step_forward(states, can_skip), emission)
        return states, states

    def backward(states: _States, emission: tuple[jax.Array, jax.Array]) -> tuple[_States, _States]:
        states = _emit(_step_backward(states, can_skip_next), emission)
        return states, states

    last, before = lax.scan(forward, _certain(jnp.zeros_like(label_length), emissions), emissions)
    _, after = lax.scan(backward, _certain(label_length, emissions), emissions, reverse=True)
    blanks, labels = (
        # Both recursions include the emission of the frame itself, so it is taken out once.
        _normalize(_Log(a.whole + b.whole, a.rest + b.rest - jnp.where(jnp.isneginf(emission), 0, emission)))
        for a, b, emission in zip(before, after, (blank[:, None], label), strict=True)
    )
    top = jnp.maximum(jnp.max(blanks.whole, axis=1), jnp.max(labels.whole, axis=1, initial=-jnp.inf))[:, None]
    pivot = jnp.where(jnp.isneginf(top), 0, top)
    at_blank = jnp.sum(jnp.exp((blanks.whole - pivot) + blanks.rest), axis=1)
    at_label = jnp.exp((labels.whole - pivot) + labels.rest)
    total = at_blank + jnp.sum(at_label, axis=1)
    total = jnp.where(total == 0, 1, total)
    return _loss_at_end(last, can_skip, label_length), at_blank / total, at_label / total[:, None]
