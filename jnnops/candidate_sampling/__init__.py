"""Candidate sampling: a few classes drawn to stand for all, where there are too many to score them all.

Every sampler draws ``num_sampled`` ids from ``[0, range_max)`` that all rows of the batch share. It returns
``SampledCandidates``: the ids, and how often each true class and each sampled id is expected to be among them, which
the losses of :mod:`jnnops.sampled_losses` correct for. With :math:`p` the probability of an id, that is

- ``unique=False``: :math:`n p` for :math:`n` ids drawn with replacement.
- ``unique=True``: ids are drawn with replacement until :math:`n` of them are distinct; these are returned in the order
  drawn. If that took :math:`t` draws, the expected count is :math:`1 - (1 - p)^t`; or, as TensorFlow has it,
  :math:`n p` where there happened to be no repeat.

The distributions are exact for any ``range_max`` up to ``2**31 - 1``: no probability is off by more than a millionth of
itself, or for given counts by ``2**-32`` of the average one. Once the distribution is prepared, time and memory are
those of ``num_sampled``, times ``log(range_max)`` for the learned one. The results are int32 and float32, and nothing
here has a gradient.

An id of ``true_classes`` outside ``[0, range_max)`` is never drawn: its expected count is 0, and ``checkify`` reports
it. (TensorFlow raises.) The batch may be empty.
"""

from jnnops.candidate_sampling._sample import SampledCandidates as SampledCandidates
from jnnops.candidate_sampling.all import all_candidate_sampler as all_candidate_sampler
from jnnops.candidate_sampling.fixed_unigram import UnigramTable as UnigramTable
from jnnops.candidate_sampling.fixed_unigram import fixed_unigram_candidate_sampler as fixed_unigram_candidate_sampler
from jnnops.candidate_sampling.hits import AccidentalHits as AccidentalHits
from jnnops.candidate_sampling.hits import compute_accidental_hits as compute_accidental_hits
from jnnops.candidate_sampling.learned_unigram import LearnedUnigramSample as LearnedUnigramSample
from jnnops.candidate_sampling.learned_unigram import LearnedUnigramState as LearnedUnigramState
from jnnops.candidate_sampling.learned_unigram import (
    learned_unigram_candidate_sampler as learned_unigram_candidate_sampler,
)
from jnnops.candidate_sampling.log_uniform import log_uniform_candidate_sampler as log_uniform_candidate_sampler
from jnnops.candidate_sampling.uniform import uniform_candidate_sampler as uniform_candidate_sampler
