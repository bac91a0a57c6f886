"""Cases of ``jnnops.recurrent``, and the cells that the tests of its room compare with TensorFlow's too."""

from cases.recurrent.dynamic import basic_lstm as basic_lstm
from cases.recurrent.dynamic import basic_rnn as basic_rnn
from cases.recurrent.dynamic import both_ways as both_ways
from cases.recurrent.dynamic import gru as gru
from cases.recurrent.dynamic import lstm as lstm
from cases.recurrent.dynamic import tf_bidirectional_dynamic_rnn as tf_bidirectional_dynamic_rnn
from cases.recurrent.dynamic import tf_cell as tf_cell
from cases.recurrent.dynamic import tf_dynamic_rnn as tf_dynamic_rnn
from cases.recurrent.dynamic import tf_name as tf_name
from cases.recurrent.dynamic import weights as weights
from cases.recurrent.dynamic import with_weights as with_weights
