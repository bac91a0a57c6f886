"""The word2vec example: its pairs, what it learns, and its command line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import word2vec
from shared.python_corpus import Corpus

VOCABULARY = 60


@pytest.fixture(scope="module", autouse=True)
def small():
    """Tables that are quick to train."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):  # as optax needs it
        sizes = {"FEATURES": 8, "WINDOW": 2, "BATCH": 64, "SAMPLED": 16, "HELD_OUT_PAIRS": 1000, "SHOWN_TOKENS": 20}
        for name, size in sizes.items():
            patch.setattr(word2vec, name, size)
        yield
    jax.clear_caches()  # of functions compiled with these sizes


@pytest.fixture(scope="module")
def text():
    """Passages of 50 tokens, each about one of six topics of ten tokens."""
    rng = np.random.default_rng(0)
    return (10 * rng.integers(6, size=(400, 1)) + rng.integers(10, size=(400, 50))).astype(np.int32).ravel()


@pytest.fixture(scope="module")
def trained(text):
    """The vectors of a few steps."""
    tokens = jnp.asarray(text)
    vectors = word2vec.Vectors.init(tokens, VOCABULARY, key=jax.random.key(0))
    state = word2vec.TrainState(vectors, word2vec.make_optimizer(300).init(vectors))
    losses = []
    for step in range(300):
        state, loss = word2vec.train_step(state, jax.random.key(step), tokens, 300)
        losses.append(float(loss))
    return state.vectors, losses


class TestPairs:
    def test_thinning_leaves_rare_tokens_alone(self):
        tokens = np.concatenate([np.zeros(90_000), np.arange(10_000) % 5000 + 1]).astype(np.int32)
        thin = np.asarray(word2vec.thin_out(tokens, 5001, seed=0))
        assert (thin > 0).sum() == 10_000
        kept = 90_000 * np.sqrt(word2vec.THINNED_ABOVE / 0.9)
        assert abs((thin == 0).sum() - kept) < 5 * np.sqrt(kept)

    def test_contexts_are_near_and_never_the_token_itself(self):
        pairs = word2vec.draw_pairs(jax.random.key(0), jnp.arange(1000), 5000)
        distances = pairs.contexts - pairs.tokens
        assert set(distances.tolist()) == {-2, -1, 1, 2}


class TestTraining:
    def test_the_loss_falls(self, trained):
        losses = trained[1]
        assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])

    def test_contexts_are_told_from_others(self, trained, text):
        pairs = word2vec.draw_pairs(jax.random.key(1), jnp.asarray(text), 2000)
        untrained = word2vec.Vectors.init(jnp.asarray(text), VOCABULARY, key=jax.random.key(0))
        assert word2vec.accuracy(untrained, pairs) == 0.5
        assert word2vec.accuracy(trained[0], pairs) > 0.75

    def test_tokens_of_a_topic_are_near(self, trained):
        near = np.array(word2vec.nearest(trained[0].tokens, range(VOCABULARY), 5))
        assert np.mean(near // 10 == np.arange(VOCABULARY)[:, None] // 10) > 0.8


class TestNearest:
    def test_angles_count_and_lengths_do_not(self):
        table = jnp.array([[1.0, 0.0], [0.0, 9.0], [8.0, 1.0], [-1.0, 0.0]])
        assert word2vec.nearest(table, [0, 3], 3) == [[2, 1, 3], [1, 2, 0]]

    def test_related_pairs_are_counted_if_the_vocabulary_has_them(self):
        vocabulary = ["True", "False", "int", "other", "min", "max"]
        table = jnp.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [-1.0, -1.0]])
        assert word2vec.related_found(table, vocabulary, 1) == (1, 2)


def test_the_command_line_draws_a_picture_and_resumes(text, monkeypatch, run_and_resume):
    vocabulary = ["self", "int", "True", "False", "for", "'name'", *(f"word{i}" for i in range(54))]
    monkeypatch.setattr(word2vec, "load_corpus", lambda seed: Corpus(vocabulary, text, text[:2000]))
    monkeypatch.setattr(word2vec, "THINNED_ABOVE", 1.0)
    printed = run_and_resume(word2vec, "--steps", "3")
    assert "held-out contexts told from those of other tokens" in printed
