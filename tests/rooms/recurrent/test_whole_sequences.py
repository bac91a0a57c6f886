"""Gated cells that run a whole sequence at once do what their steps do, and as little as can be done."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from machinery.programs import compile_by_default
from rooms.recurrent.sequences import BATCH, CELLS, FEATURES, INPUTS, SOME, TIME, UNITS, assert_trees_close, weighted

import jnnops as nn
from jnnops.layers import BasicLSTMCell, GRUCell, layer


@layer
class StepByStepLSTM(BasicLSTMCell):
    """A class of its own, so that it is not run as a whole."""


@layer
class StepByStepGRU(GRUCell):
    """The same."""


def pair(name: str) -> tuple[Any, Any]:
    """A cell that runs as a whole, and the same step by step."""
    cell = CELLS[name]
    other = StepByStepGRU if isinstance(cell, GRUCell) else StepByStepLSTM
    return cell, other(**{field.name: getattr(cell, field.name) for field in dataclasses.fields(cell)})


def leaves_close(actual: Any, expected: Any, rtol: float) -> None:
    assert_trees_close(jax.tree.leaves(actual), jax.tree.leaves(expected), rtol)


def compare(f: Any, name: str) -> None:
    """Asserts that a function of a cell is the same of both, in float64."""
    with jax.enable_x64(True):
        whole, steps = (jax.jit(f)(jax.tree.map(jnp.asarray, cell)) for cell in pair(name))
    leaves_close(whole, steps, 1e-10)


@pytest.mark.parametrize("name", ["basic_lstm", "gru"])
class TestEqualsStepByStep:
    def test_backward_with_lengths_and_a_state_up_to_the_second_order(self, name):
        def all_orders(cell):
            first = jax.tree.map(lambda leaf: leaf + 0.5, cell.zero_state(BATCH, jnp.float64))

            def loss(cell, inputs, state):
                run = nn.bidirectional_dynamic_rnn(cell, cell, inputs, SOME, state, state)
                return jnp.sin(weighted(run)), run

            given = cell, jnp.asarray(INPUTS), first
            change = jax.tree.map(jnp.cos, given)
            gradient = jax.grad(loss, (0, 1, 2), has_aux=True)
            mixed = jax.jvp(lambda *given: gradient(*given)[0], given, change)
            twice = jax.grad(lambda *given: weighted(gradient(*given)[0]), (0, 1, 2))(*given)
            return loss(*given), jax.jvp(lambda *given: loss(*given)[0], given, change), mixed, twice

        compare(all_orders, name)

    def test_in_a_rematerialised_loop(self, name):
        def second(cell):
            def looped(cell):
                first = cell.zero_state(BATCH, jnp.float64)
                body = jax.checkpoint(lambda state, _: nn.dynamic_rnn(cell, INPUTS, initial_state=state)[::-1])
                return weighted(jax.lax.scan(body, first, None, length=2))

            return jax.jvp(jax.grad(looped), (cell,), (cell,))

        compare(second, name)

    @pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 1)])
    def test_of_each_copy(self, name, axes):
        def gradients(cell):
            def loss(cell, inputs):
                return weighted(nn.dynamic_rnn(cell, inputs, SOME))

            copies = [
                given if axis is None else jax.tree.map(lambda leaf, at=axis: jnp.stack([leaf, 2 * leaf], at), given)
                for given, axis in zip((cell, jnp.asarray(INPUTS)), axes, strict=True)
            ]
            inside = jax.vmap(jax.grad(loss, (0, 1)), axes)(*copies)
            return inside, jax.grad(lambda *copies: weighted(jax.vmap(loss, axes)(*copies)), (0, 1))(*copies)

        compare(gradients, name)


class TestWholeSequences:
    def test_a_subclass_runs_the_steps_that_it_defines(self):
        @layer
        class Doubling(BasicLSTMCell):
            def __call__(self, inputs: Any, state: Any) -> Any:
                output, state = super().__call__(inputs, state)
                return 2 * output, state

        cell, _ = pair("basic_lstm")
        doubling = Doubling(kernel=cell.kernel, bias=cell.bias, forget_bias=cell.forget_bias)
        leaves_close(nn.dynamic_rnn(doubling, INPUTS).outputs, 2 * nn.dynamic_rnn(cell, INPUTS).outputs, 1e-6)

    def test_cells_made_of_others_run_as_a_whole(self):
        lstm, gru = CELLS["basic_lstm"], CELLS["gru"]
        kernels = {
            "w_ru": gru.gate_kernel,
            "b_ru": gru.gate_bias,
            "w_c": gru.candidate_kernel,
            "b_c": gru.candidate_bias,
        }
        above = nn.layers.GRUCell.init(UNITS, 2, key=jax.random.key(0))
        made_of = {
            nn.layers.LSTMBlockCell: {"kernel": lstm.kernel, "bias": lstm.bias},
            nn.layers.GRUBlockCell: kernels,
            nn.layers.MultiRNNCell: {"cells": (lstm, above)},
        }
        for whole, fields in made_of.items():
            steps = layer(type("Steps", (whole,), {}))

            def results(fields, kind):
                def loss(fields):
                    run = nn.dynamic_rnn(kind(**fields), jnp.asarray(INPUTS), SOME)
                    return weighted(run), run

                return jax.value_and_grad(loss, has_aux=True)(fields)

            given = {name: jax.tree.map(jnp.float32, field) for name, field in fields.items()}
            actual = jax.jit(results, static_argnums=1)
            assert "recurrence=" in str(actual.trace(given, whole).jaxpr)
            assert "recurrence=" not in str(actual.trace(given, steps).jaxpr)
            leaves_close(actual(given, whole), actual(given, steps), 1e-5)

    @pytest.mark.parametrize(("name", "inside", "outside"), [("basic_lstm", 2, 4), ("gru", 4, 5)])
    def test_gradient_is_two_loops_of_the_recurrent_products_alone(self, name, inside, outside):
        cell = jax.tree.map(jnp.float32, CELLS[name])

        def gradient(cell, inputs):
            return jax.value_and_grad(lambda *given: weighted(nn.dynamic_rnn(*given).outputs), (0, 1))(cell, inputs)

        program = compile_by_default(gradient, cell, jnp.zeros((BATCH, TIME, FEATURES), jnp.float32)).as_text()
        assert program.count(" while(") == 2
        assert program.count(" dot(") == inside + outside

    def test_saturated_gates(self):
        # The sigmoid of a gate comes from tanh, whose rounding must not grow where the gate is nearly closed.
        cell = jax.tree.map(jnp.float32, CELLS["gru"])
        closed = dataclasses.replace(cell, gate_bias=jnp.full(2 * UNITS, 30.0))
        outputs, state = nn.dynamic_rnn(closed, jnp.float32(INPUTS), initial_state=jnp.full((BATCH, UNITS), 0.25))
        leaves_close((outputs, state), jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.25), (outputs, state)), 1e-6)
