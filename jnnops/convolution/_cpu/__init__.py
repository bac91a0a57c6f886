"""How convolution and its two gradients are lowered on CPU.

Only canonical convolutions are emitted, channels last with filters ``[*window, in, out]``: inside a loop XLA turns
those in any other layout into scalar loops, so that JAX's own filter gradient takes 25 to 50 times longer there.
Everything else is a choice by measurement, of which "Convolution on CPU" in docs/lowerings.rst has the figures, the
processor and the release. XLA hands two-dimensional convolutions to a library of kernels, YNNPACK, that is often slower
than its own; what these do not get because of that, and what they do badly, goes another way. The code that comes out
does not grow with the images.
"""

from jnnops.convolution._cpu.choice import filter_gradient as filter_gradient
from jnnops.convolution._cpu.choice import forward as forward
from jnnops.convolution._cpu.choice import input_gradient as input_gradient
