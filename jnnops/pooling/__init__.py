"""Pooling: the average or the maximum of each window of an image, a sequence or a volume.

Layout: ``data_format`` is ``"NHWC"`` (channels last, the default) or ``"NCHW"``, ``"NWC"``/``"NCW"`` in one and
``"NDHWC"``/``"NCDHW"`` in three dimensions.

Windows: ``ksize``, ``strides`` and ``dilations`` are an int, one for each spatial dimension, or one for each
dimension of the input, of which those of batch and channels must be 1. Only the windows of `max_pool` and its kin may
have more than one channel, where they are as far apart as they are large: ``[1, 1, 1, 2]`` for both.

Padding: ``"SAME"``, ``"VALID"`` or pairs ``(before, after)``, with the formulas of :mod:`jnnops.convolution`. Padding
never counts: an average divides by the number of real cells, and a maximum is that of real cells. A window of padding
only is an error.

Fractional pooling has none of these: the channels are last, and boundaries drawn at random divide all of the image.
"""

from jnnops.pooling.argmax import MaxPoolWithArgmax as MaxPoolWithArgmax
from jnnops.pooling.argmax import max_pool_with_argmax as max_pool_with_argmax
from jnnops.pooling.argmax import max_unpool as max_unpool
from jnnops.pooling.average import avg_pool as avg_pool
from jnnops.pooling.average import avg_pool1d as avg_pool1d
from jnnops.pooling.average import avg_pool2d as avg_pool2d
from jnnops.pooling.average import avg_pool3d as avg_pool3d
from jnnops.pooling.average import avg_pool_v2 as avg_pool_v2
from jnnops.pooling.fractional import FractionalPoolResult as FractionalPoolResult
from jnnops.pooling.fractional import fractional_avg_pool as fractional_avg_pool
from jnnops.pooling.fractional import fractional_max_pool as fractional_max_pool
from jnnops.pooling.general import pool as pool
from jnnops.pooling.maximum import max_pool as max_pool
from jnnops.pooling.maximum import max_pool1d as max_pool1d
from jnnops.pooling.maximum import max_pool2d as max_pool2d
from jnnops.pooling.maximum import max_pool3d as max_pool3d
from jnnops.pooling.maximum import max_pool_v2 as max_pool_v2
