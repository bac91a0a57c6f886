r"""Connectionist temporal classification: from a distribution per frame to a shorter sequence of labels.

A path names one class for each frame. It spells the labels that are left when repeated classes are merged and then
blanks dropped: with a blank ``-``, both ``aa-ab`` and ``-a-ab`` spell ``aab``. The classes are the labels and the
blank, whose index is an argument of every op; a negative one counts from the end. Arrays are time-major, ``[time,
batch, classes]``, and ``sequence_length`` or ``logit_length`` says how many frames of each row are real: what the
others hold, even NaN, reaches no result and no gradient.
"""

from jnnops.ctc.alignment import CTCAlignment as CTCAlignment
from jnnops.ctc.alignment import ctc_forced_alignment as ctc_forced_alignment
from jnnops.ctc.beam import CTCBeamSearchState as CTCBeamSearchState
from jnnops.ctc.beam import ctc_beam_search_decoder as ctc_beam_search_decoder
from jnnops.ctc.beam import ctc_beam_search_decoder_v2 as ctc_beam_search_decoder_v2
from jnnops.ctc.decoded import CTCDecoded as CTCDecoded
from jnnops.ctc.decoded import SparseTensorValue as SparseTensorValue
from jnnops.ctc.distance import edit_distance as edit_distance
from jnnops.ctc.greedy import CTCGreedyState as CTCGreedyState
from jnnops.ctc.greedy import ctc_greedy_decoder as ctc_greedy_decoder
from jnnops.ctc.labels import CollapsedLabels as CollapsedLabels
from jnnops.ctc.labels import CTCUniqueLabels as CTCUniqueLabels
from jnnops.ctc.labels import collapse_repeated as collapse_repeated
from jnnops.ctc.labels import ctc_unique_labels as ctc_unique_labels
from jnnops.ctc.loss import ctc_loss as ctc_loss
from jnnops.ctc.loss import ctc_loss_v2 as ctc_loss_v2
from jnnops.ctc.loss_v1 import ctc_loss_v1 as ctc_loss_v1
from jnnops.ctc.streaming import ctc_beam_search_finish as ctc_beam_search_finish
from jnnops.ctc.streaming import ctc_beam_search_init as ctc_beam_search_init
from jnnops.ctc.streaming import ctc_beam_search_step as ctc_beam_search_step
from jnnops.ctc.streaming import ctc_greedy_finish as ctc_greedy_finish
from jnnops.ctc.streaming import ctc_greedy_init as ctc_greedy_init
from jnnops.ctc.streaming import ctc_greedy_step as ctc_greedy_step
