"""Losses that are no cross entropies, and how losses of examples become one number."""

from jnnops.losses.isotonic import IsotonicRegression as IsotonicRegression
from jnnops.losses.isotonic import isotonic_regression as isotonic_regression
from jnnops.losses.poisson import log_poisson_loss as log_poisson_loss
from jnnops.losses.totals import compute_average_loss as compute_average_loss
from jnnops.losses.totals import l2_loss as l2_loss
from jnnops.losses.totals import scale_regularization_loss as scale_regularization_loss
