"""Greyscale morphology: dilation and erosion of images by a structuring element, and what is composed of them.

Layout: images are ``[batch, height, width, channels]``, or ``[batch, channels, height, width]`` with
``data_format="NCHW"``. A structuring element, ``filters``, is ``[height, width, channels]``: every channel has its own.
``-inf`` in it is a cell that does not belong to it, zeros everywhere are a flat one.

Windows: strides, dilations and padding are those of :mod:`jnnops.convolution`. Cells outside of the image never win, as
if they were minus infinity in a dilation and infinity in an erosion. A window of such cells alone gives the lowest
finite number of the dtype, or the highest.

Gradients go to the first extremum of each window in row-major order, to the image and to ``filters`` alike. NaN is the
extremum of a window that has one.

Numbers may be integers, which wrap on overflow as everywhere in JAX.
"""

from jnnops.morphology.basic import dilation2d as dilation2d
from jnnops.morphology.basic import erosion2d as erosion2d
from jnnops.morphology.composed import black_tophat2d as black_tophat2d
from jnnops.morphology.composed import closing2d as closing2d
from jnnops.morphology.composed import morphological_gradient2d as morphological_gradient2d
from jnnops.morphology.composed import opening2d as opening2d
from jnnops.morphology.composed import white_tophat2d as white_tophat2d
from jnnops.morphology.reconstruct import reconstruct2d as reconstruct2d
