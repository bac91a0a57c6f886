"""The reading example: its data, its grammar and what it reports."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import read_digits
from shared import date_grammar

import jnnops as nn


@pytest.fixture(scope="module")
def scans():
    return read_digits.load_scans(seed=0)


@pytest.fixture(scope="module")
def dates():
    return date_grammar.load_dates(seed=0)


@pytest.fixture(scope="module")
def grammar(dates):
    return date_grammar.DateGrammar.init(dates[0])


class TestData:
    def test_held_out_scans_are_not_trained_on(self, scans):
        train, held_out = scans
        assert (len(train.labels), len(held_out.labels)) == (1438, 359)
        seen = {scan.tobytes() for scan in np.asarray(train.images)}
        assert not any(scan.tobytes() in seen for scan in np.asarray(held_out.images))

    def test_lines_show_their_digits(self, scans):
        lines = read_digits.compose_lines(jax.random.key(0), scans[0], 50)
        assert lines.images.shape == (50, read_digits.HEIGHT, read_digits.WIDTH, 1)
        assert set(lines.lengths.tolist()) == set(range(read_digits.SHORTEST, read_digits.LONGEST + 1))
        # ink is 0.6 to 1 times that of the scans
        ink = np.asarray(lines.images).sum((1, 2, 3)) / np.asarray(lines.lengths)
        mean_ink = float(scans[0].images.sum((1, 2)).mean())
        assert 0.5 * mean_ink < ink.min() <= ink.max() < 1.2 * mean_ink

    def test_lines_are_a_function_of_the_key(self, scans):
        a, b, c = (read_digits.compose_lines(jax.random.key(seed), scans[0], 50).images for seed in (1, 1, 2))
        assert (a == b).all()
        assert (a != c).any()

    def test_dates_show_their_digits(self, scans, dates):
        some = jnp.asarray(dates[1][:20])
        lines = read_digits.compose_dates(jax.random.key(0), scans[1], some)
        assert (lines.labels == some).all()
        assert (lines.lengths == date_grammar.LENGTH).all()

    def test_noise_is_added_to_ink(self, scans):
        clean = read_digits.compose_lines(jax.random.key(0), scans[0], 50)
        noisy = read_digits.add_noise(jax.random.key(1), clean, read_digits.NOISY)
        np.testing.assert_allclose(jnp.std(noisy.images - clean.images), read_digits.NOISY, rtol=0.02)

    def test_dates_are_days_of_a_century(self, dates):
        known, held_out = ([datetime.datetime.strptime("".join(map(str, d)), "%d%m%Y") for d in each] for each in dates)
        assert (len(known), len(held_out)) == (29220, 7305)
        assert len({*known, *held_out}) == 36525
        assert (min(known + held_out).year, max(known + held_out).year) == (1950, 2049)


def decoded(grammar, scores):
    """What beams read in scores ``[batch, labels, classes]``, a frame for each label and blanks between them."""
    frames = jnp.repeat(scores, 2, axis=1).at[:, 1::2].set(jnp.where(jnp.arange(11) == read_digits.BLANK, 50.0, 0))
    lengths = jnp.full(len(scores), frames.shape[1])
    plain, guided = (
        nn.ctc_beam_search_decoder(frames.swapaxes(0, 1), lengths, 10, **options)
        for options in ({}, {"scorer": grammar, "initial_state": grammar.init_state(len(scores))})
    )
    return plain, guided


class TestGrammar:
    def test_scores_are_ratios_to_random_digits(self, grammar):
        assert grammar.score.shape == (9, 11, 11, 11)
        np.testing.assert_allclose(jnp.exp(grammar.score).sum(-1), 10, rtol=1e-5)
        # so many days of a year begin with 0, 1, 2 and 3
        first, _ = grammar(grammar.init_state(10), jnp.arange(10))
        np.testing.assert_allclose(jnp.exp(first[:4]) / 10, np.array([108, 120, 119.25, 18]) / 365.25, rtol=0.03)
        assert (first[4:] < -10).all()

    def test_a_digit_depends_on_the_place_and_the_two_before(self, grammar):
        def score_of(digits):
            state, scores = grammar.init_state(1), []
            for digit in digits:
                score, state = grammar(state, jnp.array([int(digit)]))
                scores.append(float(score[0]))
            return np.array(scores)

        assert (score_of("28121992") > -2).all()
        for wrong, place in [("32", 1), ("00", 1), ("0113", 3), ("01001", 3), ("01012100", 5), ("010119995", 8)]:
            scores = score_of(wrong)
            assert (scores[:place] > -2).all(), wrong
            assert scores[place] < -3, wrong

    def test_a_month_is_corrected(self, grammar):
        scores = 10 * jax.nn.one_hot(jnp.array([[0, 7, 1, 3, 1, 9, 9, 5]]), 11)
        plain, guided = decoded(grammar, scores.at[0, 3, 2].set(9.0))
        assert plain.decoded[0, 0, :8].tolist() == [0, 7, 1, 3, 1, 9, 9, 5]
        assert guided.decoded[0, 0, :8].tolist() == [0, 7, 1, 2, 1, 9, 9, 5]
        assert int(guided.lengths[0, 0]) == 8

    def test_held_out_dates_are_read_better(self, grammar, dates):
        truth = jnp.asarray(dates[1][:100])
        scores = 4 * jax.nn.one_hot(truth, 11) + 2 * jax.random.normal(jax.random.key(0), (100, 8, 11))
        scores = scores.at[:, :, read_digits.BLANK].set(-50)
        lines = read_digits.Lines(jnp.zeros(()), truth, jnp.full(100, 8))
        plain, guided = (float(read_digits.edits(each, lines).sum()) for each in decoded(grammar, scores))
        assert plain > 100
        assert guided < 0.6 * plain


def test_a_run_reports_each_decoder_and_can_be_resumed(monkeypatch, run_and_resume):
    monkeypatch.setattr(read_digits, "HELD_OUT_LINES", 8)
    printed = run_and_resume(read_digits, "--steps", "2")
    rows = [line for line in printed.splitlines() if line.count("%") == 3]
    names = ["digits", "noisy digits", "dates", "noisy dates"]
    assert [row[:12].strip() for row in rows] == names
