"""Pooling: the average or the maximum of each window of an image, a sequence or a volume.

Layout: ``data_format`` is ``"NHWC"`` (channels last, the default) or ``"NCHW"``, ``"NWC"``/``"NCW"`` in one and
``"NDHWC"``/``"NCDHW"`` in three dimensions.

Windows: ``ksize``, ``strides`` and ``dilations`` are an int, one for each spatial dimension, or one for each
dimension of the input, of which those of batch and channels must be 1.

Padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``, with the formulas of :mod:`jnnops.convolution`. Padding
never counts: an average divides by the number of real cells, and a maximum is that of real cells. A window of padding
only is an error.

Fractional pooling has none of these: the channels are last, and boundaries drawn at random divide all of the image.
"""

from jnnops.pooling.argmax import MaxPoolWithArgmax, max_pool_with_argmax, max_unpool
from jnnops.pooling.average import avg_pool, avg_pool1d, avg_pool2d, avg_pool3d
from jnnops.pooling.fractional import FractionalPoolResult, fractional_avg_pool, fractional_max_pool
from jnnops.pooling.general import pool
from jnnops.pooling.maximum import max_pool, max_pool1d, max_pool2d, max_pool3d

__all__ = [
    "FractionalPoolResult",
    "MaxPoolWithArgmax",
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "fractional_avg_pool",
    "fractional_max_pool",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_with_argmax",
    "max_unpool",
    "pool",
]
