"""The registry of benchmarks, by the room of the op."""

from benchmarks.benchmark import Benchmark
from benchmarks.cases import (
    activation,
    backprop,
    candidate_sampling,
    classification,
    convolution,
    convolution_transpose,
    ctc,
    depthwise,
    embedding,
    evaluation,
    fractional_pooling,
    losses,
    morphology,
    normalization,
    pooling,
    recurrent,
    recurrent_loops,
)

BENCHMARKS: list[Benchmark] = [
    *activation.BENCHMARKS,
    *convolution.BENCHMARKS,
    *convolution_transpose.BENCHMARKS,
    *depthwise.BENCHMARKS,
    *backprop.BENCHMARKS,
    *pooling.BENCHMARKS,
    *morphology.BENCHMARKS,
    *fractional_pooling.BENCHMARKS,
    *normalization.BENCHMARKS,
    *classification.BENCHMARKS,
    *losses.BENCHMARKS,
    *evaluation.BENCHMARKS,
    *embedding.BENCHMARKS,
    *recurrent.BENCHMARKS,
    *recurrent_loops.BENCHMARKS,
    *ctc.BENCHMARKS,
    *candidate_sampling.BENCHMARKS,
]
