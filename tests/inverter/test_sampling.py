"""Inverters that sample images: seeds, files, wrong input and evaluation."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfinvert
from tests.refusals import refused
from tfinvert.inverter import Inverter
from tfinvert.inverter.flow_matching import FlowSampler, seeded_noise
from tfinvert.inverter.serialization import ARRAYS_FILE
from tfinvert.metrics.evaluation import evaluate_samples
from tfinvert.networks import velocity

pytestmark = pytest.mark.usefixtures("few_blocks")


@pytest.fixture(scope="module")
def sampling(tiny_inverter):
    """A tiny inverter with a velocity network of random weights."""
    inverter = tiny_inverter
    network = velocity.build(inverter.feature, width=0.1)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.05 * rng.normal(size=variable.shape))
    parts = inverter.feature, inverter.standardization, inverter.network
    return Inverter(*parts, {"steps": 0}, flow=FlowSampler(network, 0.2))


@pytest.fixture(scope="module")
def features(sampling, photos):
    return sampling.encode(photos[:3])


def test_samples_are_images_and_differ(sampling, features):
    samples = sampling.sample(features, 2, steps=2)
    assert samples.shape == (3, 2, 64, 64, 3)
    assert samples.dtype == np.float32
    assert samples.min() >= 0 and samples.max() <= 1
    assert np.abs(samples[:, 0] - samples[:, 1]).mean() > 0.01
    assert sampling.sample(features[:0], 2).shape == (0, 2, 64, 64, 3)


def test_images_are_sampled_by_their_features(sampling, features, photos, tmp_path):
    expected = sampling.sample(features[:1], 2, steps=2)
    pixels = np.uint8(np.rint(255 * photos[0]))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    for image in (tmp_path / "photo.png", Image.fromarray(pixels), pixels, photos[0]):
        found = sampling.sample(image, 2, steps=2)
        assert found.shape == (2, 64, 64, 3)
        np.testing.assert_allclose(found, expected[0], atol=1e-4)
    Image.fromarray(np.tile(pixels, (2, 3, 1))).save(tmp_path / "wide.png")
    assert sampling.sample([tmp_path / "wide.png", photos[0]], 1, steps=1).shape == (
        2,
        1,
        64,
        64,
        3,
    )
    refused(lambda: sampling.sample(np.tile(pixels, (2, 1, 1)), 1), "[64, 64, 3]")


def test_a_sample_is_determined_by_seed_index_and_feature(sampling, features):
    samples = sampling.sample(features, 3, seed=5, steps=2)
    np.testing.assert_array_equal(samples, sampling.sample(features, 3, seed=5, steps=2))
    fewer = sampling.sample(features[:2], 2, seed=5, steps=2)
    np.testing.assert_allclose(samples[:2, :2], fewer, atol=1e-5)
    other = sampling.sample(features, 3, seed=6, steps=2)
    assert np.abs(samples - other).mean() > 0.01
    repeated = sampling.sample(features[[0, 0]], 1, seed=5, steps=2)
    assert np.abs(repeated[0] - repeated[1]).mean() > 0.01


def test_samples_lie_around_the_reconstruction(sampling, features):
    class ZeroVelocity:
        variables = ()

        def __call__(self, inputs, training):
            return tf.zeros_like(inputs[0])

    parts = sampling.feature, sampling.standardization, sampling.network
    constant = Inverter(*parts, flow=FlowSampler(ZeroVelocity(), 0.2))
    noise = [[seeded_noise((4, i, k), (64, 64, 3)) for k in range(2)] for i in range(3)]
    expected = np.clip(sampling.invert(features)[:, np.newaxis] + 0.2 * np.array(noise), 0, 1)
    np.testing.assert_allclose(constant.sample(features, 2, seed=4), expected, atol=1e-6)


@pytest.mark.slow
def test_a_saved_inverter_draws_the_same_samples(sampling, features, tmp_path):
    sampling.save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    samples = sampling.sample(features, 1, steps=2)
    np.testing.assert_array_equal(loaded.sample(features, 1, steps=2), samples)
    np.testing.assert_array_equal(loaded.invert(features), sampling.invert(features))


@pytest.mark.slow
def test_float16_rounds_the_weights(sampling, features, tmp_path):
    sampling.save(tmp_path / "saved")
    loaded = tfinvert.load(tmp_path / "saved")
    sampling.save(tmp_path / "small", "float16")
    small = tfinvert.load(tmp_path / "small")
    np.testing.assert_allclose(small.sample(features, 1), sampling.sample(features, 1), atol=0.02)
    loaded.round_weights("float16")
    np.testing.assert_array_equal(small.sample(features, 1), loaded.sample(features, 1))


def test_a_file_with_an_incomplete_flow_is_rejected(sampling, tmp_path):
    sampling.save(tmp_path / "saved")
    with np.load(tmp_path / "saved" / ARRAYS_FILE) as file:
        arrays = dict(file)
    del arrays["flow/deviation"]
    np.savez(tmp_path / "saved" / ARRAYS_FILE, **arrays)
    with pytest.raises(tfinvert.InputError, match="do not match"):
        tfinvert.load(tmp_path / "saved")


def test_an_inverter_that_cannot_sample_names_those_that_can(tiny_inverter, features, sampling):
    for other in (tiny_inverter, sampling.at((128, 128))):
        with pytest.raises(tfinvert.InputError, match="hog inverter cannot sample.*hog-s") as error:
            other.sample(features, 2)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n must be a whole number of at least 1. Received: 0"),
        ({"n": 1.5}, "n must be a whole number of at least 1. Received: 1.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0. Received: -1"),
        ({"steps": 0}, "steps must be a whole number of at least 1. Received: 0"),
        (
            {"features": np.zeros((2, 16, 16, 31))},
            r"\[B, 8, 8, 31\] or .*Received: \(2, 16, 16",
        ),
        ({"seed": 1.0}, "seed must be a whole number of at least 0. Received: 1.0"),
        ({"features": [np.zeros((8, 8, 31)), np.zeros((8, 9, 31))]}, "numbers, and of one shape"),
        ({"features": np.zeros((8, 31))}, r"\[B, 8, 8, 31\] or .*Received: \(8, 31\)"),
    ],
)
def test_wrong_input(sampling, features, changes, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        sampling.sample(**{"features": features, "n": 1} | changes)
    assert "\n" not in str(error.value)


def test_the_metrics_of_samples(sampling, photos):
    measured = evaluate_samples(sampling, photos[:4], 3)
    encoded = sampling.encode(photos[:4])
    samples, reconstructions = sampling.sample(encoded, 3), sampling.invert(encoded)

    def error(a, b):
        """Mean distance divided by that of all pairs of `a`."""
        pairs = [np.linalg.norm(a[i] - a[j]) for i in range(4) for j in range(i)]
        return np.mean([np.linalg.norm(x - y) for x, y in zip(a, b, strict=True)]) / np.mean(pairs)

    draws = [samples[:, k] for k in range(3)]
    x = photos[:4]
    expected = {
        "sample_error": np.mean([error(x, draw) for draw in draws]),
        "mean_of_samples_error": error(x, samples.mean(1)),
        "reconstruction_error": error(x, reconstructions),
        "sample_feature_error": np.mean([error(encoded, sampling.encode(draw)) for draw in draws]),
        "reconstruction_feature_error": error(encoded, sampling.encode(reconstructions)),
        "deviation": np.sqrt(np.mean([np.var(samples[i], 0, ddof=1) for i in range(4)])),
        "residual": np.sqrt(np.mean((x - reconstructions) ** 2)),
    }
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-4), name
    assert (measured["samples"], measured["images"]) == (3, 4)
