"""The quantization example: its data, and its network on integers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quantize_digits

STEPS = 60


@pytest.fixture(scope="module")
def scans():
    return quantize_digits.load_scans(seed=0)


def trained(network, scans, rate):
    state = quantize_digits.TrainState(network, quantize_digits.make_optimizer(rate, STEPS).init(network))
    for step in range(STEPS):
        with jax.numpy_dtype_promotion("standard"):  # as optax needs it
            state, loss = quantize_digits.train_step(state, jax.random.key(step), scans, rate, STEPS)
        assert jnp.isfinite(loss)
    return state.network


@pytest.fixture(scope="module")
def network(scans):
    """A network in float32, after a few steps."""
    return trained(quantize_digits.Network.init(key=jax.random.key(0)), scans[0], 5e-3)


@pytest.fixture(scope="module")
def rounded(network, scans):
    """With ranges, once calibrated by percentile and once fine-tuned."""
    calibrated = quantize_digits.calibrated(network, scans[0].images, 99.9)
    return calibrated, trained(jax.tree.map(jnp.copy, calibrated), scans[0], 1e-3)


def test_held_out_scans_are_not_trained_on(scans):
    train, held_out = scans
    assert (len(train.labels), len(held_out.labels)) == (1438, 359)
    seen = {scan.tobytes() for scan in np.asarray(train.images)}
    assert not any(scan.tobytes() in seen for scan in np.asarray(held_out.images))


class TestRanges:
    def test_of_the_maximum_hold_all_activations(self, network, scans):
        calibrated = quantize_digits.calibrated(network, scans[0].images, 100)
        activations = network(scans[0].images)[1]
        assert calibrated.tops is not None
        np.testing.assert_allclose(calibrated.tops, [activation.max() for activation in activations], rtol=1e-6)

    def test_of_a_percentile_hold_all_but_a_few(self, network, rounded, scans):
        for activation, top in zip(network(scans[0].images)[1], rounded[0].tops, strict=True):
            assert 0.0005 < jnp.mean(activation > top) < 0.0015

    def test_are_learned(self, rounded):
        before, after = (each.tops for each in rounded)
        assert (before != after).all()
        np.testing.assert_allclose(after, before, rtol=0.1)


class TestIntegers:
    def test_read_what_the_float_network_reads(self, network, rounded, scans):
        images, labels = scans[1]
        words = quantize_digits.quantized_images(images)
        expected = quantize_digits.read(network, images)
        assert jnp.mean(expected == labels) > 0.85
        found = quantize_digits.read_integers(quantize_digits.to_integers(rounded[0]), words)
        assert jnp.mean(found == expected) > 0.98

    def test_are_those_that_training_rounds_to(self, rounded, scans):
        images = scans[1].images
        layers = quantize_digits.to_integers(rounded[1])
        found = quantize_digits.integer_scores(layers, quantize_digits.quantized_images(images))
        step = layers[1].top / 255 * (layers[2].high / 127)
        # averages are cut off to whole steps, up to 256 of which there are in each input of the scores
        np.testing.assert_allclose(found.astype(jnp.float32) * step, rounded[1](images)[0], rtol=0, atol=0.15)

    def test_no_convolution_is_floating(self, rounded, scans):
        layers = quantize_digits.to_integers(rounded[0])
        words = quantize_digits.quantized_images(scans[1].images)
        text = quantize_digits.read_integers.lower(layers, words).as_text()
        convolutions = re.findall(r"stablehlo\.convolution.*", text)
        assert len(convolutions) == 3
        assert not any(re.search(r"f\d+>", convolution) for convolution in convolutions)


def test_a_run_can_be_resumed_in_both_trainings(monkeypatch, run_and_resume):
    monkeypatch.setattr(quantize_digits, "ROUNDS", 1)
    assert "held-out accuracy, integers, fine-tuned" in run_and_resume(quantize_digits, "--steps", "4")
