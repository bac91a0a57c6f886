"""Words of random bits, pieces of the log-uniform distribution, and tables of aliases."""

import jax
import jax.extend
import numpy as np
import pytest
from rooms.candidate_sampling.distributions import KEY

from jnnops.candidate_sampling._alias import alias_table
from jnnops.candidate_sampling._random import random_words, scale_words, threefry_2x32
from jnnops.candidate_sampling.log_uniform import draw_in_piece, log_uniform_pieces

scaled = jax.jit(scale_words)


class TestParts:
    def test_words_are_those_of_threefry(self):
        # the last four are those of the known answer of the authors' Random123
        known = np.array([0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3], np.uint32)
        count = np.concatenate([np.full(5, 3), np.arange(5)]).astype(np.uint32)

        @jax.jit
        def words(key, count, known):
            expected = jax.extend.random.threefry_2x32(jax.random.key_data(key), count)
            return random_words(key, 3, (10,)), random_words(key, 3, (3, 3)), expected, threefry_2x32(*known)

        ten, nine, expected, of_known = words(KEY, count, known)
        np.testing.assert_array_equal(ten, expected)
        np.testing.assert_array_equal(nine.ravel(), expected[:9])
        assert [hex(word) for word in of_known] == ["0xc4923a9c", "0x483df7a0"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 65536, 65537, 10**6, 3 * 2**29, 2**31 - 1, 2**32 - 1])
    def test_words_are_scaled_exactly(self, limit):
        high, low = np.random.default_rng(0).integers(0, 2**32, (2, 1000), dtype=np.uint32)
        high[:4], low[:4] = [0, 0, 2**32 - 1, 2**32 - 1], [0, 2**32 - 1, 0, 2**32 - 1]
        expected = [(int(a) << 32 | int(b)) * limit >> 64 for a, b in zip(high, low, strict=True)]
        assert scaled(high, low, np.uint32(limit)).tolist() == expected

    @pytest.mark.parametrize("range_max", [1, 2, 511, 512, 513, 1000, 10**6, 2**31 - 1])
    def test_pieces_make_up_the_range(self, range_max):
        start, bits = log_uniform_pieces(range_max)
        end = start + 2**bits
        assert start[0] == 1
        assert end[-1] == range_max + 1
        np.testing.assert_array_equal(start[1:], end[:-1])
        assert (512 * (end - start) <= np.maximum(start, 512)).all()

    def test_density_within_a_piece_falls_from_end_to_end(self):
        # every combination of the lower bits with one in eight of the upper ones
        words = np.stack([grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(8), np.arange(0, 2**22, 512))])
        first, second, upper = words.astype(np.uint32)
        words = np.stack([first | (upper >> 11 << 21), second | (upper << 21)])
        start, width = 24, 8
        piece = np.full(first.size, start, np.uint32), np.full(first.size, width, np.uint32)
        found = np.asarray(jax.jit(draw_in_piece)(*piece, words))
        corners = np.interp(np.arange(9), [0, 8], [1 / start, 1 / (start + width)])
        expected = (corners[1:] + corners[:-1]) / corners[[0, -1]].sum() / width
        np.testing.assert_allclose(np.bincount(found - start) / first.size, expected, rtol=1e-4)

    def test_alias_table_holds_the_weights(self):
        generator = np.random.default_rng(0)
        for size in (*range(1, 40), 1000):
            for weights in (
                generator.uniform(size=size) ** 5,
                generator.integers(0, 2, size) * 1.0,
                np.full(size, 0.1),
                10.0 ** -np.arange(size),
            ):
                weights[0] += 1 - weights.any()
                threshold, alias = alias_table(weights)
                own = np.where(alias == np.arange(alias.size), 1, threshold / 2.0**32)
                found = own + np.bincount(alias, 1 - own, alias.size)
                expected = np.pad(weights, (0, alias.size - size)) * alias.size / weights.sum()
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
                assert not found[expected == 0].any()
                assert found[expected > 0].all()
