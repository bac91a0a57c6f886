"""The language model: its data, what it learns, and its command line."""

import itertools
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import python_language_model as example
from shared.experiment import Experiment
from shared.python_corpus import Corpus

SIZES = {"UNITS": 32, "BATCH": 8, "TIME": 4, "SAMPLED": 20, "MEASURED": 16, "MEASUREMENTS": 2}
METHODS = (example.SAMPLED_SOFTMAX, example.FULL_SOFTMAX)


@pytest.fixture(scope="module", autouse=True)
def small():
    """A network that compiles and learns in no time."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):  # as optax needs it
        for name, size in SIZES.items():
            patch.setattr(example, name, size)
        yield
    jax.clear_caches()  # of functions compiled with these sizes


@pytest.fixture(scope="module")
def corpus():
    """Counts to eight again and again; the vocabulary has words besides."""
    counting = np.arange(6000, dtype=np.int32) % 8
    return Corpus(["\n", "def", "<unknown>", *"34567", *(f"word{i}" for i in range(42))], counting, counting)


@pytest.fixture
def model():
    return example.LanguageModel.init(jnp.ones(50), key=jax.random.key(0))


@pytest.fixture
def experiment():
    return Experiment(steps=1, seed=0, output=Path("unused.png"))


class TestTraining:
    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
    def test_a_few_steps_teach_to_count(self, method, corpus, experiment):
        run = example.train(method, corpus, jax.random.key(0), experiment, steps=500)
        assert run.steps == 500
        assert len(run.seconds) == len(run.losses) == 2
        assert run.perplexity < 0.5 * example.unigram_perplexity(corpus)

    def test_stops_when_the_time_is_up(self, corpus, experiment):
        run = example.train(example.FULL_SOFTMAX, corpus, jax.random.key(0), experiment, seconds=0.2)
        assert run.seconds[-1] >= 0.2
        assert run.steps > 1

    def test_only_rows_that_were_looked_up_change(self, model, corpus):
        table, classes = np.array(model.embedding.table), np.array(model.classes)  # copies: the step is given these
        state = example.new_state(example.SAMPLED_SOFTMAX, model)
        streams = example.streams_of(corpus.train, 8)
        state, _ = example.train_step(state, jax.random.key(1), streams, example.SAMPLED_SOFTMAX)
        changed = (np.asarray(state.model.embedding.table) != table).any(1)
        assert changed[8:].sum() == 0
        changed = (np.asarray(state.model.classes) != classes).any(1)
        assert 20 <= changed.sum() <= 28

    def test_reads_on_where_the_last_step_stopped(self, model, corpus):
        # twice as long a step reads the same text, so the memory that is carried over is the same
        tokens = example.streams_of(corpus.train, 8)[:, :8]
        _, memory = model(tokens[:, :4], model.no_memory(8))
        second, _ = model(tokens[:, 4:], memory)
        whole, _ = model(tokens, model.no_memory(8))
        np.testing.assert_allclose(second, whole[:, 4:], rtol=1e-5, atol=1e-6)


class TestMeasure:
    def test_is_the_mean_cross_entropy(self, model, corpus):
        streams, test = example.held_out_streams(corpus)
        assert streams.shape == test.shape == (8, 17)
        hidden, _ = model(streams[:, :-1], model.no_memory(8))
        logits = np.asarray(hidden @ model.classes.T, np.float64) + np.asarray(model.biases)
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = -np.take_along_axis(log_probabilities, np.asarray(streams)[:, 1:, None], -1).mean()
        np.testing.assert_allclose(example.measure(model, streams), expected, rtol=1e-5)

    def test_an_untrained_model_is_nearly_the_unigram_model(self, corpus):
        model = example.LanguageModel.init(example.counts_of(corpus), key=jax.random.key(0))
        perplexity = math.exp(example.measure(model, example.held_out_streams(corpus)[1]))
        assert math.isclose(perplexity, example.unigram_perplexity(corpus), rel_tol=0.1)

    def test_unigram_perplexity_of_equally_frequent_tokens_is_their_number(self, corpus):
        # the 42 words that never occur count as if they did once
        assert math.isclose(example.unigram_perplexity(corpus), 8 * (1 + 42 / 6000), rel_tol=1e-5)


def test_unknown_tokens_are_not_written(model, corpus):
    tokens = jnp.zeros((3, 2), jnp.int32)
    written = example.generate(model, tokens, jnp.array(2), jax.random.key(1), 200)
    assert written.shape == (3, 200)
    assert set(written.ravel().tolist()) == set(range(50)) - {2}
    assert all(
        text.startswith("class Parser:\n    def")
        for text in example.samples_of(model, corpus.vocabulary, jax.random.key(2))
    )


class TestCommandLine:
    def test_draws_a_picture_and_resumes(self, corpus, monkeypatch, run_and_resume):
        monkeypatch.setattr(example, "load_corpus", lambda seed: corpus)
        ticks = itertools.count()  # so that each step takes a second
        monkeypatch.setattr(example, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
        printed = run_and_resume(example, "--steps", "3")
        for method in METHODS:
            assert f"test perplexity with {method.name}" in printed

    def test_a_part_of_the_training_is_drawn_too(self, corpus, tmp_path, monkeypatch, capsys):
        show = Experiment.show

        def interrupt(self, *, step, loss):
            show(self, step=step, loss=loss)
            if self.steps_made == 5:  # of the sampled softmax, long before its first measurement
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(example, "load_corpus", lambda seed: corpus)
        monkeypatch.setattr(Experiment, "show", interrupt)
        output = tmp_path / "picture.png"
        with pytest.raises(SystemExit, match="130"):
            example.main(["--steps", "1000", "--output", str(output)])
        assert output.read_bytes().startswith(b"\x89PNG")
        printed = capsys.readouterr()
        assert "sampled softmax" in printed.out
        assert "after 6 steps" in printed.out
        assert "with full softmax" not in printed.out
        assert "interrupted after 6 steps" in printed.err
