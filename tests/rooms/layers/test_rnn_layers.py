"""Recurrent layers equal the ops and are pytrees."""

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import normal
from rooms.recurrent.sequences import BATCH, CELLS, INPUTS, SOME, UNITS, assert_trees_close, swapped

import jnnops as nn
from jnnops.layers import layer, static


@layer
class Square:
    """A layer with a static setting whose cell is given, to show that the layers nest."""

    rnn: nn.layers.RNN
    power: int = static(default=2)

    def __call__(self, x: Any) -> Any:
        return self.rnn(x) ** self.power


class TestLayers:
    RNN = nn.layers.RNN(cell=jax.tree.map(jnp.float32, CELLS["basic_lstm"]))
    BOTH = nn.layers.Bidirectional(
        forward=jax.tree.map(jnp.float32, CELLS["gru"]), backward=jax.tree.map(jnp.float32, CELLS["lstm"]), unroll=2
    )

    def test_rnn_is_dynamic_rnn(self):
        expected = nn.dynamic_rnn(self.RNN.cell, INPUTS, SOME)
        assert_trees_close(self.RNN.scan(INPUTS, SOME), expected)
        assert_trees_close(self.RNN(INPUTS, SOME), expected.outputs)

    def test_state_passes_from_one_call_to_the_next(self):
        first = self.RNN.scan(INPUTS[:, :3])
        second = self.RNN.scan(INPUTS[:, 3:], initial_state=first.state)
        whole = self.RNN.scan(INPUTS)
        np.testing.assert_allclose(jnp.concatenate([first.outputs, second.outputs], 1), whole.outputs, rtol=1e-5)
        assert_trees_close(second.state, whole.state)

    def test_bidirectional_concatenates_the_outputs(self):
        start = normal(BATCH, UNITS), None
        outputs, state = self.BOTH.scan(INPUTS, SOME, initial_state=start)
        expected = nn.bidirectional_dynamic_rnn(self.BOTH.forward, self.BOTH.backward, INPUTS, SOME, start[0])
        assert_trees_close(outputs, jnp.concatenate(expected.outputs, -1))
        assert_trees_close(state, expected.state)
        assert_trees_close(self.BOTH(INPUTS, SOME, initial_state=start), outputs)

    @pytest.mark.parametrize("rnn", [RNN, BOTH])
    def test_time_major(self, rnn):
        turned = type(rnn)(**{**vars(rnn), "time_major": True})
        np.testing.assert_allclose(np.swapaxes(turned(swapped(INPUTS, True)), 0, 1), rnn(INPUTS), rtol=1e-6)

    @pytest.mark.parametrize("rnn", [RNN, BOTH])
    def test_remat_changes_nothing_but_what_derivatives_remember(self, rnn):
        def loss(rnn):
            return jnp.sum(jnp.sin(rnn(INPUTS, SOME)))

        remembering_less = type(rnn)(**{**vars(rnn), "remat": True})
        expected, found = jax.grad(loss)(rnn), jax.grad(loss)(remembering_less)
        assert_trees_close(jax.tree.leaves(found), jax.tree.leaves(expected))
        assert "remat" in str(jax.make_jaxpr(jax.grad(loss))(remembering_less))

    def test_models_with_rnns_are_pytrees(self):
        model = Square(rnn=self.RNN)
        inputs = jnp.float32(INPUTS)
        gradient = jax.jit(jax.grad(lambda model, x: jnp.sum(model(x))))(model, inputs)
        assert jax.tree.structure(gradient) == jax.tree.structure(model)
        assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))
