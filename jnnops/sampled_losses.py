"""Losses over so many classes that only the true ones and a few sampled ones are scored.

The classes are the rows of ``weights``, ``[num_classes, dim]``, with ``biases``, ``[num_classes]``. Both may be lists
of shards, in TensorFlow's order ``"mod"`` or ``"div"`` (see :mod:`jnnops.embedding`). Only the rows of true and of
sampled classes are read, and only they have a gradient; with :mod:`jnnops.sparse` a training step costs no more.

The logit of a class is ``inputs @ weights + biases`` less the logarithm of how often the class is expected among the
candidates. Without that correction a class would count the more, the more often it is sampled. Nothing of
``sampled_values`` has a gradient.

All rows of the batch share the candidates, so one may be a true class of some row: an accidental hit. With
``remove_accidental_hits`` it counts nothing there, every occurrence of it.

Sums of 16-bit numbers are taken in float32. A label outside ``[0, num_classes)`` makes the loss of its row NaN, with a
gradient of 0, and is reported by ``checkify``. So is a candidate out of range that is given in ``sampled_values``; it
counts as a class whose weights and bias are 0 if ``weights`` have no such row.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jnnops._check import (
    accumulation_dtype,
    as_float_array,
    as_integer_array,
    as_key,
    as_size,
    as_static_bool,
    as_static_int,
    check_rank,
    check_shape,
)
from jnnops._keywords import answers_tensorflow_names
from jnnops._tables.ids import checked_ids, signed_alike
from jnnops._tables.shards import as_shards, check_floating, count_rows, take_sharded_rows
from jnnops._types import Key, Table
from jnnops.activation import softplus
from jnnops.candidate_sampling import SampledCandidates
from jnnops.candidate_sampling.log_uniform import sample_log_uniform
from jnnops.classification import sigmoid_cross_entropy_with_logits


@answers_tensorflow_names
def nce_loss(
    weights: Table,
    biases: Table,
    labels: ArrayLike,
    inputs: ArrayLike,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Sequence[Any] | None = None,
    remove_accidental_hits: bool = False,
    partition_strategy: str = "mod",
    *,
    key: Key | None = None,
) -> jax.Array:
    r"""Noise-contrastive estimation: learns to tell true classes from sampled ones, each by a logistic regression.

    .. math::
        \sum_{i \,\text{true}} \ell(1 / \text{num_true}, x_i) + \sum_{j \,\text{sampled}} \ell(0, x_j)

    with the logits :math:`x` and the loss :math:`\ell` of ``sigmoid_cross_entropy_with_logits``.

    Args:
        weights: ``[num_classes, dim]``, floating point, or the list of its shards. More rows do no harm.
        biases: ``[num_classes]``, floating point, or the list of its shards, as many as ``weights`` has rows.
        labels: ``[batch, num_true]``, integers in ``[0, num_classes)``.
        inputs: ``[batch, dim]``, floating point.
        num_sampled: The number of candidates.
        num_classes: The number of classes.
        num_true: The number of true classes of each row.
        sampled_values: What a sampler returned for ``labels``; by default ``log_uniform_candidate_sampler`` draws
            unique candidates, for classes in the order of their frequency.
        remove_accidental_hits: Whether candidates count nothing for rows of which they are a true class.
        partition_strategy: ``"mod"`` or ``"div"``: which rows the shards hold.
        key: A ``jax.random`` key to draw with if ``sampled_values`` is not given.

    Returns:
        The loss of each row, ``[batch]``, in the dtype that ``weights``, ``biases`` and ``inputs`` promote to.

    Raises:
        ValueError: If shapes do not fit together, a size or an option is not one of those above, or neither
            ``sampled_values`` nor a key is given.
        TypeError: If ``labels`` or the candidates are not integer, other arrays not floating point, or a static
            argument is not what it should be.

    Note:
        A label given twice in a row is one class to ``remove_accidental_hits``; TensorFlow's loss is NaN where it is
        hit.

    Example:
        >>> weights, biases = jnp.zeros((1000, 8)), jnp.zeros(1000)
        >>> labels, inputs = jnp.array([[3], [7]]), jnp.ones((2, 8))
        >>> nn.nce_loss(weights, biases, labels, inputs, 16, 1000, key=jax.random.key(0)).shape
        (2,)

    References:
        ``tf.nn.nce_loss``. Gutmann and Hyvärinen, "Noise-contrastive estimation: A new estimation principle for
        unnormalized statistical models", 2010.
    """
    settings = _Settings("nce_loss", _logistic_loss, num_classes, remove_accidental_hits, partition_strategy)
    return _sampled_loss(settings, (weights, biases), labels, inputs, num_sampled, num_true, sampled_values, key)


def _logistic_loss(true: jax.Array, sampled: jax.Array) -> jax.Array:
    labels = jnp.full_like(true, 1 / true.shape[1])
    return jnp.sum(sigmoid_cross_entropy_with_logits(labels, true), 1) + jnp.sum(softplus(sampled), 1)


@answers_tensorflow_names
def sampled_softmax_loss(
    weights: Table,
    biases: Table,
    labels: ArrayLike,
    inputs: ArrayLike,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Sequence[Any] | None = None,
    remove_accidental_hits: bool = True,
    partition_strategy: str = "mod",
    *,
    key: Key | None = None,
) -> jax.Array:
    r"""Cross entropy of the softmax over true and sampled classes alone, to train what the full softmax is to use.

    .. math::
        \log \Big( \sum_{i \,\text{true}} e^{x_i} + \sum_{j \,\text{sampled}} e^{x_j} \Big)
        - \frac{1}{\text{num_true}} \sum_{i \,\text{true}} x_i

    with the logits :math:`x`. Its gradient approaches that of the full softmax cross entropy as ``num_sampled`` grows.
    To evaluate a model use the full one.

    Args:
        weights: ``[num_classes, dim]``, floating point, or the list of its shards. More rows do no harm.
        biases: ``[num_classes]``, floating point, or the list of its shards, as many as ``weights`` has rows.
        labels: ``[batch, num_true]``, integers in ``[0, num_classes)``.
        inputs: ``[batch, dim]``, floating point.
        num_sampled: The number of candidates.
        num_classes: The number of classes.
        num_true: The number of true classes of each row, each of which has the target probability ``1 / num_true``.
        sampled_values: What a sampler returned for ``labels``; by default ``log_uniform_candidate_sampler`` draws
            unique candidates, for classes in the order of their frequency.
        remove_accidental_hits: Whether candidates count nothing for rows of which they are a true class.
        partition_strategy: ``"mod"`` or ``"div"``: which rows the shards hold.
        key: A ``jax.random`` key to draw with if ``sampled_values`` is not given.

    Returns:
        The loss of each row, ``[batch]``, in the dtype that ``weights``, ``biases`` and ``inputs`` promote to.

    Raises:
        ValueError: If shapes do not fit together, a size or an option is not one of those above, or neither
            ``sampled_values`` nor a key is given.
        TypeError: If ``labels`` or the candidates are not integer, other arrays not floating point, or a static
            argument is not what it should be.

    Example:
        >>> weights, biases = jnp.zeros((1000, 8)), jnp.zeros(1000)
        >>> labels, inputs = jnp.array([[3], [7]]), jnp.ones((2, 8))
        >>> sampled = nn.all_candidate_sampler(labels, 1, 1000, True)
        >>> nn.sampled_softmax_loss(weights, biases, labels, inputs, 1000, 1000, sampled_values=sampled)
        Array([6.9077554, 6.9077554], dtype=float32)

    References:
        ``tf.nn.sampled_softmax_loss``. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine
        Translation", 2015.
    """
    settings = _Settings("sampled_softmax_loss", _softmax_loss, num_classes, remove_accidental_hits, partition_strategy)
    return _sampled_loss(settings, (weights, biases), labels, inputs, num_sampled, num_true, sampled_values, key)


def _softmax_loss(true: jax.Array, sampled: jax.Array) -> jax.Array:
    largest = lax.stop_gradient(jnp.maximum(jnp.max(true, 1), jnp.max(sampled, 1)))[:, None]
    true, sampled = true - largest, sampled - largest
    return jnp.log(jnp.sum(jnp.exp(true), 1) + jnp.sum(jnp.exp(sampled), 1)) - jnp.mean(true, 1)


class _Settings(NamedTuple):
    """What a sampled loss is compiled for.

    Attributes:
        op: The name of the op.
        loss: What it makes of the logits of true classes, ``[batch, num_true]``, and of sampled ones,
            ``[batch, num_sampled]``.
        num_classes: The number of classes.
        remove_accidental_hits: Whether candidates count nothing for rows of which they are a true class.
        partition_strategy: Which rows the shards hold.
    """

    op: str
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    num_classes: int
    remove_accidental_hits: bool
    partition_strategy: str


def _sampled_loss(
    settings: _Settings,
    classes: tuple[Table, Table],
    labels: ArrayLike,
    inputs: ArrayLike,
    num_sampled: int,
    num_true: int,
    sampled_values: Sequence[Any] | None,
    key: Key | None,
) -> jax.Array:
    """Checks the arguments, of which ``classes`` are weights and biases, and computes the loss."""
    op = settings.op
    num_sampled, num_true = as_size(op, "num_sampled", num_sampled), as_size(op, "num_true", num_true)
    key = None if key is None else as_key(op, key)
    settings = settings._replace(
        num_classes=as_static_int(op, "num_classes", settings.num_classes, minimum=1),
        remove_accidental_hits=as_static_bool(op, "remove_accidental_hits", settings.remove_accidental_hits),
    )
    weights, biases = _as_classes(settings, *classes)
    inputs = as_float_array(op, "inputs", inputs, rank=2)
    dim = weights[0].shape[1]
    if inputs.shape[1] != dim:
        raise ValueError(
            f"{op}: `inputs` must be [batch, dim] with the dim = {dim} of `weights`, got shape {inputs.shape}"
        )
    labels = as_integer_array(op, "labels", labels, rank=2)
    check_shape(op, "labels", labels, (inputs.shape[0], num_true), "the batch of `inputs`, num_true")
    if sampled_values is None:
        sampled = _draw(op, labels, num_sampled, settings.num_classes, key)
    else:
        sampled = _as_sampled(op, sampled_values, labels, num_sampled)
    return _loss_of_sampled(weights, biases, labels, inputs, sampled, settings)


def _as_classes(
    settings: _Settings, weights: Table, biases: Table
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Checks weights and biases, and returns the shards of each."""
    op, num_classes = settings.op, settings.num_classes
    tables = []
    for name, table, rank in (("weights", weights, 2), ("biases", biases, 1)):
        shards = as_shards(op, name, table, settings.partition_strategy)
        check_rank(op, name, shards[0], rank)
        check_floating(op, name, shards)
        tables.append(shards)
    rows, entries = map(count_rows, tables)
    if rows < num_classes:
        raise ValueError(f"{op}: `weights` must have a row for each of num_classes = {num_classes}, got {rows} rows")
    if entries != rows:
        raise ValueError(f"{op}: `biases` must have an entry for each of the {rows} rows of `weights`, got {entries}")
    return tables[0], tables[1]


def _draw(op: str, labels: jax.Array, num_sampled: int, num_classes: int, key: Key | None) -> SampledCandidates:
    """Draws the candidates that are not given."""
    if num_sampled > num_classes:
        raise ValueError(
            f"{op}: `num_sampled` must be at most num_classes = {num_classes} to draw unique candidates, got "
            f"{num_sampled}"
        )
    if num_classes > np.iinfo(np.int32).max:
        raise ValueError(
            f"{op}: `num_classes` must be at most {np.iinfo(np.int32).max} to draw candidates, got {num_classes}"
        )
    return sample_log_uniform(labels, as_key(op, key), num_sampled, True, num_classes, op, "labels")


def _as_sampled(op: str, sampled_values: Sequence[Any], labels: jax.Array, num_sampled: int) -> SampledCandidates:
    """Checks what a sampler returned, or was said to."""
    if not isinstance(sampled_values, Sequence) or len(sampled_values) < 3:
        raise ValueError(
            f"{op}: `sampled_values` must be (sampled_candidates, true_expected_count, sampled_expected_count), got "
            f"{type(sampled_values).__name__}"
        )
    candidates = as_integer_array(op, "sampled_values[0]", sampled_values[0], rank=1)
    true_count, sampled_count = (
        as_float_array(op, f"sampled_values[{number}]", sampled_values[number]) for number in (1, 2)
    )
    check_shape(op, "sampled_values[0]", candidates, (num_sampled,), "num_sampled")
    check_shape(op, "sampled_values[1]", true_count, labels.shape, "that of `labels`")
    check_shape(op, "sampled_values[2]", sampled_count, (num_sampled,), "num_sampled")
    return SampledCandidates(candidates, true_count, sampled_count)


@functools.partial(jax.jit, static_argnames="settings")
def _loss_of_sampled(
    weights: tuple[jax.Array, ...],
    biases: tuple[jax.Array, ...],
    labels: jax.Array,
    inputs: jax.Array,
    sampled: SampledCandidates,
    settings: _Settings,
) -> jax.Array:
    labels, valid = checked_ids(settings.op, "labels", labels, settings.num_classes)
    candidates, _ = checked_ids(settings.op, "sampled_values[0]", sampled.sampled_candidates, settings.num_classes)
    labels, candidates = signed_alike(labels, candidates)
    dtype = jnp.result_type(weights[0], biases[0], inputs)
    wide = accumulation_dtype(dtype)

    # Labels and candidates are looked up separately. In one lookup of both joined, a batch that is split over devices
    # would have the compiler split the candidates, and with them the sampler, too.
    take = functools.partial(take_sharded_rows, partition_strategy=settings.partition_strategy)
    true_rows, sampled_rows = (take(weights, ids).astype(dtype) for ids in (labels, candidates))
    true_biases, sampled_biases = (take(biases, ids).astype(wide) for ids in (labels, candidates))

    counts = sampled.true_expected_count, sampled.sampled_expected_count
    true_count, sampled_count = (lax.stop_gradient(count).astype(wide) for count in counts)
    inputs = inputs.astype(dtype)
    dot = functools.partial(jnp.einsum, preferred_element_type=wide)
    true_logits = dot("bd,btd->bt", inputs, true_rows) + true_biases - jnp.log(jnp.where(valid, true_count, 1))
    sampled_logits = dot("bd,sd->bs", inputs, sampled_rows) + (sampled_biases - jnp.log(sampled_count))[None, :]
    if settings.remove_accidental_hits:
        hit = jnp.any(labels[:, :, None] == candidates[None, None, :], 1)
        sampled_logits = jnp.where(hit, -jnp.inf, sampled_logits)
    return jnp.where(jnp.all(valid, 1), settings.loss(true_logits, sampled_logits), jnp.nan).astype(dtype)
