"""The registry: every public op has at least one case here, and ``test_ops.py`` runs each through every transform."""

from cases import (
    activation,
    candidate_sampling,
    classification,
    convolution,
    convolution_transpose,
    ctc,
    depthwise,
    embedding,
    fractional_pooling,
    morphology,
    normalization,
    pooling,
    recurrent,
    sampled_losses,
    space,
)
from op_case import Case

CASES: list[Case] = [
    *activation.CASES,
    *candidate_sampling.CASES,
    *classification.CASES,
    *convolution.CASES,
    *convolution_transpose.CASES,
    *ctc.CASES,
    *depthwise.CASES,
    *morphology.CASES,
    *fractional_pooling.CASES,
    *embedding.CASES,
    *normalization.CASES,
    *pooling.CASES,
    *recurrent.CASES,
    *sampled_losses.CASES,
    *space.CASES,
]
