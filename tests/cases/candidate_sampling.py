"""Cases of ``jnnops.candidate_sampling``: what is drawn is not what TensorFlow draws."""

import jax
import numpy as np
from machinery.case import Case, bad

import jnnops as nn

TRUE = np.array([[0, 3], [5, 3], [2, 2]], np.int32)
SAMPLED = np.array([3, 0, 9, 3, 5], np.int32)
KEY = jax.random.key(5)
COUNTS = [1.0, 0.0, 5.0, 2.0, 2.0, 0.5, 3.0, 1.0]
TABLE = nn.UnigramTable.from_unigrams(COUNTS)

NO_IDS = (
    bad("`true_classes` must be of rank 2", true_classes=TRUE[0]),
    bad("`true_classes` must be an integer array", TypeError, true_classes=TRUE / 2),
    bad(r"`true_classes` must have num_true = 3 columns, got shape \(3, 2\)", num_true=3),
    bad("`num_true` must be at least 1, got 0", num_true=0),
    bad("`num_true` must be a static integer", TypeError, num_true=2.0),
)
NO_SAMPLER = (
    *NO_IDS,
    bad("`num_sampled` must be at least 1, got 0", num_sampled=0),
    bad("`num_sampled` must be a static integer", TypeError, num_sampled=None),
    bad("`unique` must be True or False, got 1", TypeError, unique=1),
)
NO_RANGE = (
    *NO_SAMPLER,
    bad("`range_max` must be at least 1, got 0", range_max=0),
    bad("`range_max` must be a static integer", TypeError, range_max=8.0),
    bad("`num_sampled` must be at most range_max = 8 for unique candidates, got 9", num_sampled=9, unique=True),
    bad("`key` must be a jax.random key", key=None),
    bad("`key` must be a jax.random key", TypeError, key=np.float32(3)),
)


def sampler(op, num_sampled, unique, range_max=8, label="", bad=(), **options):
    return Case(
        op,
        dict(true_classes=TRUE),
        dict(num_true=2, num_sampled=num_sampled, unique=unique, range_max=range_max, key=KEY, **options),
        label=label or ("unique" if unique else "repeated"),
        order=0,
        bad=bad,
    )


CASES = [
    *(
        case
        for op in (nn.uniform_candidate_sampler, nn.log_uniform_candidate_sampler)
        for case in (
            sampler(op, 12, False, bad=(*NO_RANGE, bad("`range_max` must be at most 2147483647", range_max=2**31))),
            sampler(op, 5, True),
        )
    ),
    sampler(nn.fixed_unigram_candidate_sampler, 12, False, unigrams=COUNTS[2:], num_reserved_ids=2, distortion=0.75),
    sampler(
        nn.fixed_unigram_candidate_sampler,
        3,
        True,
        unigrams=TABLE,
        bad=(
            *NO_RANGE,
            bad("`range_max` must be 8, the number of ids, got 9", range_max=9),
            bad("`range_max` must be 7, the number of ids, got 8", unigrams=COUNTS[1:]),
            bad("`num_sampled` must be at most 7, the number of ids of positive probability", num_sampled=8),
            bad("`vocab_file` or `unigrams` must be given, got both", vocab_file="vocab.csv"),
            bad("`vocab_file` or `unigrams` must be given, got neither", unigrams=()),
            bad("`unigrams` must be a list for distortion, .* got a UnigramTable", distortion=0.5),
            bad("`unigrams` must be a list for distortion, .* got a UnigramTable", num_reserved_ids=1),
            bad("`unigrams` must be of rank 1", unigrams=[COUNTS]),
            bad("`unigrams` must be finite and not negative, got -1.0 at 1", unigrams=[2.0, -1.0]),
            bad("`unigrams` must be finite and not negative, got nan at 0", unigrams=[np.nan]),
            bad("`unigrams` must have a positive, finite count", unigrams=[0.0, 0.0]),
            bad("`unigrams` must have a positive, finite count", unigrams=[0.0, 1.0], distortion=-1.0),
            bad("`num_reserved_ids` must be at least 0, got -1", unigrams=COUNTS, num_reserved_ids=-1),
            bad("`num_shards` must be at least 1, got 0", unigrams=COUNTS, num_shards=0),
            bad(r"`shard` must be in \[0, num_shards\) = \[0, 2\), got 2", unigrams=COUNTS, num_shards=2, shard=2),
        ),
    ),
    sampler(
        nn.learned_unigram_candidate_sampler,
        12,
        False,
        state=nn.LearnedUnigramState.from_counts(np.arange(1, 9)),
        bad=(
            *NO_RANGE,
            bad("`state` must be a LearnedUnigramState, got list", TypeError, state=[1, 2]),
            bad("`state` must be for range_max = 9, got one for 8", range_max=9),
        ),
    ),
    sampler(nn.learned_unigram_candidate_sampler, 3, True, state=nn.LearnedUnigramState.init(8)),
    Case(
        nn.all_candidate_sampler,
        dict(true_classes=TRUE),
        dict(num_true=2, num_sampled=6, unique=True),
        oracle=lambda tf, true_classes: tf.random.all_candidate_sampler(tf.cast(true_classes, tf.int64), 2, 6, True),
        order=0,
        bad=(*NO_SAMPLER, bad("`range_max` must be num_sampled = 6, got 7", range_max=7)),
    ),
    *(
        Case(
            nn.compute_accidental_hits,
            dict(true_classes=TRUE, sampled_candidates=SAMPLED),
            dict(num_true=2, unique=unique),
            label="unique" if unique else "repeated",
            order=0,
            bad=(
                *NO_IDS,
                bad("`sampled_candidates` must be of rank 1", sampled_candidates=3),
                bad("`sampled_candidates` must be an integer array", TypeError, sampled_candidates=[0.5]),
                bad("`unique` must be True or False, got None", TypeError, unique=None),
            ),
        )
        for unique in (False, True)
    ),
]
