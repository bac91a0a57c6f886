"""Rows of the table of cells: variants of the LSTM and the cells of block kernels, of TensorFlow 1.15's contrib.rnn."""

from typing import Any

import numpy as np
from machinery.case import normal
from rooms.layers.cell_table import FEATURES, INPUTS, KEY, UNITS, Row, Step, exact, normalized, product, sigmoid
from rooms.layers.plain_cells import clipped, gru, lstm

from jnnops.layers import (
    AttentionCellWrapper,
    AttentionState,
    CoupledInputForgetGateLSTMCell,
    DropoutState,
    GRUBlockCell,
    GRUCell,
    LayerNormBasicLSTMCell,
    LSTMBlockCell,
    LSTMCell,
    LSTMStateTuple,
)


def norm(cell: Any, x: np.ndarray, name: str) -> np.ndarray:
    gamma = getattr(cell, f"{name}_gamma")
    return x if gamma is None else normalized(x, gamma, getattr(cell, f"{name}_beta"))


def layer_norm_lstm(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Ba et al., 2016, equations 20 to 22, but with the memory itself normalised, as TensorFlow has it."""
    c, h = state
    gates = product(x, h, cell.kernel, 0.0 if cell.bias is None else cell.bias)
    names = ("input", "transform", "forget", "output")
    i, j, f, o = (norm(cell, gate, name) for gate, name in zip(np.split(gates, 4, axis=1), names, strict=True))
    new_c = norm(cell, sigmoid(f + cell.forget_bias) * c + sigmoid(i) * np.tanh(j), "state")
    new_h = np.tanh(new_c) * sigmoid(o)
    return new_h, LSTMStateTuple(new_c, new_h)


def with_dropout_state(cell: Any, x: np.ndarray, state: Any) -> Step:
    y, new = layer_norm_lstm(cell, x, state.state)
    return y, DropoutState(new, None)


def coupled(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Sak et al., 2014, equations 1 to 6, with i = 1 - f as in Greff et al., 2015."""
    c, h = state
    gates = product(x, h, cell.w, 0.0 if cell.b is None else cell.b)
    names = ("transform", "forget", "output")
    j, f, o = (norm(cell, gate, name) for gate, name in zip(np.split(gates, 3, axis=1), names, strict=True))
    peepholes = cell.w_f_diag is not None
    f = sigmoid(f + cell.forget_bias + (cell.w_f_diag * c if peepholes else 0.0))
    new_c = norm(cell, f * c + (1 - f) * np.tanh(j), "state")
    new_h = sigmoid(o + (cell.w_o_diag * new_c if peepholes else 0.0)) * np.tanh(new_c)
    if cell.w_p is not None:
        new_h = clipped(new_h @ cell.w_p, cell.proj_clip)
    return new_h, LSTMStateTuple(new_c, new_h)


def gru_block(cell: Any, x: np.ndarray, h: np.ndarray) -> Step:
    """The equations in the documentation of ``tf.raw_ops.GRUBlockCell``."""
    r, u = np.split(sigmoid(product(x, h, cell.w_ru, cell.b_ru)), 2, axis=1)
    new = (1 - u) * np.tanh(product(x, h * r, cell.w_c, cell.b_c)) + u * h
    return new, new


def attentive(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Bahdanau et al., 2014, appendix A.1.2, over the cell's own outputs, row by row."""
    inner, attns, last = state
    wrapped = lstm if isinstance(cell.cell, LSTMCell) else gru
    y, new = wrapped(cell.cell, product(x, attns, cell.kernel, cell.bias), inner)
    query = np.concatenate(list(new) if isinstance(new, tuple) else [new], axis=1)
    outputs, attended, remembered = [], [], []
    for row in range(len(x)):
        memories = last[row].reshape(cell.attn_length, -1)
        asked = query[row] @ cell.attention_kernel + cell.attention_bias
        scores = np.array([cell.attn_v @ np.tanh(memory @ cell.attn_w[0, 0] + asked) for memory in memories])
        weights = np.exp(scores) / np.exp(scores).sum()
        attended.append(weights @ memories)
        outputs.append(np.concatenate([y[row], attended[-1]]) @ cell.output_kernel + cell.output_bias)
        remembered.append(np.concatenate([*memories[1:], outputs[-1]]))
    return np.array(outputs), AttentionState(new, np.array(attended), np.array(remembered))


def norms(*names: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}_{part}": (UNITS,) for name in names for part in ("gamma", "beta")}


ALL_NORMS = norms("input", "transform", "forget", "output", "state")
GRU = GRUCell.init(FEATURES, UNITS, key=KEY)
PROJECTED = LSTMCell.init(FEATURES, UNITS, num_proj=2, key=KEY)
PEEPHOLES = dict.fromkeys(("w_i_diag", "w_f_diag", "w_o_diag"), (UNITS,))

LSTMS = {
    "LayerNormBasicLSTMCell": Row(
        exact(LayerNormBasicLSTMCell.init(FEATURES, UNITS, key=KEY, forget_bias=0.5)),
        layer_norm_lstm,
        {"kernel": (6, 16), **ALL_NORMS},
        bad=[
            ({"inputs": INPUTS[0]}, "LayerNormBasicLSTMCell: `inputs` must be of rank 2, got shape (2,)"),
            ({"inputs": normal(3, 5)}, "LayerNormBasicLSTMCell: `inputs` must have shape (3, 2) (`kernel` has 2 rows"),
            ({"state": INPUTS}, "LayerNormBasicLSTMCell: `state` must be an LSTMStateTuple or another pair (c, h)"),
            ({"state": (normal(3, 5), normal(3, 4))}, "LayerNormBasicLSTMCell: `c` must have shape (3, 4)"),
            (
                {"state_beta": None},
                "LayerNormBasicLSTMCell: `state_beta` must be given with the other scales and shifts",
            ),
            ({"input_gamma": np.ones(3)}, "LayerNormBasicLSTMCell: `input_gamma` must have shape (4,) ([num_units])"),
        ],
    ),
    "LayerNormBasicLSTMCell-plain": Row(
        exact(LayerNormBasicLSTMCell.init(FEATURES, UNITS, layer_norm=False, key=KEY)),
        layer_norm_lstm,
        {"kernel": (6, 16), "bias": (16,)},
        bad=[({"bias": np.ones(12)}, "LayerNormBasicLSTMCell: `bias` must have shape (16,) (four gates), got (12,)")],
    ),
    "LayerNormBasicLSTMCell-dropout": Row(
        exact(LayerNormBasicLSTMCell.init(FEATURES, UNITS, dropout_rate=0.5, key=KEY)),
        with_dropout_state,
        {"kernel": (6, 16), **ALL_NORMS},
        bad=[
            (
                {"state": LSTMStateTuple(normal(3, 4), normal(3, 4))},
                "LayerNormBasicLSTMCell: `state` must be a DropoutState, as zero_state(batch_size, dtype, key=key)",
            )
        ],
    ),
    "CoupledInputForgetGateLSTMCell": Row(
        exact(CoupledInputForgetGateLSTMCell.init(FEATURES, UNITS, key=KEY)),
        coupled,
        {"w": (6, 12), "b": (12,)},
        bad=[
            ({"b": np.ones(3)}, "CoupledInputForgetGateLSTMCell: `b` must have shape (12,) (three gates), got (3,)"),
            ({"w": np.ones((6, 11))}, "CoupledInputForgetGateLSTMCell: `w` must have 3 columns for each unit, got"),
            (
                {"w_f_diag": np.ones(4)},
                "CoupledInputForgetGateLSTMCell: `w_f_diag` and `w_o_diag` must be given together",
            ),
        ],
    ),
    "CoupledInputForgetGateLSTMCell-all": Row(
        exact(
            CoupledInputForgetGateLSTMCell.init(
                FEATURES, UNITS, use_peepholes=True, num_proj=3, proj_clip=0.6, layer_norm=True, key=KEY
            )
        ),
        coupled,
        {
            **{"w": (5, 12), "w_f_diag": (4,), "w_o_diag": (4,), "w_p": (4, 3)},
            **norms("transform", "forget", "output", "state"),
        },
        bad=[
            (
                {"w_p": np.ones((3, 3))},
                "CoupledInputForgetGateLSTMCell: `w_p` must have shape (4, 3) (`w` is that of 4",
            ),
            (
                {"state": (normal(3, 4), normal(3, 2))},
                "CoupledInputForgetGateLSTMCell: `inputs` must have shape (3, 3)",
            ),
        ],
    ),
    "LSTMBlockCell": Row(
        exact(LSTMBlockCell.init(FEATURES, UNITS, use_peephole=True, cell_clip=0.8, key=KEY)),
        lstm,
        {"kernel": (6, 16), "bias": (16,), **PEEPHOLES},
        bad=[({"inputs": INPUTS[0]}, "LSTMBlockCell: `inputs` must be of rank 2, got shape (2,)")],
    ),
    "GRUBlockCell": Row(
        exact(GRUBlockCell.init(FEATURES, UNITS, key=KEY)),
        gru_block,
        {"w_ru": (6, 8), "b_ru": (8,), "w_c": (6, 4), "b_c": (4,)},
        bad=[
            ({"w_ru": np.ones((6, 4))}, "GRUBlockCell: `w_ru` must have shape (6, 8) (two gates), got (6, 4)"),
            (
                {"inputs": normal(3, 3)},
                "GRUBlockCell: `w_c` must have shape (7, 4) (`inputs` have 3 features and `b_c`",
            ),
            ({"state": normal(3, 3)}, "GRUBlockCell: `state` must have shape (3, 4) ([batch, units]), got (3, 3)"),
        ],
    ),
    "AttentionCellWrapper": Row(
        exact(AttentionCellWrapper.init(PROJECTED, FEATURES, attn_length=3, attn_size=2, attn_vec_size=5, key=KEY)),
        attentive,
        {
            **{"cell.kernel": (4, 16), "cell.bias": (16,), "cell.projection": (4, 2), "kernel": (4, 2), "bias": (2,)},
            **{"attn_w": (1, 1, 2, 5), "attn_v": (5,), "attention_kernel": (6, 5), "attention_bias": (5,)},
            **{"output_kernel": (4, 2), "output_bias": (2,)},
        },
        bad=[
            ({"state": INPUTS}, "AttentionCellWrapper: `state` must be an AttentionState or another triple"),
            ({"inputs": normal(3, 3)}, "AttentionCellWrapper: `kernel` must have shape (5, 3) (`inputs` have 3"),
            ({"attn_v": normal(4)}, "AttentionCellWrapper: `attn_w` must have shape (1, 1, 2, 4)"),
            ({"attn_length": 4}, "AttentionCellWrapper: `attn_states` must have shape (3, 8) (the last attn_length"),
        ],
    ),
    "AttentionCellWrapper-gru": Row(
        exact(AttentionCellWrapper.init(GRU, FEATURES, attn_length=2, key=KEY)),
        attentive,
        {
            **{"cell.gate_kernel": (6, 8), "cell.gate_bias": (8,)},
            **{"cell.candidate_kernel": (6, 4), "cell.candidate_bias": (4,), "kernel": (6, 2), "bias": (2,)},
            **{"attn_w": (1, 1, 4, 4), "attn_v": (4,), "attention_kernel": (4, 4), "attention_bias": (4,)},
            **{"output_kernel": (8, 4), "output_bias": (4,)},
        },
    ),
}
