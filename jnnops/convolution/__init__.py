"""Convolution, as in machine learning: a cross-correlation, the filters are not reversed.

Layout: ``data_format`` is ``"NHWC"`` (channels last, the default) or ``"NCHW"``, ``"NWC"``/``"NCW"`` in one and
``"NDHWC"``/``"NCDHW"`` in three dimensions. Filters are ``[height, width, in_channels, out_channels]``, without
height in one dimension and with depth before it in three. More batch dimensions may stand in front.

Groups: the filters' ``in_channels`` may divide the input's; the channels are then convolved in
``input_channels // in_channels`` groups, each with its share of ``out_channels``.

Strides and dilations: an int, one for each spatial dimension, or one for each dimension of the input, of which those
of batch and channels must be 1.

Padding: with ``effective = (size - 1) * dilation + 1``,

- ``"SAME"`` gives ``ceil(input / stride)`` outputs. It pads
  ``max((outputs - 1) * stride + effective - input, 0)`` zeros: half before, half after, the odd one after. Five
  pixels, a window of 2 and stride 2 give 3 outputs and one zero, at the end.
- ``"VALID"`` pads nothing and gives ``ceil((input - effective + 1) / stride)`` outputs.
- Pairs ``(before, after)``, one for each spatial dimension or one for each dimension of the input, pad those zeros.

A window must not be larger than the input with its padding, unless the input is empty, and then so is the result.

Transposes: a convolution with stride 3 gives 4 cells of 10, 11 and 12 with ``"SAME"``, so its transpose has to be told
which is meant: ``output_shape``, in full, with None or -1 for the batch, or the spatial sizes alone, which mean one
group. Each of those sizes works, and the result is the exact transpose of the convolution of an input of that size.
Filters stay those of the convolution: ``[height, width, out_channels, in_channels]`` as the transpose sees them.

From PyTorch: arrays there are ``"NCHW"``. The weights of ``Conv2d``, ``[out, in, height, width]``, and those of
``ConvTranspose2d``, ``[in, out, height, width]`` (without groups), both become filters by ``transpose(2, 3, 1, 0)``.
``padding=p`` is ``[(p, p), (p, p)]``, never ``"SAME"`` with strides above 1, where the odd zero would go elsewhere;
``dilation`` is ``dilations``, and ``groups`` follows from the shapes. ``output_padding`` chooses among the sizes that
``output_shape`` names: ``(input - 1) * stride - 2 * padding + effective + output_padding``.

From Keras: kernels, strides and ``"same"``/``"valid"`` are the same; ``"causal"`` in one dimension is
``[(effective - 1, 0)]``. ``Conv2DTranspose`` has ``input * stride`` cells with ``"same"`` and
``input * stride + max(effective - stride, 0)`` with ``"valid"``; ``depthwise_kernel`` is ``filter`` here.

On CPU: XLA gives most two-dimensional convolutions to a library, YNNPACK, that is often slower than XLA's own kernels.
Where these were measured to win, the ops compute a few needless outputs to get them. What is left can be had by setting
``XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-individual_convolution`` before JAX starts. On two cores, 8 images,
jaxlib 0.10.2, without and with it: 3x3 with stride 2 on 56x56x64: 7.1 and 4.1 ms; 3x3 on 28x28x128: 11.8 and 9.4 ms;
plain ``lax.conv_general_dilated`` 3x3 on 56x56x64: 17.4 and 11.8 ms. Other releases may not know the flag and stop.

Dtypes: floating point results have the promoted dtype of the arguments, 16-bit products being summed in float32;
8- and 16-bit integers are summed in int32, which is the result's dtype.
"""

from jnnops.convolution.backprop import conv2d_backprop_filter as conv2d_backprop_filter
from jnnops.convolution.backprop import conv2d_backprop_input as conv2d_backprop_input
from jnnops.convolution.backprop import conv3d_backprop_filter as conv3d_backprop_filter
from jnnops.convolution.backprop import conv3d_backprop_filter_v2 as conv3d_backprop_filter_v2
from jnnops.convolution.backprop import conv3d_backprop_input as conv3d_backprop_input
from jnnops.convolution.backprop import depthwise_conv2d_backprop_filter as depthwise_conv2d_backprop_filter
from jnnops.convolution.backprop import depthwise_conv2d_backprop_input as depthwise_conv2d_backprop_input
from jnnops.convolution.backprop import (
    depthwise_conv2d_native_backprop_filter as depthwise_conv2d_native_backprop_filter,
)
from jnnops.convolution.backprop import depthwise_conv2d_native_backprop_input as depthwise_conv2d_native_backprop_input
from jnnops.convolution.depthwise import depthwise_conv2d as depthwise_conv2d
from jnnops.convolution.depthwise import depthwise_conv2d_native as depthwise_conv2d_native
from jnnops.convolution.depthwise import separable_conv2d as separable_conv2d
from jnnops.convolution.forward import atrous_conv2d as atrous_conv2d
from jnnops.convolution.forward import conv1d as conv1d
from jnnops.convolution.forward import conv2d as conv2d
from jnnops.convolution.forward import conv3d as conv3d
from jnnops.convolution.forward import convolution as convolution
from jnnops.convolution.space import batch_to_space as batch_to_space
from jnnops.convolution.space import depth_to_space as depth_to_space
from jnnops.convolution.space import space_to_batch as space_to_batch
from jnnops.convolution.space import space_to_depth as space_to_depth
from jnnops.convolution.space import with_space_to_batch as with_space_to_batch
from jnnops.convolution.transpose import atrous_conv2d_transpose as atrous_conv2d_transpose
from jnnops.convolution.transpose import conv1d_transpose as conv1d_transpose
from jnnops.convolution.transpose import conv2d_transpose as conv2d_transpose
from jnnops.convolution.transpose import conv3d_transpose as conv3d_transpose
from jnnops.convolution.transpose import conv_transpose as conv_transpose
