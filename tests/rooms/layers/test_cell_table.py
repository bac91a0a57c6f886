"""Every cell of the table equals its reference in NumPy, and does what all cells do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import cotangent
from machinery.programs import share
from rooms.layers.cell_table import BATCH, Row, weight_shapes
from rooms.layers.contrib_cells import CONTRIB
from rooms.layers.lstm_cells import LSTMS
from rooms.layers.plain_cells import PLAIN
from rooms.layers.wrapper_cells import WRAPPERS

import jnnops as nn

ROWS: dict[str, Row] = {**PLAIN, **WRAPPERS, **LSTMS, **CONTRIB}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def in_dtype(tree: Any, dtype: Any) -> Any:
    """The tree with its floating leaves in a dtype."""

    def cast(leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        return array.astype(jnp.dtype(dtype)) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return jax.tree.map(cast, tree)


def weighted(xp: Any, tree: Any) -> Any:
    """A scalar that weighs every element of a step's results differently."""
    return sum(xp.sum(leaf * cotangent(leaf.shape).astype(leaf.dtype)) for leaf in jax.tree.leaves(tree))


def step_and_gradient(cell: Any, inputs: Any, state: Any) -> Any:
    """The results of a step, and the gradient of their weighted sum by all floating leaves."""
    leaves, structure = jax.tree.flatten((cell, inputs, state))
    floating = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def step(differentiated: list[jax.Array]) -> Any:
        given = dict(zip(floating, differentiated, strict=True))
        cell, inputs, state = structure.unflatten(given.get(i, leaf) for i, leaf in enumerate(leaves))
        results = cell(inputs, state)
        return weighted(jnp, results), results

    (_, results), gradient = jax.value_and_grad(step, has_aux=True)([leaves[i] for i in floating])
    return results, gradient


@share
def expected(row: Row) -> Any:
    """What a step in float64 gives: its results, and :func:`difference_quotients`."""
    return row.reference(*row.given()), difference_quotients(row)


def difference_quotients(row: Row, step: float = 1e-6) -> list[np.ndarray]:
    """The gradient of the reference's weighted sum by central differences, in float64."""
    leaves, structure = jax.tree.flatten(row.given())

    def total(place: int, leaf: np.ndarray) -> float:
        moved = structure.unflatten([*leaves[:place], leaf, *leaves[place + 1 :]])
        return weighted(np, row.reference(*moved))

    found = []
    for place, leaf in enumerate(leaves):
        if not np.issubdtype(leaf.dtype, np.floating):
            continue
        gradient = np.zeros(leaf.shape)
        for index in np.ndindex(leaf.shape):
            moved = np.zeros(leaf.shape)
            moved[index] = step
            gradient[index] = (total(place, leaf + moved) - total(place, leaf - moved)) / (2 * step)
        found.append(gradient)
    return found


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Compares the leaves, each up to ``tolerance`` times its largest number."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.float64(a), e, rtol=0, atol=tolerance * (np.abs(e).max(initial=0) or 1))


def turned(given: Any) -> Any:
    """Another cell, inputs and state of the same shapes."""
    return jax.tree.map(lambda leaf: np.flip(leaf, 0).copy(), given)


class TestReference:
    @every_row
    def test_value_and_gradient_in_float64(self, row):
        given = row.given()
        expected_results, quotients = expected(row)
        with jax.enable_x64(True):
            results, gradient = jax.jit(step_and_gradient)(*given)
        assert jax.tree.structure(results) == jax.tree.structure(expected_results)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(results)} == {"float64"}
        assert_close(results, expected_results, 1e-12)
        assert all(np.any(each) for each in quotients)
        assert_close(gradient, quotients, 1e-7)

    @every_row
    def test_value_and_gradient_in_float32_under_jit_and_vmap(self, row):
        copies = row.given(), turned(row.given())
        stack = in_dtype(jax.tree.map(lambda *leaves: np.stack(leaves), *copies), jnp.float32)
        results, gradient = jax.jit(jax.vmap(step_and_gradient))(*stack)
        for i, given in enumerate(copies):
            assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], results), row.reference(*given), 3e-6)
            if i == 0:
                assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], gradient), expected(row)[1], 1e-5)

    @every_row
    def test_value_and_gradient_in_bfloat16(self, row):
        given = in_dtype(row.given(), jnp.bfloat16)
        results, gradient = jax.jit(step_and_gradient)(*given)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((results, gradient))} == {"bfloat16"}
        for leaf, exact in zip(jax.tree.leaves(given), jax.tree.leaves(row.given()), strict=True):
            np.testing.assert_array_equal(np.float64(leaf), exact)
        expected_results, quotients = expected(row)
        epsilon = float(jnp.finfo(jnp.bfloat16).eps)
        assert_close(results, expected_results, row.ulps * epsilon)
        assert_close(gradient, quotients, row.gradient_ulps * epsilon)


class TestStructure:
    @every_row
    def test_weights_have_the_shapes_of_tensorflow(self, row):
        assert weight_shapes(row.cell) == dict(row.shapes)

    @every_row
    def test_zero_state_and_sizes(self, row):
        state = row.cell.zero_state(5, jnp.float16)
        for leaf in jax.tree.leaves(state):
            assert (leaf.shape[0], leaf.dtype.name) == (5, "float16")
            assert not np.any(leaf)
        if all(leaf.ndim == 2 for leaf in jax.tree.leaves(state)):
            assert [leaf.shape[1] for leaf in jax.tree.leaves(state)] == jax.tree.leaves(row.cell.state_size)
        assert jax.tree.structure(state) == jax.tree.structure(row.given()[2])
        output, _ = jax.eval_shape(row.cell, *row.given()[1:])
        assert output.shape[1:] in ((row.cell.output_size,), row.cell.output_size)

    @every_row
    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    def test_runs_over_time_and_over_no_rows(self, row, dtype):
        cell, inputs, _ = in_dtype(row.given(), dtype)
        for batch in (BATCH, 0):
            steps = jax.tree.map(lambda leaf, batch=batch: np.stack([leaf[:batch]] * 2, 1), inputs)
            outputs, state = jax.eval_shape(lambda cell, x: nn.dynamic_rnn(cell, x, dtype=dtype), cell, steps)
            assert outputs.shape[:2] == (batch, 2)
            assert {leaf.dtype for leaf in jax.tree.leaves((outputs, state))} == {jnp.dtype(dtype)}
            assert jax.tree.structure(state) == jax.tree.structure(cell.zero_state(batch, dtype))


BAD = [(f"{name}-{i}", row, *bad) for name, row in ROWS.items() for i, bad in enumerate(row.bad)]


@pytest.mark.parametrize(("row", "change", "message"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_bad_arguments_are_refused(row, change, message):
    cell, inputs, state = row.given()
    fields = {name: value for name, value in change.items() if name not in ("inputs", "state")}
    cell = dataclasses.replace(cell, **fields) if fields else cell
    with pytest.raises((ValueError, TypeError), match="must") as raised:
        cell(change.get("inputs", inputs), change.get("state", state))
    assert str(raised.value).startswith(message)
