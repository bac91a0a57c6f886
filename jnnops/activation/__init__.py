"""Activation functions, dropout and biases.

The activation functions work element by element on an array of any shape and return the same shape and dtype.
16-bit inputs are computed in float32 and rounded once. Where a function has a kink its docstring states the
gradient there, which is TensorFlow's; at infinities the functions return their limits.
"""

from jnnops.activation.dense import bias_add as bias_add
from jnnops.activation.dense import relu_layer as relu_layer
from jnnops.activation.dense import xw_plus_b as xw_plus_b
from jnnops.activation.dropout import dropout as dropout
from jnnops.activation.dropout import general_dropout as general_dropout
from jnnops.activation.dropout import stateless_dropout as stateless_dropout
from jnnops.activation.rectifiers import crelu as crelu
from jnnops.activation.rectifiers import leaky_relu as leaky_relu
from jnnops.activation.rectifiers import relu as relu
from jnnops.activation.rectifiers import relu6 as relu6
from jnnops.activation.rectifiers import relu_x as relu_x
from jnnops.activation.rectifiers import zero_fraction as zero_fraction
from jnnops.activation.smooth import elu as elu
from jnnops.activation.smooth import gelu as gelu
from jnnops.activation.smooth import selu as selu
from jnnops.activation.smooth import sigmoid as sigmoid
from jnnops.activation.smooth import silu as silu
from jnnops.activation.smooth import softplus as softplus
from jnnops.activation.smooth import softsign as softsign
from jnnops.activation.smooth import swish as swish
from jnnops.activation.smooth import tanh as tanh
