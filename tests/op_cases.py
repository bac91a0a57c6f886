"""The registry: every public op has at least one case here, and ``test_ops.py`` runs each through every transform."""

from cases import activation, classification, convolution, ctc, normalization, pooling, recurrent
from op_case import Case

CASES: list[Case] = [
    *activation.CASES,
    *classification.CASES,
    *convolution.CASES,
    *ctc.CASES,
    *normalization.CASES,
    *pooling.CASES,
    *recurrent.CASES,
]
