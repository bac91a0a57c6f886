"""Softmax and the cross entropies.

The losses are computed from logits, never from probabilities, so they are exact to rounding for logits of any
size: the largest logit is subtracted before anything is exponentiated. 16-bit inputs are computed in float32
and rounded once. A logit of -inf means a class that is ruled out: its probability is 0, and with a label of 0
it adds nothing to a loss or to a gradient.
"""

from jnnops.classification.fused import fused_linear_cross_entropy as fused_linear_cross_entropy
from jnnops.classification.logistic import sigmoid_cross_entropy_with_logits as sigmoid_cross_entropy_with_logits
from jnnops.classification.logistic import weighted_cross_entropy_with_logits as weighted_cross_entropy_with_logits
from jnnops.classification.softmax import log_softmax as log_softmax
from jnnops.classification.softmax import softmax as softmax
from jnnops.classification.softmax import softmax_cross_entropy_with_logits as softmax_cross_entropy_with_logits
from jnnops.classification.softmax import softmax_cross_entropy_with_logits_v2 as softmax_cross_entropy_with_logits_v2
from jnnops.classification.softmax import (
    sparse_softmax_cross_entropy_with_logits as sparse_softmax_cross_entropy_with_logits,
)
