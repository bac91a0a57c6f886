"""Rows of the table of cells: those of ``tf.contrib.rnn`` that papers of their own describe."""

import dataclasses
from typing import Any

import numpy as np
from machinery.case import normal
from rooms.layers import contrib_references as references
from rooms.layers.cell_table import BATCH, FEATURES, INPUTS, KEY, UNITS, Row, exact, sixteenths

from jnnops.layers import (
    ConvLSTMCell,
    GridLSTMCell,
    IntersectionRNNCell,
    NASCell,
    PhasedLSTMCell,
    SRUCell,
    TimeFreqLSTMCell,
    UGRNNCell,
)


def phased(use_peepholes: bool, leak: float) -> PhasedLSTMCell:
    """A cell whose units are opening, closing and closed at ``TIMES``."""
    cell = exact(PhasedLSTMCell.init(FEATURES, UNITS, use_peepholes=use_peepholes, leak=leak, key=KEY))
    return dataclasses.replace(
        cell,
        period=np.array([1.25, 2.0, 0.75, 3.0]),
        phase=np.array([1, -11, -9, 21]) / 32,
        ratio_on=np.array([0.25, 0.75, 0.625, 0.375]),
    )


# Results that are rounded to 16 bits once.
ONCE = 0.51
TIMES = np.array([[0.25], [5.5], [-100.5]])
PHASED_SHAPES = {
    "mask_gates_bias": (8,),
    "new_input_kernel": (6, 4),
    "new_input_bias": (4,),
    "output_gate_bias": (4,),
    **dict.fromkeys(("period", "phase", "ratio_on"), (4,)),
}


def conv_lstm(input_shape: Any, channels: int, window: Any, bad: Any = (), **options: Any) -> Row:
    cell = exact(ConvLSTMCell.init(input_shape, channels, window, key=KEY, **options))
    shapes = {"kernel": (*window, input_shape[-1] + channels, 4 * channels), "biases": (4 * channels,)}
    if cell.biases is None:
        del shapes["biases"]
    return Row(cell, references.conv_lstm, shapes, inputs=sixteenths(BATCH, *input_shape), ulps=ONCE, bad=bad)


def grid(in_features: int, groups: int, peepholes: Any, columns: int, bad: Any = (), **options: Any) -> Row:
    cell = exact(GridLSTMCell.init(in_features, 2, feature_size=3, key=KEY, use_peepholes=bool(peepholes), **options))
    kernels = ("f",) if options.get("share_time_frequency_weights") else ("f", "t")
    shapes = {f"w_{kernel}": (7, columns) for kernel in kernels} | {f"b_{kernel}": (columns,) for kernel in kernels}
    shapes |= dict.fromkeys(peepholes, (2,))
    shapes = {f"{name}.{group}": shape for name, shape in shapes.items() for group in range(groups)}
    return Row(cell, references.grid_lstm, shapes, inputs=sixteenths(BATCH, in_features), bad=bad)


ALL_PEEPHOLES = [f"w_{gate}_diag_{lstm}{of}" for gate in "fio" for lstm in ("freq", "time") for of in "ft"]
SHARED_PEEPHOLES = [f"w_{gate}_diag_freq{of}" for gate in "io" for of in "ft"]

CONTRIB = {
    "UGRNNCell": Row(
        exact(UGRNNCell.init(FEATURES, UNITS, forget_bias=0.5, key=KEY)),
        references.ugrnn,
        {"kernel": (6, 8), "bias": (8,)},
        ulps=ONCE,
        bad=[
            ({"inputs": INPUTS[0]}, "UGRNNCell: `inputs` must be of rank 2, got shape (2,)"),
            ({"state": normal(3, 5)}, "UGRNNCell: `state` must have shape (3, 4) ([batch, units]), got (3, 5)"),
            ({"kernel": np.zeros((6, 7))}, "UGRNNCell: `kernel` must have 2 columns for each unit, got shape (6, 7)"),
        ],
    ),
    "IntersectionRNNCell-projected": Row(
        exact(IntersectionRNNCell.init(FEATURES, UNITS, num_in_proj=UNITS, forget_bias=0.5, key=KEY)),
        references.intersection_rnn,
        {"kernel": (8, 16), "bias": (16,), "in_projection_kernel": (2, 4), "in_projection_bias": (4,)},
        bad=[
            ({"inputs": normal(3, 4)}, "IntersectionRNNCell: `inputs` must have shape (3, 2) (`in_projection_kernel` "),
            ({"in_projection_kernel": np.ones((2, 3))}, "IntersectionRNNCell: `in_projection_kernel` must have shape"),
            ({"in_projection_bias": np.ones(3)}, "IntersectionRNNCell: `in_projection_bias` must have shape (4,)"),
            ({"kernel": np.ones((7, 16))}, "IntersectionRNNCell: `inputs` must have shape (3, 3) (`kernel` has 3 rows"),
        ],
    ),
    "IntersectionRNNCell": Row(
        exact(IntersectionRNNCell.init(UNITS, UNITS, key=KEY)),
        references.intersection_rnn,
        {"kernel": (8, 16), "bias": (16,)},
        inputs=sixteenths(BATCH, UNITS),
        bad=[
            ({"inputs": INPUTS}, "IntersectionRNNCell: `inputs` must have shape (3, 4) (`kernel` has 4 rows for them)")
        ],
    ),
    "NASCell": Row(
        exact(NASCell.init(FEATURES, UNITS, num_proj=3, use_bias=True, key=KEY)),
        references.nas,
        {"kernel": (2, 32), "recurrent_kernel": (3, 32), "bias": (32,), "projection_weights": (4, 3)},
        bad=[
            ({"inputs": normal(3, 4)}, "NASCell: `inputs` must have shape (3, 2) (`kernel` has 2 rows for them)"),
            ({"state": normal(3, 4)}, "NASCell: `state` must be an LSTMStateTuple or another pair (c, h), got ndarray"),
            ({"state": (normal(3, 4), normal(3, 4))}, "NASCell: `h` must have shape (3, 3) ([batch, outputs])"),
            ({"kernel": np.ones((2, 31))}, "NASCell: `kernel` must have 8 columns for each unit, got shape (2, 31)"),
            ({"recurrent_kernel": np.ones((4, 32))}, "NASCell: `recurrent_kernel` must have shape (3, 32) ("),
            ({"bias": np.ones(4)}, "NASCell: `bias` must have shape (32,) (`kernel` is that of 4 units), got (4,)"),
            ({"projection_weights": np.ones((5, 3))}, "NASCell: `projection_weights` must have shape (4, 3) ("),
        ],
    ),
    "NASCell-plain": Row(
        exact(NASCell.init(FEATURES, UNITS, key=KEY)),
        references.nas,
        {"kernel": (2, 32), "recurrent_kernel": (4, 32)},
        ulps=ONCE,
    ),
    "SRUCell": Row(
        exact(SRUCell.init(FEATURES, UNITS, key=KEY)),
        references.sru,
        {"kernel": (2, 16), "bias": (8,)},
        bad=[
            ({"inputs": normal(3, 4)}, "SRUCell: `inputs` must have shape (3, 2) (`kernel` has 2 rows for them)"),
            ({"state": normal(3, 5)}, "SRUCell: `state` must have shape (3, 4) ([batch, units]), got (3, 5)"),
            ({"kernel": np.ones((2, 8))}, "SRUCell: `kernel` must have shape (2, 16) (`bias` is that of 4 units)"),
        ],
    ),
    "PhasedLSTMCell": Row(
        phased(use_peepholes=False, leak=0.25),
        references.phased_lstm,
        {"mask_gates_kernel": (6, 8), "output_gate_kernel": (6, 4), **PHASED_SHAPES},
        inputs=(TIMES, INPUTS),
        ulps=ONCE,
        bad=[
            ({"inputs": INPUTS}, "PhasedLSTMCell: `inputs` must be a pair (time, features), got ndarray"),
            ({"inputs": (TIMES[:, 0], INPUTS)}, "PhasedLSTMCell: `time` must have shape (3, 1) (one for each row"),
            ({"inputs": (TIMES > 0, INPUTS)}, "PhasedLSTMCell: `time` must be integer or floating point"),
            ({"inputs": (TIMES, normal(3, 4))}, "PhasedLSTMCell: `inputs` must have shape (3, 2) (`new_input_kernel`"),
            ({"state": normal(3, 4)}, "PhasedLSTMCell: `state` must be an LSTMStateTuple or another pair (c, h)"),
            ({"mask_gates_kernel": np.ones((7, 8))}, "PhasedLSTMCell: `mask_gates_kernel` must have shape (6, 8) ("),
            ({"output_gate_kernel": np.ones((10, 4))}, "PhasedLSTMCell: `output_gate_kernel` must have shape (6, 4) ("),
            ({"period": np.ones(3)}, "PhasedLSTMCell: `period` must have shape (4,) (one for each unit), got (3,)"),
        ],
    ),
    "PhasedLSTMCell-peepholes": Row(
        phased(use_peepholes=True, leak=0.5),
        references.phased_lstm,
        {"mask_gates_kernel": (10, 8), "output_gate_kernel": (10, 4), **PHASED_SHAPES},
        inputs=(TIMES, INPUTS),
    ),
    "ConvLSTMCell-1d": conv_lstm((4, 2), 2, (3,), use_bias=False),
    "ConvLSTMCell-2d": conv_lstm(
        (3, 4, 2),
        2,
        (3, 2),
        skip_connection=True,
        bad=[
            ({"inputs": normal(3, 4, 2)}, "ConvLSTMCell: `inputs` must be of rank 4, got shape (3, 4, 2)"),
            ({"inputs": normal(3, 4, 3, 2)}, "ConvLSTMCell: `inputs` must have shape (3, 3, 4, 2) ([batch, *input_sh"),
            ({"state": (normal(3, 3, 4, 2), normal(3, 3, 4, 4))}, "ConvLSTMCell: `h` must have shape (3, 3, 4, 2) ("),
            ({"kernel": np.ones((3, 2, 3, 8))}, "ConvLSTMCell: `kernel` must have shape (3, 2, 4, 8) (2 channels of "),
            ({"kernel": np.ones((3, 4, 8))}, "ConvLSTMCell: `kernel` must be of rank 4, got shape (3, 4, 8)"),
            ({"biases": np.ones(2)}, "ConvLSTMCell: `biases` must have shape (8,) (`kernel` is that of 2 channels)"),
        ],
    ),
    "ConvLSTMCell-3d": conv_lstm((2, 3, 2, 2), 1, (1, 2, 3), forget_bias=0.5),
    "TimeFreqLSTMCell": Row(
        exact(
            TimeFreqLSTMCell.init(
                8, 2, feature_size=3, frequency_skip=2, use_peepholes=True, cell_clip=0.8, forget_bias=0.5, key=KEY
            )
        ),
        references.time_freq_lstm,
        {"w": (7, 8), "b": (8,), "w_f_diag": (2,), "w_i_diag": (2,), "w_o_diag": (2,)},
        inputs=sixteenths(BATCH, 8),
        bad=[
            ({"inputs": normal(3, 7)}, "TimeFreqLSTMCell: `inputs` must have shape (3, 8) ([batch, in_features])"),
            ({"state": normal(3, 4)}, "TimeFreqLSTMCell: `state` must have shape (3, 12) (3 blocks of [batch, 2 unit"),
            ({"w_o_diag": None}, "TimeFreqLSTMCell: `w_f_diag`, `w_i_diag` and `w_o_diag` must be given together, got"),
            ({"w_o_diag": np.ones(3)}, "TimeFreqLSTMCell: `w_o_diag` must have shape (2,) (`b` is that of 2 units)"),
            ({"w": np.ones((4, 8))}, "TimeFreqLSTMCell: `w` must have from 1 to in_features = 8 rows beside 2 for e"),
            ({"w": np.ones((7, 6))}, "TimeFreqLSTMCell: `w` must have shape (7, 8) (`b` is that of 2 units), got (7,"),
        ],
    ),
    "GridLSTMCell": grid(5, 1, (), 8, frequency_skip=1, num_frequency_blocks=[3]),
    "GridLSTMCell-groups": grid(
        7,
        2,
        ALL_PEEPHOLES,
        8,
        frequency_skip=2,
        start_freqindex_list=[0, 2],
        end_freqindex_list=[5, 7],
        cell_clip=0.8,
        forget_bias=0.5,
        bad=[
            (
                {"inputs": normal(3, 6)},
                "GridLSTMCell: `inputs` must have 7 or more columns for (2, 2) blocks, got shape",
            ),
            ({"state": normal(3, 4)}, "GridLSTMCell: `state` must have shape (3, 16) (4 blocks of [batch, 2 units])"),
            ({"w_t": None}, "GridLSTMCell: `w_t` and `b_t` must be given together, got only one of them"),
            ({"w_o_diag_timet": None}, "GridLSTMCell: peepholes must be given together, ['w_f_diag_freqf', "),
            ({"b_t": (np.ones(8),)}, "GridLSTMCell: `b_t` must be a tuple with an array for each of 2 groups of freq"),
            ({"w_t": (np.ones((7, 8)), np.ones((6, 8)))}, "GridLSTMCell: `w_t_1` must have shape (7, 8) (2 units, as"),
        ],
    ),
    "GridLSTMCell-shared": grid(
        6,
        1,
        SHARED_PEEPHOLES,
        6,
        frequency_skip=2,
        share_time_frequency_weights=True,
        couple_input_forget_gates=True,
        bad=[
            ({"inputs": normal(3, 7)}, "GridLSTMCell: `inputs` must have 5 to 6 columns for (2,) blocks, got shape (3")
        ],
    ),
}
