"""The registry of benchmarks, by the room of the op."""

from benchmarks.benchmark import Benchmark
from benchmarks.cases import activation, classification, convolution, ctc, normalization, pooling, recurrent

BENCHMARKS: list[Benchmark] = [
    *activation.BENCHMARKS,
    *convolution.BENCHMARKS,
    *pooling.BENCHMARKS,
    *normalization.BENCHMARKS,
    *classification.BENCHMARKS,
    *recurrent.BENCHMARKS,
    *ctc.BENCHMARKS,
]
