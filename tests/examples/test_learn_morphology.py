"""The morphology example: its data and what it learns."""

import re

import learn_morphology
import numpy as np
import pytest


@pytest.fixture(scope="module")
def tiles():
    return learn_morphology.load_tiles(seed=0)


class TestData:
    def test_held_out_tiles_are_not_trained_on(self, tiles):
        train, held_out = tiles
        assert (len(train.before), len(held_out.before)) == (96, 24)
        seen = {tile.tobytes() for tile in np.asarray(train.before)}
        assert not any(tile.tobytes() in seen for tile in np.asarray(held_out.before))

    def test_tiles_are_parts_of_the_photograph(self):
        photograph = np.arange(130.0 * 200).reshape(130, 200)
        cut = learn_morphology.cut(photograph)
        assert cut.shape == (6, 64, 64, 1)
        np.testing.assert_array_equal(cut[4, :, :, 0], photograph[64:128, 64:128])

    def test_the_unknown_opening_has_no_error(self, tiles):
        assert learn_morphology.mean_absolute_error(learn_morphology.unknown_element(), tiles[1]) < 1e-6


def test_a_few_steps_reduce_the_error_and_can_be_resumed(run_and_resume):
    printed = run_and_resume(learn_morphology, "--steps", "40")
    assert float(re.findall("([0-9.]+) times that before", printed)[0]) < 0.5
