"""A small layers module: frozen dataclasses that are pytrees."""

from jnnops.layers._layer import layer, static
from jnnops.layers.cells import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell, LSTMStateTuple
from jnnops.layers.convolution import Conv
from jnnops.layers.dense import Dense
from jnnops.layers.dropout import Dropout
from jnnops.layers.embedding import Embedding
from jnnops.layers.normalization import BatchNorm, BatchNormState
from jnnops.layers.pooling import AvgPool, MaxPool
from jnnops.layers.recurrent import RNN, Bidirectional
from jnnops.layers.sequential import Function, Sequential

__all__ = [
    "RNN",
    "AvgPool",
    "BasicLSTMCell",
    "BasicRNNCell",
    "BatchNorm",
    "BatchNormState",
    "Bidirectional",
    "Conv",
    "Dense",
    "Dropout",
    "Embedding",
    "Function",
    "GRUCell",
    "LSTMCell",
    "LSTMStateTuple",
    "MaxPool",
    "Sequential",
    "layer",
    "static",
]
