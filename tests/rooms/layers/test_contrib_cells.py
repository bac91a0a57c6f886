"""The cells of ``tf.contrib.rnn`` over time, under further transforms, and what each has of its own."""

import dataclasses
import re
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from machinery.case import cotangent, normal
from machinery.programs import compile_by_default
from rooms.layers.cell_table import BATCH, INPUTS, KEY, exact
from rooms.layers.contrib_cells import CONTRIB, TIMES

import jnnops as nn
from jnnops.layers import (
    ConvLSTMCell,
    GridLSTMCell,
    IntersectionRNNCell,
    NASCell,
    PhasedLSTMCell,
    SRUCell,
    TimeFreqLSTMCell,
    UGRNNCell,
    layer,
)

STEPS, LENGTHS = 3, np.array([3, 1, 2])
ONE_OF_EACH = (
    *("UGRNNCell", "IntersectionRNNCell-projected", "NASCell", "SRUCell", "PhasedLSTMCell-peepholes"),
    *("ConvLSTMCell-2d", "TimeFreqLSTMCell", "GridLSTMCell-shared"),
)


def over_time(name: str) -> tuple[Any, Any, Any]:
    """The cell of a row, inputs ``[batch, time, ...]`` and a first state."""
    cell, inputs, state = CONTRIB[name].given()
    steps = jax.tree.map(lambda leaf: np.stack([leaf, -leaf, leaf[::-1] / 2], axis=1), inputs)
    return cell, steps, state


def weighted(xp: Any, tree: Any) -> Any:
    return sum(xp.sum(leaf * cotangent(leaf.shape).astype(leaf.dtype)) for leaf in jax.tree.leaves(tree))


def run(cell: Any, inputs: Any, state: Any) -> Any:
    return tuple(nn.dynamic_rnn(cell, inputs, LENGTHS, state))


def run_reference(name: str, cell: Any, inputs: Any, state: Any) -> Any:
    """The rows one after another, each for as many steps as it has."""
    outputs, states = [], []
    for row, length in enumerate(LENGTHS):
        now, found = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], state), []
        for step in range(STEPS):
            of_step = jax.tree.map(lambda leaf, row=row, step=step: leaf[row : row + 1, step], inputs)
            output, new = CONTRIB[name].reference(cell, of_step, now)
            now = new if step < length else now
            found.append(output if step < length else 0 * output)
        outputs.append(np.stack(found, axis=1))
        states.append(now)
    return np.concatenate(outputs), jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)


HALF = jax.nn.initializers.constant(0.5)
ONE_TWO_THREE = np.repeat([[1.0], [2.0], [3.0]], 4, axis=1)
# The columns of the outputs of GridLSTMCell, whose units are all alike, and of its state.
GRID_OUTPUT = [
    [0.416383, 0.403238, 0.524020, 0.565425, 0.557865, 0.609699],
    [0.627331, 0.622393, 0.688342, 0.708078, 0.694245, 0.715171],
    [0.711050, 0.709197, 0.736533, 0.744264, 0.737390, 0.745250],
]
GRID_STATE = [
    [0.625556, 0.416383, 0.759134, 0.524020, 0.798795, 0.557865],
    [0.875488, 0.627331, 0.936432, 0.688342, 0.941961, 0.694245],
    [0.957327, 0.711050, 0.979522, 0.736533, 0.980245, 0.737390],
]


class TestTensorFlow:
    """What TensorFlow 1.15 gives for weights of one value each, biases of 0 and states of 0.1, by its own tests."""

    @pytest.mark.parametrize(
        ("cell", "inputs", "expected"),
        [
            (
                UGRNNCell.init(4, 2, kernel_init=HALF, key=KEY),
                ONE_TWO_THREE,
                ([0.13752282, 0.10545051, 0.10074195], [0.13752282, 0.10545051, 0.10074195]),
            ),
            (
                IntersectionRNNCell.init(4, 2, num_in_proj=2, kernel_init=HALF, key=KEY),
                ONE_TWO_THREE,
                ([2.00431061, 4.00060606, 6.00008249], [0.13752282, 0.10545051, 0.10074195]),
            ),
            (
                NASCell.init(4, 6, kernel_init=HALF, key=KEY),
                ONE_TWO_THREE,
                ([0.576751, 0.618936, 0.627393], [0.71579772, 0.78041625, 0.79457647]),
            ),
            (
                NASCell.init(4, 6, num_proj=5, kernel_init=HALF, key=KEY),
                ONE_TWO_THREE,
                ([1.697418, 1.840037, 1.873985], [0.69855207, 0.77073824, 0.78973997]),
            ),
            (SRUCell.init(3, 2, kernel_init=HALF, key=KEY), np.ones((1, 3)), ([0.55255556],)),
            (
                GridLSTMCell.init(
                    *(4, 2),
                    feature_size=2,
                    frequency_skip=1,
                    num_frequency_blocks=[3],
                    couple_input_forget_gates=True,
                    kernel_init=HALF,
                    key=KEY,
                ),
                ONE_TWO_THREE,
                (np.repeat(GRID_OUTPUT, 2, axis=1), np.repeat(GRID_STATE, 2, axis=1)),
            ),
        ],
        ids=["UGRNNCell", "IntersectionRNNCell", "NASCell", "NASCell-projected", "SRUCell", "GridLSTMCell"],
    )
    def test_outputs_and_states(self, cell, inputs, expected):
        state = jax.tree.map(lambda zeros: zeros + 0.1, cell.zero_state(len(inputs)))
        results = jax.tree.leaves(cell(np.float32(inputs), state))
        for actual, wanted in zip(results[: len(expected)], np.asarray(expected, np.float64), strict=True):
            wanted = wanted if wanted.ndim == 2 else np.broadcast_to(wanted[:, None], actual.shape)
            np.testing.assert_allclose(actual, wanted, atol=1e-6)

    @pytest.mark.parametrize("rank", [1, 2, 3])
    def test_convolutional_lstm(self, rank):
        weights = jax.nn.initializers.constant(0.5**rank)
        cell = ConvLSTMCell.init((2,) * rank + (1,), 1, (3,) * rank, kernel_init=weights, key=KEY)
        inputs = np.broadcast_to(np.array([1, 2], np.float32).reshape(2, *(1,) * (rank + 1)), (2, *(2,) * rank, 1))
        output, state = cell(inputs, (inputs, np.zeros_like(inputs)))
        np.testing.assert_array_equal(output, state.h)
        for actual, wanted in ((state.c, [1.4375670191, 2.7542609292]), (state.h, [0.6529865603, 0.8736877431])):
            np.testing.assert_allclose(actual.reshape(2, -1).T, [wanted] * 2**rank, rtol=1e-6)


class TestOverTime:
    @pytest.mark.parametrize("name", ONE_OF_EACH)
    def test_equals_the_reference_to_second_order(self, name):
        given = over_time(name)
        direction = jax.tree.map(lambda leaf: normal(*leaf.shape, seed=3), given)
        if isinstance(given[0], PhasedLSTMCell):  # of which the remainder has no derivative by the period
            period = np.zeros_like(given[0].period)
            direction = (dataclasses.replace(direction[0], period=period), *direction[1:])

        @jax.jit
        def differentiate(given, direction):
            results = run(*given)
            gradient = jax.grad(lambda given: weighted(jnp, run(*given)))
            return results, *jax.jvp(gradient, (given,), (direction,))

        def moved(step):
            return jax.tree.map(lambda leaf, by: leaf + step * by, given, direction)

        with jax.enable_x64(True):
            results, gradient, second = differentiate(given, direction)
            after, before = (differentiate(moved(step), direction)[1] for step in (1e-6, -1e-6))
        for actual, expected in zip(
            jax.tree.leaves(results), jax.tree.leaves(run_reference(name, *given)), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)
        second, gradient, after, before = jax.tree.map(np.asarray, (second, gradient, after, before))
        along = sum(np.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        up, down = (weighted(np, run_reference(name, *moved(step))) for step in (1e-7, -1e-7))
        np.testing.assert_allclose(along, (up - down) / 2e-7, rtol=1e-5)
        for actual, plus, minus in zip(*map(jax.tree.leaves, (second, after, before)), strict=True):
            quotient = (plus - minus) / 2e-6
            np.testing.assert_allclose(actual, quotient, rtol=0, atol=1e-6 * np.abs(quotient).max())

    @pytest.mark.parametrize("name", ["ConvLSTMCell-2d", "TimeFreqLSTMCell", "GridLSTMCell"])
    def test_exported_for_every_platform_and_in_a_shard_map(self, name):
        given = jax.tree.map(jnp.float32, over_time(name))
        gradient = jax.grad(lambda *given: weighted(jnp, nn.dynamic_rnn(given[0], given[1], None, given[2])))
        expected = jax.jit(gradient)(*given)
        exported = jax.export.export(jax.jit(gradient), platforms=["cpu", "cuda", "tpu"])(*given)
        loaded = jax.export.deserialize(exported.serialize()).call
        mesh, rows = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Auto,)), PartitionSpec("batch")
        whole = PartitionSpec()
        sharded = jax.shard_map(gradient, mesh=mesh, in_specs=(whole, rows, rows), out_specs=whole)
        for compute in (loaded, jax.jit(sharded)):
            for actual, wanted in zip(*map(jax.tree.leaves, (compute(*given), expected)), strict=True):
                np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


@layer
class Steps:
    """A cell that does not say that it is linear."""

    cell: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return self.cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return self.cell(inputs, state)


class TestSRU:
    def test_all_steps_at_once_equal_one_after_another(self):
        cell = jax.tree.map(jnp.float32, exact(SRUCell.init(2, 4, activation=nn.relu, key=KEY)))
        inputs, state = np.float32(normal(BATCH, 40, 2)), np.float32(normal(BATCH, 4))

        @jax.jit
        def results_and_gradients(cell, inputs, state):
            def both(cell, inputs, state):
                steps, lengths = Steps(cell=cell), np.array([40, 7, 0])
                at_once = nn.bidirectional_dynamic_rnn(cell, cell, inputs, lengths, state, state)
                one_by_one = nn.bidirectional_dynamic_rnn(steps, steps, inputs, lengths, state, state)
                return at_once, one_by_one

            results, pull_back = jax.vjp(both, cell, inputs, state)
            weights = jax.tree.map(lambda leaf: jnp.float32(cotangent(leaf.shape)), results[0])
            zeros = jax.tree.map(jnp.zeros_like, weights)
            return *results, pull_back((weights, zeros)), pull_back((zeros, weights))

        at_once, one_by_one, gradient, gradient_by_steps = results_and_gradients(cell, inputs, state)
        for actual, expected in zip(
            *map(jax.tree.leaves, ((at_once, gradient), (one_by_one, gradient_by_steps))), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)

    def test_has_no_loop_over_matrix_products(self):
        cell = SRUCell.init(2, 4, key=KEY)
        jaxpr = jax.make_jaxpr(lambda cell, x: nn.dynamic_rnn(cell, x))(cell, jnp.ones((BATCH, 40, 2)))
        products = re.findall(r":f32\[(.*?)\] = dot_general", str(jaxpr))
        assert products == ["40,3,16"]

    def test_a_long_memory_survives_16_bits(self):
        # A gate of 0.9990 that is rounded to bfloat16 is 1, and forgets nothing in 1000 steps.
        kernel = np.zeros((1, 4))
        kernel[0, 0] = 1.0
        cell = SRUCell(kernel=jnp.bfloat16(kernel), bias=jnp.bfloat16([6.9, 0.0]), activation=nn.tanh)
        state = nn.dynamic_rnn(cell, jnp.zeros((1, 1000, 1), jnp.bfloat16), None, jnp.ones((1, 1), jnp.bfloat16)).state
        forget = 1 / (1 + np.exp(-np.float64(cell.bias[0])))
        assert state.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float64(state[0, 0]), forget**1000, rtol=0.01)


class TestConvLSTM:
    def test_convolutions_in_the_loop_are_canonical_in_both_directions(self):
        # XLA on CPU makes a scalar loop of any other that is inside a loop.
        cell = ConvLSTMCell.init((8, 8, 3), 4, (3, 3), key=KEY)
        gradient = jax.grad(lambda cell, x: jnp.sum(nn.dynamic_rnn(cell, x).outputs ** 2), argnums=(0, 1))
        program = compile_by_default(gradient, cell, jnp.ones((2, 3, 8, 8, 3))).as_text()
        labels = set(re.findall(r"dim_labels=(\S+?)[,\s]", program))
        assert labels
        assert labels <= {"b01f_01io->b01f", "b0f_0io->b0f"}

    def test_skip_connection_is_no_part_of_the_state(self):
        cell, inputs, state = CONTRIB["ConvLSTMCell-2d"].given()
        output, new = jax.jit(lambda *given: given[0](*given[1:]))(*jax.tree.map(np.float32, (cell, inputs, state)))
        np.testing.assert_array_equal(output[..., 2:], np.float32(inputs))
        np.testing.assert_array_equal(output[..., :2], new.h)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"input_shape": (8,)}, "`input_shape` must be (*spatial, in_channels) of 2 to 4 ints, got (8,)"),
            ({"kernel_shape": (3,)}, "`kernel_shape` must have 2 ints, as many as `input_shape` has spatial ones, got"),
            ({"kernel_shape": 3}, "`kernel_shape` must be a sequence of ints, got 3"),
        ],
    )
    def test_bad_sizes(self, change, message):
        good = {"input_shape": (8, 8, 3), "output_channels": 4, "kernel_shape": (3, 3), "key": KEY}
        with pytest.raises(ValueError, match="must") as raised:
            ConvLSTMCell.init(**{**good, **change})
        assert str(raised.value).startswith(f"ConvLSTMCell.init: {message}")


def broadcast_zero(key: Any, shape: Any, dtype: Any) -> Any:
    del key
    return np.broadcast_to(np.zeros((), dtype), shape)


class TestPhasedLSTM:
    def test_periods_and_phases_are_drawn_as_in_tensorflow(self):
        settings: Any = {"period_init_min": 2.0, "period_init_max": 50.0, "ratio_on": 0.25}
        cell = PhasedLSTMCell.init(1, 4000, **settings, kernel_init=broadcast_zero, key=KEY)
        logarithms, fractions = np.log(cell.period), np.asarray(cell.phase / cell.period)
        low, high = np.log(2.0), np.log(50.0)
        assert low <= logarithms.min() < low + 0.01 < high - 0.01 < logarithms.max() <= high + 1e-6
        np.testing.assert_allclose(
            np.quantile((logarithms - low) / (high - low), [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03
        )
        np.testing.assert_allclose(np.quantile(fractions, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
        assert 0 <= fractions.min() < 0.01 < 0.99 < fractions.max() < 1
        assert abs(np.corrcoef(fractions, logarithms)[0, 1]) < 0.05
        assert set(np.asarray(cell.ratio_on)) == {0.25}

    def test_ratio_on_has_no_gradient_unless_it_is_trainable(self):
        cell, inputs, state = jax.tree.map(np.float32, CONTRIB["PhasedLSTMCell"].given())
        gradient = jax.jit(jax.grad(lambda cell: weighted(jnp, cell(inputs, state))))
        fixed = gradient(dataclasses.replace(cell, trainable_ratio_on=False))
        assert not np.any(fixed.ratio_on)
        trained = gradient(cell)
        assert np.any(trained.ratio_on)
        np.testing.assert_array_equal(fixed.period, trained.period)
        never_open = gradient(dataclasses.replace(cell, ratio_on=np.zeros_like(cell.ratio_on)))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(never_open))

    def test_times_keep_their_own_precision(self):
        # A thousandth of a second after 30 years, which float32 cannot tell from 30 years.
        cell, _, state = CONTRIB["PhasedLSTMCell"].given()
        late = TIMES + np.round(1e9 / 2.0) * 2.0
        with jax.enable_x64(True):
            cell, x, state = jax.tree.map(np.float32, (cell, INPUTS, state))
            output, _ = cell((late, x), state)
            assert output.dtype == jnp.float32
            expected = CONTRIB["PhasedLSTMCell"].reference(*jax.tree.map(np.float64, (cell, (late, x), state)))[0]
            np.testing.assert_allclose(output, expected, rtol=1e-4)
            whole, _ = cell((np.round(TIMES).astype(np.int32), x), state)
            same, _ = cell((np.float32(np.round(TIMES)), x), state)
        np.testing.assert_array_equal(whole, same)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"period_init_min": 0.0}, "`period_init_min` must be above 0, got 0.0"),
            ({"period_init_max": 0.5}, "`period_init_max` must be at least period_init_min = 1.0, got 0.5"),
            ({"ratio_on": 1.5}, "`ratio_on` must be in [0, 1], got 1.5"),
        ],
    )
    def test_bad_settings(self, change, message):
        with pytest.raises(ValueError, match="must") as raised:
            PhasedLSTMCell.init(2, 4, key=KEY, **change)
        assert str(raised.value) == f"PhasedLSTMCell.init: {message}"


class TestFrequencies:
    def test_what_lies_behind_the_last_whole_block_is_not_used(self):
        cell, inputs, state = jax.tree.map(np.float32, CONTRIB["TimeFreqLSTMCell"].given())
        assert cell.num_blocks == 3
        other = inputs.copy()
        other[:, 7:] = np.nan
        np.testing.assert_array_equal(cell(inputs, state)[0], cell(other, state)[0])

    @pytest.mark.parametrize(
        ("make", "change", "message"),
        [
            (TimeFreqLSTMCell, {"feature_size": 9}, "`feature_size` must be at most in_features = 8, got 9"),
            (GridLSTMCell, {"feature_size": 9}, "`feature_size` must be at most in_features = 8, got 9"),
            (
                GridLSTMCell,
                {"num_frequency_blocks": [4]},
                "`num_frequency_blocks` must be (3,) for these sizes, got (4,)",
            ),
            (GridLSTMCell, {"start_freqindex_list": [0]}, "`end_freqindex_list` must be given with `start_freqindex_l"),
            (
                GridLSTMCell,
                {"start_freqindex_list": [0, 4], "end_freqindex_list": [4]},
                "`end_freqindex_list` must have as many ints as `start_freqindex_list`, 2, and one at least, got (4,)",
            ),
            (
                GridLSTMCell,
                {"start_freqindex_list": [0, 4], "end_freqindex_list": [4, 9]},
                "`end_freqindex_list` must be from 3 (feature_size) after each start, of (0, 4), to in_features = 8",
            ),
        ],
    )
    def test_bad_sizes(self, make, change, message):
        good = {"feature_size": 3, "frequency_skip": 2, "key": KEY}
        with pytest.raises(ValueError, match="must") as raised:
            make.init(8, 4, **{**good, **change})
        assert str(raised.value).startswith(f"{make.__name__}.init: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "`num_in_proj` must be num_units = 4 for in_features = 2, got None"),
        ({"num_in_proj": 3}, "`num_in_proj` must be None or num_units = 4, got 3"),
    ],
)
def test_an_intersection_cell_projects_other_widths_to_its_own(change, message):
    with pytest.raises(ValueError, match="must") as raised:
        IntersectionRNNCell.init(2, 4, key=KEY, **change)
    assert str(raised.value) == f"IntersectionRNNCell.init: {message}"
    assert IntersectionRNNCell.init(4, 4, num_in_proj=4, key=KEY).in_projection_kernel is None
