"""Normalization by norms and by moments.

Sums are taken in float32 for 16-bit inputs, and so are the moments that `fused_batch_norm` returns. Variances are
means of squared distances from the mean, taken in a second pass over the input: never negative, and accurate where
the mean is large beside the deviation. Unless stated otherwise they divide by the number of values, not by one less.
"""

from jnnops.normalization.batch import FusedBatchNormResult as FusedBatchNormResult
from jnnops.normalization.batch import batch_normalization as batch_normalization
from jnnops.normalization.batch import fused_batch_norm as fused_batch_norm
from jnnops.normalization.l2 import l2_normalize as l2_normalize
from jnnops.normalization.local_response import local_response_normalization as local_response_normalization
from jnnops.normalization.local_response import lrn as lrn
from jnnops.normalization.moments import Moments as Moments
from jnnops.normalization.moments import moments as moments
