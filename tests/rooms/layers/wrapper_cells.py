"""Rows of the table of cells: cells that wrap others."""

from typing import Any

import numpy as np
from machinery.case import normal
from rooms.layers.cell_table import FEATURES, INPUTS, KEY, UNITS, Row, Step, exact, sigmoid, sixteenths
from rooms.layers.plain_cells import gru, lstm

from jnnops import tanh
from jnnops.layers import (
    DropoutState,
    DropoutWrapper,
    EmbeddingWrapper,
    GRUCell,
    HighwayWrapper,
    InputProjectionWrapper,
    LSTMCell,
    LSTMStateTuple,
    MultiRNNCell,
    OutputProjectionWrapper,
    ResidualWrapper,
)

GRU = GRUCell.init(FEATURES, UNITS, key=KEY)
SQUARE = GRUCell.init(FEATURES, FEATURES, key=KEY)
GRU_SHAPES = {
    "cell.gate_kernel": (6, 8),
    "cell.gate_bias": (8,),
    "cell.candidate_kernel": (6, 4),
    "cell.candidate_bias": (4,),
}
SQUARE_SHAPES = {
    "cell.gate_kernel": (4, 4),
    "cell.gate_bias": (4,),
    "cell.candidate_kernel": (4, 2),
    "cell.candidate_bias": (2,),
}


def residual(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Wu et al., 2016, equation 6."""
    y, new = gru(cell.cell, x, state)
    return x + y, new


def product_of_both(inputs: Any, output: Any) -> Any:
    return inputs[:, :1] * output


def residual_of_product(cell: Any, x: np.ndarray, state: Any) -> Step:
    y, new = gru(cell.cell, x, state)
    return product_of_both(x, y), new


def highway(cell: Any, x: np.ndarray, state: Any) -> Step:
    """Srivastava et al., 2015, equations 2 and 3, whose C is the carry gate and T the transform gate."""
    y, new = gru(cell.cell, x, state)
    carry = sigmoid(x @ cell.carry_w + cell.carry_b)
    transform = 1 - carry if cell.transform_w is None else sigmoid(x @ cell.transform_w + cell.transform_b)
    return x * carry + y * transform, new


def input_projection(cell: Any, x: np.ndarray, state: Any) -> Step:
    projected = x @ cell.kernel + cell.bias
    return gru(cell.cell, projected if cell.activation is None else np.tanh(projected), state)


def output_projection(cell: Any, x: np.ndarray, state: Any) -> Step:
    y, new = gru(cell.cell, x, state)
    projected = y @ cell.kernel + cell.bias
    return (projected if cell.activation is None else np.tanh(projected)), new


def embedded(cell: Any, ids: np.ndarray, state: Any) -> Step:
    return gru(cell.cell, cell.embedding[ids.reshape(-1)], state)


def stacked(cell: Any, x: np.ndarray, state: Any) -> Step:
    new = []
    for each, own in zip(cell.cells, state, strict=True):
        x, own = lstm(each, x, own)
        new.append(own)
    return x, tuple(new)


def without_key(cell: Any, x: np.ndarray, state: Any) -> Step:
    y, new = lstm(cell.cell, x, state.state)
    return y, DropoutState(new, None)


WRAPPERS = {
    "ResidualWrapper": Row(
        exact(ResidualWrapper.init(SQUARE)),
        residual,
        SQUARE_SHAPES,
        bad=[
            (
                {"cell": GRU, "state": normal(3, UNITS)},
                "ResidualWrapper: `output` must have shape (3, 2) (that of `inputs`, to which it is added), got (3, 4)",
            )
        ],
    ),
    "ResidualWrapper-residual_fn": Row(
        exact(ResidualWrapper.init(GRU, product_of_both)), residual_of_product, GRU_SHAPES
    ),
    "HighwayWrapper": Row(
        exact(HighwayWrapper.init(SQUARE, FEATURES, key=KEY)),
        highway,
        {**SQUARE_SHAPES, "carry_w": (2, 2), "carry_b": (2,)},
        bad=[
            (
                {"carry_w": np.ones((3, 2))},
                "HighwayWrapper: `carry_w` must have shape (2, 2) (`inputs` have 2 features)",
            ),
            (
                {"transform_w": np.ones((2, 2))},
                "HighwayWrapper: `transform_w` and `transform_b` must be given together",
            ),
            (
                {"cell": GRU, "state": normal(3, UNITS)},
                "HighwayWrapper: `output` must have shape (3, 2) (that of `inputs`, with which it is mixed), got",
            ),
        ],
    ),
    "HighwayWrapper-uncoupled": Row(
        exact(HighwayWrapper.init(SQUARE, FEATURES, couple_carry_transform_gates=False, key=KEY)),
        highway,
        {**SQUARE_SHAPES, "carry_w": (2, 2), "carry_b": (2,), "transform_w": (2, 2), "transform_b": (2,)},
    ),
    "InputProjectionWrapper": Row(
        exact(InputProjectionWrapper.init(GRU, 3, FEATURES, key=KEY)),
        input_projection,
        {**GRU_SHAPES, "kernel": (3, 2), "bias": (2,)},
        inputs=sixteenths(3, 3),
        bad=[
            ({"inputs": INPUTS}, "InputProjectionWrapper: `inputs` must have shape (3, 3) (`kernel` has 3 rows), got"),
            ({"bias": np.ones(3)}, "InputProjectionWrapper: `bias` must have shape (2,) (`kernel` has 2 columns)"),
        ],
    ),
    "InputProjectionWrapper-tanh": Row(
        exact(InputProjectionWrapper.init(GRU, 3, FEATURES, activation=tanh, key=KEY)),
        input_projection,
        {**GRU_SHAPES, "kernel": (3, 2), "bias": (2,)},
        inputs=sixteenths(3, 3),
    ),
    "OutputProjectionWrapper": Row(
        exact(OutputProjectionWrapper.init(GRU, 3, activation=tanh, key=KEY)),
        output_projection,
        {**GRU_SHAPES, "kernel": (4, 3), "bias": (3,)},
        bad=[
            (
                {"kernel": np.ones((3, 3))},
                "OutputProjectionWrapper: `output` must have shape (3, 3) (`kernel` has 3 rows), got (3, 4)",
            )
        ],
    ),
    "EmbeddingWrapper": Row(
        exact(EmbeddingWrapper.init(GRU, 5, FEATURES, key=KEY)),
        embedded,
        {**GRU_SHAPES, "embedding": (5, 2)},
        inputs=np.array([4, 0, 4], np.int32),
        bad=[
            ({"inputs": INPUTS}, "EmbeddingWrapper: `inputs` must be an integer array, got float32"),
            (
                {"inputs": np.zeros((3, 2), np.int32)},
                "EmbeddingWrapper: `inputs` must have shape (3, 1) (one id for each row), got (3, 2)",
            ),
        ],
    ),
    "EmbeddingWrapper-columns": Row(
        exact(EmbeddingWrapper.init(GRU, 5, FEATURES, key=KEY)),
        embedded,
        {**GRU_SHAPES, "embedding": (5, 2)},
        inputs=np.array([[1], [2], [0]], np.int32),
    ),
    "MultiRNNCell": Row(
        exact(MultiRNNCell.init(LSTMCell, FEATURES, (3, UNITS), num_proj=2, forget_bias=0.5, key=KEY)),
        stacked,
        {
            **{"cells.0.kernel": (4, 12), "cells.0.bias": (12,), "cells.0.projection": (3, 2)},
            **{"cells.1.kernel": (4, 16), "cells.1.bias": (16,), "cells.1.projection": (4, 2)},
        },
        bad=[
            ({"state": INPUTS}, "MultiRNNCell: `state` must be a tuple of the states of 2 cells, got ndarray"),
            ({"state": (INPUTS,)}, "MultiRNNCell: `state` must be a tuple of the states of 2 cells, got 1 of them"),
        ],
    ),
    "DropoutWrapper": Row(
        exact(DropoutWrapper.init(LSTMCell.init(FEATURES, UNITS, key=KEY), input_rate=0.5, state_rate=0.5)),
        without_key,
        {"cell.kernel": (6, 16), "cell.bias": (16,)},
        bad=[
            (
                {"state": LSTMStateTuple(normal(3, 4), normal(3, 4))},
                "DropoutWrapper: `state` must be a DropoutState, as zero_state(batch_size, dtype, key=key) makes it",
            )
        ],
    ),
}
