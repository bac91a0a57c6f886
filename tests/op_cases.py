"""The registry: every public op has at least one case here, and ``test_ops.py`` runs each through every transform."""

from cases import (
    activation,
    classification,
    convolution,
    convolution_transpose,
    ctc,
    depthwise,
    fractional_pooling,
    morphology,
    normalization,
    pooling,
    recurrent,
    space,
)
from op_case import Case

CASES: list[Case] = [
    *activation.CASES,
    *classification.CASES,
    *convolution.CASES,
    *convolution_transpose.CASES,
    *ctc.CASES,
    *depthwise.CASES,
    *morphology.CASES,
    *fractional_pooling.CASES,
    *normalization.CASES,
    *pooling.CASES,
    *recurrent.CASES,
    *space.CASES,
]
