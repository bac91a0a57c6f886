"""Runs a recurrent cell over time.

A cell is any object that computes one step, ``cell(inputs, state) -> (output, new_state)``, and makes the state to
start from, ``cell.zero_state(batch_size, dtype)``; ``jnnops.layers`` has the usual ones. Inputs, outputs and states
may be any pytree: ``inputs`` of arrays ``[batch, time, ...]`` (``[time, batch, ...]`` if ``time_major``), of which
the cell sees ``[batch, ...]`` at each step, and states of arrays ``[batch, ...]`` or scalars. A list of numbers
counts as an array; other containers are part of the tree.

``sequence_length`` says how many steps of each row are real. Past them the outputs are zero, the state is carried
through (scalars of the state advance with every step), and what ``inputs`` holds there, even NaN, reaches no result
and no gradient.
"""

from jnnops.recurrent.cell import LinearCell as LinearCell
from jnnops.recurrent.cell import RNNCell as RNNCell
from jnnops.recurrent.dynamic import RNNResult as RNNResult
from jnnops.recurrent.dynamic import bidirectional_dynamic_rnn as bidirectional_dynamic_rnn
from jnnops.recurrent.dynamic import dynamic_rnn as dynamic_rnn
from jnnops.recurrent.raw import RawRNNResult as RawRNNResult
from jnnops.recurrent.raw import raw_rnn as raw_rnn
from jnnops.recurrent.stacked import StackBidirectionalResult as StackBidirectionalResult
from jnnops.recurrent.stacked import stack_bidirectional_dynamic_rnn as stack_bidirectional_dynamic_rnn
from jnnops.recurrent.stacked import stack_bidirectional_rnn as stack_bidirectional_rnn
from jnnops.recurrent.static import StateSavingResult as StateSavingResult
from jnnops.recurrent.static import StaticBidirectionalResult as StaticBidirectionalResult
from jnnops.recurrent.static import static_bidirectional_rnn as static_bidirectional_rnn
from jnnops.recurrent.static import static_rnn as static_rnn
from jnnops.recurrent.static import static_state_saving_rnn as static_state_saving_rnn
