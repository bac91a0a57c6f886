"""What a reader of dates knows of them: which digit follows which, counted in dates that it has seen.

A date has eight digits, day, month and year: 28022026. The counts depend on the place in the date, and on the two
digits before, which is enough to know that no month is the thirteenth and no day the thirty-second.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jnnops import layers

FIRST, END = "1950-01-01", "2050-01-01"  # of the days that dates are drawn from
LENGTH = 8  # digits in a date
BOUNDARY = 10  # a symbol beside the ten digits, that stands before and after a date
SMOOTHING = 0.1  # added to each count, so that what has never been seen is not impossible

# The place in the date, the last digit but one, and the last one, each [batch, ...].
State = tuple[jax.Array, jax.Array, jax.Array]


def load_dates(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits all days of a century into four fifths that are known and one fifth held out, ``[dates, LENGTH]``."""
    days = np.arange(FIRST, END, dtype="datetime64[D]").tolist()
    digits = np.array([[int(digit) for digit in f"{day:%d%m%Y}"] for day in days], np.int32)
    digits = np.random.default_rng(seed).permutation(digits)
    held_out = len(digits) // 5
    return digits[held_out:], digits[:held_out]


@layers.layer
class DateGrammar:
    """A trigram of the digits of dates, as :func:`jnnops.ctc_beam_search_decoder` takes a scorer.

    The score of a digit is the logarithm of how much likelier it is in a date than among ten that are alike. By Bayes'
    rule this is what a date adds to a network that has learned from lines of random digits; and unlike its probability,
    which is below 1 for any digit, it does not favour readings of few digits.
    """

    score: jax.Array  # [LENGTH + 1, symbols, symbols, symbols]

    @classmethod
    def init(cls, dates: np.ndarray) -> "DateGrammar":
        """Counts in dates ``[dates, LENGTH]``."""
        symbols = BOUNDARY + 1
        text = np.pad(dates, ((0, 0), (2, 1)), constant_values=BOUNDARY)
        counts = np.full((LENGTH + 1, symbols, symbols, symbols), SMOOTHING)
        np.add.at(counts, (np.arange(LENGTH + 1), text[:, :-2], text[:, 1:-1], text[:, 2:]), 1)
        probability = counts / counts.sum(-1, keepdims=True)
        return cls(score=jnp.asarray(np.log(probability * BOUNDARY), jnp.float32))

    def init_state(self, batch: int) -> State:
        """The state before the first digit."""
        boundary = jnp.full(batch, BOUNDARY, jnp.int32)
        return jnp.zeros(batch, jnp.int32), boundary, boundary

    def __call__(self, state: State, label: jax.Array) -> tuple[jax.Array, State]:
        """Scores labels ``[batch]``, CTC's blank being the boundary, which is never part of a reading."""
        place, before, last = state
        return self.score[place, before, last, label], (jnp.minimum(place + 1, LENGTH), last, label)
