"""The reading example: its data and its measure."""

import jax
import numpy as np
import pytest
import read_digits


@pytest.fixture(scope="module")
def scans():
    return read_digits.load_scans(seed=0)


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
        # ink is 0.6 to 1 times that of the scans, and the noise has no mean
        ink = np.asarray(lines.images).sum((1, 2, 3)) / np.asarray(lines.lengths)
        mean_ink = float(scans[0].images.sum((1, 2)).mean())
        assert 0.5 * mean_ink < ink.min() <= ink.max() < 1.2 * mean_ink

    def test_lines_are_a_function_of_the_key(self, scans):
        a, b, c = (read_digits.compose_lines(jax.random.key(seed), scans[0], 50).images for seed in (1, 1, 2))
        assert (a == b).all()
        assert (a != c).any()


@pytest.mark.parametrize(
    ("a", "b", "expected"), [("", "", 0), ("123", "", 3), ("123", "123", 0), ("1123", "123", 1), ("321", "123", 2)]
)
def test_edit_distance(a, b, expected):
    assert read_digits.edit_distance([*map(int, a)], [*map(int, b)]) == expected
