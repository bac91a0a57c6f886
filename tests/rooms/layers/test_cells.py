"""The recurrent cells, one step at a time."""

import functools
import itertools
from typing import Any

import cases.recurrent as rc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from machinery.case import cotangent, normal

from jnnops.layers import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell, LSTMStateTuple

BATCH, FEATURES, UNITS = 3, 2, 4
INPUTS = normal(BATCH, FEATURES)


def lstm(**options: Any) -> LSTMCell:
    return rc.lstm(FEATURES, UNITS, **options)


CELLS = {
    "basic_rnn": rc.basic_rnn(FEATURES, UNITS),
    "gru": rc.gru(FEATURES, UNITS),
    "basic_lstm": rc.basic_lstm(FEATURES, UNITS),
    "lstm": lstm(use_peepholes=True, cell_clip=0.5, num_proj=3, proj_clip=0.25, forget_bias=0.5),
}
LSTM_OPTIONS = [
    {"use_peepholes": peepholes, **clip, **projection, "forget_bias": 0.25}
    for peepholes, clip, projection in itertools.product(
        (False, True), ({}, {"cell_clip": 0.5}), ({}, {"num_proj": 3}, {"num_proj": 5, "proj_clip": 0.3})
    )
]
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def a_state(cell: Any) -> Any:
    """A state of different numbers."""
    sizes, structure = jax.tree.flatten(cell.state_size)
    return structure.unflatten([normal(BATCH, size, seed=i + 1) for i, size in enumerate(sizes)])


def in_dtype(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf).astype(jnp.dtype(dtype))), tree)


def weighted(tree: Any) -> jax.Array:
    """A scalar that weighs every element of a tree differently."""
    return sum((jnp.sum(leaf * cotangent(leaf.shape)) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def assert_step_is_that_of_tensorflow(cell: Any, activation: Any = None) -> None:
    """Compares the results of a step and their gradients by inputs, state and weights."""
    from machinery import oracle

    state, structure = jax.tree.flatten(a_state(cell))
    given = {"inputs": INPUTS, **rc.weights(cell), **{f"state{i}": part for i, part in enumerate(state)}}

    def theirs(tf, inputs, **tensors):
        parts = [tensors.pop(f"state{i}") for i in range(len(state))]
        made = rc.tf_cell(tf, cell, tf.float64, activation)
        for name, tensor in tensors.items():
            setattr(made, rc.tf_name(name), tensor)
        return made(inputs, tf.nest.pack_sequence_as(made.state_size, parts))

    def ours(arrays):
        arrays = dict(arrays)
        inputs, parts = arrays.pop("inputs"), [arrays.pop(f"state{i}") for i in range(len(state))]
        results = rc.with_weights(cell, arrays)(inputs, structure.unflatten(parts))
        return weighted(results), results

    with jax.enable_x64(True):
        found, results = jax.jit(jax.grad(ours, has_aux=True))(given)
    for actual, expected in zip(jax.tree.leaves(results), oracle.values(theirs, given), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    for name, expected in zip(given, oracle.gradients(theirs, given, list(given)), strict=True):
        assert np.any(expected)
        np.testing.assert_allclose(found[name], expected, rtol=1e-11, atol=1e-11, err_msg=name)


class TestTensorFlow:
    @every_cell
    def test_step(self, cell):
        assert_step_is_that_of_tensorflow(cell)

    @pytest.mark.parametrize("options", LSTM_OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
    def test_lstm_options(self, options):
        assert_step_is_that_of_tensorflow(lstm(**options))

    @pytest.mark.parametrize("make", [rc.basic_rnn, rc.gru, rc.basic_lstm, rc.lstm])
    def test_activation(self, make):
        from machinery import oracle

        assert_step_is_that_of_tensorflow(make(FEATURES, UNITS, activation=jax.nn.softplus), oracle.tf.nn.softplus)


class TestLiterals:
    def test_basic_rnn(self):
        cell = BasicRNNCell(kernel=jnp.array([[1.0], [2.0], [10.0]]), bias=jnp.array([0.5]), activation=jax.nn.relu)
        output, state = cell(jnp.array([[3.0, 4.0], [-9.0, 1.0]]), jnp.array([[0.1], [0.2]]))
        np.testing.assert_allclose(output, [[12.5], [0.0]])
        np.testing.assert_array_equal(state, output)

    def test_gates_of_lstm_are_in_the_order_i_j_f_o(self):
        # A large bias opens a gate, a large negative one closes it.
        def step(i, f, o, forget_bias=0.0):
            bias = jnp.array([i, 0.5, f, o])
            cell = BasicLSTMCell(kernel=jnp.zeros((2, 4)), bias=bias, forget_bias=forget_bias, activation=jax.nn.relu)
            output, state = cell(jnp.ones((1, 1)), LSTMStateTuple([[2.0]], [[7.0]]))
            assert output is state.h
            return state.c.item(), state.h.item()

        assert step(99, 99, 99) == (2.5, 2.5)
        assert step(-99, 99, 99) == (2.0, 2.0)
        assert step(99, -99, 99) == (0.5, 0.5)
        assert step(99, 99, -99) == pytest.approx((2.5, 0.0))
        assert step(99, 0, 99) == (1.5, 1.5)
        assert step(99, -99, 99, forget_bias=198.0) == (2.5, 2.5)

    def test_gates_of_gru_are_in_the_order_r_u_and_r_multiplies_the_state(self):
        def step(r, u):
            cell = GRUCell(
                gate_kernel=jnp.zeros((2, 2)),
                gate_bias=jnp.array([r, u], jnp.float32),
                candidate_kernel=jnp.array([[1.0], [10.0]]),
                candidate_bias=jnp.zeros(1),
                activation=jax.nn.relu,
            )
            return cell(jnp.full((1, 1), 1.0), jnp.full((1, 1), 2.0))[0].item()

        assert step(99, 99) == 2.0
        assert step(99, -99) == 21.0
        assert step(-99, -99) == 1.0
        assert step(0, -99) == 11.0

    def test_peepholes_read_the_old_memory_for_i_and_f_and_the_new_for_o(self):
        def step(i=0.0, f=0.0, o=0.0):
            cell = LSTMCell(
                kernel=jnp.zeros((2, 4)),
                bias=jnp.array([0.0, 4.0, 0.0, 0.0]),
                w_i_diag=jnp.array([i]),
                w_f_diag=jnp.array([f]),
                w_o_diag=jnp.array([o]),
                forget_bias=0.0,
                activation=jax.nn.relu,
            )
            return tuple(part.item() for part in cell(jnp.zeros((1, 1)), ([[-2.0]], [[0.0]]))[1])

        assert step() == (1.0, 0.5)
        assert step(i=-99.0) == (3.0, 1.5)
        assert step(f=99.0) == (2.0, 1.0)
        assert step(o=99.0) == (1.0, 1.0)


class TestClipping:
    """A cell whose memory and output are its input: input and output gates open, forget gate closed."""

    @staticmethod
    @functools.partial(jax.jit, static_argnames=("cell_clip", "proj_clip"))
    def memory_and_output(x, **clips):
        cell = LSTMCell(
            kernel=jnp.zeros((2, 4)).at[0, 1].set(1.0),
            bias=jnp.array([99.0, 0.0, -99.0, 99.0]),
            projection=jnp.ones((1, 1)),
            activation=jax.nn.relu,
            **clips,
        )
        return jnp.array(cell(jnp.broadcast_to(x, (1, 1)), cell.zero_state(1))[1]).ravel()

    @pytest.mark.parametrize("clip", ["cell_clip", "proj_clip"])
    @pytest.mark.parametrize(("limit", "slope"), [(0.25, 0.0), (0.5, 1.0), (0.75, 1.0)])
    def test_gradient_passes_up_to_the_limit_itself(self, clip, limit, slope):
        value, gradient = jax.jit(jax.value_and_grad(lambda x: self.memory_and_output(x, **{clip: limit})[1]))(0.5)
        assert (value, gradient) == (min(limit, 0.5), slope)

    def test_proj_clip_leaves_the_memory_alone_and_cell_clip_does_not(self):
        np.testing.assert_array_equal(self.memory_and_output(0.5, proj_clip=0.25), [0.5, 0.25])
        np.testing.assert_array_equal(self.memory_and_output(0.5, cell_clip=0.25), [0.25, 0.25])

    def test_nan_is_not_clipped(self):
        assert np.isnan(self.memory_and_output(np.nan, cell_clip=0.25, proj_clip=0.25)).all()


class TestTransforms:
    @pytest.mark.parametrize("name", ["basic_rnn", "gru", "lstm"])
    def test_derivatives_are_right_to_second_order_in_both_modes(self, name):
        cell = CELLS[name]
        with jax.enable_x64(True):
            given = in_dtype((cell, INPUTS, a_state(cell)), jnp.float64)
            step = jax.jit(lambda cell, inputs, state: cell(inputs, state))
            check_grads(step, given, order=2, modes=("fwd", "rev"), atol=1e-4, rtol=1e-4, eps=1e-5)

    @every_cell
    def test_jit_and_vmap_over_inputs_state_and_cell(self, cell):
        cell, inputs, state = in_dtype((cell, INPUTS, a_state(cell)), jnp.float32)
        stack = jax.tree.map(lambda leaf: np.stack([leaf, np.flip(leaf, 0)]), (cell, inputs, state))
        actual = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda cell, inputs, state: cell(inputs, state)))(*stack))
        for i in range(2):
            one, inputs, state = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
            for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(one(inputs, state)), strict=True):
                np.testing.assert_allclose(a[i], e, rtol=1e-5, atol=1e-6)

    @every_cell
    def test_empty_batch(self, cell):
        cell = in_dtype(cell, jnp.float32)
        output, state = cell(np.zeros((0, FEATURES), np.float32), cell.zero_state(0))
        assert output.shape == (0, cell.output_size)
        assert jax.tree.map(jnp.shape, state) == jax.tree.map(lambda size: (0, size), cell.state_size)


class TestDtypes:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    @pytest.mark.parametrize("name", CELLS)
    def test_results_keep_the_dtype_and_its_precision(self, name, dtype):
        # 16-bit results are the exact ones rounded once; the operand of a second product is rounded before.
        narrow = dtype in ("float16", "bfloat16")
        ulps = (0.51 if name.startswith("basic") else 4) if narrow else 100
        with jax.enable_x64(True):
            cell, inputs, state = in_dtype((CELLS[name], INPUTS, a_state(CELLS[name])), dtype)
            actual = cell(inputs, state)
            cell, inputs, state = in_dtype((cell, inputs, state), jnp.float64)
            exact = cell(inputs, state)
        for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(exact), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(np.float64(a), e, rtol=ulps * float(jnp.finfo(dtype).eps))

    def test_mixed_dtypes_promote(self):
        cell = in_dtype(CELLS["lstm"], jnp.bfloat16)
        state = in_dtype(a_state(cell), jnp.bfloat16)
        with jax.numpy_dtype_promotion("standard"):
            results = cell(np.float32(INPUTS), state), cell(np.int32(INPUTS), state)
        dtypes = [{leaf.dtype.name for leaf in jax.tree.leaves(result)} for result in results]
        assert dtypes == [{"float32"}, {"bfloat16"}]


class TestInit:
    KEY = jax.random.key(0)

    def test_shapes_and_biases(self):
        shapes = {name: {field: weight.shape for field, weight in rc.weights(CELLS[name]).items()} for name in CELLS}
        assert shapes["basic_rnn"] == {"kernel": (6, 4), "bias": (4,)}
        assert shapes["gru"] == {
            "gate_kernel": (6, 8),
            "gate_bias": (8,),
            "candidate_kernel": (6, 4),
            "candidate_bias": (4,),
        }
        assert shapes["basic_lstm"] == {"kernel": (6, 16), "bias": (16,)}
        assert shapes["lstm"] == {
            "kernel": (5, 16),
            "bias": (16,),
            "w_i_diag": (4,),
            "w_f_diag": (4,),
            "w_o_diag": (4,),
            "projection": (4, 3),
        }
        gru = GRUCell.init(2, 4, key=self.KEY)
        np.testing.assert_array_equal(gru.gate_bias, 1)
        others = [make.init(2, 4, key=self.KEY) for make in (BasicRNNCell, BasicLSTMCell, LSTMCell)]
        for bias in (gru.candidate_bias, *(cell.bias for cell in others)):
            np.testing.assert_array_equal(bias, 0)

    @pytest.mark.parametrize(("make", "options"), [(GRUCell, {}), (LSTMCell, {"use_peepholes": True, "num_proj": 3})])
    def test_weights_have_the_range_of_tensorflow(self, make, options):
        from machinery import oracle

        cell = make.init(200, 300, **options, key=self.KEY)
        initializer = oracle.tf.keras.initializers.GlorotUniform(seed=1)
        for name, ours in rc.weights(cell).items():
            if "bias" not in name:
                theirs = initializer(ours.shape).numpy()
                assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.02)
                assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.1)

    def test_weights_come_from_kernel_init(self):
        def fours(key, shape, dtype):
            del key
            return jnp.full(shape, 4, dtype)

        for make in (BasicRNNCell, GRUCell, BasicLSTMCell, LSTMCell):
            options: dict[str, Any] = {"use_peepholes": True, "num_proj": 3} if make is LSTMCell else {}
            drawn = rc.weights(make.init(2, 4, **options, kernel_init=fours, key=self.KEY))
            for name, weight in drawn.items():
                assert "bias" in name or np.all(weight == 4)

    def test_weights_are_drawn_independently(self):
        cell = LSTMCell.init(2, 4, use_peepholes=True, num_proj=4, key=self.KEY)
        drawn = np.concatenate([np.ravel(weight) for name, weight in rc.weights(cell).items() if name != "bias"])
        assert np.unique(drawn).size == drawn.size
        assert not np.isin(drawn, LSTMCell.init(2, 4, use_peepholes=True, key=jax.random.key(1)).kernel).any()

    def test_dtype_sizes_and_settings(self):
        options: dict[str, Any] = {"num_proj": np.int64(3), "cell_clip": np.float32(2), "forget_bias": 2}
        cell = LSTMCell.init(2, 4, **options, dtype=jnp.bfloat16, key=self.KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {jnp.dtype(jnp.bfloat16)}
        assert (cell.num_units, cell.output_size, cell.state_size) == (4, 3, LSTMStateTuple(4, 3))
        assert (type(cell.cell_clip), type(cell.forget_bias)) == (float, float)
        state = cell.zero_state(5, jnp.float16)
        assert [(leaf.shape, leaf.dtype.name) for leaf in state] == [((5, 4), "float16"), ((5, 3), "float16")]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"in_features": 0}, ValueError, "LSTMCell.init: `in_features` must be at least 1, got 0"),
            ({"num_units": 2.5}, TypeError, "LSTMCell.init: `num_units` must be a static integer, got 2.5"),
            ({"num_proj": 0}, ValueError, "LSTMCell.init: `num_proj` must be at least 1, got 0"),
            ({"cell_clip": -1.0}, ValueError, "LSTMCell.init: `cell_clip` must be None or at least 0, got -1.0"),
            ({"proj_clip": float("nan")}, ValueError, "LSTMCell.init: `proj_clip` must be None or at least 0, got nan"),
            ({"key": None}, ValueError, "LSTMCell.init: `key` must be a jax.random key"),
            (
                {"activation": "tanh"},
                TypeError,
                "LSTMCell.init: `activation` must be callable as activation(array), got str",
            ),
        ],
    )
    def test_bad_arguments(self, arguments, error, message):
        with pytest.raises(error) as raised:
            LSTMCell.init(**{"in_features": 2, "num_units": 4, "key": self.KEY} | arguments)
        assert str(raised.value).startswith(message)


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "inputs", "state", "message"),
        [
            ("basic_rnn", INPUTS[0], None, "BasicRNNCell: `inputs` must be of rank 2, got shape (2,)"),
            ("basic_rnn", normal(3, 5), None, "BasicRNNCell: `inputs` must have shape (3, 2) (`kernel` has 2 rows for"),
            ("gru", INPUTS, normal(3, 5), "GRUCell: `state` must have shape (3, 4) ([batch, units]), got (3, 5)"),
            ("gru", normal(3, 5), None, "GRUCell: `inputs` must have shape (3, 2) (`candidate_kernel` has 2 rows for"),
            ("basic_lstm", INPUTS, normal(3, 4), "BasicLSTMCell: `state` must be an LSTMStateTuple or another pair"),
            ("lstm", INPUTS, (normal(2, 4), normal(3, 3)), "LSTMCell: `c` must have shape (3, 4) ([batch, units])"),
            ("lstm", INPUTS, (normal(3, 4), normal(3, 4)), "LSTMCell: `h` must have shape (3, 3) ([batch, units])"),
        ],
    )
    def test_bad_inputs_and_states(self, name, inputs, state, message):
        with pytest.raises(ValueError, match="must") as raised:
            CELLS[name](inputs, a_state(CELLS[name]) if state is None else state)
        assert str(raised.value).startswith(message)

    @pytest.mark.parametrize(
        ("name", "weights", "message"),
        [
            ("basic_rnn", {"bias": np.zeros(3)}, "BasicRNNCell: `bias` must have shape (4,) (`kernel` has 4 columns)"),
            ("gru", {"gate_kernel": np.zeros((6, 4))}, "GRUCell: `gate_kernel` must have shape (6, 8) (two gates)"),
            ("gru", {"gate_bias": np.zeros(4)}, "GRUCell: `gate_bias` must have shape (8,) (two gates), got (4,)"),
            ("lstm", {"kernel": np.zeros((5, 15))}, "LSTMCell: `kernel` must have 4 columns for each unit, got shape"),
            ("lstm", {"projection": np.zeros((5, 3))}, "LSTMCell: `projection` must have shape (4, 3) "),
            ("lstm", {"w_f_diag": np.zeros(3)}, "LSTMCell: `w_f_diag` must have shape (4,) "),
            ("lstm", {"w_o_diag": None}, "LSTMCell: `w_i_diag`, `w_f_diag` and `w_o_diag` must be given together, got"),
        ],
    )
    def test_bad_weights(self, name, weights, message):
        cell = rc.with_weights(CELLS[name], weights)
        with pytest.raises(ValueError, match="must") as raised:
            cell(INPUTS, a_state(CELLS[name]))
        assert str(raised.value).startswith(message)

    def test_boolean_inputs_are_refused(self):
        with pytest.raises(TypeError, match="GRUCell: `inputs` must be integer or floating point"):
            CELLS["gru"](np.ones((3, 2), bool), a_state(CELLS["gru"]))

    def test_lists_are_taken_like_arrays(self):
        state = a_state(CELLS["basic_lstm"])
        for actual, expected in zip(
            jax.tree.leaves(CELLS["basic_lstm"](INPUTS.tolist(), [part.tolist() for part in state])),
            jax.tree.leaves(CELLS["basic_lstm"](INPUTS, state)),
            strict=True,
        ):
            np.testing.assert_array_equal(actual, expected)
