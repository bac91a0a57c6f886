"""Cells that wrap others, with TensorFlow's own as the judge, and dropout over time."""

import dataclasses
import warnings
from typing import Any

import cases.recurrent as rc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import cotangent, normal
from rooms.layers.cell_table import weight_shapes

import jnnops as nn
from jnnops.layers import (
    RNN,
    AttentionCellWrapper,
    BasicLSTMCell,
    Bidirectional,
    CoupledInputForgetGateLSTMCell,
    DropoutState,
    DropoutWrapper,
    EmbeddingWrapper,
    GRUBlockCell,
    GRUCell,
    HighwayWrapper,
    InputProjectionWrapper,
    LayerNormBasicLSTMCell,
    LSTMBlockCell,
    LSTMCell,
    LSTMStateTuple,
    MultiRNNCell,
    OutputProjectionWrapper,
    ResidualWrapper,
    layer,
)

BATCH, TIME, UNITS = 3, 3, 4
INPUTS = normal(BATCH, TIME, UNITS)
KEY = jax.random.key(5)
GRU = GRUCell.init(UNITS, UNITS, key=KEY)
LSTM = rc.lstm(UNITS, UNITS, use_peepholes=True)
RATES: dict[str, Any] = {"input_rate": 0.5, "output_rate": 0.25, "state_rate": 0.75}


def weighted(tree: Any) -> Any:
    return sum(jnp.sum(leaf * cotangent(leaf.shape)) for leaf in jax.tree.leaves(tree))


@layer
class Ones:
    """A cell that returns its inputs, and a state of ones: what is dropped of these shows the masks."""

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return jnp.zeros((batch_size, UNITS), dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return inputs, jax.tree.map(jnp.ones_like, state)


def kept(part: str, state: DropoutState, rate: float, variational: bool) -> Any:
    """Which elements a step that starts from ``state`` keeps of its inputs, its output or its new state."""
    rates: dict[str, Any] = {f"{part}_rate": rate}
    wrapper = DropoutWrapper(cell=Ones(), variational=variational, **rates)
    output, new = wrapper(jnp.ones((BATCH, UNITS)), state)
    return jax.tree.map(lambda leaf: np.asarray(leaf) > 0, new.state if part == "state" else output), new


def run(cell: Any, inputs: Any, state: Any) -> Any:
    """All steps, one by one, without ``dynamic_rnn``."""
    outputs = []
    for step in range(TIME):
        output, state = cell(inputs[:, step], state)
        outputs.append(output)
    return outputs, jax.tree.leaves(state.state if isinstance(state, DropoutState) else state)


def tf_wrapper(name: str, *args: Any, **options: Any) -> Any:
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(rnn_cell_impl, name)(*args, **options)


def assert_run_is_that_of_tensorflow(cell: Any, cells: list[Any], start: Any, make: Any, each_step: Any = None) -> None:
    """Compares outputs, last state and gradients; ``cells`` are the LSTMs inside ``cell``, that ``make`` wraps."""
    from machinery import oracle

    names = [[f"{name}{i}" for name in rc.weights(each)] for i, each in enumerate(cells)]
    given = {"inputs": INPUTS}
    for i, each in enumerate(cells):
        given |= {f"{name}{i}": weight for name, weight in rc.weights(each).items()}

    def theirs(tf, inputs, **tensors):
        made = [rc.tf_cell(tf, each, tf.float64) for each in cells]
        for i, each in enumerate(made):
            for name in rc.weights(cells[i]):
                setattr(each, rc.tf_name(name), tensors[f"{name}{i}"])
        wrapper = make(tf, made)
        state = wrapper.zero_state(BATCH, tf.float64)
        outputs = []
        for step in range(TIME):
            if each_step is not None:
                each_step(tf, wrapper, step)
            output, state = wrapper(inputs[:, step], state)
            outputs.append(output)
        return outputs, state

    def ours(arrays):
        leaves, structure = jax.tree.flatten(cell)
        assert len(leaves) == sum(map(len, names))
        weights = [arrays[name] for group in names for name in group]
        results = run(structure.unflatten(weights), arrays["inputs"], start())
        return weighted(results), results

    with jax.enable_x64(True):
        found, results = jax.jit(jax.grad(ours, has_aux=True))(given)
    for actual, expected in zip(jax.tree.leaves(results), oracle.values(theirs, given), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    for name, expected in zip(given, oracle.gradients(theirs, given, list(given)), strict=True):
        assert np.any(expected)
        np.testing.assert_allclose(found[name], expected, rtol=1e-11, atol=1e-11, err_msg=name)


def product_of_both(inputs: Any, output: Any) -> Any:
    return inputs * output


class TestTensorFlow:
    def test_multi_rnn_cell(self):
        cells = [rc.lstm(UNITS, 2), rc.lstm(2, 3, seed=1, num_proj=2)]
        cell = MultiRNNCell(cells=tuple(cells))
        make = lambda tf, made: tf_wrapper("MultiRNNCell", made)  # noqa: E731
        assert_run_is_that_of_tensorflow(cell, cells, lambda: cell.zero_state(BATCH, jnp.float64), make)

    @pytest.mark.parametrize("residual_fn", [None, product_of_both])
    def test_residual_wrapper(self, residual_fn):
        cell = ResidualWrapper.init(LSTM, residual_fn)
        make = lambda tf, made: tf_wrapper("ResidualWrapper", made[0], residual_fn=residual_fn)  # noqa: E731
        assert_run_is_that_of_tensorflow(cell, [LSTM], lambda: cell.zero_state(BATCH, jnp.float64), make)

    @pytest.mark.parametrize("variational", [True, False])
    def test_dropout_wrapper(self, variational):
        """TensorFlow's wrapper is given the masks that ours draws, as the noise of its variational form."""
        cell = DropoutWrapper.init(LSTM, variational=variational, **RATES)
        start = lambda: cell.zero_state(BATCH, jnp.float64, key=KEY)  # noqa: E731
        state, masks = cell.zero_state(BATCH, jnp.float32, key=KEY), []
        for _ in range(TIME):
            drawn = [kept(part, state, RATES[f"{part}_rate"], variational) for part in ("input", "output", "state")]
            masks.append([np.float64(drawn[0][0]), np.float64(drawn[1][0]), jax.tree.map(np.float64, drawn[2][0])])
            state = drawn[0][1]

        def make(tf, made):
            sizes = {"dtype": tf.float64, "input_size": tf.TensorShape([UNITS]), "variational_recurrent": True}
            keep = {name.replace("rate", "keep_prob"): 1 - rate for name, rate in RATES.items()}
            return tf_wrapper("DropoutWrapper", made[0], **keep, **sizes)

        def each_step(tf, wrapper, step):
            names = ("_recurrent_input_noise", "_recurrent_output_noise", "_recurrent_state_noise")
            for name, noise in zip(names, masks[step], strict=True):
                setattr(wrapper, name, type(noise)(*map(tf.constant, noise)) if name[11] == "s" else tf.constant(noise))

        assert_run_is_that_of_tensorflow(cell, [LSTM], start, make, each_step)


class TestDropout:
    @pytest.mark.parametrize("part", ["input", "output", "state"])
    def test_masks_are_new_at_each_step_and_of_the_rate(self, part):
        state = DropoutState(jnp.ones((BATCH, UNITS)), KEY)
        rate: dict[str, Any] = {f"{part}_rate": 0.25}
        wrapper = DropoutWrapper.init(Ones(), **rate)

        def step(state, _):
            output, new = wrapper(jnp.ones((BATCH, UNITS)), state)
            return new, new.state if part == "state" else output

        _, found = jax.lax.scan(step, state, length=500)
        values, counts = np.unique(found, return_counts=True)
        np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-6)
        assert counts[0] / found.size == pytest.approx(0.25, abs=0.02)
        flat = np.reshape(found, (500, -1)) > 0
        assert len(np.unique(flat, axis=0)) > 300
        assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 0.05

    def test_parts_have_masks_of_their_own(self):
        state = DropoutState(jnp.ones((BATCH, UNITS)), KEY)
        masks = [kept(part, state, 0.5, False)[0].ravel() for part in ("input", "output", "state")]
        assert len({mask.tobytes() for mask in masks}) == 3
        both = DropoutWrapper.init(Ones(), input_rate=0.5)((jnp.ones((20, 3)), jnp.ones((20, 3))), state)[0]
        assert not np.array_equal(*both)

    def test_variational_masks_are_the_same_at_all_steps_and_rows(self):
        wrapper = DropoutWrapper.init(Ones(), output_rate=0.5, variational=True)
        start = DropoutState(jnp.ones((BATCH, UNITS)), KEY)
        outputs, state = nn.dynamic_rnn(wrapper, jnp.ones((BATCH, TIME, UNITS)), initial_state=start)
        assert np.all(outputs == outputs[:1, :1])
        assert set(np.unique(outputs)) == {0.0, 2.0}
        assert state.key == KEY

    def test_memory_of_lstms_is_left_alone_wherever_it_stands(self):
        start = {"a": LSTMStateTuple(jnp.ones((50, 4)), jnp.ones((50, 4))), "b": (jnp.ones((50, 4)), jnp.ones(()))}
        _, new = DropoutWrapper.init(Ones(), state_rate=0.5)(jnp.ones((50, 4)), DropoutState(start, KEY))
        assert np.all(new.state["a"].c == 1)
        assert {tuple(np.unique(part)) for part in (new.state["a"].h, new.state["b"][0])} == {(0.0, 2.0)}
        assert new.state["b"][1] == 1

    def test_state_filter(self):
        start = (jnp.ones((50, 4)), {"a": jnp.ones((50, 4)), "b": jnp.ones((50, 4))})
        _, new = DropoutWrapper.init(Ones(), state_rate=0.5, state_filter=only_b)(
            jnp.ones((50, 4)), DropoutState(start, KEY)
        )
        assert [bool(np.any(leaf == 0)) for leaf in jax.tree.leaves(new.state)] == [False, False, True]
        with pytest.raises(TypeError, match="`state_filter` must return a bool, or a bool for each member"):
            DropoutWrapper.init(Ones(), state_rate=0.5, state_filter=len)(jnp.ones((50, 4)), DropoutState(start, KEY))

    def test_nothing_is_dropped_without_a_key(self):
        cell = DropoutWrapper.init(jax.tree.map(jnp.float32, LSTM), **RATES)
        plain = nn.dynamic_rnn(cell.cell, INPUTS)
        found = nn.dynamic_rnn(cell, INPUTS)
        assert found.state.key is None
        for a, e in zip(jax.tree.leaves((found.outputs, found.state.state)), jax.tree.leaves(plain), strict=True):
            np.testing.assert_array_equal(a, e)

    def test_run_is_right_under_grad_jit_and_vmap_over_keys(self):
        cell = DropoutWrapper.init(jax.tree.map(jnp.float32, LSTM), **RATES)

        def loss(cell, key, inputs):
            state = cell.zero_state(BATCH, jnp.float32, key=key)
            return weighted(nn.dynamic_rnn(cell, inputs, np.array([3, 1, 2]), initial_state=state).outputs)

        keys = jax.random.split(KEY)
        inputs = jnp.float32(INPUTS)
        both = jax.jit(jax.vmap(jax.grad(loss), (None, 0, None)))(cell, keys, inputs)
        one = jax.jit(jax.grad(loss))(cell, jax.random.key_data(keys[1]), inputs)
        for a, e in zip(jax.tree.leaves(both), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a[1], e, rtol=1e-5, atol=1e-6)
            assert not np.array_equal(a[0], a[1])
        moved = jax.tree.map(lambda leaf: leaf + 1e-3 * cotangent(leaf.shape).astype(np.float32), cell)
        moved_back = jax.tree.map(lambda leaf: leaf - 1e-3 * cotangent(leaf.shape).astype(np.float32), cell)
        slope = (loss(moved, keys[1], inputs) - loss(moved_back, keys[1], inputs)) / 2e-3
        expected = sum(np.sum(leaf * cotangent(leaf.shape)) for leaf in jax.tree.leaves(one))
        assert float(slope) == pytest.approx(float(expected), rel=2e-3)

    def test_keys_reach_cells_inside_of_others(self):
        lstm = jax.tree.map(jnp.float32, LSTM)
        inner = DropoutWrapper.init(lstm, output_rate=0.5)
        cell = MultiRNNCell(cells=(ResidualWrapper.init(inner), lstm, DropoutWrapper.init(inner, output_rate=0.5)))
        assert cell.needs_key
        assert not MultiRNNCell(cells=(lstm, DropoutWrapper.init(lstm))).needs_key
        state = cell.zero_state(BATCH, key=KEY)
        keys = [state[0].key, state[2].key, state[2].state.key]
        assert len({jax.random.key_data(key).tobytes() for key in keys}) == 3
        outputs, state = nn.dynamic_rnn(cell, INPUTS, initial_state=state)
        assert np.any(outputs == 0)
        assert state[0].key not in keys

    def test_zero_rate_needs_no_key(self):
        cell = DropoutWrapper.init(jax.tree.map(jnp.float32, LSTM))
        assert not cell.needs_key
        np.testing.assert_array_equal(
            nn.dynamic_rnn(cell, INPUTS, initial_state=cell.zero_state(BATCH, key=KEY)).outputs,
            nn.dynamic_rnn(cell.cell, INPUTS).outputs,
        )


def only_b(part: Any) -> Any:
    return {"a": False, "b": True} if isinstance(part, dict) else not isinstance(part, tuple) or (False, True)


class TestLayersOfCells:
    def test_rnn_of_a_class_and_sizes(self):
        rnn = RNN.init(LSTMCell, 2, (3, 4), num_proj=5, time_major=True, unroll=2, dtype=jnp.bfloat16, key=KEY)
        assert weight_shapes(rnn) == {
            **{"cell.cells.0.kernel": (7, 12), "cell.cells.0.bias": (12,), "cell.cells.0.projection": (3, 5)},
            **{"cell.cells.1.kernel": (10, 16), "cell.cells.1.bias": (16,), "cell.cells.1.projection": (4, 5)},
        }
        assert (rnn.time_major, rnn.unroll) == (True, 2)
        assert rnn(jnp.ones((6, 2, 2), jnp.bfloat16)).dtype == jnp.bfloat16
        one = RNN.init(GRUCell, 2, 3, key=KEY)
        assert isinstance(one.cell, GRUCell)
        assert one(jnp.ones((6, 2, 2))).shape == (6, 2, 3)

    def test_bidirectional_of_a_class_and_sizes(self):
        both: Any = Bidirectional.init(BasicLSTMCell, 2, 3, forget_bias=0.5, key=KEY)
        assert (both.forward.forget_bias, both.backward.forget_bias) == (0.5, 0.5)
        assert not np.array_equal(both.forward.kernel, both.backward.kernel)
        stack = Bidirectional.init(GRUCell, 2, [3, 4], key=KEY)
        assert stack(jnp.ones((6, 2, 2))).shape == (6, 2, 8)
        assert isinstance(stack.backward, MultiRNNCell)

    def test_cells_of_a_stack_are_drawn_independently(self):
        stack: Any = MultiRNNCell.init(GRUCell, 3, [3, 3], key=KEY)
        assert not np.isin(stack.cells[0].gate_kernel, stack.cells[1].gate_kernel).any()

    @pytest.mark.parametrize(
        ("cell", "num_units", "error", "message"),
        [
            (GRUCell.init(2, 3, key=KEY), 3, TypeError, "RNN.init: `cell` must be a class of cells with a method init"),
            (GRUCell, [], ValueError, "RNN.init: `num_units` must be a number or list the units of each cell, got"),
            (GRUCell, [3, 0], ValueError, "RNN.init: `num_units` must be at least 1, got 0"),
        ],
    )
    def test_bad_arguments(self, cell, num_units, error, message):
        with pytest.raises(error) as raised:
            RNN.init(cell, 2, num_units, key=KEY)
        assert str(raised.value).startswith(message)

    @pytest.mark.parametrize("make", [RNN, Bidirectional])
    def test_layers_drop_when_training_by_a_key(self, make):
        cell = DropoutWrapper.init(GRUCell.init(UNITS, UNITS, key=KEY), output_rate=0.5)
        rnn = RNN(cell=cell) if make is RNN else Bidirectional(forward=cell, backward=cell)
        inputs = jnp.float32(INPUTS)
        np.testing.assert_array_equal(rnn(inputs), rnn(inputs, key=KEY))
        dropped = rnn(inputs, training=True, key=KEY)
        assert np.any(dropped == 0)
        assert not np.any(rnn(inputs) == 0)
        model = nn.layers.Sequential.init(rnn)
        np.testing.assert_array_equal(
            model(inputs, training=True, key=KEY), rnn(inputs, training=True, key=jax.random.fold_in(KEY, 0))
        )
        with pytest.raises(ValueError, match=f"{make.__name__}: `key` must be a jax.random key"):
            rnn(inputs, training=True)

    def test_names_of_tensorflow_2(self):
        assert nn.RNNCellDropoutWrapper is DropoutWrapper
        assert nn.RNNCellResidualWrapper is ResidualWrapper


class TestInit:
    def test_biases_and_norms_are_those_of_tensorflow(self):
        gates: Any = HighwayWrapper.init(GRU, UNITS, couple_carry_transform_gates=False, carry_bias_init=2.0, key=KEY)
        assert (set(gates.carry_b.tolist()), set(np.asarray(gates.transform_b))) == ({2.0}, {-2.0})
        block = GRUBlockCell.init(UNITS, 2, key=KEY)
        assert (set(block.b_ru.tolist()), set(block.b_c.tolist())) == ({1.0}, {0.0})
        for make in (LayerNormBasicLSTMCell, CoupledInputForgetGateLSTMCell):
            normalized: Any = make.init(UNITS, 2, layer_norm=True, norm_gain=0.5, norm_shift=-1.0, key=KEY)
            assert np.all(np.asarray(normalized.state_gamma) == 0.5)
            assert np.all(np.asarray(normalized.forget_beta) == -1.0)

    def test_embedding_has_variance_1(self):
        table = EmbeddingWrapper.init(GRU, 3000, UNITS, key=KEY).embedding
        assert float(jnp.var(table)) == pytest.approx(1, abs=0.05)
        assert float(jnp.abs(table).max()) == pytest.approx(3**0.5, abs=0.01)

    @pytest.mark.parametrize(
        "make",
        [
            lambda **options: HighwayWrapper.init(GRU, UNITS, couple_carry_transform_gates=False, **options),
            lambda **options: AttentionCellWrapper.init(GRU, UNITS, attn_length=2, **options),
            lambda **options: CoupledInputForgetGateLSTMCell.init(
                UNITS, UNITS, use_peepholes=True, num_proj=UNITS, **options
            ),
            lambda **options: LSTMBlockCell.init(UNITS, UNITS, use_peephole=True, **options),
            lambda **options: GRUBlockCell.init(UNITS, UNITS, **options),
            lambda **options: LayerNormBasicLSTMCell.init(UNITS, UNITS, layer_norm=False, **options),
            lambda **options: InputProjectionWrapper.init(GRU, UNITS, UNITS, **options),
            lambda **options: OutputProjectionWrapper.init(GRU, UNITS, **options),
        ],
    )
    def test_matrices_are_drawn_independently_by_kernel_init(self, make):
        made = dataclasses.replace(wrapped := make(key=KEY), **({"cell": None} if hasattr(wrapped, "cell") else {}))
        drawn = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(made)])
        drawn = drawn[(drawn != 0) & (np.abs(drawn) != 1)]
        assert np.unique(drawn).size == drawn.size
        fours = make(key=KEY, kernel_init=jax.nn.initializers.constant(4.0))
        assert sum(int(np.sum(leaf == 4)) for leaf in jax.tree.leaves(fours)) == drawn.size
