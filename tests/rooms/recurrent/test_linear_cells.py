"""Cells that are linear in their state, over all steps at once and one after another."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from machinery.case import normal
from rooms.recurrent.sequences import BATCH, INPUTS, SOME, TIME, assert_trees_close, weighted

import jnnops as nn
from jnnops.layers import layer
from jnnops.recurrent._linear import _linear_recurrence, _recurrence_by_steps, _recurrence_in_parallel

UNITS = 2


def read(gate: Any, state: Any) -> Any:
    return {"gated": gate * jnp.tanh(state["memory"]), "phase": jnp.real(state["phase"])}


@layer
class Linear:
    """Its state is a tree: of reals that decay by a gate, of complex numbers that turn, and of a scalar that counts."""

    kernel: Any
    turn: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        zeros = jnp.zeros((batch_size, UNITS), dtype)
        return {"memory": zeros, "phase": zeros.astype(jnp.result_type(dtype, jnp.complex64)), "count": jnp.zeros(())}

    def linear_step(self, inputs: Any) -> Any:
        forget, gate, candidate = jnp.split(inputs @ self.kernel, 3, axis=-1)
        forget = jax.nn.sigmoid(forget)
        turn = jnp.exp(self.turn * (1j - 0.1))
        addend = {"memory": (1 - forget) * candidate, "phase": candidate + 0j, "count": jnp.ones(())}
        return {"memory": forget, "phase": turn, "count": jnp.ones(())}, addend, Partial(read, gate)

    def __call__(self, inputs: Any, state: Any) -> Any:
        decay, addend, read = self.linear_step(inputs)
        state = jax.tree.map(lambda decay, addend, state: decay * state + addend, decay, addend, state)
        return read(state), state


@layer
class StepByStep:
    """The same cell, which does not say that it is linear."""

    cell: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return self.cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return self.cell(inputs, state)


CELL = Linear(kernel=jnp.float32(normal(2, 3 * UNITS)), turn=jnp.float32([[0.5, 1.5]]))
STATE = {
    "memory": jnp.float32(normal(BATCH, UNITS)),
    "phase": jnp.complex64(normal(BATCH, UNITS, seed=1)),
    "count": jnp.float32(2),
}


def both_ways(cell: Any, inputs: Any, state: Any = None) -> Any:
    run = nn.bidirectional_dynamic_rnn(cell, cell, inputs, SOME, state, state)
    return run, nn.dynamic_rnn(cell, jnp.swapaxes(inputs, 0, 1), time_major=True)


class TestEqualsItsSteps:
    def test_values_and_derivatives(self):
        tangents = jax.tree.map(lambda leaf: leaf * 0.5, (CELL, jnp.float32(INPUTS), STATE))

        def results(wrapped):
            def run(cell, inputs, state):
                return jax.tree.map(jnp.real, both_ways(StepByStep(cell=cell) if wrapped else cell, inputs, state))

            def gradient(cell, inputs, state):
                return jax.grad(lambda *given: weighted(run(*given)), argnums=(0, 1, 2))(cell, inputs, state)

            given = CELL, jnp.float32(INPUTS), STATE
            values, tangent = jax.jvp(run, given, tangents)
            return values, tangent, *jax.jvp(gradient, given, tangents)

        with jax.numpy_dtype_promotion("standard"):
            at_once, by_steps = (jax.jit(results, static_argnums=0)(wrapped) for wrapped in (False, True))
        assert_trees_close(at_once, by_steps, 1e-4)

    def test_mapped_and_exported(self):
        cells = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), CELL)
        with jax.numpy_dtype_promotion("standard"):
            run = jax.vmap(both_ways, in_axes=(0, None, None))(cells, jnp.float32(INPUTS), STATE)
            for i in range(2):
                cell = jax.tree.map(lambda leaf, i=i: leaf[i], cells)
                expected = both_ways(StepByStep(cell=cell), jnp.float32(INPUTS), STATE)
                assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], run), expected, rtol=1e-5)

            batch, time = jax.export.symbolic_shape("batch, time")
            shape = jax.ShapeDtypeStruct((batch, time, 2), jnp.float32)
            run = jax.export.export(
                jax.jit(lambda inputs: jax.tree.leaves(nn.dynamic_rnn(CELL, inputs))), platforms=("cpu", "cuda", "tpu")
            )(shape)
            expected = jax.tree.leaves(nn.dynamic_rnn(StepByStep(cell=CELL), jnp.float32(INPUTS)))
            assert_trees_close(run.call(jnp.float32(INPUTS)), expected, rtol=1e-5)

    def test_padding_reaches_nothing(self):
        padding = (np.arange(TIME) >= SOME[:, None])[..., None]

        def run(inputs):
            by_inputs = jax.grad(lambda inputs: weighted(both_ways(CELL, inputs)[0].outputs))(inputs)
            return both_ways(CELL, inputs)[0], by_inputs

        with jax.numpy_dtype_promotion("standard"):
            dirty = run(np.float32(np.where(padding, np.nan, INPUTS)))
            assert_trees_close(dirty, run(np.float32(np.where(padding, 0, INPUTS))))

    def test_states_of_16_bits_are_rounded_once(self):
        class Sum:
            def zero_state(self, batch_size, dtype):
                return jnp.zeros((batch_size, 1), dtype)

            def linear_step(self, inputs):
                return jnp.ones((), inputs.dtype), inputs, Partial(jnp.positive)

            def __call__(self, inputs, state):
                raise AssertionError("is not called")

        outputs, state = nn.dynamic_rnn(Sum(), jnp.ones((1, 1000, 1), jnp.bfloat16))
        assert outputs.dtype == state.dtype == jnp.bfloat16
        assert state == 1000  # which no sum of ones, rounded to 8 bits again and again, reaches


class TestRecurrence:
    @pytest.mark.parametrize("time", [1, 7, 64])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_in_parallel_equals_by_steps(self, time, reverse):
        with jax.enable_x64(True):
            decay, addend = jnp.array(normal(time, 3)), jnp.array(normal(time, 3, seed=1))
            expected = _recurrence_by_steps(decay, addend, reverse=reverse)
            for run in (_recurrence_in_parallel, _linear_recurrence):
                np.testing.assert_allclose(run(decay, addend, reverse=reverse), expected, rtol=1e-12, atol=1e-12)

    def test_an_accelerator_takes_a_number_of_operations_that_grows_with_the_logarithm_of_time(self):
        def program(time, platform):
            shape = jax.ShapeDtypeStruct((time, 3), jnp.float32)
            run = jax.jit(lambda decay, addend: _linear_recurrence(decay, addend, reverse=False))
            return run.trace(shape, shape).lower(lowering_platforms=(platform,)).as_text()

        short, long = (program(time, "cuda").count("stablehlo.multiply") for time in (64, 4096))
        assert 0 < long <= 2.1 * short
        assert "while" not in program(4096, "cuda")
        assert "while" in program(4096, "cpu")


class TestResultOfTheLinearStep:
    @pytest.mark.parametrize(
        ("result", "error", "message"),
        [
            (lambda x: (x, x), TypeError, "must return (decay, addend, read), got tuple"),
            (lambda x: x, TypeError, "must return (decay, addend, read), got "),
            (lambda x: (x, x, lambda state: state), TypeError, "must return as its third result a jax.tree_util.Par"),
            (
                lambda x: (x, (x, x), Partial(jnp.sin)),
                ValueError,
                "must return an addend of the structure PyTreeDef(*)",
            ),
            (lambda x: ([x], x, Partial(jnp.sin)), ValueError, "must return a decay of the structure PyTreeDef(*) "),
            (lambda x: (x, x[:1], Partial(jnp.sin)), ValueError, "must return an addend of the shapes [(3, 2)] of "),
            (lambda x: (x[:2], x, Partial(jnp.sin)), ValueError, "must return a decay that broadcasts to the shapes "),
        ],
    )
    def test_is_checked(self, result, error, message):
        class Returns:
            def zero_state(self, batch_size, dtype):
                return jnp.zeros((batch_size, UNITS), dtype)

            def __call__(self, inputs, state):
                raise AssertionError("is not called")

            def linear_step(self, inputs):
                return result(inputs)

        for op, name, run in (
            ("dynamic_rnn", "cell", lambda cell: nn.dynamic_rnn(cell, np.float32(INPUTS))),
            (
                "bidirectional_dynamic_rnn",
                "cell_bw",
                lambda cell: nn.bidirectional_dynamic_rnn(StepByStep(cell=CELL), cell, np.float32(INPUTS)),
            ),
        ):
            with pytest.raises(error) as raised, jax.numpy_dtype_promotion("standard"):
                run(Returns())
            assert str(raised.value).startswith(f"{op}: `{name}.linear_step` {message}")
