"""Decoders fed with chunks of frames: exactly what they make of all frames at once."""

import functools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import PartitionSpec
from machinery.programs import compile_by_default

import jnnops as nn

INF = np.inf
TIME, BATCH, CLASSES, BEAMS, CHUNK = 13, 5, 4, 6, 4
LENGTHS = np.array([13, 0, 7, 11, 12])
BIGRAM = np.random.default_rng(1).standard_normal((CLASSES, CLASSES)).astype(np.float32)


def drawn(classes=CLASSES, dtype=np.float32):
    """Logits, with NaN in a frame of the fourth row and a class that is impossible in some frames."""
    logits = 2 * np.random.default_rng(0).standard_normal((TIME, BATCH, classes))
    logits[5, 3, 1] = np.nan
    logits[::3, :, 0] = -INF
    return logits.astype(dtype)


def cut(logits, seed, size=CHUNK):
    """Chunks of one shape with the real frames of each row one after the other, as many as drawn, and NaN behind."""
    rng = np.random.default_rng(seed)
    chunks, at = [], np.zeros(BATCH, int)
    while (at < LENGTHS).any():
        taken = np.minimum(rng.integers(0, size + 1, BATCH), LENGTHS - at)
        chunk = np.full((size, *logits.shape[1:]), np.nan, logits.dtype)
        for row in range(BATCH):
            chunk[: taken[row], row] = logits[at[row] :][: taken[row], row]
        chunks.append((chunk, taken.astype(np.int32)))
        at += taken
    return chunks


def bigram(state, label):
    return jnp.asarray(BIGRAM)[state, label], label


def assert_equal(actual, expected):
    for each, of_whole in zip(actual, expected, strict=True):
        assert each.dtype == of_whole.dtype
        # as float64, since NumPy compares no NaN of bfloat16
        np.testing.assert_array_equal(np.asarray(each, np.float64), np.asarray(of_whole, np.float64))


class Streaming:
    """A decoder as a whole and in parts, with its options at their places."""

    def __init__(self, whole, init, step, finish):
        self.whole, self.init, self.step, self.finish = whole, init, step, finish

    def decode(self, chunks, step=None, classes=CLASSES, **options):
        state = self.init(BATCH, classes, TIME, **options)
        for chunk, taken in chunks:
            state = (step or self.step)(state, chunk, taken)
        return self.finish(state)


BEAM_SEARCH = Streaming(
    functools.partial(nn.ctc_beam_search_decoder, beam_width=BEAMS, top_paths=3),
    functools.partial(nn.ctc_beam_search_init, beam_width=BEAMS),
    nn.ctc_beam_search_step,
    functools.partial(nn.ctc_beam_search_finish, top_paths=3),
)
SCORED = Streaming(
    functools.partial(BEAM_SEARCH.whole, scorer=bigram, initial_state=np.zeros(BATCH, np.int32)),
    functools.partial(BEAM_SEARCH.init, initial_state=np.zeros(BATCH, np.int32)),
    functools.partial(nn.ctc_beam_search_step, scorer=bigram),
    BEAM_SEARCH.finish,
)
GREEDY = Streaming(nn.ctc_greedy_decoder, nn.ctc_greedy_init, nn.ctc_greedy_step, nn.ctc_greedy_finish)

both = pytest.mark.parametrize("decoder", [BEAM_SEARCH, GREEDY], ids=["beam", "greedy"])


class TestChunks:
    @pytest.mark.parametrize("decoder", [BEAM_SEARCH, SCORED, GREEDY], ids=["beam", "scored", "greedy"])
    def test_of_any_sizes_are_decoded_as_the_whole_with_donated_states(self, decoder):
        logits = drawn()
        expected = decoder.whole(logits, LENGTHS)
        np.testing.assert_array_equal(np.isnan(expected.scores[:, 0]), [False, False, False, True, False])
        step = jax.jit(decoder.step, donate_argnums=0)
        for seed in range(6):
            assert_equal(decoder.decode(cut(logits, seed), step), expected)

    @pytest.mark.parametrize("decoder", [BEAM_SEARCH, SCORED, GREEDY], ids=["beam", "scored", "greedy"])
    def test_are_decoded_as_the_whole_in_a_loop(self, decoder):
        logits = drawn()
        chunks = jax.tree.map(lambda *each: np.stack(each), *cut(logits, 7))

        @jax.jit
        def looped(chunks):
            state = decoder.init(BATCH, CLASSES, TIME)
            return decoder.finish(
                jax.lax.scan(lambda state, chunk: (decoder.step(state, *chunk), None), state, chunks)[0]
            )

        assert_equal(looped(chunks), decoder.whole(logits, LENGTHS))

    def test_the_trie_is_written_in_place(self):
        state = nn.ctc_beam_search_init(2, 4, max_time=1000, beam_width=3)
        chunk = np.zeros((5, 2, 4), np.float32), np.array([5, 5])
        program = compile_by_default(nn.ctc_beam_search_step, state, *chunk, donate_argnums=0).as_text()
        assert "s32[2,3000]" in program
        assert not re.findall(r"s32\[2,(?:3000|1000,3)\]\S* copy", program)

    @both
    @pytest.mark.parametrize("sizes", [(0, 5, 1, 7), (13, 0)])
    def test_may_have_no_frames(self, decoder, sizes):
        logits, chunks, at = drawn(), [], 0
        for size in sizes:
            chunks.append((logits[at : at + size], np.clip(LENGTHS - at, 0, size)))
            at += size
        assert_equal(decoder.decode(chunks), decoder.whole(logits, LENGTHS))

    @both
    @pytest.mark.parametrize(("classes", "dtype"), [(300, np.float32), (9, jnp.bfloat16)])
    def test_of_many_classes_and_of_16_bits(self, decoder, classes, dtype):
        logits = drawn(classes, dtype)
        decoded = decoder.decode(cut(logits, 3), classes=classes, dtype=dtype, blank_index=2)
        assert decoded.scores.dtype == dtype
        assert_equal(decoded, decoder.whole(logits, LENGTHS, blank_index=2))

    @both
    def test_may_be_decoded_in_between(self, decoder):
        logits = drawn()
        state = decoder.step(decoder.init(BATCH, CLASSES, TIME), logits[:6], np.minimum(LENGTHS, 6))
        between = decoder.finish(state, merge_repeated=True)
        expected = decoder.whole(logits[:6], np.minimum(LENGTHS, 6), merge_repeated=True)
        np.testing.assert_array_equal(between.decoded[..., :6], expected.decoded)
        assert (between.decoded[..., 6:] == -1).all()
        np.testing.assert_array_equal(between.lengths, expected.lengths)
        np.testing.assert_allclose(between.scores, expected.scores, rtol=1e-6)
        decoded = decoder.finish(decoder.step(state, logits[6:], np.maximum(LENGTHS - 6, 0)))
        assert_equal(decoded, decoder.whole(logits, LENGTHS))


class TestState:
    @both
    def test_may_be_mapped(self, decoder):
        logits = np.stack([drawn(), drawn()[::-1]])
        states = jax.vmap(lambda _: decoder.init(BATCH, CLASSES, TIME))(jnp.arange(2))
        step = jax.jit(jax.vmap(decoder.step, in_axes=(0, 0, None)))
        for first in (0, 5):
            taken = np.clip(LENGTHS - first, 0, 5)
            states = step(states, logits[:, first : first + 5], taken)
        decoded = jax.vmap(decoder.finish)(states)
        for copy in range(2):
            assert_equal(
                jax.tree.map(lambda leaf, copy=copy: leaf[copy], decoded),
                self.padded(decoder, logits[copy, :10], np.minimum(LENGTHS, 10)),
            )

    @staticmethod
    def padded(decoder, logits, lengths):
        """The whole, in as many frames as the state has."""
        rest = np.zeros((TIME - len(logits), *logits.shape[1:]), logits.dtype)
        return decoder.whole(np.concatenate([logits, rest]), lengths)

    @both
    def test_may_be_sharded_by_rows(self, decoder):
        mesh = jax.make_mesh((BATCH,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, second = PartitionSpec("batch"), PartitionSpec(None, "batch")
        step = jax.jit(jax.shard_map(decoder.step, mesh=mesh, in_specs=(rows, second, rows), out_specs=rows))
        decoded = decoder.decode(cut(drawn(), 1), step)
        expected = decoder.whole(drawn(), LENGTHS)
        assert_equal(decoded[:2], expected[:2])
        np.testing.assert_allclose(decoded.scores, expected.scores, rtol=1e-6)

    @both
    def test_goes_through_saved_programs(self, decoder):
        chunks = cut(drawn(), 2)
        state = decoder.init(BATCH, CLASSES, TIME)
        saved = jax.export.export(jax.jit(decoder.step))(state, *chunks[0]).serialize()
        assert_equal(decoder.decode(chunks, jax.export.deserialize(saved).call), decoder.whole(drawn(), LENGTHS))

    def test_of_the_greedy_decoder_passes_the_gradient_on(self):
        logits = np.nan_to_num(drawn(), nan=3.0)
        chunks = [logits[:4], logits[4:]]

        def in_chunks(chunks):
            state = nn.ctc_greedy_init(BATCH, CLASSES, TIME)
            state = nn.ctc_greedy_step(state, chunks[0], np.minimum(LENGTHS, 4))
            return nn.ctc_greedy_finish(nn.ctc_greedy_step(state, chunks[1], np.maximum(LENGTHS - 4, 0))).scores.sum()

        expected = jax.grad(lambda logits: nn.ctc_greedy_decoder(logits, LENGTHS).scores.sum())(logits)
        np.testing.assert_array_equal(np.concatenate(jax.grad(in_chunks)(chunks)), expected)


class TestBadLengths:
    LOGITS = np.nan_to_num(drawn(), nan=0.0)
    NOTHING = np.zeros(BATCH, np.int32)

    @both
    @pytest.mark.parametrize(
        ("wrong", "requirement"),
        [(-1, r"be in \[0, 6\]"), (7, r"be in \[0, 6\]"), (5, r"sum to at most `max_time`, 8, over the chunks")],
    )
    def test_spoil_a_row_for_good_and_are_reported(self, decoder, wrong, requirement):
        step = jax.jit(decoder.step)
        first, second = np.full(BATCH, 4), np.array([4, wrong, 3, 0, 4])
        good = step(decoder.init(BATCH, CLASSES, 8), self.LOGITS[:6], first)
        state = step(good, self.LOGITS[4:10], second)
        spoiled = np.array([False, True, False, False, False])
        for _ in range(2):
            decoded = decoder.finish(state)
            np.testing.assert_array_equal(np.isnan(decoded.scores[:, 0]), spoiled)
            assert (decoded.lengths[:, 1] == 0).all()
            assert (decoded.decoded[:, 1] == -1).all()
            expected = decoder.whole(self.LOGITS[:8], np.array([8, 0, 7, 4, 8]))
            np.testing.assert_array_equal(decoded.decoded[:, ~spoiled], expected.decoded[:, ~spoiled])
            state = step(state, self.LOGITS[:6], self.NOTHING)

        name = "ctc_greedy_step" if decoder is GREEDY else "ctc_beam_search_step"
        checked = checkify.checkify(decoder.step, errors=checkify.user_checks)
        assert checked(good, self.LOGITS[4:10], first)[0].get() is None
        with pytest.raises(checkify.JaxRuntimeError, match=f"{name}: `sequence_length` must {requirement}"):
            checked(good, self.LOGITS[4:10], second)[0].throw()


class TestBadArguments:
    LOGITS = np.zeros((3, BATCH, CLASSES), np.float32)

    @both
    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"inputs": LOGITS[:, 1:]}, ValueError, r"`inputs` must have shape \(3, 5, 4\) \(the batch and classes of"),
            ({"inputs": LOGITS[..., 1:]}, ValueError, r"`inputs` must have shape \(3, 5, 4\)"),
            ({"inputs": LOGITS.astype(np.float16)}, TypeError, "`inputs` must be float32, the dtype of `state`, got"),
            ({"sequence_length": [1, 2]}, ValueError, r"`sequence_length` must have shape \(5,\)"),
            ({"state": {}}, TypeError, r"`state` must be a CTC\w+State as of ctc_\w+_init, got dict"),
        ],
    )
    def test_of_a_step_are_refused(self, decoder, change, error, message):
        good = {"state": decoder.init(BATCH, CLASSES, 3), "inputs": self.LOGITS, "sequence_length": [1] * BATCH}
        with pytest.raises(error, match=rf"ctc_\w+_step: {message}"):
            decoder.step(**{**good, **change})

    @both
    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"dtype": np.int32}, TypeError, "`dtype` must be floating point"),
            ({"blank_index": 4}, ValueError, r"`blank_index` must be in \[-4, 4\)"),
            ({"max_time": -1}, ValueError, "`max_time` must be at least 0, got -1"),
        ],
    )
    def test_of_a_start_are_refused(self, decoder, change, error, message):
        with pytest.raises(error, match=rf"ctc_\w+_init: {message}"):
            decoder.init(**{"batch_size": BATCH, "num_classes": CLASSES, "max_time": 3, **change})

    def test_more_paths_than_beams_are_refused(self):
        with pytest.raises(ValueError, match="ctc_beam_search_finish: `top_paths` must be at most `beam_width`, 6"):
            nn.ctc_beam_search_finish(BEAM_SEARCH.init(BATCH, CLASSES, 3), BEAMS + 1)

    @both
    def test_state_of_another_decoder_is_refused(self, decoder):
        other = GREEDY if decoder is BEAM_SEARCH else BEAM_SEARCH
        with pytest.raises(
            TypeError, match=r"ctc_\w+_finish: `state` must be a CTC\w+State as of ctc_\w+_init, got CTC"
        ):
            decoder.finish(other.init(BATCH, CLASSES, 3))

    @pytest.mark.parametrize(
        ("scorer", "error", "message"),
        [
            (None, ValueError, "`scorer` must be that of the `initial_state`"),
            (lambda state, label: label, TypeError, r"`scorer` must return \(log_score, new_state\)"),
        ],
    )
    def test_scorer_that_does_not_fit_the_state_is_refused(self, scorer, error, message):
        state = SCORED.init(BATCH, CLASSES, 3)
        with pytest.raises(error, match=f"ctc_beam_search_step: {message}"):
            nn.ctc_beam_search_step(state, self.LOGITS, np.ones(BATCH, np.int32), scorer=scorer)

    def test_initial_state_of_another_batch_is_refused(self):
        with pytest.raises(ValueError, match="ctc_beam_search_init: `initial_state` must have shapes"):
            nn.ctc_beam_search_init(3, CLASSES, 3, initial_state=np.zeros(4))
