"""Normalisers of a softmax and scores of its targets, from logits that exist a chunk of classes at a time.

The logits are ``features @ weights + biases``. Of each row two numbers are wanted: the normaliser
``log(sum(exp(logits)))``, and the score ``sum(labels * logits)``, which is the logit of the label where that is a class
number. :data:`scores` computes both; :data:`tangents` what they change by, which is linear in the changes of the
arguments; and its transpose, :data:`gradients`, the gradients of all arguments from one recomputation of the logits.
Each goes through the classes once and never holds more than one chunk of them.

The arrays are always ``labels, features, weights, *biases``:

- ``labels``: ``[rows]``, class numbers, or ``[rows, classes]``, floating point;
- ``features``: ``[rows, dim]``;
- ``weights``: ``[dim, classes]``;
- ``biases``: ``[classes]``, if there are any.

``wrt`` names those of them that are differentiated by. In derivatives of the second order :data:`tangents` and
:data:`gradients` are differentiated by what they are not linear in, which is left to JAX: it recomputes chunks, too.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from jnnops._check import accumulation_dtype
from jnnops._primitives.operation import Operation, of_several_results, transpose_several
from jnnops._primitives.varying import vary_with

T = TypeVar("T")
Names = tuple[str, ...]
_NAMES = ("labels", "features", "weights", "biases")
_ROWS = ("labels", "features")  # what has an axis of rows


def _over_chunks(body: Callable[[jax.Array | int, int, T], T], start: T, arrays: Sequence[jax.Array], chunk: int) -> T:
    """``body(first class, number of classes, carry)`` for each chunk; the last may be smaller than the others."""
    chunk = min(chunk, arrays[2].shape[1])
    full, rest = divmod(arrays[2].shape[1], chunk)
    body = jax.checkpoint(body, static_argnums=1)
    start = vary_with(start, arrays)
    carry, _ = lax.scan(
        lambda carry, i: (body(i * chunk, chunk, carry), None), start, jnp.arange(full, dtype=jnp.int32)
    )
    return body(full * chunk, rest, carry) if rest else carry


def _columns(array: jax.Array, first: jax.Array | int, size: int) -> jax.Array:
    return lax.dynamic_slice_in_dim(array, first, size, axis=array.ndim - 1)


def _product(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """A matrix product of which 16-bit numbers are multiplied as they are, and summed in float32."""
    return jnp.matmul(rows, columns, preferred_element_type=accumulation_dtype(rows.dtype))


def _logits(arrays: Sequence[jax.Array], first: jax.Array | int, size: int) -> jax.Array:
    _, features, weights, *biases = arrays
    logits = _product(features, _columns(weights, first, size))
    if biases:
        logits += _columns(biases[0][None], first, size).astype(logits.dtype)
    return logits


def _label_of(labels: jax.Array, values: jax.Array, first: jax.Array | int) -> jax.Array:
    """Of a chunk, the value at the class number of each row, and 0 where that is in another chunk."""
    index = labels - jnp.asarray(first, labels.dtype)
    found = jnp.take_along_axis(values, jnp.clip(index, 0, values.shape[1] - 1)[:, None], axis=1)[:, 0]
    return jnp.where((index >= 0) & (index < values.shape[1]), found, 0)


def _targets(labels: jax.Array, first: jax.Array | int, size: int, dtype: Any) -> jax.Array:
    """The labels of a chunk, with an axis of classes."""
    if labels.ndim == 2:
        return _columns(labels, first, size).astype(dtype)
    index = labels - jnp.asarray(first, labels.dtype)
    return (index[:, None] == jnp.arange(size, dtype=labels.dtype)[None]).astype(dtype)


def _counts(targets: jax.Array, logits: jax.Array) -> jax.Array:
    """Where a logit counts: a label of 0 adds nothing even where it is -inf."""
    return (targets != 0) | (logits != -jnp.inf)


def _by_labels(targets: jax.Array, logits: jax.Array, normaliser: jax.Array) -> jax.Array:
    """The derivative of a score by dense labels.

    That is the logits, or, where one does not count, what makes the derivative of the cross entropy 0, which is the
    normaliser less this.
    """
    finite = jnp.where(normaliser == -jnp.inf, 0, normaliser)
    return jnp.where(_counts(targets, logits), logits, finite[:, None])


def _probabilities(logits: jax.Array, normaliser: jax.Array) -> jax.Array:
    """The softmax, but 0 where all logits are -inf."""
    is_empty = normaliser == -jnp.inf
    return jnp.exp(logits - jnp.where(is_empty, jnp.inf, normaliser)[:, None])


def _scores(*arrays: jax.Array, chunk: int) -> list[jax.Array]:
    labels, features, *_ = arrays
    wide = accumulation_dtype(features.dtype)

    def body(first: jax.Array | int, size: int, carry: Any) -> Any:
        maximum, total, score = carry
        logits = _logits(arrays, first, size)
        # Starting at the lowest finite number, the maximum is never -inf, of which the difference to -inf is NaN.
        new = jnp.maximum(maximum, jnp.max(logits, 1))
        total = total * jnp.exp(maximum - new) + jnp.sum(jnp.exp(logits - new[:, None]), 1)
        if labels.ndim == 1:
            return new, total, score + _label_of(labels, logits, first)
        targets = _targets(labels, first, size, wide)
        return new, total, score + jnp.sum(targets * jnp.where(_counts(targets, logits), logits, 0), 1)

    zeros = jnp.zeros(features.shape[:1], wide)
    start = zeros + jnp.finfo(wide).min, zeros, zeros
    maximum, total, score = _over_chunks(body, start, arrays, chunk)
    return [maximum + jnp.log(total), score]


def _scores_jvp(primals: Any, changes: Any, *, chunk: int) -> Any:
    normaliser, score = scores(*primals, chunk=chunk)
    given = {name: change for name, change in zip(_NAMES, changes, strict=False) if change is not None}
    return [normaliser, score], tangents(*given.values(), normaliser, *primals, wrt=tuple(given), chunk=chunk)


def _tangents(*all_arrays: jax.Array, wrt: Names, chunk: int) -> list[jax.Array]:
    """Of the changes, in the order of ``wrt``, the normaliser of each row and the arrays."""
    changes = dict(zip(wrt, all_arrays, strict=False))
    normaliser, *arrays = all_arrays[len(wrt) :]
    labels, features, weights, *_ = arrays
    wide = normaliser.dtype

    def change_of_logits(first: jax.Array | int, size: int) -> jax.Array:
        parts = [jnp.zeros((features.shape[0], size), wide)]
        if "features" in wrt:
            parts.append(_product(changes["features"], _columns(weights, first, size)))
        if "weights" in wrt:
            parts.append(_product(features, _columns(changes["weights"], first, size)))
        if "biases" in wrt:
            parts.append(_columns(changes["biases"][None], first, size).astype(wide))
        return sum(parts[1:], parts[0])

    def body(first: jax.Array | int, size: int, carry: Any) -> Any:
        by_normaliser, by_score = carry
        logits, change = _logits(arrays, first, size), change_of_logits(first, size)
        by_normaliser += jnp.sum(_probabilities(logits, normaliser) * change, 1)
        if labels.ndim == 1:
            return by_normaliser, by_score + _label_of(labels, change, first)
        targets = _targets(labels, first, size, wide)
        by_score += jnp.sum(targets * change, 1)
        if "labels" in wrt:
            by_score += jnp.sum(
                _targets(changes["labels"], first, size, wide) * _by_labels(targets, logits, normaliser), 1
            )
        return by_normaliser, by_score

    zeros = jnp.zeros_like(normaliser)
    return list(_over_chunks(body, (zeros, zeros), arrays, chunk))


def _tangents_jvp(primals: Any, changes: Any, *, wrt: Names, chunk: int) -> Any:
    values, n = tangents(*primals, wrt=wrt, chunk=chunk), len(wrt)
    parts = _by_the_rest(_tangents, primals, changes, n, wrt=wrt, chunk=chunk)
    given = {name: change for name, change in zip(wrt, changes, strict=False) if change is not None}
    if given:
        parts.append(tangents(*given.values(), *primals[n:], wrt=tuple(given), chunk=chunk))
    return values, [sum(part[1:], part[0]) for part in zip(*parts, strict=True)]


def _transpose_tangents(cotangents: Any, arrays: Any, *, wrt: Names, chunk: int) -> Any:
    n = len(wrt)
    unknown = tuple(name for name, array in zip(wrt, arrays, strict=False) if array is None)
    by_both = _with_zeros(cotangents, [arrays[n]] * 2)
    found = dict(zip(unknown, gradients(*by_both, *arrays[n:], wrt=unknown, chunk=chunk), strict=True))
    return [*map(found.get, wrt), *(None for _ in arrays[n:])]


def _gradients(
    by_normaliser: jax.Array, by_score: jax.Array, *rest: jax.Array, wrt: Names, chunk: int
) -> list[jax.Array]:
    """Of the cotangents of normalisers and scores, the normalisers and the arrays; in the order of ``wrt``."""
    normaliser, *arrays = rest
    labels, features, weights, *_ = arrays
    wide, wide_features = normaliser.dtype, features.astype(normaliser.dtype)

    def body(first: jax.Array | int, size: int, found: Any) -> Any:
        logits, targets = _logits(arrays, first, size), _targets(labels, first, size, wide)
        by_logits = by_normaliser[:, None] * _probabilities(logits, normaliser) + by_score[:, None] * targets

        def add_features(total: jax.Array) -> jax.Array:
            columns = _columns(weights, first, size).astype(wide)
            return total + lax.dot_general(by_logits, columns, (((1,), (1,)), ((), ())))

        def put(part: jax.Array) -> Callable[[jax.Array], jax.Array]:
            def put_into(total: jax.Array) -> jax.Array:
                return lax.dynamic_update_slice_in_dim(total, part.astype(total.dtype), first, axis=part.ndim - 1)

            return put_into

        update: dict[str, Callable[[], Callable[[jax.Array], jax.Array]]] = {
            "labels": lambda: put(by_score[:, None] * _by_labels(targets, logits, normaliser)),
            "features": lambda: add_features,
            "weights": lambda: put(lax.dot_general(wide_features, by_logits, (((0,), (0,)), ((), ())))),
            "biases": lambda: put(jnp.sum(by_logits, 0)),
        }
        return [update[name]()(total) for name, total in zip(wrt, found, strict=True)]

    like = [arrays[_NAMES.index(name)] for name in wrt]
    # The gradient of the features is a sum over chunks; of each of the others a chunk has its own part.
    start = [
        jnp.zeros(array.shape, wide if name == "features" else array.dtype)
        for name, array in zip(wrt, like, strict=True)
    ]
    found = _over_chunks(body, start, arrays, chunk)
    return [total.astype(array.dtype) for total, array in zip(found, like, strict=True)]


def _gradients_jvp(primals: Any, changes: Any, *, wrt: Names, chunk: int) -> Any:
    values = gradients(*primals, wrt=wrt, chunk=chunk)
    parts = _by_the_rest(_gradients, primals, changes, 2, wrt=wrt, chunk=chunk)
    if any(change is not None for change in changes[:2]):
        parts.append(gradients(*_with_zeros(changes[:2], primals), *primals[2:], wrt=wrt, chunk=chunk))
    return values, [sum(part[1:], part[0]) for part in zip(*parts, strict=True)]


def _transpose_gradients(cotangents: Any, arrays: Any, *, wrt: Names, chunk: int) -> Any:
    given = {name: cotangent for name, cotangent in zip(wrt, cotangents, strict=True) if cotangent is not None}
    found = tangents(*given.values(), *arrays[2:], wrt=tuple(given), chunk=chunk)
    by_both = [result if array is None else None for result, array in zip(found, arrays, strict=False)]
    return [*by_both, *(None for _ in arrays[2:])]


def _with_zeros(arrays: Sequence[jax.Array | None], like: Sequence[jax.Array]) -> list[jax.Array]:
    return [jnp.zeros_like(other) if array is None else array for array, other in zip(arrays, like, strict=False)]


def _by_the_rest(
    compute: Callable[..., list[jax.Array]], primals: Any, changes: Any, n: int, **params: Any
) -> list[Any]:
    """What the results change by because of arrays after the first ``n``, in a list that is empty if none changes."""
    moved = [place for place, change in enumerate(changes) if place >= n and change is not None]
    if not moved:
        return []

    def of(*values: jax.Array) -> list[jax.Array]:
        arrays = dict(enumerate(primals)) | dict(zip(moved, values, strict=True))
        return compute(*arrays.values(), **params)

    return [jax.jvp(of, [primals[place] for place in moved], [changes[place] for place in moved])[1]]


def _batch_scores(operation: Operation, arrays: Any, axes: Any, **params: Any) -> Any:
    return _batch(operation, arrays, axes, _NAMES, _ROWS, **params)


def _batch_tangents(operation: Operation, arrays: Any, axes: Any, *, wrt: Names, chunk: int) -> Any:
    return _batch(operation, arrays, axes, (*wrt, "normaliser", *_NAMES), _ROWS, wrt=wrt, chunk=chunk)


def _batch_gradients(operation: Operation, arrays: Any, axes: Any, *, wrt: Names, chunk: int) -> Any:
    # What all rows share has a gradient that is summed over them, which is not that of each example.
    names, rows = ("by_normaliser", "by_score", "normaliser", *_NAMES), _ROWS if set(wrt) <= set(_ROWS) else ()
    return _batch(operation, arrays, axes, names, rows, wrt=wrt, chunk=chunk)


def _batch(
    operation: Operation, arrays: Any, axes: Any, names: Names, rows: Names, **params: Any
) -> tuple[list[jax.Array], list[int]]:
    """Mapped examples are more rows of one problem; where more than ``rows`` is mapped, they take turns."""
    mapped: dict[int, jax.Array] = {
        place: jnp.moveaxis(array, axis, 0)
        for place, (array, axis) in enumerate(zip(arrays, axes, strict=True))
        if axis is not None
    }
    size = next(iter(mapped.values())).shape[0]
    per_row = (*rows, "by_normaliser", "by_score", "normaliser") if rows else ()
    if all(names[place] in per_row for place in mapped):
        merged = [
            array if name not in per_row else _merge(mapped.get(place), array, size)
            for place, (name, array) in enumerate(zip(names, arrays, strict=False))
        ]
        results = operation(*merged, **params)
        return [_split(result, size) for result in results], [0] * len(results)

    def one(of_copy: dict[int, jax.Array]) -> list[jax.Array]:
        return operation(*(dict(enumerate(arrays)) | of_copy).values(), **params)

    results = lax.map(one, mapped)
    return results, [0] * len(results)


def _merge(copies: jax.Array | None, array: jax.Array, size: int) -> jax.Array:
    """The copies one below the other: those that are mapped, or as many of an array that is not."""
    stacked = jnp.broadcast_to(array, (size, *array.shape)) if copies is None else copies
    return stacked.reshape(size * stacked.shape[1], *stacked.shape[2:])


def _split(result: jax.Array, size: int) -> jax.Array:
    return result.reshape(size, result.shape[0] // size, *result.shape[1:])


scores = of_several_results(_scores, _scores_jvp, _batch_scores)
tangents = of_several_results(_tangents, _tangents_jvp, _batch_tangents)
gradients = of_several_results(_gradients, _gradients_jvp, _batch_gradients)
transpose_several(tangents, _transpose_tangents)
transpose_several(gradients, _transpose_gradients)
