"""Recurrent cells: one step of a recurrent network, for ``dynamic_rnn`` and the layers ``RNN`` and ``Bidirectional``.

A cell maps inputs ``[batch, in_features]`` and a state to ``(output, new_state)``. Names of fields, the layout of
kernels (the inputs' rows above the state's) and the order of gates are TensorFlow's, so the arrays of a TensorFlow
checkpoint are taken as they are: ``BasicLSTMCell(kernel=..., bias=...)``. ``init`` draws new ones.

Inputs, state and weights promote to one dtype, which the output and the new state have. For 16-bit dtypes the operands
of matrix products are 16-bit, and all else is computed in float32.
"""

from jnnops.layers.cells.attention import AttentionCellWrapper as AttentionCellWrapper
from jnnops.layers.cells.attention import AttentionState as AttentionState
from jnnops.layers.cells.basic import BasicRNNCell as BasicRNNCell
from jnnops.layers.cells.block import GRUBlockCell as GRUBlockCell
from jnnops.layers.cells.block import LSTMBlockCell as LSTMBlockCell
from jnnops.layers.cells.block import LSTMBlockFusedCell as LSTMBlockFusedCell
from jnnops.layers.cells.convolutional import ConvLSTMCell as ConvLSTMCell
from jnnops.layers.cells.coupled import CoupledInputForgetGateLSTMCell as CoupledInputForgetGateLSTMCell
from jnnops.layers.cells.dropout import DropoutState as DropoutState
from jnnops.layers.cells.dropout import DropoutWrapper as DropoutWrapper
from jnnops.layers.cells.grid import GridLSTMCell as GridLSTMCell
from jnnops.layers.cells.gru import GRUCell as GRUCell
from jnnops.layers.cells.layer_norm import LayerNormBasicLSTMCell as LayerNormBasicLSTMCell
from jnnops.layers.cells.lstm import BasicLSTMCell as BasicLSTMCell
from jnnops.layers.cells.lstm import LSTMCell as LSTMCell
from jnnops.layers.cells.lstm import LSTMStateTuple as LSTMStateTuple
from jnnops.layers.cells.nas import NASCell as NASCell
from jnnops.layers.cells.phased import PhasedLSTMCell as PhasedLSTMCell
from jnnops.layers.cells.projection import EmbeddingWrapper as EmbeddingWrapper
from jnnops.layers.cells.projection import InputProjectionWrapper as InputProjectionWrapper
from jnnops.layers.cells.projection import OutputProjectionWrapper as OutputProjectionWrapper
from jnnops.layers.cells.residual import HighwayWrapper as HighwayWrapper
from jnnops.layers.cells.residual import ResidualWrapper as ResidualWrapper
from jnnops.layers.cells.sru import SRUCell as SRUCell
from jnnops.layers.cells.stacked import MultiRNNCell as MultiRNNCell
from jnnops.layers.cells.time_frequency import TimeFreqLSTMCell as TimeFreqLSTMCell
from jnnops.layers.cells.update_gate import IntersectionRNNCell as IntersectionRNNCell
from jnnops.layers.cells.update_gate import UGRNNCell as UGRNNCell
