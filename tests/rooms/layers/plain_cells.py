"""Rows of the table of cells: those of ``tf.compat.v1.nn.rnn_cell``, whose other judge is TensorFlow itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
from machinery.case import normal
from rooms.layers.cell_table import FEATURES, INPUTS, KEY, UNITS, Row, Step, exact, product, sigmoid

from jnnops.layers import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell, LSTMStateTuple


def basic_rnn(cell: Any, x: np.ndarray, h: np.ndarray) -> Step:
    new = np.tanh(product(x, h, cell.kernel, cell.bias))
    return new, new


def gru(cell: Any, x: np.ndarray, h: np.ndarray) -> Step:
    """Cho et al., 2014, equations 5 to 8, with the update gate's part of both swapped, as TensorFlow has it."""
    r, u = np.split(sigmoid(product(x, h, cell.gate_kernel, cell.gate_bias)), 2, axis=1)
    candidate = np.tanh(product(x, r * h, cell.candidate_kernel, cell.candidate_bias))
    new = u * h + (1 - u) * candidate
    return new, new


def lstm(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Sak et al., 2014, equations 1 to 6, with TensorFlow's order of gates."""
    c, h = state

    def peephole(name: str, memory: np.ndarray) -> np.ndarray | float:
        weight = getattr(cell, name, None)
        return 0.0 if weight is None else weight * memory

    i, j, f, o = np.split(product(x, h, cell.kernel, cell.bias), 4, axis=1)
    i, f = i + peephole("w_i_diag", c), f + peephole("w_f_diag", c)
    new_c = clipped(sigmoid(f + cell.forget_bias) * c + sigmoid(i) * np.tanh(j), getattr(cell, "cell_clip", None))
    new_h = sigmoid(o + peephole("w_o_diag", new_c)) * np.tanh(new_c)
    if getattr(cell, "projection", None) is not None:
        new_h = clipped(new_h @ cell.projection, cell.proj_clip)
    return new_h, LSTMStateTuple(new_c, new_h)


def clipped(x: np.ndarray, limit: float | None) -> np.ndarray:
    return x if limit is None else np.clip(x, -limit, limit)


def row(make: Callable[..., Any], reference: Callable[..., Step], shapes: dict[str, Any], **options: Any) -> Row:
    more = {name: options.pop(name) for name in ("ulps", "gradient_ulps", "bad") if name in options}
    return Row(exact(make(FEATURES, UNITS, **options, key=KEY)), reference, shapes, **more)


PLAIN = {
    "BasicRNNCell": row(
        BasicRNNCell.init,
        basic_rnn,
        {"kernel": (6, 4), "bias": (4,)},
        bad=[
            ({"inputs": INPUTS[0]}, "BasicRNNCell: `inputs` must be of rank 2, got shape (2,)"),
            ({"state": normal(3, 5)}, "BasicRNNCell: `state` must have shape (3, 4) ([batch, units]), got (3, 5)"),
        ],
    ),
    "GRUCell": row(
        GRUCell.init,
        gru,
        {"gate_kernel": (6, 8), "gate_bias": (8,), "candidate_kernel": (6, 4), "candidate_bias": (4,)},
    ),
    "BasicLSTMCell": row(BasicLSTMCell.init, lstm, {"kernel": (6, 16), "bias": (16,)}, forget_bias=0.5),
    "LSTMCell": row(
        LSTMCell.init,
        lstm,
        {
            "kernel": (5, 16),
            "bias": (16,),
            **dict.fromkeys(("w_i_diag", "w_f_diag", "w_o_diag"), (4,)),
            "projection": (4, 3),
        },
        use_peepholes=True,
        num_proj=3,
        cell_clip=0.8,
        proj_clip=0.6,
    ),
}
