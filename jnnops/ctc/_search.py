"""One frame of a prefix beam search after another, for a batch of rows and all beams of each.

A prefix is what a path has spelled so far. Two beams must never hold the same one: what extends a prefix to one that
another beam holds must be added to that beam instead. Prefixes are compared without hashing, and without comparing
their labels: each beam knows its *ancestor*, the beam with the longest prefix that begins its own, and the label that
follows there, its *branch*. The one prefix that may be found twice is then the ancestor's, extended by the branch.

Where a prefix that has been dropped comes back, the beams that continue it must learn of it; their next label is
read from a *trie*, which has a node for each time that a beam was extended.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnnops._primitives.order import after, read_once
from jnnops._primitives.serialization import serializable
from jnnops._primitives.varying import vary_with

NONE = -1  # no beam, node or label
INF = float("inf")

# ``scorer(state, label)`` returns the scores and the new states of ``[beams]`` labels after states ``[beams, ...]``.
Scorer = Callable[[Any, jax.Array], tuple[jax.Array, Any]]


@serializable
class Beams(NamedTuple):
    """What is known of each prefix, ``[batch, beam_width]``, the likeliest first.

    Attributes:
        total: The log-probability of all paths that spell the prefix, minus infinity where there is none.
        blank: That of the paths that end in a blank.
        label: That of the paths that end in the last label.
        node: The node of the trie where the prefix ends; none of the empty one.
        length: The number of labels.
        last: The last label.
        ancestor: The place of the beam whose prefix is the longest that begins this one.
        branch: The label that follows the ancestor's.
        bonus: What the scorer said of the last label.
        memory: The states of the scorer, a pytree of ``[batch, beam_width, ...]``.
    """

    total: jax.Array
    blank: jax.Array
    label: jax.Array
    node: jax.Array
    length: jax.Array
    last: jax.Array
    ancestor: jax.Array
    branch: jax.Array
    bonus: jax.Array
    memory: Any


@serializable
class Trie(NamedTuple):
    """The parent of each node and the label that leads from there to it, ``[batch, max_time * beam_width]``.

    The node ``frame * beam_width + beam`` was made when that beam was extended in that frame of the row.
    """

    parent: jax.Array
    label: jax.Array


class Frame(NamedTuple):
    """What a frame says, ``[batch, classes]`` or, of the labels that are tried, ``[batch, tried]``.

    Attributes:
        log_probability: Of each class.
        blank: Of the blank, ``[batch, 1]``.
        tried: The labels to extend prefixes with.
        of_tried: Their log-probabilities, minus infinity for the blank.
        column: The place of each class among those that are tried, or a number beyond them.
        real: Whether the row has this frame, ``[batch, 1]``.
    """

    log_probability: jax.Array
    blank: jax.Array
    tried: jax.Array
    of_tried: jax.Array
    column: jax.Array
    real: jax.Array


class Grid(NamedTuple):
    """The candidates, flat: each beam as it is, then the extensions, which are some first columns of each beam's row.

    Attributes:
        blocks: The first beam, the number of beams and that of columns of each block of equally long rows.
        start: Where the row of each beam starts, ``[beam_width]``.
        columns: How many columns the row of each beam has, ``[beam_width]``.
        beam: The beam of each candidate, ``[candidates]``.
        column: The column of each candidate, ``[candidates]``; 0 if it is no extension.
    """

    blocks: tuple[tuple[int, int, int], ...]
    start: np.ndarray
    columns: np.ndarray
    beam: np.ndarray
    column: np.ndarray

    @property
    def size(self) -> int:
        """The number of candidates."""
        return len(self.beam)

    @property
    def tried(self) -> int:
        """The number of labels that are tried."""
        return int(self.columns.max())

    @classmethod
    def of(cls, blocks: list[tuple[int, int, int]]) -> "Grid":
        """Lays out the blocks, which cover the beams in order."""
        columns = np.concatenate([np.full(beams, columns, np.int32) for _, beams, columns in blocks])
        start = (len(columns) + np.cumsum(columns) - columns).astype(np.int32)
        beams = np.arange(len(columns), dtype=np.int32)
        beam = np.repeat(beams, columns)
        column = np.arange(len(columns), len(columns) + len(beam), dtype=np.int32) - start[beam]
        return cls(tuple(blocks), start, columns, np.append(beams, beam), np.append(np.zeros_like(beams), column))


def whole_grid(beam_width: int, classes: int) -> Grid:
    """Every beam extended by every class, for scores that do not come with the likeliest labels first."""
    return Grid.of([(0, beam_width, classes)])


def staircase(beam_width: int, labels: int) -> Grid:
    """The extensions among which the best ``beam_width`` are if beams and labels come with the likeliest first.

    That of beam ``r`` by the label at place ``l``, both counted from 0, is no likelier than those of beams up to ``r``
    by labels up to ``l``: ``(r + 1) (l + 1) - 1`` others, or prefixes that a beam already holds and that are likelier
    still. One label of each beam, that which repeats the last one, can be less likely than its place tells. So it is
    among the best only if ``(r + 1) l`` is at most ``beam_width``, which holds for some ``beam_width log(beam_width)``
    extensions however many labels there are. Rows of beams ``2**k - 1`` to ``2**(k + 1) - 2`` are made equally long.
    """
    blocks: list[tuple[int, int, int]] = []
    first = 0
    while first < beam_width:
        beams = min(first + 1, beam_width - first)
        blocks.append((first, beams, min(labels, beam_width // (first + 1) + 1)))
        first += beams
    return Grid.of(blocks)


def take(array: jax.Array, index: jax.Array) -> jax.Array:
    """Items of each row by places that are in range; ``[batch, size, ...]`` by ``[batch, count]``."""

    def row(array: jax.Array, index: jax.Array) -> jax.Array:
        return array.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)

    return jax.vmap(row)(array, index)


def look_up(table: np.ndarray, index: jax.Array) -> jax.Array:
    """Items of a table by places that are in range."""
    return jnp.asarray(table).at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def put(array: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
    """Sets items of each row, but for those out of range; ``[batch, size, ...]`` by ``[batch, count]``."""

    def row(array: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
        return array.at[index].set(value, mode="drop", wrap_negative_indices=False)

    return jax.vmap(row)(array, index, jnp.broadcast_to(value, index.shape + array.shape[2:]))


def log_add(a: jax.Array, b: jax.Array) -> jax.Array:
    """The logarithm of the sum of two exponentials: never below either, which the staircase relies on."""
    larger = jnp.maximum(a, b)
    difference = jnp.where(larger == -INF, 0, jnp.minimum(a, b) - larger)
    return larger + jnp.log1p(jnp.exp(difference))


def empty_beams(batch: int, beam_width: int, dtype: Any, memory: Any) -> Beams:
    """One beam, with the empty prefix; ``memory`` is a pytree of ``[batch, ...]``."""
    shape = batch, beam_width
    certain = jnp.full(shape, -INF, dtype).at[:, 0].set(0)
    none = jnp.full(shape, NONE, jnp.int32)
    return Beams(
        total=certain,
        blank=certain,
        label=jnp.full(shape, -INF, dtype),
        node=none,
        length=jnp.zeros(shape, jnp.int32),
        last=none,
        ancestor=none,
        branch=none,
        bonus=jnp.zeros(shape, dtype),
        memory=jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], beam_width, axis=1), memory),
    )


def empty_trie(batch: int, beam_width: int, max_time: int) -> Trie:
    """No nodes, but places for those of ``max_time`` frames."""
    none = jnp.full((batch, max(max_time, 1) * beam_width), NONE, jnp.int32)
    return Trie(none, none)


def make_frames(logits: jax.Array, real: jax.Array, blank_index: int, grid: Grid, *, sort: bool) -> Frame:
    """Prepares all frames.

    Args:
        logits: ``[time, batch, classes]``.
        real: ``[time, batch]``.
        blank_index: The class of the blank.
        grid: The extensions.
        sort: Whether the likeliest labels are tried first, rather than all classes in order.
    """
    time, batch, classes = logits.shape
    logits = logits.reshape(time * batch, classes)  # of two axes, for which there is a fast selection on CPU
    normalizer = jax.nn.logsumexp(logits, axis=1, keepdims=True)
    log_probability = jnp.where(normalizer == -INF, -INF, logits - normalizer)
    of_tried = log_probability.at[:, blank_index].set(-INF)
    places = jnp.arange(classes, dtype=jnp.int32)[None]
    tried = column = jnp.broadcast_to(places, logits.shape)
    if sort:
        of_tried, tried = lax.top_k(of_tried, grid.tried)
        column = put(jnp.full_like(column, classes), tried, places[:, : grid.tried])
    blank = log_probability[:, blank_index, None]
    parts = log_probability, blank, tried, of_tried, column, real.reshape(-1, 1)
    return Frame(*(part.reshape(time, batch, part.shape[1]) for part in parts))


def is_proper(frames: Frame) -> jax.Array:
    """Which frames, ``[time, batch]``, are not real or have probabilities: no NaN or infinity among their logits."""
    return ~frames.real[:, :, 0] | ~jnp.any(jnp.isnan(frames.log_probability), axis=2)


def search(beams: Beams, trie: Trie, start: jax.Array, frames: Frame, grid: Grid, scorer: Scorer | None) -> Any:
    """Advances by frames, of which the first is number ``start`` of its row; returns the beams, the trie and the count.

    Args:
        beams: The beams before these frames.
        trie: Their trie, in which there is room for the real frames.
        start: ``[batch]``, how many real frames each row has had.
        frames: The frames.
        grid: The extensions.
        scorer: What scores the extensions, if anything.
    """

    def step(carry: tuple[Beams, Trie, jax.Array], frame: Frame) -> tuple[tuple[Beams, Trie, jax.Array], None]:
        beams, trie, number = carry
        beam_width = beams.total.shape[1]
        new, nodes = advance(beams, trie, number[:, None] * beam_width, frame, grid, scorer)
        beams = jax.tree.map(lambda new, old: jnp.where(_like(frame.real, old), new, old), new, beams)
        real = frame.real[:, 0]
        # The trie is written only after all that is read of it, or else XLA would copy it in each frame.
        read = read_once([beams.ancestor, beams.branch])
        nodes = jax.vmap(after)(read, list(nodes))
        trie = Trie(*(_write(a, b, number, real) for a, b in zip(trie, nodes, strict=True)))
        return (beams, trie, number + real.astype(number.dtype)), None

    carry = vary_with((beams, trie, start), frames, scorer)
    return lax.scan(step, carry, frames)[0]


def _write(array: jax.Array, nodes: jax.Array, number: jax.Array, real: jax.Array) -> jax.Array:
    """Sets what is known of the nodes of frame ``number`` of each row, if that is real."""
    batch, beam_width = nodes.shape
    array = array.reshape(batch, array.shape[1] // beam_width, beam_width)
    place = jnp.where(real, number, array.shape[1])[:, None]
    return put(array, place, nodes[:, None]).reshape(batch, array.shape[1] * beam_width)


def advance(
    beams: Beams, trie: Trie, first_node: jax.Array, frame: Frame, grid: Grid, scorer: Scorer | None
) -> tuple[Beams, Trie]:
    """The beams after a frame, and the nodes that it makes, ``[batch, beam_width]``."""
    beam_width = beams.total.shape[1]
    order = jnp.arange(beam_width, dtype=jnp.int32)[None]
    family = find_family(beams, frame, grid)
    blank, label = stay(beams, frame, family)
    candidates = jnp.concatenate([log_add(blank, label), *extend(beams, frame, grid, scorer)], axis=1)
    is_parent = family.gap == 1
    candidates = put(
        candidates, jnp.where(is_parent, family.place, grid.size), jnp.full((1, 1), -INF, candidates.dtype)
    )

    value, winner = lax.top_k(candidates, beam_width)
    alive, extended = value > -INF, winner >= beam_width
    beam, column = look_up(grid.beam, winner), look_up(grid.column, winner)
    added = take(frame.tried, column)

    # Where each candidate is among the winners.
    became = put(jnp.full_like(candidates, NONE, jnp.int32), jnp.where(alive, winner, grid.size), order)
    survivor = became[:, :beam_width]
    relation = relate(beams, trie, family, survivor, became)
    ancestor, branch = (take(each, beam) for each in relation)
    has_parent = extended & (take(survivor, beam) != NONE)

    parent = take(beams.node, beam)
    new = Beams(
        total=value,
        blank=jnp.where(extended, -INF, take(blank, beam)),
        label=jnp.where(extended, value, take(label, beam)),
        node=jnp.where(extended, first_node + order, parent),
        length=jnp.where(alive, take(beams.length, beam) + extended.astype(jnp.int32), 0),
        last=jnp.where(extended, added, take(beams.last, beam)),
        ancestor=jnp.where(alive, jnp.where(has_parent, take(survivor, beam), ancestor), NONE),
        branch=jnp.where(has_parent, added, branch),
        bonus=beams.bonus,
        memory=beams.memory,
    )
    if scorer is not None:
        new = remember(new, beam, extended, scorer)
    return new, Trie(parent, added)


class Family(NamedTuple):
    """How each beam is related to its ancestor, ``[batch, beam_width]``.

    Attributes:
        ancestor: The place of the ancestor, 0 if there is none.
        gap: How many labels follow the ancestor's prefix: 1 if it is the parent, 0 if there is no ancestor.
        place: Where the extension of the ancestor by the branch is among the candidates; their number if it is not.
    """

    ancestor: jax.Array
    gap: jax.Array
    place: jax.Array


def find_family(beams: Beams, frame: Frame, grid: Grid) -> Family:
    """Finds the ancestors of all beams."""
    ancestor = jnp.maximum(beams.ancestor, 0)
    known = beams.ancestor != NONE
    gap = jnp.where(known, beams.length - take(beams.length, ancestor), 0)
    column = take(frame.column, jnp.maximum(beams.branch, 0))
    is_tried = known & (column < look_up(grid.columns, ancestor))
    return Family(ancestor, gap, jnp.where(is_tried, look_up(grid.start, ancestor) + column, grid.size))


def stay(beams: Beams, frame: Frame, family: Family) -> tuple[jax.Array, jax.Array]:
    """The log-probabilities of each prefix as it is: of the paths that end in a blank and of those in the label."""
    repeats = beams.last == take(beams.last, family.ancestor)
    of_parent = jnp.where(repeats, take(beams.blank, family.ancestor), take(beams.total, family.ancestor))
    arriving = jnp.where(family.gap == 1, of_parent + beams.bonus, -INF)
    of_last = take(frame.log_probability, jnp.maximum(beams.last, 0))
    return beams.total + frame.blank, log_add(beams.label, arriving) + of_last


def extend(beams: Beams, frame: Frame, grid: Grid, scorer: Scorer | None) -> list[jax.Array]:
    """The log-probabilities of the extensions."""
    batch = beams.total.shape[0]
    blocks: list[jax.Array] = []
    for first, count, columns in grid.blocks:
        rows = slice(first, first + count)
        repeats = beams.last[:, rows, None] == frame.tried[:, None, :columns]
        before = jnp.where(repeats, beams.blank[:, rows, None], beams.total[:, rows, None])
        extensions = before + frame.of_tried[:, None, :columns]
        if scorer is not None:
            extensions += score_all(beams, columns, scorer)
        blocks.append(extensions.reshape(batch, count * columns))
    return blocks


def relate(
    beams: Beams, trie: Trie, family: Family, survivor: jax.Array, became: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The new ancestor of each old beam and the label that follows there: a beam that survives or one that returns.

    Args:
        beams: The old beams.
        trie: All nodes so far.
        family: Of the old beams.
        survivor: The new place of each old beam, ``[batch, beam_width]``.
        became: The new place of each candidate, ``[batch, candidates]``.
    """
    candidates = became.shape[1]
    may_return = (family.gap > 1) & (family.place < candidates)
    returned = jnp.where(may_return, take(became, jnp.minimum(family.place, candidates - 1)), NONE)
    ancestor = jnp.where(family.gap > 0, take(survivor, family.ancestor), NONE)
    ancestor = jnp.where(returned != NONE, returned, ancestor)

    hops = jnp.where(returned != NONE, family.gap - 2, 0)
    after_returned = take(trie.label, jnp.maximum(climb(trie, beams.node, hops), 0))
    branch = jnp.where(returned != NONE, after_returned, beams.branch)

    # Where an ancestor is lost, its own one follows.
    lost = (family.gap > 0) & (ancestor == NONE)

    def follow(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        at, is_lost = carry
        at = jnp.where(is_lost, take(family.ancestor, at), at)
        return at, take(lost, at)

    beam = jnp.broadcast_to(jnp.arange(lost.shape[1], dtype=jnp.int32), lost.shape)
    at, _ = lax.while_loop(lambda carry: jnp.any(carry[1]), follow, vary_with((beam, lost), lost, family))
    return take(ancestor, at), take(branch, at)


def climb(trie: Trie, node: jax.Array, hops: jax.Array) -> jax.Array:
    """The ancestor of each node by so many steps."""

    def up(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        node, hops = carry
        return jnp.where(hops > 0, take(trie.parent, jnp.maximum(node, 0)), node), hops - 1

    return lax.while_loop(lambda carry: jnp.any(carry[1] > 0), up, vary_with((node, hops), trie))[0]


def score_all(beams: Beams, classes: int, scorer: Scorer) -> jax.Array:
    """What the scorer says of each beam's extension by each class, ``[batch, beam_width, classes]``."""
    batch, beam_width = beams.total.shape
    memory = _merge(beams.memory)

    def score(label: jax.Array) -> jax.Array:
        return scorer(memory, jnp.full((batch * beam_width,), label))[0]

    scores = jax.vmap(score, out_axes=1)(jnp.arange(classes, dtype=jnp.int32))
    return scores.reshape(batch, beam_width, classes).astype(beams.total.dtype)


def remember(new: Beams, beam: jax.Array, extended: jax.Array, scorer: Scorer) -> Beams:
    """Gives the new beams what the scorer said of them and its states: ``new`` has those of the old ones."""
    bonus, memory = take(new.bonus, beam), jax.tree.map(lambda leaf: take(leaf, beam), new.memory)
    score, after = scorer(_merge(memory), jnp.maximum(new.last, 0).reshape(-1))
    bonus = jnp.where(extended, score.reshape(beam.shape).astype(bonus.dtype), bonus)

    def choose(after: jax.Array, before: jax.Array) -> jax.Array:
        return jnp.where(_like(extended, before), after.reshape(before.shape), before)

    return new._replace(bonus=bonus, memory=jax.tree.map(choose, after, memory))


def trace(beams: Beams, trie: Trie, top_paths: int, max_time: int) -> jax.Array:
    """The labels of the first prefixes, ``[batch, top_paths, max_time]``, then -1."""

    def back(node: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array]:
        here = jnp.maximum(node, 0)
        inside = position < beams.length[:, :top_paths]
        label = jnp.where(inside, take(trie.label, here), NONE)
        return jnp.where(inside, take(trie.parent, here), node), label

    positions = jnp.arange(max_time, dtype=jnp.int32)
    _, labels = lax.scan(back, vary_with(beams.node[:, :top_paths], beams, trie), positions, reverse=True)
    return jnp.moveaxis(labels, 0, 2)


def _like(condition: jax.Array, array: jax.Array) -> jax.Array:
    """The condition with axes of size 1 behind, up to the rank of ``array``."""
    return condition.reshape(condition.shape + (1,) * (array.ndim - condition.ndim))


def _merge(memory: Any) -> Any:
    """The states of the scorer as those of one batch of beams, ``[batch * beam_width, ...]``."""
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), memory)
