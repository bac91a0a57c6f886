"""Normalization by norms and by moments.

Sums are taken in float32 for 16-bit inputs, and so are the moments that `fused_batch_norm` returns. A mean is corrected
by the mean of the centred values, and a variance is the mean of their squares: it is never negative, and what is
normalized by the moments of its batch is as accurate where the mean is ten thousand deviations as where it is 0. Unless
stated otherwise variances divide by the number of values, not by one less.
"""

from jnnops.normalization.batch import FusedBatchNormResult as FusedBatchNormResult
from jnnops.normalization.batch import batch_norm_with_global_normalization as batch_norm_with_global_normalization
from jnnops.normalization.batch import batch_normalization as batch_normalization
from jnnops.normalization.batch import fused_batch_norm as fused_batch_norm
from jnnops.normalization.l2 import l2_normalize as l2_normalize
from jnnops.normalization.local_response import local_response_normalization as local_response_normalization
from jnnops.normalization.local_response import lrn as lrn
from jnnops.normalization.moments import Moments as Moments
from jnnops.normalization.moments import moments as moments
from jnnops.normalization.moments import weighted_moments as weighted_moments
from jnnops.normalization.sufficient_statistics import SufficientStatistics as SufficientStatistics
from jnnops.normalization.sufficient_statistics import normalize_moments as normalize_moments
from jnnops.normalization.sufficient_statistics import sufficient_statistics as sufficient_statistics
