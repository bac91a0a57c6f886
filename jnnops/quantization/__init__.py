"""Integers that stand for real numbers of a range: conversions, ops on them, and training for them."""

from jnnops.quantization.activation import QuantizedActivations as QuantizedActivations
from jnnops.quantization.activation import quantized_relu as quantized_relu
from jnnops.quantization.activation import quantized_relu6 as quantized_relu6
from jnnops.quantization.activation import quantized_relu_x as quantized_relu_x
from jnnops.quantization.both_ways import quantize_and_dequantize as quantize_and_dequantize
from jnnops.quantization.convert import Quantized as Quantized
from jnnops.quantization.convert import dequantize as dequantize
from jnnops.quantization.convert import quantize as quantize
from jnnops.quantization.convolution import quantized_conv2d as quantized_conv2d
from jnnops.quantization.fake import FakeQuantGradients as FakeQuantGradients
from jnnops.quantization.fake import fake_quant_with_min_max_args as fake_quant_with_min_max_args
from jnnops.quantization.fake import fake_quant_with_min_max_args_gradient as fake_quant_with_min_max_args_gradient
from jnnops.quantization.fake import fake_quant_with_min_max_vars as fake_quant_with_min_max_vars
from jnnops.quantization.fake import fake_quant_with_min_max_vars_gradient as fake_quant_with_min_max_vars_gradient
from jnnops.quantization.fake import (
    fake_quant_with_min_max_vars_per_channel as fake_quant_with_min_max_vars_per_channel,
)
from jnnops.quantization.fake import (
    fake_quant_with_min_max_vars_per_channel_gradient as fake_quant_with_min_max_vars_per_channel_gradient,
)
from jnnops.quantization.pooling import QuantizedOutput as QuantizedOutput
from jnnops.quantization.pooling import quantized_avg_pool as quantized_avg_pool
from jnnops.quantization.pooling import quantized_max_pool as quantized_max_pool
from jnnops.quantization.requantize import RequantizationRange as RequantizationRange
from jnnops.quantization.requantize import requantization_range as requantization_range
from jnnops.quantization.requantize import requantize as requantize
