"""The sum over all paths that spell the labels, forward and backward in time, and its derivatives of every order."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._primitives.varying import vary_with
from jnnops.ctc import _scaled as scaled
from jnnops.ctc._frames import normalize, probabilities
from jnnops.ctc._scaled import Scaled

# Frames between which mantissas are not normalized. In each one they grow to 6 times as much at most, the sum of three
# in [1, 2) times another: in 16 frames and in the product of both recursions to less than 2**84.
BLOCK = 16


class States(NamedTuple):
    """What is known of each state of the lattice.

    Of the blank before each label and after the last one, ``[max_labels + 1, batch]``, and of each label,
    ``[max_labels, batch]``. The labels stand before the batch, so that a shift by one label moves whole vectors: on CPU
    a step of the recursion is then twice as fast as with the labels last.
    """

    blank: Scaled
    label: Scaled


def _lanes(x: Scaled, start: int | None, stop: int | None) -> Scaled:
    """The lanes from ``start`` to before ``stop``."""
    return Scaled(x.mantissa[start:stop], x.exponent[start:stop])


def _pad_lanes(x: Scaled, before: int, after: int) -> Scaled:
    """Adds lanes of probability 0."""
    padding = ((before, after), (0, 0))
    zero = scaled.lowest(x.exponent.dtype)
    return Scaled(jnp.pad(x.mantissa, padding), jnp.pad(x.exponent, padding, constant_values=zero))


def _if(allowed: jax.Array, x: Scaled) -> Scaled:
    """The number where a skip, of exponent 0 or so low that it makes 0 of any number, is allowed."""
    return x._replace(exponent=x.exponent + allowed)


def _step_forward(states: States, skip: jax.Array, stays: bool) -> States:
    """Sums over the states that may precede each one: for a label itself, the blank or the label before it."""
    blank, label = states
    before = _pad_lanes(label, 1, 0)
    skipping = _if(skip, _lanes(before, None, -1))
    staying = (label,) if stays else ()
    return States(scaled.add(blank, before), scaled.add(*staying, _lanes(blank, None, -1), skipping))


def _step_backward(states: States, skip_next: jax.Array, stays: bool) -> States:
    """Sums over the states that may follow each one: for a label itself, the blank or the label after it."""
    blank, label = states
    after = _pad_lanes(label, 0, 1)
    skipping = _if(skip_next, _lanes(after, 1, None))
    staying = (label,) if stays else ()
    return States(scaled.add(blank, after), scaled.add(*staying, _lanes(blank, 1, None), skipping))


def _emit(states: States, emission: States) -> States:
    """Multiplies by the probabilities of one frame, of which the blank has no lanes."""
    blank = Scaled(emission.blank.mantissa[None], emission.blank.exponent[None])
    return States(scaled.multiply(states.blank, blank), scaled.multiply(states.label, emission.label))


def _normalize(states: States) -> States:
    return States(*map(scaled.normalize, states))


class Lattice(NamedTuple):
    """What the recursions need to know.

    Attributes:
        emissions: The probabilities of the blank, ``[time, batch]``, and of each label, ``[time, max_labels, batch]``,
            of a time that is a multiple of ``BLOCK``. Past a row's length the blank is certain: it leaves complete
            paths alone, so no step needs a mask.
        skip: Whether a label may follow the one before without a blank, ``[max_labels, batch]``, see :func:`_if`.
        label_length: ``[batch]``.
        stays: Whether a label may last for several frames, as it does where CTC merges repeated classes.
    """

    emissions: States
    skip: jax.Array
    label_length: jax.Array
    stays: bool

    def certain(self, blank_lane: jax.Array) -> States:
        """The states where each row is certain to be at one blank."""
        dtype = self.skip.dtype
        lanes = jnp.arange(self.skip.shape[0] + 1, dtype=jnp.int32)[:, None]
        states = States(scaled.where(lanes == blank_lane[None], dtype), scaled.zeros_like(self.skip))
        return vary_with(states, self.emissions, self.skip, self.label_length)


def _scan(step: Callable[..., Any], states: States, frames: Any, *, reverse: bool = False) -> tuple[States, Any]:
    """``lax.scan`` over frames, with normal mantissas after each block."""
    blocks = jax.tree.map(lambda x: x.reshape(x.shape[0] // BLOCK, BLOCK, *x.shape[1:]), frames)

    def block(states: States, frames: Any) -> tuple[States, Any]:
        states, results = lax.scan(step, states, frames, reverse=reverse)
        return _normalize(states), results

    states, results = lax.scan(block, states, blocks, reverse=reverse)
    return states, jax.tree.map(lambda x: x.reshape(x.shape[0] * BLOCK, *x.shape[2:]), results)


def _likelihood(states: States, lattice: Lattice) -> Scaled:
    """The probability of the labels from the states at the last frame: at the last label or at the blank after it."""
    last = _step_forward(states, lattice.skip, lattice.stays).blank
    mantissa, exponent = (jnp.take_along_axis(part, lattice.label_length[None], axis=0)[0] for part in last)
    return Scaled(mantissa, exponent)


def _loss(likelihood: Scaled) -> jax.Array:
    return jnp.maximum(-scaled.log(likelihood), 0)  # rounding can put the sum of probabilities above 1


def _sum_paths(lattice: Lattice) -> jax.Array:
    """The loss by Graves' forward recursion, equations 6 to 8; ``[batch]``."""

    def step(states: States, emission: States) -> tuple[States, None]:
        return _emit(_step_forward(states, lattice.skip, lattice.stays), emission), None

    states, _ = _scan(step, lattice.certain(jnp.zeros_like(lattice.label_length)), lattice.emissions)
    return _loss(_likelihood(states, lattice))


def _occupancies(lattice: Lattice) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The loss, and the probabilities, given the labels, to be at any blank and at each label in each frame.

    They have the shapes of the emissions, and are 0 where no path spells the labels.
    """
    skip_next = _pad_skip(lattice.skip)

    def forward(states: States, emission: States) -> tuple[States, States]:
        states = _emit(_step_forward(states, lattice.skip, lattice.stays), emission)
        return states, states

    def backward(states: States, frame: tuple[States, States]) -> tuple[States, tuple[jax.Array, jax.Array]]:
        emission, before = frame
        after = _step_backward(states, skip_next, lattice.stays)
        return _emit(after, emission), _together(before, after, likelihood)

    start, end = lattice.certain(jnp.zeros_like(lattice.label_length)), lattice.certain(lattice.label_length)
    states, before = _scan(forward, start, lattice.emissions)
    likelihood = _likelihood(states, lattice)
    _, (blank, label) = _scan(backward, end, (lattice.emissions, before), reverse=True)
    # What rounding has added to both recursions since the frame cancels.
    total = blank + jnp.sum(label, axis=1)
    total = jnp.where(total == 0, 1, total)
    return _loss(likelihood), blank / total, label / total[:, None]


def _together(before: States, after: States, likelihood: Scaled) -> tuple[jax.Array, jax.Array]:
    """The probabilities of one frame, of all blanks together, given the likelihood of the labels."""
    whole = jnp.where(likelihood.mantissa == 0, -2 * scaled.lowest(likelihood.exponent.dtype), likelihood.exponent)
    blank, label = (
        a.mantissa * b.mantissa * scaled.power_of_two((a.exponent - whole[None]) + b.exponent)
        for a, b in zip(before, after, strict=True)
    )
    return jnp.sum(blank, axis=0), label


def _pad_skip(skip: jax.Array) -> jax.Array:
    return jnp.pad(skip, ((0, min(1, skip.shape[0])), (0, 0)))[min(1, skip.shape[0]) :]


def _lattice(
    logits: jax.Array,
    labels: jax.Array,
    label_length: jax.Array,
    logit_length: jax.Array,
    blank_index: int,
    merge_repeated: bool,
) -> tuple[Lattice, jax.Array, jax.Array]:
    """The lattice, and which frames have a distribution with what normalizes it."""
    real, possible, normalizer, _ = normalize(logits, logit_length)
    blank = logits[:, :, blank_index] - normalizer
    blank = jnp.where(possible, blank, jnp.where(real, -jnp.inf, 0))
    label = jnp.take_along_axis(logits, labels[None], axis=2, mode="promise_in_bounds")
    label = jnp.where(possible[:, :, None], label - normalizer[:, :, None], -jnp.inf).swapaxes(1, 2)
    rest = -logits.shape[0] % BLOCK
    blank = jnp.pad(blank, ((0, rest), (0, 0)))
    label = jnp.pad(label, ((0, rest), (0, 0), (0, 0)), constant_values=-jnp.inf)
    emissions = States(scaled.exp(jnp.minimum(blank, 0)), scaled.exp(jnp.minimum(label, 0)))
    skip = _skip(labels, merge_repeated, logits.dtype)
    return Lattice(emissions, skip, label_length, stays=merge_repeated), possible, normalizer


def _skip(labels: jax.Array, merge_repeated: bool, dtype: Any) -> jax.Array:
    """Whether label ``k`` may follow ``k - 1`` with no blank in between, see :func:`_if`."""
    labels = labels.T
    differ = (labels[1:] != labels[:-1]) if merge_repeated else jnp.ones_like(labels[1:], jnp.bool)
    can_skip = jnp.pad(differ, ((min(1, len(labels)), 0), (0, 0)))
    return jnp.where(can_skip, 0, 2 * scaled.lowest(dtype)).astype(dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def negative_log_likelihood(
    logits: jax.Array,
    labels: jax.Array,
    label_length: jax.Array,
    logit_length: jax.Array,
    blank_index: int,
    merge_repeated: bool,
) -> jax.Array:
    """The loss of each row, ``[batch]``, of labels and lengths that are in range."""
    return _sum_paths(_lattice(logits, labels, label_length, logit_length, blank_index, merge_repeated)[0])


@negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(
    blank_index: int,
    merge_repeated: bool,
    primals: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    tangents: tuple,
) -> tuple[jax.Array, jax.Array]:
    # The derivative by a logit is the probability of its class less that given the labels. That is one recursion each
    # way, where JAX's own derivative of the scan would save what each addition needs; and being differentiable code
    # itself, it gives the higher orders.
    loss, slope = _loss_and_slope(*primals, blank_index, merge_repeated)
    return loss, jnp.sum(slope * tangents[0], axis=(0, 2))


def _loss_and_slope(
    logits: jax.Array,
    labels: jax.Array,
    label_length: jax.Array,
    logit_length: jax.Array,
    blank_index: int,
    merge_repeated: bool,
) -> tuple[jax.Array, jax.Array]:
    """The loss and its derivative by the logits."""
    time = logits.shape[0]
    lattice, possible, normalizer = _lattice(logits, labels, label_length, logit_length, blank_index, merge_repeated)
    loss, blank, label = _occupancies(lattice)
    possible = possible & (loss != jnp.inf)[None]
    blank, label = jnp.where(possible, blank[:time], 0), jnp.where(possible[:, None], label[:time], 0)
    is_blank = jnp.arange(logits.shape[2], dtype=jnp.int32) == blank_index
    slope = probabilities(logits, normalizer, possible) - jnp.where(is_blank[None, None], blank[:, :, None], 0)
    # All frames of a label go to one class of one row: with an index for each of them XLA on CPU takes twice as long.
    row = jnp.arange(logits.shape[1], dtype=jnp.int32)[:, None]
    return loss, slope.at[:, row, labels].add(-jnp.swapaxes(label, 1, 2), mode="promise_in_bounds")
