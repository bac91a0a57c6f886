"""A small layers module: frozen dataclasses that are pytrees."""

from jnnops.layers._layer import layer as layer
from jnnops.layers._layer import static as static
from jnnops.layers.cells import BasicLSTMCell as BasicLSTMCell
from jnnops.layers.cells import BasicRNNCell as BasicRNNCell
from jnnops.layers.cells import GRUCell as GRUCell
from jnnops.layers.cells import LSTMCell as LSTMCell
from jnnops.layers.cells import LSTMStateTuple as LSTMStateTuple
from jnnops.layers.convolution import Conv as Conv
from jnnops.layers.dense import Dense as Dense
from jnnops.layers.dropout import Dropout as Dropout
from jnnops.layers.embedding import Embedding as Embedding
from jnnops.layers.normalization import BatchNorm as BatchNorm
from jnnops.layers.normalization import BatchNormState as BatchNormState
from jnnops.layers.normalization import LayerNorm as LayerNorm
from jnnops.layers.normalization import LocalResponseNorm as LocalResponseNorm
from jnnops.layers.pooling import AvgPool as AvgPool
from jnnops.layers.pooling import MaxPool as MaxPool
from jnnops.layers.recurrent import RNN as RNN
from jnnops.layers.recurrent import Bidirectional as Bidirectional
from jnnops.layers.sequential import Function as Function
from jnnops.layers.sequential import Sequential as Sequential
