"""TensorFlow's block kernels, live, are the judges of the cells that have their names."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machinery.case import cotangent
from rooms.layers.cell_table import exact

import jnnops as nn
from jnnops.layers import GRUBlockCell, LSTMBlockCell, LSTMBlockFusedCell, LSTMStateTuple

BATCH, TIME, FEATURES, UNITS = 3, 4, 2, 4
KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((TIME, BATCH, FEATURES)).astype(np.float32)
C, H = RNG.standard_normal((2, BATCH, UNITS)).astype(np.float32)
WEIGHTS = ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag")


def in_float32(cell: Any) -> Any:
    return jax.tree.map(jnp.float32, exact(cell))


def kernel_arguments(cell: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    names = {"kernel": "w", "bias": "b", "w_i_diag": "wci", "w_f_diag": "wcf", "w_o_diag": "wco"}
    zeros = np.zeros(UNITS, np.float32)
    given = {theirs: tensors.get(ours, zeros) for ours, theirs in names.items()}
    clip = -1.0 if cell.cell_clip is None else cell.cell_clip
    peephole = cell.w_i_diag is not None
    return given | {"forget_bias": cell.forget_bias, "cell_clip": clip, "use_peephole": peephole}


def weights(cell: Any) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in WEIGHTS if getattr(cell, name) is not None}


@pytest.mark.parametrize("options", [{}, {"use_peephole": True, "cell_clip": 0.5, "forget_bias": 0.25}])
def test_lstm_block_cell_is_the_kernel(options):
    from machinery.oracle import tf

    cell = in_float32(LSTMBlockCell.init(FEATURES, UNITS, **options, key=KEY))
    output, state = cell(INPUTS[0], (C, H))
    theirs = tf.raw_ops.LSTMBlockCell(x=INPUTS[0], cs_prev=C, h_prev=H, **kernel_arguments(cell, weights(cell)))
    for actual, expected in ((output, theirs.h), (state.h, theirs.h), (state.c, theirs.cs)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_gru_block_cell_is_the_kernel():
    from machinery.oracle import tf

    cell = in_float32(GRUBlockCell.init(FEATURES, UNITS, key=KEY))
    given = {name: getattr(cell, name) for name in ("w_ru", "b_ru", "w_c", "b_c")}
    theirs = tf.raw_ops.GRUBlockCell(x=INPUTS[0], h_prev=H, **given)
    output, state = cell(INPUTS[0], H)
    np.testing.assert_allclose(output, theirs.h, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(output, state)

    weight = cotangent((BATCH, UNITS)).astype(np.float32)
    parts = {"r": theirs.r, "u": theirs.u, "c": theirs.c, "d_h": weight}
    gradients = tf.raw_ops.GRUBlockCellGrad(x=INPUTS[0], h_prev=H, **given, **parts)
    found = jax.jit(jax.grad(lambda x, h: jnp.sum(weight * cell(x, h)[0]), (0, 1)))(INPUTS[0], H)
    for actual, expected in zip(found, (gradients.d_x, gradients.d_h_prev), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_peephole", [False, True])
def test_lstm_block_fused_cell_is_the_kernel_in_value_and_gradient(use_peephole):
    from machinery import oracle

    cell = in_float32(LSTMBlockFusedCell.init(FEATURES, UNITS, use_peephole=use_peephole, key=KEY))
    given = {"x": INPUTS, "cs_prev": C, "h_prev": H, **{name: np.asarray(each) for name, each in weights(cell).items()}}

    def theirs(tf, x, cs_prev, h_prev, **tensors):
        whole = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.constant(TIME, tf.int64), x=x, cs_prev=cs_prev, h_prev=h_prev,
            **kernel_arguments(cell, tensors),
        )  # fmt: skip
        return whole.h, whole.cs[-1], whole.h[-1]

    def ours(arrays):
        arrays = dict(arrays)
        x, c, h = (arrays.pop(name) for name in ("x", "cs_prev", "h_prev"))
        outputs, state = LSTMBlockFusedCell(**arrays)(x, (c, h))
        results = outputs, state.c, state.h
        return sum(jnp.sum(each * cotangent(each.shape).astype(np.float32)) for each in results), results

    found, results = jax.jit(jax.grad(ours, has_aux=True))(given)
    for actual, expected in zip(results, oracle.values(theirs, given), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    for name, expected in zip(given, oracle.gradients(theirs, given, list(given)), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_lstm_block_fused_cell_runs_the_cell_up_to_each_length():
    cell: Any = in_float32(LSTMBlockCell.init(FEATURES, UNITS, cell_clip=0.5, use_peephole=True, key=KEY))
    fused = LSTMBlockFusedCell(**weights(cell), cell_clip=0.5)
    lengths = np.array([4, 0, 2])
    expected = nn.dynamic_rnn(cell, INPUTS, lengths, initial_state=LSTMStateTuple(C, H), time_major=True)
    found = fused(INPUTS, (C, H), None, lengths)
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, e)
    assert not np.any(found.outputs[:, 1])
    with pytest.raises(ValueError, match="LSTMBlockFusedCell: `inputs` must be of rank 3, got shape"):
        fused(INPUTS[0])


def test_dropout_inside_of_the_layer_norm_cell():
    """Of what is written to the memory alone: an element is kept and scaled, or the memory only forgets."""
    made: Any = nn.layers.LayerNormBasicLSTMCell.init(FEATURES, 50, layer_norm=False, dropout_rate=0.5, key=KEY)
    state = made.zero_state(BATCH, key=jax.random.key(1))
    start = state._replace(state=jax.tree.map(jnp.ones_like, state.state))
    plain = nn.layers.BasicLSTMCell(kernel=made.kernel, bias=made.bias)
    _, expected = plain(INPUTS[0], start.state)
    forgotten = plain(INPUTS[0], start.state._replace(c=jnp.zeros((BATCH, 50))))[1].c
    _, new = made(INPUTS[0], start)
    kept = expected.c + forgotten  # twice what was written, and what is left of the old memory
    dropped = expected.c - forgotten
    was_kept = np.isclose(new.state.c, kept, atol=1e-6)
    assert np.all(was_kept | np.isclose(new.state.c, dropped, atol=1e-6))
    assert 0.3 < was_kept.mean() < 0.7
    assert new.key != start.key
    twice = nn.dynamic_rnn(made, jnp.stack([INPUTS[0]] * 2), initial_state=start, time_major=True)
    np.testing.assert_allclose(twice.outputs[0], new.state.h, rtol=1e-5)
